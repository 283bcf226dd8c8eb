"""The contract, third part: pools, tasks that go on for long, dead letters and events."""
# ruff: noqa: S101 - a suite asserts; it runs under pytest only

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scheduler.errors import GroupMisused, LeaseLost
from scheduler.model import ANY_POOL, Discard, Done, NewTask, Release, Retry, TaskState
from scheduler.store import EVENTS_KEPT
from scheduler.testing.cases import (
    LEASE_S,
    NOW_S,
    StoreCases,
    claim,
    counts,
    make_group,
    make_members,
    make_tasks,
    payloads,
)

if TYPE_CHECKING:
    from scheduler.store import TaskStore


class AdvancingContract(StoreCases):
    """Whose a task is, how a long one goes on, and what becomes of one that was given up."""

    # --- Pools ---

    async def test_a_task_goes_to_a_worker_of_its_pool(self, store: TaskStore) -> None:
        pooled = [NewTask(payload=b"%d" % n, pool=pool) for n, pool in enumerate(("eu", "us"))]
        await store.enqueue([*pooled, *make_tasks("a")])
        assert payloads(await claim(store)) == ["a"]
        for pools, expected in ((["nobody"], []), (["us", ANY_POOL], ["1"]), (["us", "eu"], ["0"])):
            leases = await store.claim("w", limit=9, lease_s=LEASE_S, now_s=NOW_S, pools=pools)
            assert payloads(leases) == expected

    async def test_a_task_comes_back_to_its_pool(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"a", pool="eu")])
        for number in range(3):
            now_s = NOW_S + number * LEASE_S
            assert await claim(store, now_s=now_s) == []
            (lease,) = await store.claim(
                "w", limit=9, lease_s=LEASE_S, now_s=now_s, pools=["eu", "eu"]
            )
            if number == 0:
                await store.finish(lease, Release(after_s=1), now_s=now_s)
            elif number == 1:
                await store.reap(now_s=now_s + LEASE_S)
        assert lease.attempt == 2

    async def test_a_release_may_ask_for_a_pause(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        await store.finish(lease, Release(after_s=5), now_s=NOW_S)
        assert counts((await store.stats()).tasks) == {"delayed": 1}
        assert await claim(store, now_s=NOW_S + 4.5) == []
        (lease,) = await claim(store, now_s=NOW_S + 5)
        assert lease.attempt == 1

    # --- Advancing ---

    async def test_advance_changes_the_payload_for_whoever_comes_next(
        self, store: TaskStore
    ) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        first, _ = await store.advance(lease, b"b", follow_ups=make_tasks("xy"))
        second, _ = await store.advance(first, b"c")
        assert (second.payload, second.generation) == (b"c", lease.generation)
        assert payloads(await claim(store)) == ["x", "y"]
        await store.reap(now_s=NOW_S + LEASE_S)
        again = [each for each in await claim(store, "w2") if each.task_id == lease.task_id]
        assert payloads(again) == ["c"]
        with pytest.raises(LeaseLost):
            await store.advance(second, b"late", follow_ups=make_tasks("z"))
        third, _ = await store.advance(again[0], b"d")
        await store.finish(third, Done(), now_s=NOW_S)
        with pytest.raises(LeaseLost):
            await store.advance(third, b"after its end")

    async def test_advance_may_be_repeated(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        for _ in range(3):
            advanced, _ = await store.advance(lease, b"b", follow_ups=make_tasks("x"))
        assert counts((await store.stats()).tasks) == {"leased": 1, "pending": 1}
        await store.advance(advanced, b"c")
        with pytest.raises(LeaseLost):
            await store.advance(lease, b"b", follow_ups=make_tasks("x"))

    async def test_advance_tells_how_the_store_stands_with_it(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("ab"))
        leases = await claim(store)
        more = [NewTask(payload=b"x", weight=5), NewTask(payload=b"y", discarded="no")]
        for _ in range(2):  # also when it is repeated
            _, told = await store.advance(leases[0], b"c", follow_ups=more)
            assert told == await store.stats()
            assert counts(told.tasks) == {"leased": 2, "pending": 1, "discarded": 1}
            assert told.weight[TaskState.PENDING] == 5
            assert not told.intake_closed
        await store.finish(leases[1], Done(), now_s=NOW_S)
        await store.close_intake()
        _, told = await store.advance(leases[0], b"c")
        assert (counts(told.tasks)["done"], told.intake_closed) == (1, True)

    async def test_advance_lands_whole_or_not_at_all(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        with pytest.raises(GroupMisused):
            await store.advance(lease, b"b", follow_ups=[*make_tasks("x"), *make_members("y")])
        assert counts((await store.stats()).tasks) == {"leased": 1}
        await store.advance(lease, b"b", follow_ups=make_members("m"), groups=[make_group(1)])
        assert counts((await store.stats()).tasks) == {"leased": 1, "pending": 1, "waiting": 1}

    async def test_an_advanced_lease_is_extended_and_given_back(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        advanced, _ = await store.advance(lease, b"b")
        (extended,) = await store.extend([advanced], lease_s=LEASE_S, now_s=NOW_S + 20)
        assert (await store.reap(now_s=NOW_S + LEASE_S)).reclaimed == 0
        await store.release(extended)
        (again,) = await claim(store)
        assert (again.payload, again.attempt) == (b"b", 1)
        await store.advance(again, b"c")

    # --- Dead letters ---

    async def test_a_task_may_come_in_as_given_up(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        await store.close_intake()
        (lease,) = await claim(store)
        failed = NewTask(payload=b"x", weight=3, discarded="no such key", result=b"r")
        await store.finish(lease, Done(), follow_ups=[failed], now_s=NOW_S)
        assert await claim(store) == []
        assert await store.is_drained()
        (letter,) = await store.results({TaskState.DISCARDED})
        assert (letter.payload, letter.result, letter.reason) == (b"x", b"r", "no such key")
        assert (letter.weight, letter.attempts) == (3, 1)

    async def test_requeue_gives_every_attempt_again(self, store: TaskStore) -> None:
        failed = NewTask(payload=b"b", pool="eu", discarded="denied", result=b"r")
        await store.enqueue([*make_tasks("a"), failed])
        await store.close_intake()
        (lease,) = await claim(store)
        await store.finish(lease, Discard(reason="denied"), result=b"r", now_s=NOW_S)
        assert await store.is_drained()
        assert await store.requeue() == 2
        assert not await store.is_drained()
        assert await store.results({TaskState.DISCARDED}) == []
        for again in await store.claim(
            "w", limit=9, lease_s=LEASE_S, now_s=NOW_S, pools=[ANY_POOL, "eu"]
        ):
            assert again.attempt == 1
            await store.finish(again, Done(), result=b"ok", now_s=NOW_S)
        with pytest.raises(LeaseLost):
            await store.finish(lease, Discard(reason="denied"), now_s=NOW_S)
        results = await store.results({TaskState.DONE})
        assert [(task.result, task.reason) for task in results] == [(b"ok", "")] * 2
        assert await store.requeue() == 0

    async def test_requeue_leaves_members_of_groups(self, store: TaskStore) -> None:
        await store.enqueue(make_members("a"), groups=[make_group(1)])
        (lease,) = await claim(store)
        await store.finish(lease, Discard(reason="x"), now_s=NOW_S)
        assert await store.requeue() == 0
        assert payloads(await claim(store)) == ["then"]

    async def test_reasons_and_events_may_hold_names_that_are_no_unicode(
        self, store: TaskStore
    ) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        await store.finish(lease, Discard(reason="denied: \udcff"), now_s=NOW_S)
        await store.record("cannot list \udcff", now_s=NOW_S)
        (letter,) = await store.results({TaskState.DISCARDED})
        assert letter.reason == "denied: \\udcff"
        assert [event.text for event in await store.events()] == ["cannot list \\udcff"]

    async def test_what_advances_has_all_its_attempts_again(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        for _ in range(6):
            (lease,) = await claim(store)
            lease, _ = await store.advance(lease, b"further")
            await store.finish(lease, Retry(after_s=0), now_s=NOW_S)
        (lease,) = await claim(store)
        assert lease.attempt == 2

    # --- Events ---

    async def test_events_are_read_in_order_and_the_oldest_go(self, store: TaskStore) -> None:
        assert await store.events() == []
        for number in range(3):
            await store.record(f"event {number} ✓", now_s=NOW_S + number)
        events = await store.events()
        assert [(each.text, each.at_s) for each in events] == [
            (f"event {number} ✓", NOW_S + number) for number in range(3)
        ]
        newest = await store.events(limit=1)
        assert newest == events[-1:]
        assert await store.events(after_event_id=events[0].event_id) == events[1:]
        assert await store.events(after_event_id=events[-1].event_id) == []

    async def test_events_do_not_pile_up(self, store: TaskStore) -> None:
        for number in range(EVENTS_KEPT + 300):
            await store.record(str(number), now_s=NOW_S)
        kept = await store.events(limit=2 * EVENTS_KEPT)
        assert EVENTS_KEPT <= len(kept) <= EVENTS_KEPT + 200
        assert kept[-1].text == str(EVENTS_KEPT + 299)

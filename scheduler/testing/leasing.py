"""The contract, first half: intake, leases, finishing."""
# ruff: noqa: S101 - a suite asserts; it runs under pytest only

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from scheduler.errors import GroupMisused, IntakeClosed, LeaseLost
from scheduler.model import (
    FINAL_STATES,
    Discard,
    Done,
    Lease,
    NewGroup,
    NewTask,
    Retry,
    TaskState,
)
from scheduler.testing.cases import (
    EVERY_DISPOSITION,
    LEASE_S,
    NOW_S,
    StoreCases,
    claim,
    counts,
    make_tasks,
    payloads,
)

if TYPE_CHECKING:
    from scheduler.store import TaskStore


class LeasingContract(StoreCases):
    """How tasks come in, who holds them, and how they end."""

    # --- Intake ---

    async def test_a_new_store_is_empty_and_not_drained(self, store: TaskStore) -> None:
        stats = await store.stats()
        assert stats.tasks == dict.fromkeys(TaskState, 0)
        assert stats.weight == dict.fromkeys(TaskState, 0)
        assert not await store.is_drained()
        assert await store.load_checkpoint() is None

    async def test_tasks_are_claimed_in_the_order_of_enqueueing(self, store: TaskStore) -> None:
        assert await store.enqueue(make_tasks("abc")) == 3
        assert await store.enqueue(make_tasks("de")) == 2
        first = await claim(store, limit=2)
        second = await claim(store, limit=10)
        assert payloads(first + second) == ["a", "b", "c", "d", "e"]
        assert [lease.attempt for lease in first + second] == [1] * 5
        ids = [lease.task_id for lease in first + second]
        assert ids == sorted(set(ids))

    async def test_payload_and_weight_arrive_as_they_were(self, store: TaskStore) -> None:
        payload = bytes(range(256)) * 1000
        await store.enqueue([NewTask(payload=payload, weight=1 << 50), NewTask(payload=b"")])
        full, empty = await claim(store)
        assert (full.payload, full.weight) == (payload, 1 << 50)
        assert (empty.payload, empty.weight) == (b"", 0)

    async def test_a_key_enqueues_once(self, store: TaskStore) -> None:
        twice = [NewTask(payload=b"1", key="k"), NewTask(payload=b"2", key="k")]
        assert await store.enqueue(twice) == 1
        assert await store.enqueue([NewTask(payload=b"3", key="k")]) == 0
        (lease,) = await claim(store)
        assert lease.payload == b"1"
        await store.finish(lease, Done(), now_s=NOW_S)
        assert await store.enqueue([NewTask(payload=b"4", key="k")]) == 0

    async def test_checkpoint_comes_with_its_tasks(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"), checkpoint=b"after a")
        await store.enqueue(make_tasks("b"))
        assert await store.load_checkpoint() == b"after a"
        with pytest.raises(GroupMisused):
            await store.enqueue([NewTask(payload=b"c", group="?")], checkpoint=b"after c")
        assert await store.load_checkpoint() == b"after a"
        await store.enqueue([], checkpoint=b"")
        assert await store.load_checkpoint() == b""

    async def test_closed_intake_refuses_tasks_but_not_follow_ups(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        await store.close_intake()
        with pytest.raises(IntakeClosed):
            await store.enqueue(make_tasks("b"))
        (lease,) = await claim(store)
        await store.finish(lease, Done(), follow_ups=make_tasks("c"), now_s=NOW_S)
        assert payloads(await claim(store)) == ["c"]

    async def test_drained_means_closed_and_nothing_left_to_run(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("ab"))
        await store.close_intake()
        assert not await store.is_drained()
        first, second = await claim(store)
        assert not await store.is_drained()
        await store.finish(first, Done(), now_s=NOW_S)
        await store.finish(second, Retry(after_s=60), now_s=NOW_S)
        assert not await store.is_drained()
        (again,) = await claim(store, now_s=NOW_S + 60)
        await store.finish(again, Discard(reason="useless"), now_s=NOW_S + 60)
        assert await store.is_drained()

    # --- Leases ---

    async def test_a_leased_task_is_not_claimed_twice(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        assert len(await claim(store, "w1")) == 1
        assert await claim(store, "w2") == []
        # Also past its time: only a reap takes a task from its holder.
        assert await claim(store, "w2", now_s=NOW_S + 1000) == []

    async def test_lease_says_who_holds_it_and_until_when(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store, "w1")
        assert lease.worker_id == "w1"
        assert lease.expires_at_s == pytest.approx(NOW_S + LEASE_S)

    async def test_limit_bounds_a_claim(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("abc"))
        assert await claim(store, limit=0) == []
        assert len(await claim(store, limit=2)) == 2

    async def test_extend_keeps_a_task_from_the_reaper(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("ab"))
        leases = await claim(store)
        extended = await store.extend(leases, lease_s=LEASE_S, now_s=NOW_S + 20)
        assert [lease.task_id for lease in extended] == [lease.task_id for lease in leases]
        assert extended[0].expires_at_s == pytest.approx(NOW_S + 20 + LEASE_S)
        assert (await store.reap(now_s=NOW_S + LEASE_S + 1)).reclaimed == 0
        assert (await store.reap(now_s=NOW_S + LEASE_S + 21)).reclaimed == 2

    async def test_extend_leaves_out_what_is_lost(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("ab"))
        lost, _ = await claim(store, now_s=NOW_S)
        await store.reap(now_s=NOW_S + LEASE_S)
        (again, _) = await claim(store, "w2", now_s=NOW_S + LEASE_S)
        assert again.task_id == lost.task_id
        extended = await store.extend([lost, again], lease_s=LEASE_S, now_s=NOW_S + LEASE_S)
        assert [lease.generation for lease in extended] == [again.generation]
        assert await store.extend([], lease_s=LEASE_S, now_s=NOW_S) == []

    async def test_a_late_extend_of_an_expired_lease_still_holds(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        leases = await claim(store)
        late_s = NOW_S + LEASE_S + 5
        assert len(await store.extend(leases, lease_s=LEASE_S, now_s=late_s)) == 1
        assert (await store.reap(now_s=late_s + 1)).reclaimed == 0

    async def test_reap_counts_the_attempt_and_fences_the_old_lease(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (old,) = await claim(store, "w1")
        assert (await store.reap(now_s=NOW_S + LEASE_S - 0.5)).reclaimed == 0
        assert (await store.reap(now_s=NOW_S + LEASE_S)).reclaimed == 1
        for disposition in EVERY_DISPOSITION:
            with pytest.raises(LeaseLost):
                await store.finish(old, disposition, now_s=NOW_S)
        (new,) = await claim(store, "w2")
        assert new.attempt == 2
        assert new.generation > old.generation
        with pytest.raises(LeaseLost):
            await store.finish(old, Done(), follow_ups=make_tasks("x"), now_s=NOW_S)
        with pytest.raises(LeaseLost):
            await store.release(old)
        await store.finish(new, Done(), now_s=NOW_S)
        assert await claim(store) == []

    async def test_reap_takes_at_once_what_a_dead_worker_held(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("ab"))
        await claim(store, "dead", limit=1)
        await claim(store, "alive", limit=1)
        assert (await store.reap(now_s=NOW_S, dead={"dead"})).reclaimed == 1
        assert payloads(await claim(store)) == ["a"]

    async def test_reap_discards_what_has_no_attempt_left(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"poison", weight=7)])
        for round_number in range(3):
            now_s = NOW_S + round_number * LEASE_S
            assert len(await claim(store, now_s=now_s)) == 1
            reaped = await store.reap(now_s=now_s + LEASE_S)
            assert (reaped.reclaimed, reaped.discarded) == ((1, 0), (1, 0), (0, 1))[round_number]
        (task,) = await store.results({TaskState.DISCARDED})
        assert (task.attempts, task.weight, task.payload) == (3, 7, b"poison")
        assert "3 attempts" in task.reason

    async def test_release_counts_no_attempt(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        for _ in range(5):
            (lease,) = await claim(store)
            assert lease.attempt == 1
            await store.release(lease)

    # --- Finishing ---

    async def test_retry_waits_and_counts_and_gives_up(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        now_s = NOW_S
        for attempt in (1, 2, 3):
            (lease,) = await claim(store, now_s=now_s)
            assert lease.attempt == attempt
            await store.finish(lease, Retry(after_s=10, reason="no answer"), now_s=now_s)
            assert await claim(store, now_s=now_s + 9.5) == []
            now_s += 10
        assert await claim(store, now_s=now_s) == []
        (task,) = await store.results({TaskState.DISCARDED})
        assert (task.attempts, task.payload) == (3, b"a")
        assert "no answer" in task.reason

    async def test_a_delayed_task_does_not_hold_up_others(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("ab"))
        (first,) = await claim(store, limit=1)
        await store.finish(first, Retry(after_s=10), now_s=NOW_S)
        assert payloads(await claim(store)) == ["b"]
        assert payloads(await claim(store, now_s=NOW_S + 10)) == ["a"]

    async def test_discard_is_final_with_reason_and_result(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        await store.finish(lease, Discard(reason="no such key"), result=b"r", now_s=NOW_S)
        (task,) = await store.results(FINAL_STATES)
        assert (task.state, task.reason, task.result) == (TaskState.DISCARDED, "no such key", b"r")
        assert task.attempts == 1

    async def test_finish_may_be_repeated(self, store: TaskStore) -> None:
        for disposition in EVERY_DISPOSITION:
            await store.clear()
            await store.enqueue(make_tasks("a"))
            (lease,) = await claim(store)
            for _ in range(2):
                await store.finish(lease, disposition, follow_ups=make_tasks("b"), now_s=NOW_S)
            await store.release(lease)
            stats = await store.stats()
            assert sum(stats.tasks.values()) == 2, disposition

    async def test_finish_after_a_second_claim_is_lost(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (first,) = await claim(store)
        await store.release(first)
        (second,) = await claim(store)
        with pytest.raises(LeaseLost):
            await store.finish(first, Done(), now_s=NOW_S)
        await store.finish(second, Done(), now_s=NOW_S)

    async def test_follow_ups_land_with_the_finish_or_not_at_all(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("a"))
        (lease,) = await claim(store)
        stray = [*make_tasks("b"), NewTask(payload=b"c", group="never opened")]
        with pytest.raises(GroupMisused):
            await store.finish(lease, Done(), follow_ups=stray, now_s=NOW_S)
        assert counts((await store.stats()).tasks) == {"leased": 1}
        group = NewGroup(name="g", size=1, then=NewTask(payload=b"then"))
        member = NewTask(payload=b"m", group="g")
        await store.finish(lease, Done(), follow_ups=[member], groups=[group], now_s=NOW_S)
        assert counts((await store.stats()).tasks) == {"done": 1, "pending": 1, "waiting": 1}

    # --- Together ---

    async def test_racing_claims_share_without_doubles(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"%d" % number) for number in range(60)])
        claimed: list[Lease] = []

        async def take(worker_id: str) -> None:
            while leases := await claim(store, worker_id, limit=7):
                claimed.extend(leases)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as crew:
            for number in range(4):
                crew.create_task(take(f"w{number}"), name=f"take-{number}")
        assert sorted(int(lease.payload) for lease in claimed) == list(range(60))

    async def test_closing_twice_is_allowed(self, store: TaskStore) -> None:
        await store.aclose()
        await store.aclose()

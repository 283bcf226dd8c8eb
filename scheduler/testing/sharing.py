"""The contract, second half: groups, results, and what workers share."""
# ruff: noqa: S101 - a suite asserts; it runs under pytest only

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scheduler.errors import GroupMisused, LeaseLost
from scheduler.model import (
    FINAL_STATES,
    HEARD_S,
    Discard,
    Disposition,
    Done,
    NewGroup,
    NewTask,
    Retry,
    TaskState,
)
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


class SharingContract(StoreCases):
    """What became of tasks, and what workers tell each other."""

    # --- Groups ---

    async def test_group_releases_its_then_once_when_all_are_done(self, store: TaskStore) -> None:
        await store.enqueue(make_members("abc"), groups=[make_group(3)])
        await store.close_intake()
        leases = await claim(store)
        assert payloads(leases) == ["a", "b", "c"]
        assert {lease.group for lease in leases} == {"g"}
        for lease in reversed(leases):
            assert await claim(store) == []
            assert not await store.is_drained()
            for _ in range(2):
                await store.finish(lease, Done(), result=lease.payload.upper(), now_s=NOW_S)
        (then,) = await claim(store)
        assert (then.payload, then.attempt, then.group) == (b"then", 1, None)
        assert await store.group_results("g") == [b"A", b"B", b"C"]
        assert await store.group_failures("g") == []
        await store.finish(then, Done(), now_s=NOW_S)
        assert await store.is_drained()

    async def test_a_discarded_member_still_releases_the_then(self, store: TaskStore) -> None:
        await store.enqueue(make_members("ab"), groups=[make_group(2)])
        bad, good = await claim(store)
        await store.finish(bad, Discard(reason="gone"), now_s=NOW_S)
        assert await claim(store) == []
        await store.finish(good, Done(), result=b"B", now_s=NOW_S)
        assert payloads(await claim(store)) == ["then"]
        assert await store.group_results("g") == [b"B"]
        assert [failure.reason for failure in await store.group_failures("g")] == ["gone"]

    async def test_a_reaped_member_settles_the_group_too(self, store: TaskStore) -> None:
        await store.enqueue(make_members("a"), groups=[make_group(1)])
        for round_number in range(3):
            await claim(store, now_s=NOW_S + round_number * LEASE_S)
            await store.reap(now_s=NOW_S + (round_number + 1) * LEASE_S)
        assert payloads(await claim(store)) == ["then"]
        assert len(await store.group_failures("g")) == 1

    async def test_members_may_come_in_several_calls(self, store: TaskStore) -> None:
        await store.enqueue(make_members("a"), groups=[make_group(2)])
        (first,) = await claim(store)
        await store.finish(first, Done(), now_s=NOW_S)
        assert await claim(store) == []
        await store.enqueue(make_members("b"))
        (second,) = await claim(store)
        await store.finish(second, Done(), now_s=NOW_S)
        assert payloads(await claim(store)) == ["then"]

    async def test_misused_groups_are_refused_whole(self, store: TaskStore) -> None:
        with pytest.raises(GroupMisused, match="never opened"):
            await store.enqueue([*make_tasks("x"), *make_members("a")])
        with pytest.raises(GroupMisused, match="size"):
            await store.enqueue(make_members("abc"), groups=[make_group(2)])
        assert sum((await store.stats()).tasks.values()) == 0
        await store.enqueue(make_members("ab"), groups=[make_group(2)])
        with pytest.raises(GroupMisused, match="size"):
            await store.enqueue(make_members("c"))

    async def test_a_known_group_and_its_members_enqueue_once(self, store: TaskStore) -> None:
        members = [NewTask(payload=b"a", group="g", key="g/0")]
        for added in (1, 0):
            assert await store.enqueue(members, groups=[make_group(1)]) == added
        assert counts((await store.stats()).tasks) == {"pending": 1, "waiting": 1}

    async def test_groups_nest(self, store: TaskStore) -> None:
        inner_then = NewTask(payload=b"inner then", group="outer")
        outer = NewGroup(name="outer", size=1, then=NewTask(payload=b"outer then"))
        inner = NewGroup(name="inner", size=1, then=inner_then)
        member = NewTask(payload=b"member", group="inner")
        await store.enqueue([member], groups=[inner, outer])
        for expected in ("member", "inner then", "outer then"):
            (lease,) = await claim(store)
            assert lease.payload.decode() == expected
            await store.finish(lease, Done(), now_s=NOW_S)

    # --- What became of it ---

    async def test_stats_count_and_weigh_by_state(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"", weight=weight) for weight in (1, 10, 100, 1000)])
        await store.enqueue([], groups=[make_group(1)])
        done, delayed, discarded = await claim(store, limit=3)
        await store.finish(done, Done(), now_s=NOW_S)
        await store.finish(delayed, Retry(after_s=5), now_s=NOW_S)
        await store.finish(discarded, Discard(reason="x"), now_s=NOW_S)
        stats = await store.stats()
        one_each = ["delayed", "discarded", "done", "pending", "waiting"]
        assert counts(stats.tasks) == dict.fromkeys(one_each, 1)
        assert counts(stats.weight) == {
            "done": 1,
            "delayed": 10,
            "discarded": 100,
            "pending": 1000,
        }
        assert stats.open_tasks == 2

    async def test_results_page_in_the_order_of_ids(self, store: TaskStore) -> None:
        await store.enqueue(make_tasks("abcde"))
        leases = await claim(store)
        for number, lease in enumerate(reversed(leases)):
            disposition: Disposition = Done() if number % 2 else Discard(reason="odd")
            await store.finish(lease, disposition, result=lease.payload, now_s=NOW_S)
        page = await store.results(FINAL_STATES, limit=2)
        rest = await store.results(FINAL_STATES, after_task_id=page[-1].task_id)
        assert [task.result for task in page + rest] == [b"a", b"b", b"c", b"d", b"e"]
        done = await store.results({TaskState.DONE})
        assert [task.result for task in done] == [b"b", b"d"]
        assert {task.payload for task in done} == {b""}
        with pytest.raises(ValueError, match="pending"):
            await store.results({TaskState.PENDING})

    async def test_forget_finished_keeps_what_an_open_group_needs(self, store: TaskStore) -> None:
        await store.enqueue(make_members("a"), groups=[make_group(1)])
        await store.enqueue([NewTask(payload=b"k", key="k"), *make_tasks("p")])
        member, keyed = await claim(store, limit=2)
        await store.finish(member, Done(), result=b"A", now_s=NOW_S)
        await store.finish(keyed, Done(), now_s=NOW_S)
        assert await store.forget_finished() == 1
        assert await store.enqueue([NewTask(payload=b"k", key="k")]) == 1
        assert await store.group_results("g") == [b"A"]
        for lease in await claim(store):
            await store.finish(lease, Done(), now_s=NOW_S)
        assert await store.forget_finished() == 4
        assert sum((await store.stats()).tasks.values()) == 0
        with pytest.raises(LeaseLost):
            await store.finish(keyed, Done(), now_s=NOW_S)
        await store.enqueue(make_members("a"), groups=[make_group(1)])

    async def test_clear_empties_all_and_loses_what_is_leased(self, store: TaskStore) -> None:
        await store.enqueue(make_members("a"), groups=[make_group(1)], checkpoint=b"c")
        (lease,) = await claim(store)
        await store.set_control("state", b"paused")
        await store.beat("w", b"", now_s=NOW_S)
        await store.reserve("b", 100, rate_per_s=1, burst=1, now_s=NOW_S)
        await store.close_intake()
        await store.clear()
        assert sum((await store.stats()).tasks.values()) == 0
        assert await store.load_checkpoint() is None
        assert await store.get_control("state") is None
        assert await store.workers(now_s=NOW_S, within_s=10) == []
        assert await store.reserve("b", 1, rate_per_s=1, burst=1, now_s=NOW_S) == 0
        assert await store.enqueue(make_members("b"), groups=[make_group(1)]) == 1
        (new,) = await claim(store)
        assert new.task_id > lease.task_id
        with pytest.raises(LeaseLost):
            await store.finish(lease, Done(), now_s=NOW_S)

    # --- Between workers ---

    async def test_controls_are_set_read_and_removed(self, store: TaskStore) -> None:
        assert await store.get_control("limit") is None
        for value in (b"1", b"", b"\x00\xff"):
            await store.set_control("limit", value)
            assert await store.get_control("limit") == value
        await store.set_control("limit", None)
        await store.set_control("limit", None)
        assert await store.get_control("limit") is None

    async def test_workers_are_those_heard_of_lately(self, store: TaskStore) -> None:
        assert await store.beat("w2", b"old", now_s=NOW_S) == 1
        assert await store.beat("w1", b"1", now_s=NOW_S + 5) == 2
        assert await store.beat("w2", b"2", now_s=NOW_S + 8) == 2
        assert await store.beat("w3", b"", now_s=NOW_S + HEARD_S * 2) == 1
        assert await store.beat("w3", b"", now_s=NOW_S - HEARD_S) == 3  # a clock behind the others'
        both = await store.workers(now_s=NOW_S + 10, within_s=5)
        assert [(beat.worker_id, beat.note) for beat in both] == [("w1", b"1"), ("w2", b"2")]
        late = await store.workers(now_s=NOW_S + 11, within_s=5)
        assert [beat.worker_id for beat in late] == ["w2"]

    async def test_reserve_grants_the_burst_then_the_rate(self, store: TaskStore) -> None:
        waits = [
            await store.reserve("b", 10, rate_per_s=10, burst=20, now_s=NOW_S) for _ in range(4)
        ]
        assert waits == pytest.approx([0, 0, 1, 2], abs=1e-3)
        other = await store.reserve("other", 10, rate_per_s=10, burst=20, now_s=NOW_S)
        assert other == 0
        # An idle bucket saves up its burst and no more.
        later_s = NOW_S + 1000
        waits = [
            await store.reserve("b", 20, rate_per_s=10, burst=20, now_s=later_s) for _ in range(2)
        ]
        assert waits == pytest.approx([0, 2], abs=1e-3)
        with pytest.raises(ValueError, match="rate|Cannot"):
            await store.reserve("b", 1, rate_per_s=0, burst=1, now_s=NOW_S)

    async def test_reserve_outlives_a_clock_that_is_set_back(self, store: TaskStore) -> None:
        await store.reserve("b", 10, rate_per_s=10, burst=0, now_s=NOW_S)
        back_s = NOW_S - 3600
        wait_s = await store.reserve("b", 10, rate_per_s=10, burst=0, now_s=back_s)
        assert wait_s == pytest.approx(2, abs=1e-3)

    async def test_reserve_follows_a_change_of_rate(self, store: TaskStore) -> None:
        await store.reserve("b", 100, rate_per_s=1, burst=0, now_s=NOW_S)
        wait_s = await store.reserve("b", 100, rate_per_s=100, burst=0, now_s=NOW_S)
        assert wait_s == pytest.approx(2, abs=1e-3)
        wait_s = await store.reserve("b", 10, rate_per_s=10, burst=0, now_s=NOW_S)
        assert wait_s == pytest.approx(3, abs=1e-3)

    async def test_reserve_takes_back_what_was_not_used(self, store: TaskStore) -> None:
        await store.reserve("b", 100, rate_per_s=10, burst=0, now_s=NOW_S)
        assert await store.reserve("b", -40, rate_per_s=10, burst=0, now_s=NOW_S) == 0
        wait_s = await store.reserve("b", 10, rate_per_s=10, burst=0, now_s=NOW_S)
        assert wait_s == pytest.approx(7, abs=1e-3)

    async def test_reserve_forfeits_what_comes_back_late(self, store: TaskStore) -> None:
        await store.reserve("b", 100, rate_per_s=10, burst=20, now_s=NOW_S)
        late_s = NOW_S + 9
        assert await store.reserve("b", -100, rate_per_s=10, burst=20, now_s=late_s) == 0
        assert await store.reserve("new", -100, rate_per_s=10, burst=20, now_s=late_s) == 0
        for bucket in ("b", "new"):
            wait_s = await store.reserve(bucket, 30, rate_per_s=10, burst=20, now_s=late_s)
            assert wait_s == pytest.approx(1, abs=1e-3)

    async def test_a_rate_is_set_for_all_and_taken_back(self, store: TaskStore) -> None:
        assert await store.get_rate("wan") is None
        await store.set_rate("wan", b"5MB/s")
        assert await store.get_rate("wan") == b"5MB/s"
        assert await store.get_rate("lan") is None
        await store.set_rate("wan", None)
        assert await store.get_rate("wan") is None

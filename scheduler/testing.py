"""What every task store must do, as a suite to inherit; and time that tests control.

A store's own test file is short::

    class TestMyStore(TaskStoreContract):
        @contextlib.asynccontextmanager
        async def opened(self, *, attempts_max):
            async with MyStore(..., attempts_max=attempts_max) as store:
                yield store

Needs pytest and pytest-asyncio in its automatic mode.
"""
# ruff: noqa: S101 - a suite asserts; it runs under pytest only

from __future__ import annotations

import asyncio
import selectors
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest

from scheduler.errors import GroupMisused, IntakeClosed, LeaseLost
from scheduler.model import (
    FINAL_STATES,
    Discard,
    Disposition,
    Done,
    Lease,
    NewGroup,
    NewTask,
    Release,
    Retry,
    TaskState,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from scheduler.store import TaskStore


class ManualClock:
    """A wall clock that moves only when told; call it for the time in seconds."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> float:
        """Move the clock (backwards with a negative number); return the new time."""
        self.now_s += seconds
        return self.now_s


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing else can run.

    Hours pass in milliseconds, in the order in which they would. Only for code without threads,
    sockets or child processes: waiting for those takes no virtual time.
    """

    def __init__(self) -> None:
        self._virtual_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_s += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Every coroutine waits and no timer is set: a deadlock")
        self._loop.jump(max(timeout, 0.0))
        return super().select(0)


class TaskStoreContract(ABC):
    """The behaviour that every store shares; what is not in here is not promised."""

    @abstractmethod
    def opened(self, *, attempts_max: int) -> AbstractAsyncContextManager[TaskStore]:
        """An empty store that gives up on a task after ``attempts_max`` attempts."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[TaskStore]:
        async with self.opened(attempts_max=3) as store:
            yield store

    # --- Intake ---

    async def test_a_new_store_is_empty_and_not_drained(self, store: TaskStore) -> None:
        stats = await store.stats()
        assert stats.tasks == dict.fromkeys(TaskState, 0)
        assert stats.weight == dict.fromkeys(TaskState, 0)
        assert not await store.is_drained()
        assert await store.load_checkpoint() is None

    async def test_tasks_are_claimed_in_the_order_of_enqueueing(self, store: TaskStore) -> None:
        assert await store.enqueue(_tasks("abc")) == 3
        assert await store.enqueue(_tasks("de")) == 2
        first = await _claim(store, limit=2)
        second = await _claim(store, limit=10)
        assert _payloads(first + second) == ["a", "b", "c", "d", "e"]
        assert [lease.attempt for lease in first + second] == [1] * 5
        ids = [lease.task_id for lease in first + second]
        assert ids == sorted(set(ids))

    async def test_payload_and_weight_arrive_as_they_were(self, store: TaskStore) -> None:
        payload = bytes(range(256)) * 1000
        await store.enqueue([NewTask(payload=payload, weight=1 << 50), NewTask(payload=b"")])
        full, empty = await _claim(store)
        assert (full.payload, full.weight) == (payload, 1 << 50)
        assert (empty.payload, empty.weight) == (b"", 0)

    async def test_a_key_enqueues_once(self, store: TaskStore) -> None:
        twice = [NewTask(payload=b"1", key="k"), NewTask(payload=b"2", key="k")]
        assert await store.enqueue(twice) == 1
        assert await store.enqueue([NewTask(payload=b"3", key="k")]) == 0
        (lease,) = await _claim(store)
        assert lease.payload == b"1"
        await store.finish(lease, Done(), now_s=NOW_S)
        assert await store.enqueue([NewTask(payload=b"4", key="k")]) == 0

    async def test_checkpoint_comes_with_its_tasks(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"), checkpoint=b"after a")
        await store.enqueue(_tasks("b"))
        assert await store.load_checkpoint() == b"after a"
        with pytest.raises(GroupMisused):
            await store.enqueue([NewTask(payload=b"c", group="?")], checkpoint=b"after c")
        assert await store.load_checkpoint() == b"after a"
        await store.enqueue([], checkpoint=b"")
        assert await store.load_checkpoint() == b""

    async def test_closed_intake_refuses_tasks_but_not_follow_ups(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        await store.close_intake()
        with pytest.raises(IntakeClosed):
            await store.enqueue(_tasks("b"))
        (lease,) = await _claim(store)
        await store.finish(lease, Done(), follow_ups=_tasks("c"), now_s=NOW_S)
        assert _payloads(await _claim(store)) == ["c"]

    async def test_drained_means_closed_and_nothing_left_to_run(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("ab"))
        await store.close_intake()
        assert not await store.is_drained()
        first, second = await _claim(store)
        assert not await store.is_drained()
        await store.finish(first, Done(), now_s=NOW_S)
        await store.finish(second, Retry(after_s=60), now_s=NOW_S)
        assert not await store.is_drained()
        (again,) = await _claim(store, now_s=NOW_S + 60)
        await store.finish(again, Discard(reason="useless"), now_s=NOW_S + 60)
        assert await store.is_drained()

    # --- Leases ---

    async def test_a_leased_task_is_not_claimed_twice(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        assert len(await _claim(store, "w1")) == 1
        assert await _claim(store, "w2") == []
        # Also past its time: only a reap takes a task from its holder.
        assert await _claim(store, "w2", now_s=NOW_S + 1000) == []

    async def test_lease_says_who_holds_it_and_until_when(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        (lease,) = await _claim(store, "w1")
        assert lease.worker_id == "w1"
        assert lease.expires_at_s == pytest.approx(NOW_S + LEASE_S)

    async def test_limit_bounds_a_claim(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("abc"))
        assert await _claim(store, limit=0) == []
        assert len(await _claim(store, limit=2)) == 2

    async def test_extend_keeps_a_task_from_the_reaper(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("ab"))
        leases = await _claim(store)
        extended = await store.extend(leases, lease_s=LEASE_S, now_s=NOW_S + 20)
        assert [lease.task_id for lease in extended] == [lease.task_id for lease in leases]
        assert extended[0].expires_at_s == pytest.approx(NOW_S + 20 + LEASE_S)
        assert (await store.reap(now_s=NOW_S + LEASE_S + 1)).reclaimed == 0
        assert (await store.reap(now_s=NOW_S + LEASE_S + 21)).reclaimed == 2

    async def test_extend_leaves_out_what_is_lost(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("ab"))
        lost, _ = await _claim(store, now_s=NOW_S)
        await store.reap(now_s=NOW_S + LEASE_S)
        (again, _) = await _claim(store, "w2", now_s=NOW_S + LEASE_S)
        assert again.task_id == lost.task_id
        extended = await store.extend([lost, again], lease_s=LEASE_S, now_s=NOW_S + LEASE_S)
        assert [lease.generation for lease in extended] == [again.generation]
        assert await store.extend([], lease_s=LEASE_S, now_s=NOW_S) == []

    async def test_a_late_extend_of_an_expired_lease_still_holds(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        leases = await _claim(store)
        late_s = NOW_S + LEASE_S + 5
        assert len(await store.extend(leases, lease_s=LEASE_S, now_s=late_s)) == 1
        assert (await store.reap(now_s=late_s + 1)).reclaimed == 0

    async def test_reap_counts_the_attempt_and_fences_the_old_lease(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        (old,) = await _claim(store, "w1")
        assert (await store.reap(now_s=NOW_S + LEASE_S - 0.5)).reclaimed == 0
        assert (await store.reap(now_s=NOW_S + LEASE_S)).reclaimed == 1
        for disposition in _EVERY_DISPOSITION:
            with pytest.raises(LeaseLost):
                await store.finish(old, disposition, now_s=NOW_S)
        (new,) = await _claim(store, "w2")
        assert new.attempt == 2
        assert new.generation > old.generation
        with pytest.raises(LeaseLost):
            await store.finish(old, Done(), follow_ups=_tasks("x"), now_s=NOW_S)
        with pytest.raises(LeaseLost):
            await store.release(old)
        await store.finish(new, Done(), now_s=NOW_S)
        assert await _claim(store) == []

    async def test_reap_takes_at_once_what_a_dead_worker_held(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("ab"))
        await _claim(store, "dead", limit=1)
        await _claim(store, "alive", limit=1)
        assert (await store.reap(now_s=NOW_S, dead={"dead"})).reclaimed == 1
        assert _payloads(await _claim(store)) == ["a"]

    async def test_reap_discards_what_has_no_attempt_left(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"poison", weight=7)])
        for round_number in range(3):
            now_s = NOW_S + round_number * LEASE_S
            assert len(await _claim(store, now_s=now_s)) == 1
            reaped = await store.reap(now_s=now_s + LEASE_S)
            assert (reaped.reclaimed, reaped.discarded) == ((1, 0), (1, 0), (0, 1))[round_number]
        (task,) = await store.results({TaskState.DISCARDED})
        assert (task.attempts, task.weight, task.payload) == (3, 7, b"poison")
        assert "3 attempts" in task.reason

    async def test_release_counts_no_attempt(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        for _ in range(5):
            (lease,) = await _claim(store)
            assert lease.attempt == 1
            await store.release(lease)

    # --- Finishing ---

    async def test_retry_waits_and_counts_and_gives_up(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        now_s = NOW_S
        for attempt in (1, 2, 3):
            (lease,) = await _claim(store, now_s=now_s)
            assert lease.attempt == attempt
            await store.finish(lease, Retry(after_s=10, reason="no answer"), now_s=now_s)
            assert await _claim(store, now_s=now_s + 9.5) == []
            now_s += 10
        assert await _claim(store, now_s=now_s) == []
        (task,) = await store.results({TaskState.DISCARDED})
        assert (task.attempts, task.payload) == (3, b"a")
        assert "no answer" in task.reason

    async def test_a_delayed_task_does_not_hold_up_others(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("ab"))
        (first,) = await _claim(store, limit=1)
        await store.finish(first, Retry(after_s=10), now_s=NOW_S)
        assert _payloads(await _claim(store)) == ["b"]
        assert _payloads(await _claim(store, now_s=NOW_S + 10)) == ["a"]

    async def test_discard_is_final_with_reason_and_result(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        (lease,) = await _claim(store)
        await store.finish(lease, Discard(reason="no such key"), result=b"r", now_s=NOW_S)
        (task,) = await store.results(FINAL_STATES)
        assert (task.state, task.reason, task.result) == (TaskState.DISCARDED, "no such key", b"r")
        assert task.attempts == 1

    async def test_finish_may_be_repeated(self, store: TaskStore) -> None:
        for disposition in _EVERY_DISPOSITION:
            await store.clear()
            await store.enqueue(_tasks("a"))
            (lease,) = await _claim(store)
            for _ in range(2):
                await store.finish(lease, disposition, follow_ups=_tasks("b"), now_s=NOW_S)
            await store.release(lease)
            stats = await store.stats()
            assert sum(stats.tasks.values()) == 2, disposition

    async def test_finish_after_a_second_claim_is_lost(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        (first,) = await _claim(store)
        await store.release(first)
        (second,) = await _claim(store)
        with pytest.raises(LeaseLost):
            await store.finish(first, Done(), now_s=NOW_S)
        await store.finish(second, Done(), now_s=NOW_S)

    async def test_follow_ups_land_with_the_finish_or_not_at_all(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("a"))
        (lease,) = await _claim(store)
        stray = [*_tasks("b"), NewTask(payload=b"c", group="never opened")]
        with pytest.raises(GroupMisused):
            await store.finish(lease, Done(), follow_ups=stray, now_s=NOW_S)
        assert _counts((await store.stats()).tasks) == {"leased": 1}
        group = NewGroup(name="g", size=1, then=NewTask(payload=b"then"))
        member = NewTask(payload=b"m", group="g")
        await store.finish(lease, Done(), follow_ups=[member], groups=[group], now_s=NOW_S)
        assert _counts((await store.stats()).tasks) == {"done": 1, "pending": 1, "waiting": 1}

    # --- Groups ---

    async def test_group_releases_its_then_once_when_all_are_done(self, store: TaskStore) -> None:
        await store.enqueue(_members("abc"), groups=[_group(3)])
        await store.close_intake()
        leases = await _claim(store)
        assert _payloads(leases) == ["a", "b", "c"]
        assert {lease.group for lease in leases} == {"g"}
        for lease in reversed(leases):
            assert await _claim(store) == []
            assert not await store.is_drained()
            for _ in range(2):
                await store.finish(lease, Done(), result=lease.payload.upper(), now_s=NOW_S)
        (then,) = await _claim(store)
        assert (then.payload, then.attempt, then.group) == (b"then", 1, None)
        assert await store.group_results("g") == [b"A", b"B", b"C"]
        assert await store.group_failures("g") == []
        await store.finish(then, Done(), now_s=NOW_S)
        assert await store.is_drained()

    async def test_a_discarded_member_still_releases_the_then(self, store: TaskStore) -> None:
        await store.enqueue(_members("ab"), groups=[_group(2)])
        bad, good = await _claim(store)
        await store.finish(bad, Discard(reason="gone"), now_s=NOW_S)
        assert await _claim(store) == []
        await store.finish(good, Done(), result=b"B", now_s=NOW_S)
        assert _payloads(await _claim(store)) == ["then"]
        assert await store.group_results("g") == [b"B"]
        assert [failure.reason for failure in await store.group_failures("g")] == ["gone"]

    async def test_a_reaped_member_settles_the_group_too(self, store: TaskStore) -> None:
        await store.enqueue(_members("a"), groups=[_group(1)])
        for round_number in range(3):
            await _claim(store, now_s=NOW_S + round_number * LEASE_S)
            await store.reap(now_s=NOW_S + (round_number + 1) * LEASE_S)
        assert _payloads(await _claim(store)) == ["then"]
        assert len(await store.group_failures("g")) == 1

    async def test_members_may_come_in_several_calls(self, store: TaskStore) -> None:
        await store.enqueue(_members("a"), groups=[_group(2)])
        (first,) = await _claim(store)
        await store.finish(first, Done(), now_s=NOW_S)
        assert await _claim(store) == []
        await store.enqueue(_members("b"))
        (second,) = await _claim(store)
        await store.finish(second, Done(), now_s=NOW_S)
        assert _payloads(await _claim(store)) == ["then"]

    async def test_misused_groups_are_refused_whole(self, store: TaskStore) -> None:
        with pytest.raises(GroupMisused, match="never opened"):
            await store.enqueue([*_tasks("x"), *_members("a")])
        with pytest.raises(GroupMisused, match="size"):
            await store.enqueue(_members("abc"), groups=[_group(2)])
        assert sum((await store.stats()).tasks.values()) == 0
        await store.enqueue(_members("ab"), groups=[_group(2)])
        with pytest.raises(GroupMisused, match="size"):
            await store.enqueue(_members("c"))

    async def test_a_known_group_and_its_members_enqueue_once(self, store: TaskStore) -> None:
        members = [NewTask(payload=b"a", group="g", key="g/0")]
        for added in (1, 0):
            assert await store.enqueue(members, groups=[_group(1)]) == added
        assert _counts((await store.stats()).tasks) == {"pending": 1, "waiting": 1}

    async def test_groups_nest(self, store: TaskStore) -> None:
        inner_then = NewTask(payload=b"inner then", group="outer")
        outer = NewGroup(name="outer", size=1, then=NewTask(payload=b"outer then"))
        inner = NewGroup(name="inner", size=1, then=inner_then)
        member = NewTask(payload=b"member", group="inner")
        await store.enqueue([member], groups=[inner, outer])
        for expected in ("member", "inner then", "outer then"):
            (lease,) = await _claim(store)
            assert lease.payload.decode() == expected
            await store.finish(lease, Done(), now_s=NOW_S)

    # --- What became of it ---

    async def test_stats_count_and_weigh_by_state(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"", weight=weight) for weight in (1, 10, 100, 1000)])
        await store.enqueue([], groups=[_group(1)])
        done, delayed, discarded = await _claim(store, limit=3)
        await store.finish(done, Done(), now_s=NOW_S)
        await store.finish(delayed, Retry(after_s=5), now_s=NOW_S)
        await store.finish(discarded, Discard(reason="x"), now_s=NOW_S)
        stats = await store.stats()
        one_each = ["delayed", "discarded", "done", "pending", "waiting"]
        assert _counts(stats.tasks) == dict.fromkeys(one_each, 1)
        assert _counts(stats.weight) == {
            "done": 1,
            "delayed": 10,
            "discarded": 100,
            "pending": 1000,
        }
        assert stats.open_tasks == 2

    async def test_results_page_in_the_order_of_ids(self, store: TaskStore) -> None:
        await store.enqueue(_tasks("abcde"))
        leases = await _claim(store)
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
        await store.enqueue(_members("a"), groups=[_group(1)])
        await store.enqueue([NewTask(payload=b"k", key="k"), *_tasks("p")])
        member, keyed = await _claim(store, limit=2)
        await store.finish(member, Done(), result=b"A", now_s=NOW_S)
        await store.finish(keyed, Done(), now_s=NOW_S)
        assert await store.forget_finished() == 1
        assert await store.enqueue([NewTask(payload=b"k", key="k")]) == 1
        assert await store.group_results("g") == [b"A"]
        for lease in await _claim(store):
            await store.finish(lease, Done(), now_s=NOW_S)
        assert await store.forget_finished() == 4
        assert sum((await store.stats()).tasks.values()) == 0
        with pytest.raises(LeaseLost):
            await store.finish(keyed, Done(), now_s=NOW_S)
        await store.enqueue(_members("a"), groups=[_group(1)])

    async def test_clear_empties_all_and_loses_what_is_leased(self, store: TaskStore) -> None:
        await store.enqueue(_members("a"), groups=[_group(1)], checkpoint=b"c")
        (lease,) = await _claim(store)
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
        assert await store.enqueue(_members("b"), groups=[_group(1)]) == 1
        (new,) = await _claim(store)
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
        await store.beat("w2", b"old", now_s=NOW_S)
        await store.beat("w1", b"1", now_s=NOW_S + 5)
        await store.beat("w2", b"2", now_s=NOW_S + 8)
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

    # --- Together ---

    async def test_racing_claims_share_without_doubles(self, store: TaskStore) -> None:
        await store.enqueue([NewTask(payload=b"%d" % number) for number in range(60)])
        claimed: list[Lease] = []

        async def take(worker_id: str) -> None:
            while leases := await _claim(store, worker_id, limit=7):
                claimed.extend(leases)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as crew:
            for number in range(4):
                crew.create_task(take(f"w{number}"), name=f"take-{number}")
        assert sorted(int(lease.payload) for lease in claimed) == list(range(60))

    async def test_closing_twice_is_allowed(self, store: TaskStore) -> None:
        await store.aclose()
        await store.aclose()


NOW_S = 1_700_000_000.0
LEASE_S = 30.0

_EVERY_DISPOSITION: tuple[Disposition, ...] = (
    Done(),
    Retry(after_s=1),
    Release(),
    Discard(reason="useless"),
)


def _tasks(letters: str) -> list[NewTask]:
    return [NewTask(payload=letter.encode()) for letter in letters]


def _members(letters: str) -> list[NewTask]:
    return [NewTask(payload=letter.encode(), group="g") for letter in letters]


def _group(size: int) -> NewGroup:
    return NewGroup(name="g", size=size, then=NewTask(payload=b"then"))


async def _claim(
    store: TaskStore, worker_id: str = "w", *, limit: int = 100, now_s: float = NOW_S
) -> list[Lease]:
    return await store.claim(worker_id, limit=limit, lease_s=LEASE_S, now_s=now_s)


def _payloads(leases: list[Lease]) -> list[str]:
    return [lease.payload.decode() for lease in leases]


def _counts(by_state: Mapping[TaskState, int]) -> dict[str, int]:
    return {state.value: number for state, number in by_state.items() if number}

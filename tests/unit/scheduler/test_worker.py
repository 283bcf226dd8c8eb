"""The worker loop in virtual time, on the reference store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import (
    FINAL_STATES,
    JOB_STATE,
    Discard,
    Done,
    Lease,
    NewGroup,
    NewTask,
    Outcome,
    Release,
    Retry,
    TaskState,
)
from scheduler.testing import run_virtually
from scheduler.worker import Worker, WorkerPolicy, WorkerTally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from scheduler.model import Reaped
    from scheduler.store import TaskStore

WALL_S = 1_700_000_000.0
DONE = Outcome(disposition=Done())


class FlakyStore(MemoryTaskStore):
    """Counts calls by verb, can be away (for good, too), and can lose single leases."""

    def __init__(self, *, attempts_max: int = 3) -> None:
        super().__init__(attempts_max=attempts_max)
        self.calls: list[str] = []
        self.away: StoreUnavailable | None = None
        self.unextended: set[bytes] = set()

    def _call(self, verb: str) -> None:
        self.calls.append(verb)
        if self.away is not None:
            raise self.away

    async def claim(
        self, worker_id: str, *, limit: int, lease_s: float, now_s: float
    ) -> list[Lease]:
        self._call("claim")
        await asyncio.sleep(0.001)
        return await super().claim(worker_id, limit=limit, lease_s=lease_s, now_s=now_s)

    async def extend(self, leases: Sequence[Lease], *, lease_s: float, now_s: float) -> list[Lease]:
        self._call(f"extend {len(leases)}")
        kept = [lease for lease in leases if lease.payload not in self.unextended]
        return await super().extend(kept, lease_s=lease_s, now_s=now_s)

    async def is_drained(self) -> bool:
        self._call("is_drained")
        return await super().is_drained()

    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        self._call("reap")
        return await super().reap(now_s=now_s, dead=dead)

    def count(self, verb: str) -> int:
        return sum(call.startswith(verb) for call in self.calls)


def wall() -> float:
    return WALL_S + asyncio.get_running_loop().time()


def make_worker(
    store: TaskStore,
    run_task: Callable[[Lease], Awaitable[Outcome]],
    *,
    worker_id: str = "w",
    policy: WorkerPolicy | None = None,
) -> Worker:
    return Worker(store, run_task, worker_id=worker_id, policy=policy, clock=wall, rng=lambda: 0.5)


async def fill(store: TaskStore, count: int, *, close: bool = True) -> None:
    await store.enqueue([NewTask(payload=b"%d" % number) for number in range(count)])
    if close:
        await store.close_intake()


def test_all_tasks_run_in_the_slots_and_no_more() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 20)
        running = peak = 0

        async def run_task(lease: Lease) -> Outcome:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(1)
            running -= 1
            return Outcome(disposition=Done(), result=lease.payload)

        worker = make_worker(store, run_task, policy=WorkerPolicy(slots=4))
        assert await worker.run() == WorkerTally(done=20)
        assert peak == 4
        # As many claims as there were free slots to fill, not a poll more.
        assert store.count("claim") <= 22
        assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.2)
        results = [task.result for task in await store.results(FINAL_STATES)]
        assert results == [b"%d" % number for number in range(20)]

    run_virtually(main)


def test_follow_ups_and_groups_are_run_too() -> None:
    async def main() -> None:
        store = FlakyStore()
        await store.enqueue([NewTask(payload=b"plan")])
        await store.close_intake()
        seen: list[bytes] = []

        async def run_task(lease: Lease) -> Outcome:
            seen.append(lease.payload)
            if lease.payload != b"plan":
                return Outcome(disposition=Done(), result=lease.payload)
            group = NewGroup(name="g", size=2, then=NewTask(payload=b"assemble"))
            members = [NewTask(payload=payload, group="g") for payload in (b"a", b"b")]
            return Outcome(disposition=Done(), follow_ups=members, groups=[group])

        assert (await make_worker(store, run_task).run()).done == 4
        assert (seen[0], seen[-1]) == (b"plan", b"assemble")

    run_virtually(main)


@pytest.mark.parametrize(
    ("outcome", "tally"),
    [
        (Discard(reason="r"), WorkerTally(discarded=1)),
        (Retry(reason="r"), WorkerTally(retried=3)),
        (ValueError("boom"), WorkerTally(retried=3)),
        (ExceptionGroup("many", [OSError("boom")]), WorkerTally(retried=3)),
    ],
)
def test_failures_end_in_a_reason(outcome: Discard | Retry | Exception, tally: WorkerTally) -> None:
    async def main() -> None:
        store = FlakyStore(attempts_max=3)
        await fill(store, 1)

        async def run_task(_lease: Lease) -> Outcome:
            if isinstance(outcome, Exception):
                raise outcome
            return Outcome(disposition=outcome)

        assert await make_worker(store, run_task).run() == tally
        (task,) = await store.results({TaskState.DISCARDED})
        assert task.reason.endswith("boom" if isinstance(outcome, Exception) else "r")

    run_virtually(main)


def test_a_retry_waits_with_backoff() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 1)
        starts: list[float] = []

        async def run_task(lease: Lease) -> Outcome:
            starts.append(asyncio.get_running_loop().time())
            return DONE if lease.attempt == 3 else Outcome(disposition=Retry(after_s=10))

        await make_worker(store, run_task).run()
        waits = [starts[1] - starts[0], starts[2] - starts[1]]
        assert waits == pytest.approx([10.25, 10.5], abs=0.2)  # 10 s asked for, jitter on top

    run_virtually(main)


def test_a_task_may_give_itself_back() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 1)
        attempts: list[int] = []

        async def run_task(lease: Lease) -> Outcome:
            attempts.append(lease.attempt)
            return DONE if len(attempts) == 5 else Outcome(disposition=Release())

        assert await make_worker(store, run_task).run() == WorkerTally(done=1, released=4)
        assert attempts == [1] * 5

    run_virtually(main)


def test_an_idle_worker_polls_seldom_and_hears_a_notify_at_once() -> None:
    async def main() -> None:
        store = FlakyStore()
        starts: list[float] = []

        async def run_task(_lease: Lease) -> Outcome:
            starts.append(asyncio.get_running_loop().time())
            return DONE

        worker = make_worker(store, run_task, policy=WorkerPolicy(idle_poll_s=5))
        async with asyncio.TaskGroup() as crew:
            crew.create_task(worker.run(), name="worker")
            await asyncio.sleep(100)
            assert store.count("claim") <= 30
            await fill(store, 1)
            enqueued_s = asyncio.get_running_loop().time()
            worker.notify()
        assert starts[0] - enqueued_s < 0.01

    run_virtually(main)


def test_until_stopped_outlives_a_drained_store() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 1)

        async def run_task(_lease: Lease) -> Outcome:
            return DONE

        worker = make_worker(store, run_task)
        async with asyncio.TaskGroup() as crew:
            running = crew.create_task(worker.run("stopped"), name="worker")
            await asyncio.sleep(50)
            assert not running.done()
            worker.drain()
        assert running.result().done == 1

    run_virtually(main)


@pytest.mark.parametrize(
    ("second_signal_s", "ends_s", "tally"),
    [
        (None, 10.0, WorkerTally(done=1, released=1)),
        (3.0, 3.0, WorkerTally(done=1, released=1)),
        (1.0, 1.0, WorkerTally(released=2)),
    ],
)
def test_a_drain_ends_or_gives_back_what_runs(
    second_signal_s: float | None, ends_s: float, tally: WorkerTally
) -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 5)

        async def run_task(lease: Lease) -> Outcome:
            await asyncio.sleep(2 if lease.payload == b"0" else 1000)
            return DONE

        worker = make_worker(store, run_task, policy=WorkerPolicy(slots=2, grace_s=9.5))
        async with asyncio.TaskGroup() as crew:
            running = crew.create_task(worker.run(), name="worker")
            await asyncio.sleep(0.5)
            worker.drain()
            if second_signal_s is not None:
                await asyncio.sleep(second_signal_s - 0.5)
                worker.stop()
        assert asyncio.get_running_loop().time() == pytest.approx(ends_s, abs=0.1)
        assert running.result() == tally
        stats = await store.stats()
        assert stats.tasks[TaskState.LEASED] == 0
        assert stats.tasks[TaskState.PENDING] == 5 - tally.done
        leases = await store.claim("x", limit=9, lease_s=1, now_s=wall())
        assert {lease.attempt for lease in leases} == {1}

    run_virtually(main)


def test_work_that_fails_while_it_is_cancelled_is_given_back_not_retried() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 1)

        async def run_task(_lease: Lease) -> Outcome:
            try:
                await asyncio.sleep(1000)
            finally:
                raise OSError("the connection broke while closing")

        worker = make_worker(store, run_task)
        async with asyncio.TaskGroup() as crew:
            running = crew.create_task(worker.run(), name="worker")
            await asyncio.sleep(1)
            worker.stop()
        assert running.result() == WorkerTally(released=1)

    run_virtually(main)


def test_one_call_renews_all_leases_at_a_third_of_their_life() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 3)

        async def run_task(_lease: Lease) -> Outcome:
            await asyncio.sleep(95)
            return DONE

        worker = make_worker(store, run_task, policy=WorkerPolicy(slots=3, lease_s=30))
        assert await worker.run() == WorkerTally(done=3)
        assert [call for call in store.calls if call.startswith("extend")] == ["extend 3"] * 9

    run_virtually(main)


def test_a_lost_lease_cancels_that_run_only() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 2)
        cancelled: list[bytes] = []

        async def run_task(lease: Lease) -> Outcome:
            try:
                await asyncio.sleep(40)
            except asyncio.CancelledError:
                cancelled.append(lease.payload)
                store.unextended.clear()
                raise
            return DONE

        store.unextended.add(b"0")
        worker = make_worker(store, run_task, policy=WorkerPolicy(slots=2, lease_s=30))
        assert await worker.run() == WorkerTally(done=2, lost=1)
        assert cancelled == [b"0"]

    run_virtually(main)


def test_a_store_that_stays_away_loses_the_leases_when_their_time_is_over() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 1)
        ended_s: list[float] = []

        async def run_task(lease: Lease) -> Outcome:
            if lease.attempt == 1:
                store.away = StoreUnavailable(location="m", detail="away")
                try:
                    await asyncio.sleep(1000)
                finally:
                    ended_s.append(asyncio.get_running_loop().time())
            return DONE

        async def bring_back() -> None:
            await asyncio.sleep(100)
            store.away = None

        worker = make_worker(store, run_task, policy=WorkerPolicy(lease_s=30))
        async with asyncio.TaskGroup() as crew:
            crew.create_task(bring_back(), name="bring back")
            running = crew.create_task(worker.run(), name="worker")
        assert 30 <= ended_s[0] <= 33
        assert running.result() == WorkerTally(done=1, lost=1)
        # It asked now and then for the seventy seconds in which it had nothing to do.
        assert store.count("claim") + store.count("is_drained") < 60

    run_virtually(main)


def test_a_finish_waits_for_a_store_that_comes_back() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 1)
        finishes = 0
        plain_finish = store.finish

        async def finish(lease: Lease, disposition: Done, **rest: object) -> None:
            nonlocal finishes
            finishes += 1
            if finishes < 4:
                raise StoreUnavailable(location="m", detail="locked")
            await plain_finish(lease, disposition, now_s=wall())

        store.finish = finish  # type: ignore[method-assign,assignment]

        async def run_task(_lease: Lease) -> Outcome:
            return DONE

        assert await make_worker(store, run_task).run() == WorkerTally(done=1)
        assert finishes == 4

    run_virtually(main)


@pytest.mark.parametrize(("permanent", "least_s", "most_s"), [(True, 0, 0.5), (False, 60, 70)])
def test_a_store_that_never_comes_back_is_given_up(
    permanent: bool, least_s: float, most_s: float
) -> None:
    async def main() -> None:
        store = FlakyStore()
        store.away = StoreUnavailable(location="m", detail="away", permanent=permanent)

        async def run_task(_lease: Lease) -> Outcome:
            return DONE

        worker = make_worker(store, run_task, policy=WorkerPolicy(patience_s=60))
        with pytest.raises(StoreUnavailable, match="away"):
            await worker.run()
        assert least_s <= asyncio.get_running_loop().time() <= most_s

    run_virtually(main)


def test_a_drain_is_heard_while_the_store_is_away() -> None:
    async def main() -> None:
        store = FlakyStore()
        store.away = StoreUnavailable(location="m", detail="away")

        async def run_task(_lease: Lease) -> Outcome:
            return DONE

        worker = make_worker(store, run_task)
        async with asyncio.TaskGroup() as crew:
            crew.create_task(worker.run(), name="worker")
            await asyncio.sleep(20)
            worker.drain()
        assert asyncio.get_running_loop().time() < 20.1

    run_virtually(main)


def test_workers_bring_back_what_a_dead_one_held() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 3)
        await store.claim("dead", limit=2, lease_s=30, now_s=wall())
        attempts: dict[bytes, int] = {}

        async def run_task(lease: Lease) -> Outcome:
            attempts[lease.payload] = lease.attempt
            return DONE

        assert (await make_worker(store, run_task).run()).done == 3
        assert attempts == {b"0": 2, b"1": 2, b"2": 1}
        assert 30 <= asyncio.get_running_loop().time() <= 45

    run_virtually(main)


def test_the_job_s_state_pauses_and_cancels() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 100)
        await store.set_control(JOB_STATE, b"paused")
        done = 0

        async def run_task(_lease: Lease) -> Outcome:
            nonlocal done
            await asyncio.sleep(1)
            done += 1
            return DONE

        worker = make_worker(store, run_task, policy=WorkerPolicy(slots=1))
        async with asyncio.TaskGroup() as crew:
            running = crew.create_task(worker.run(), name="worker")
            await asyncio.sleep(10)
            assert (done, worker.is_paused) == (0, True)
            await store.set_control(JOB_STATE, b"running")
            await asyncio.sleep(10)
            assert 8 <= done <= 10
            await store.set_control(JOB_STATE, b"no such state")
            await asyncio.sleep(3)
            assert not running.done()
            await store.set_control(JOB_STATE, b"cancelled")
        assert running.result().done == done <= 16

    run_virtually(main)


def test_a_worker_shows_signs_of_life_with_its_note() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 3)
        done = 0

        async def run_task(_lease: Lease) -> Outcome:
            nonlocal done
            await asyncio.sleep(2.5)
            done += 1
            return DONE

        worker = Worker(
            store,
            run_task,
            worker_id="w7",
            policy=WorkerPolicy(slots=1),
            clock=wall,
            note=lambda: b"%d" % done,
        )
        async with asyncio.TaskGroup() as crew:
            crew.create_task(worker.run(), name="worker")
            await asyncio.sleep(4.2)
            (beat,) = await store.workers(now_s=wall(), within_s=1.5)
            assert (beat.worker_id, beat.note) == ("w7", b"1")
        (beat,) = await store.workers(now_s=wall(), within_s=1)
        assert beat.note == b"3"  # the last word comes after the last task

    run_virtually(main)


def test_two_workers_share_and_both_end() -> None:
    async def main() -> None:
        store = FlakyStore()
        await fill(store, 40)

        async def run_task(_lease: Lease) -> Outcome:
            await asyncio.sleep(1)
            return DONE

        async with asyncio.TaskGroup() as crew:
            runs = [
                crew.create_task(make_worker(store, run_task, worker_id=name).run(), name=name)
                for name in ("w1", "w2")
            ]
        assert sum(run.result().done for run in runs) == 40
        assert min(run.result().done for run in runs) >= 18
        assert asyncio.get_running_loop().time() < 10.6

    run_virtually(main)

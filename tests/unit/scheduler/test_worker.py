"""The worker loop in virtual time: what it runs, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

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
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy, WorkerTally
from tests.unit.scheduler.workers import DONE, FlakyStore, fill, make_worker, wall

if TYPE_CHECKING:
    pass


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

"""The worker loop in virtual time: leaving, lost leases, and stores that are away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from scheduler.errors import StoreUnavailable
from scheduler.model import (
    Done,
    Lease,
    Outcome,
    TaskState,
)
from scheduler.testing import run_virtually
from scheduler.worker_policy import WorkerPolicy, WorkerTally
from tests.unit.scheduler.workers import DONE, FlakyStore, fill, make_worker, wall

if TYPE_CHECKING:
    pass


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

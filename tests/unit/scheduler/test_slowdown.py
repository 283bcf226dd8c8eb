"""A store's request to slow down reaches every worker; in virtual time, with real limits."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryTaskStore
from scheduler.slowdown import Slowdown, read_report, slow_control, write_report
from scheduler.testing import run_virtually
from tests.unit.transports.scripted import Scripted, entry
from transports.errors import Throttled
from transports.limit import Brake, Limit
from transports.limit_policy import LimitPolicy
from transports.model import NO_ATTRIBUTES, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WALL_S = 1_700_000_000.0
WORKERS = 8


class Counting(MemoryTaskStore):
    """Counts what is asked of the controls, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0
        self.is_away = False

    async def set_control(self, name: str, value: bytes | None) -> None:
        self._check()
        self.writes += 1
        await super().set_control(name, value)

    async def get_control(self, name: str) -> bytes | None:
        self._check()
        self.reads += 1
        return await super().get_control(name)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable(location="memory", detail="away")


def clock() -> float:
    return WALL_S + asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def following(*shared: Slowdown) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as crew:
        tasks = [crew.create_task(each.follow(), name="follow") for each in shared]
        await asyncio.sleep(0.1)
        yield
        for task in tasks:
            task.cancel()


def make(
    store: MemoryTaskStore, name: str, heard: list[str], *, scope: str = "s3://bucket"
) -> Slowdown:
    return Slowdown(store, scope, name, on_slow=lambda: heard.append(name), clock=clock)


def test_what_one_is_told_the_others_hear_within_a_second_and_it_does_not() -> None:
    heard: list[str] = []

    async def main() -> None:
        store = MemoryTaskStore()
        workers = [make(store, name, heard) for name in "abc"]
        other = make(store, "d", heard, scope="s3://other")
        async with following(*workers, other):
            workers[0].told()
            await asyncio.sleep(1.1)

    run_virtually(main)
    assert sorted(heard) == ["b", "c"]


def test_a_storm_costs_a_call_a_second_and_is_obeyed_every_other() -> None:
    heard: list[str] = []
    store = Counting()

    async def main() -> None:
        first, second = make(store, "a", heard), make(store, "b", heard)
        async with following(first, second):
            for _ in range(1000):
                first.told()
                await asyncio.sleep(0.01)

    run_virtually(main)
    assert 8 <= store.writes <= 11
    assert store.reads <= 26
    assert 4 <= len(heard) <= 6


def test_a_storm_at_all_of_them_costs_each_a_report_a_second_and_nothing_is_obeyed() -> None:
    heard: list[str] = []
    store = Counting()

    async def main() -> None:
        workers = [make(store, f"w{number}", heard) for number in range(WORKERS)]
        async with following(*workers):
            for _ in range(1000):
                for worker in workers:
                    worker.told()
                await asyncio.sleep(0.01)

    run_virtually(main)
    assert store.writes <= 11 * WORKERS
    assert store.reads <= 22 * WORKERS
    assert heard == []


def test_what_was_said_before_a_worker_came_or_long_ago_is_not_obeyed() -> None:
    heard: list[str] = []

    async def main() -> None:
        store = MemoryTaskStore()
        await store.set_control(slow_control("s3://bucket"), write_report(clock(), "gone"))
        async with following(make(store, "a", heard)):
            await asyncio.sleep(3)
            for report in (write_report(clock() - 60, "x"), b"nonsense", b"", b"\xff 7"):
                await store.set_control(slow_control("s3://bucket"), report)
                await asyncio.sleep(1.5)

    run_virtually(main)
    assert heard == []


def test_a_task_store_that_is_away_is_passed_over() -> None:
    heard: list[str] = []

    async def main() -> None:
        store = Counting()
        first, second = make(store, "a", heard), make(store, "b", heard)
        async with following(first, second):
            store.is_away = True
            first.told()
            await asyncio.sleep(5)
            assert heard == []
            store.is_away = False
            await asyncio.sleep(2.1)

    run_virtually(main)
    assert heard == ["b"]


@pytest.mark.parametrize("name", ["w-1", "a b", ""])
def test_reports_are_read_as_they_were_written(name: str) -> None:
    assert read_report(write_report(WALL_S, name)) == (WALL_S, name)


class ThrottlingStore:
    """Answers one worker after the other; from a time on it serves half of what it served."""

    def __init__(self) -> None:
        self.served: list[tuple[float, int]] = []
        self.refuses: set[int] = set()

    def adapter(self, number: int) -> Scripted:
        inner = Scripted()

        async def head(key: str) -> ObjectInfo:
            await asyncio.sleep(0.1)
            now_s = asyncio.get_running_loop().time()
            self.served.append((now_s, number))
            if number in self.refuses and now_s < 5.5:
                raise Throttled("s3://bucket")
            return ObjectInfo(entry=entry(key), attributes=NO_ATTRIBUTES)

        inner.will("head", *[head] * 100_000)
        return inner

    def rates(self, start_s: float, end_s: float) -> list[float]:
        """Calls a second of each worker."""
        return [
            sum(start_s <= at_s < end_s and who == number for at_s, who in self.served)
            / (end_s - start_s)
            for number in range(WORKERS)
        ]


def test_all_workers_slow_down_within_two_seconds_when_one_is_told() -> None:
    target = ThrottlingStore()

    async def worker(number: int, tasks: MemoryTaskStore) -> None:
        loop = asyncio.get_running_loop()
        brake = Brake()
        shared = Slowdown(tasks, "s3://bucket", f"w{number}", on_slow=brake.press, clock=clock)
        brake.on_throttled = shared.told
        policy = LimitPolicy(start=16, maximum=17, hold_s=60.0)
        limit = Limit(target.adapter(number), policy, clock=loop.time, brake=brake)

        async def call() -> None:
            while loop.time() < 9:
                with contextlib.suppress(Throttled):
                    await limit.head("k")

        async with following(shared), asyncio.TaskGroup() as crew:
            for lane in range(20):
                crew.create_task(call(), name=f"lane-{lane}")

    async def main() -> None:
        tasks = MemoryTaskStore()
        async with asyncio.TaskGroup() as crew:
            for number in range(WORKERS):
                crew.create_task(worker(number, tasks), name=f"worker-{number}")
            await asyncio.sleep(5)
            target.refuses = {3}

    run_virtually(main)
    before = target.rates(3.0, 5.0)
    after = target.rates(7.0, 8.5)
    assert all(late <= 0.6 * early for early, late in zip(before, after, strict=True))
    # One event, one halving: nobody was slowed down twice.
    assert all(late >= 0.4 * early for early, late in zip(before, after, strict=True))

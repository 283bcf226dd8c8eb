"""Real processes that keep one rate through one store, while they come and go.

Run as a script, this file is one of those processes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from scheduler.quota import Quota
from scheduler.redis_store import RedisTaskStore
from scheduler.sqlite_store import SqliteTaskStore
from tests.property.fleets import window_sums

if TYPE_CHECKING:
    from scheduler.store import TaskStore

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
RATE_PER_S = 50e6
SECONDS = 12.0
TRIES = 3
"""A machine that is busy with other things may starve a fleet; it can never excuse a burst."""

Stays = list[tuple[float, float]]


@pytest.mark.slow
async def test_one_process_and_a_small_fleet_hold_their_rates(tmp_path: Path) -> None:
    """Side by side, on a file and on a Redis that restarts: four processes that sleep mostly."""
    async with await SqliteTaskStore.open(tmp_path / "queue"):
        pass  # the file is there before they are
    with RedisProcess(durable=True) as redis:
        async with asyncio.TaskGroup() as both:
            both.create_task(hold_rate(1, str(tmp_path / "queue")), name="one")
            both.create_task(hold_rate(3, redis.url, redis=redis), name="three")


@pytest.mark.slow
async def test_a_fleet_holds_its_rate_while_its_redis_restarts() -> None:
    with RedisProcess(durable=True) as redis:
        await hold_rate(8, redis.url, redis=redis)


async def hold_rate(processes: int, where: str, *, redis: RedisProcess | None = None) -> None:
    """Run a fleet, restarting its Redis in the middle, and look at every window of its spending."""
    slowest = 0.0
    for _ in range(TRIES):
        async with asyncio.TaskGroup() as meanwhile:
            meanwhile.create_task(_restart(redis), name="restart")
            spent, calls_per_s = await run_fleet(processes, where)
        tens = [sum_ / (10 * RATE_PER_S) for sum_ in window_sums(spent, 1.0, SECONDS, 10.0)]
        ones = [sum_ / RATE_PER_S for sum_ in window_sums(spent, 0.0, SECONDS, 1.0)]
        assert max(tens) <= 1.02
        assert max(ones) <= 1.05
        assert calls_per_s <= 25
        slowest = max(slowest, min(tens))
        if slowest >= 0.98:
            return
    pytest.fail(f"{processes} processes came to {slowest:.3f} of the rate in {TRIES} tries")


async def _restart(redis: RedisProcess | None) -> None:
    if redis is not None:
        await asyncio.sleep(SECONDS / 2)
        redis.stop()
        redis.start()


async def run_fleet(processes: int, where: str) -> tuple[list[tuple[float, float]], float]:
    """What all spent, by time since the start; and the calls to the store, a second and process."""
    chance = random.Random(processes)
    start_s = time.time() + 1.0 + 0.25 * processes  # imports take long when all do it at once
    visits = [[(0.0, SECONDS)], *(_visits(chance) for _ in range(processes - 1))]
    crew = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, where, str(start_s), json.dumps(stays)),
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )
        for stays in visits
    ]
    spent: list[tuple[float, float]] = []
    calls = 0
    for process in crew:
        output, _ = await process.communicate()
        assert process.returncode == 0
        answer = json.loads(output)
        spent += [(at_s, amount) for at_s, amount in answer["spent"]]
        calls += answer["calls"]
    present_s = sum(leave_s - join_s for stays in visits for join_s, leave_s in stays)
    return spent, calls / present_s


def _visits(chance: random.Random) -> Stays:
    stays: Stays = []
    join_s = chance.uniform(0, 2)
    while join_s < SECONDS:
        leave_s = min(SECONDS, join_s + chance.uniform(1, 8))
        stays.append((join_s, leave_s))
        join_s = leave_s + chance.uniform(0.2, 2)
    return stays


async def open_store(where: str) -> TaskStore:
    """The store that a fleet shares: an SQLite file, or a Redis."""
    if where.startswith("redis://"):
        return await RedisTaskStore.open(where, "rates")
    return await SqliteTaskStore.open(Path(where))


class _Counting(Quota):
    """Counts its calls to the store."""

    calls = 0

    async def _call(self, amount: float, rate_per_s: float) -> float:
        _Counting.calls += 1
        return await super()._call(amount, rate_per_s)


async def spend(where: str, start_s: float, stays: Stays) -> None:
    spent: list[tuple[float, float]] = []

    async def taker(quota: Quota, leave_s: float) -> None:
        while time.time() < start_s + leave_s:
            amount = max(65_536.0, quota.piece or 0.0)
            await quota.take(amount)
            spent.append((time.time() - start_s, amount))
            await asyncio.sleep(random.random() * 0.002)

    async with await open_store(where) as store:
        for join_s, leave_s in stays:
            await asyncio.sleep(max(0.0, start_s + join_s - time.time()))
            quota = _Counting(store, "bytes", rate_per_s=lambda: RATE_PER_S, unit=16_384)
            async with asyncio.TaskGroup() as crew:
                for number in range(3):
                    crew.create_task(taker(quota, leave_s), name=f"taker-{number}")
            await quota.aclose()
        sys.stdout.write(json.dumps({"spent": spent, "calls": _Counting.calls}))


if __name__ == "__main__":
    asyncio.run(spend(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])))

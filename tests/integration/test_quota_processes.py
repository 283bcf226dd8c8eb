"""Real processes that keep one rate through one SQLite file, while they come and go.

Run as a script, this file is one of those processes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path

import pytest

from scheduler.quota import Quota
from scheduler.sqlite_store import SqliteTaskStore
from tests.property.fleets import window_sums

ROOT = Path(__file__).parents[2]
RATE_PER_S = 50e6
SECONDS = 13.0
TRIES = 3
"""A machine that is busy with other things may starve a fleet; it can never excuse a burst."""

Stays = list[tuple[float, float]]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 8])
async def test_a_fleet_of_processes_holds_its_rate(processes: int, tmp_path: Path) -> None:
    slowest = 0.0
    for number in range(TRIES):
        spent, calls_per_s = await run_fleet(processes, tmp_path / f"queue-{number}")
        tens = [sum_ / (10 * RATE_PER_S) for sum_ in window_sums(spent, 1.0, SECONDS, 10.0)]
        ones = [sum_ / RATE_PER_S for sum_ in window_sums(spent, 0.0, SECONDS, 1.0)]
        assert max(tens) <= 1.02
        assert max(ones) <= 1.05
        assert calls_per_s <= 25
        slowest = max(slowest, min(tens))
        if slowest >= 0.98:
            return
    pytest.fail(f"{processes} processes came to {slowest:.3f} of the rate in {TRIES} tries")


async def run_fleet(processes: int, path: Path) -> tuple[list[tuple[float, float]], float]:
    """What all spent, by time since the start; and the calls to the store, a second and process."""
    chance = random.Random(processes)
    async with await SqliteTaskStore.open(path):
        pass  # the file is there before they are
    start_s = time.time() + 1.0 + 0.25 * processes  # imports take long when all do it at once
    visits = [[(0.0, SECONDS)], *(_visits(chance) for _ in range(processes - 1))]
    crew = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, str(path), str(start_s), json.dumps(stays)),
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


class _Counting(SqliteTaskStore):
    calls = 0

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        self.calls += 1
        return await super().reserve(
            bucket, amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )


async def spend(path: Path, start_s: float, stays: Stays) -> None:
    spent: list[tuple[float, float]] = []

    async def taker(quota: Quota, leave_s: float) -> None:
        while time.time() < start_s + leave_s:
            amount = max(65_536.0, quota.piece or 0.0)
            await quota.take(amount)
            spent.append((time.time() - start_s, amount))
            await asyncio.sleep(random.random() * 0.002)

    opened = await _Counting.open(path)
    assert isinstance(opened, _Counting)
    async with opened as store:
        for join_s, leave_s in stays:
            await asyncio.sleep(max(0.0, start_s + join_s - time.time()))
            quota = Quota(store, "bytes", rate_per_s=lambda: RATE_PER_S, unit=16_384)
            async with asyncio.TaskGroup() as crew:
                for number in range(3):
                    crew.create_task(taker(quota, leave_s), name=f"taker-{number}")
            await quota.aclose()
        sys.stdout.write(json.dumps({"spent": spent, "calls": store.calls}))


if __name__ == "__main__":
    asyncio.run(spend(Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])))

"""Many processes on one SQLite file, some killed without warning: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from scheduler.model import Done
from tests.servers.crews import SEED, TASKS, everything, kill_and_check, open_crew, open_queue

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
async def test_killed_workers_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    address = str(tmp_path / "queue")
    async with await open_queue(address) as store:
        await kill_and_check(store, address)


@pytest.mark.slow
async def test_a_killed_planner_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    address = str(tmp_path / "queue")
    chance = random.Random(SEED)
    async with await open_queue(address) as store:
        for _ in range(4):
            with open_crew("plan", address, processes=1) as crew:
                await asyncio.sleep(chance.uniform(0.05, 0.25))
                crew.kill_one(chance, refill=False)
        with open_crew("plan", address, processes=1) as crew:
            async with asyncio.timeout(60):
                while not await store.is_drained():
                    leases = await store.claim("w", limit=500, lease_s=60, now_s=time.time())
                    for lease in leases:
                        await store.finish(lease, Done(), result=lease.payload, now_s=time.time())
                    if not leases:
                        await asyncio.sleep(0.05)
        results = [int(task.result) for task in await everything(store)]
    assert results == list(range(TASKS))

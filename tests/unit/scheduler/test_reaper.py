"""A fleet of reapers: soon the first time, seldom together, and quick again when most are gone."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from scheduler.memory_store import MemoryTaskStore
from scheduler.reaper import reap_forever
from scheduler.testing import run_virtually
from scheduler.worker_policy import REAPS_PER_S_MAX, reap_pause_s
from tests.unit.scheduler.workers import WALL_S

if TYPE_CHECKING:
    from collections.abc import Collection

    from scheduler.model import Reaped

LEASE_S = 30.0
TURN_S = reap_pause_s(LEASE_S, 1)


class _NotedStore(MemoryTaskStore):
    """Notes when it was reaped, in virtual seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.reaped_s: list[float] = []

    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        self.reaped_s.append(asyncio.get_running_loop().time())
        return await super().reap(now_s=now_s, dead=dead)


def _reap_for(seconds: float, *, reapers: int, fleet: int) -> list[float]:
    """When so many reapers reap who all believe in a fleet of such a size."""
    store = _NotedStore()

    async def main() -> None:
        chance = random.Random(7)
        began_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as crew:
            tasks = [
                crew.create_task(
                    reap_forever(
                        store,
                        turn_s=TURN_S,
                        pause_s=lambda: reap_pause_s(LEASE_S, fleet),
                        clock=lambda: WALL_S,
                        rng=chance.random,
                        on_reaped=lambda _: None,
                    ),
                    name=f"reaper-{number}",
                )
                for number in range(reapers)
            ]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
        store.reaped_s = [at_s - began_s for at_s in store.reaped_s]

    run_virtually(main)
    return store.reaped_s


def test_a_large_fleet_reaps_soon_and_then_as_often_as_it_may_together() -> None:
    reaped_s = _reap_for(300, reapers=1000, fleet=1000)
    assert reaped_s[0] <= TURN_S
    later = [at_s for at_s in reaped_s if at_s > 100]
    assert 0.8 * REAPS_PER_S_MAX <= len(later) / 200 <= 1.2 * REAPS_PER_S_MAX


def test_a_lone_worker_reaps_at_every_turn() -> None:
    reaped_s = _reap_for(300, reapers=1, fleet=1)
    assert 300 / (1.5 * TURN_S) <= len(reaped_s) <= 300 / (0.5 * TURN_S)

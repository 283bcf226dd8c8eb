"""Many processes on one budget, in virtual time: what they spent, and what they asked for."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import random
from typing import TYPE_CHECKING

from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryTaskStore
from scheduler.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_S = 5.0
WALL_S = 1_700_000_000.0


class CountingStore(MemoryTaskStore):
    """Counts the bookings of all, and can be away."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.bookings = 0
        self.is_away = False
        self._chance = chance

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        await self._way()
        if self.is_away:
            raise StoreUnavailable(location="memory", detail="away")
        self.bookings += 1
        wait_s = await super().reserve(
            bucket, amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )
        await self._way()
        return wait_s

    async def _way(self) -> None:
        """There or back: 0.3 to 2 ms for both."""
        await asyncio.sleep(self._chance.uniform(0.00015, 0.001))


class Fleet:
    """Processes that spend one budget as fast as they may, and a record of what they spent."""

    def __init__(self, rate_per_s: float | None, *, seed: int = 1) -> None:
        self.rate = rate_per_s
        self.chance = random.Random(seed)
        self.store = CountingStore(self.chance)
        self.stalls = False
        self.spent: list[tuple[float, float]] = []

    def quota(self, unit: float = 1.0) -> Quota:
        loop = asyncio.get_running_loop()
        return Quota(
            self.store,
            "bytes",
            rate_per_s=lambda: self.rate,
            unit=unit,
            clock=lambda: WALL_S + loop.time(),
            rng=self.chance.random,
        )

    async def process(
        self,
        start_s: float,
        end_s: float,
        *,
        take: Callable[[], float] | None = None,
        takers: int = 3,
    ) -> None:
        """One process with some concurrent takers, each a little late at every turn.

        Without ``take`` each takes what the quota says is a piece. With ``stalls`` the whole
        process is late at times, as when it has no processor.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_s)
        quota = self.quota(unit=1.0 if take else 16_384)
        stalled_until_s = 0.0

        async def late() -> None:
            await asyncio.sleep(max(0.0, stalled_until_s - loop.time()))

        async def spend() -> None:
            nonlocal stalled_until_s
            while loop.time() < end_s:
                amount = take() if take else max(65_536.0, quota.piece or 0.0)
                await quota.take(amount)
                await late()
                self.spent.append((loop.time(), amount))
                if self.stalls and self.chance.random() < 0.02:
                    stalled_until_s = loop.time() + self.chance.uniform(0.005, 0.04)
                await asyncio.sleep(self.chance.random() * 0.002)
                await late()

        async with asyncio.TaskGroup() as crew:
            for number in range(takers):
                crew.create_task(spend(), name=f"taker-{number}")
        await quota.aclose()

    def windows(self, start_s: float, end_s: float, length_s: float = WINDOW_S) -> list[float]:
        """What was spent in each window that begins at a multiple of 50 ms."""
        return window_sums(self.spent, start_s, end_s, length_s)


def window_sums(
    spent: list[tuple[float, float]], start_s: float, end_s: float, length_s: float
) -> list[float]:
    """What was spent in each window of a length that begins at a multiple of 50 ms."""
    ordered = sorted(spent)
    times_s = [at_s for at_s, _ in ordered]
    sums = [0.0, *itertools.accumulate(amount for _, amount in ordered)]
    count = int((end_s - start_s - length_s) / 0.05) + 1
    begins = [start_s + 0.05 * number for number in range(count)]
    return [
        sums[bisect.bisect_left(times_s, begin + length_s)]
        - sums[bisect.bisect_left(times_s, begin)]
        for begin in begins
    ]

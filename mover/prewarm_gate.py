"""Slots for what reads from one mount; their number follows what is measured.

All calls of a place share one gate: a reader takes a slot, a loader of many files several. The number
climbs by the throughput (``Climber``), and a ``Yielder`` may hold it below that.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Final

from mover.prewarm.climbing import Climber
from mover.prewarm.yielding import Yielder, pause_s

WINDOW_S: Final = 0.5
"""Throughput is measured over so long; shorter windows are mostly noise."""


class Gate:
    """At most ``limit`` slots are taken. ``adapts`` says whether the throughput shows what readers bring."""

    def __init__(
        self, climber: Climber, yielder: Yielder | None, adapts: Callable[[], bool]
    ) -> None:
        self.climber = climber
        self.yielder = yielder
        self._adapts = adapts
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._window_began_s = monotonic()
        self._window_bytes = 0
        self._was_full = True

    @property
    def limit(self) -> int:
        """How many slots there are now, at least one."""
        ceiling = self.yielder.ceiling if self.yielder else float(self.climber.most)
        return min(self.climber.readers, max(1, int(ceiling)))

    @property
    def taken(self) -> int:
        return self._taken

    @contextlib.asynccontextmanager
    async def slots(self, wanted: int = 1) -> AsyncIterator[int]:
        """Hold up to ``wanted`` slots, and at least one; gives how many. In the order of asking.

        Whoever holds them below a ceiling of one reader rests afterwards for a share of the time.
        """
        woken = False
        while (self._queue and not woken) or self._taken >= self.limit:
            await self._turn(first=woken)
            woken = True
        # Fewer than wanted rather than to wait for all: the rest are busy with the same work.
        granted = max(1, min(wanted, self.limit - self._taken))
        self._taken += granted
        self._wake()
        began_s = monotonic()
        try:
            yield granted
            if self.yielder is not None and self.yielder.ceiling < 1:
                await asyncio.sleep(pause_s(monotonic() - began_s, self.yielder.ceiling))
        finally:
            self._taken -= granted
            self._wake()

    def moved(self, size_bytes: int) -> None:
        """So much was read by those who hold slots."""
        self._window_bytes += size_bytes
        self._was_full = self._was_full and self._taken >= self.limit
        elapsed_s = monotonic() - self._window_began_s
        if elapsed_s < WINDOW_S:
            return
        if self._was_full and self._adapts() and elapsed_s < 4 * WINDOW_S:
            self.climber.measured(self._window_bytes / elapsed_s)
            self._wake()
        self._window_began_s, self._window_bytes, self._was_full = monotonic(), 0, True

    def measured(self, rate: float) -> None:
        """A window passed in which all that hold slots read so much a second."""
        if self._taken >= self.limit:
            self.climber.measured(rate)
            self._wake()

    def wake(self) -> None:
        """The ceiling has changed."""
        self._wake()

    async def _turn(self, *, first: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()
            raise
        finally:
            if turn in self._queue:
                self._queue.remove(turn)

    def _wake(self) -> None:
        while self._queue and self._taken < self.limit:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

"""Probe a mount with light reads while it is warmed, so that those who work on it are not starved.

One page of one file, past the page cache, every quarter of a second: it waits in the same queues as
the reads of a training job do.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from mover.prewarm.model import Piece
from mover.prewarm.yielding import IDLE_PROBES, Yielder
from mover.prewarm_gate import Gate
from mover.prewarm_reading import Reader
from mover.prewarm_threads import Threads

PROBE_EVERY_S: Final = 0.25
IDLE_EVERY_S: Final = 0.03


class Prober:
    """Tells the yielder of one place how slow the mount is. All calls of the place share it."""

    def __init__(
        self,
        yielder: Yielder,
        threads: Threads,
        reader: Reader,
        gates: Callable[[], Sequence[Gate]],
    ) -> None:
        self._yielder = yielder
        self._threads = threads
        self._reader = reader
        self._gates = gates
        self._piece: Piece | None = None
        self._first = asyncio.Lock()
        self._probed_s = 0.0

    async def begin(self, pieces: Sequence[Piece]) -> None:
        """Learn what a light read takes while nothing is warmed; once, before the first call reads."""
        async with self._first:
            candidates = [piece for piece in pieces if piece.size > 0]
            if self._yielder.knows_idle or not candidates:
                return
            self._piece = min(candidates, key=lambda piece: piece.entry.size)
            # The first read brings the page into the mount's cache; it says nothing.
            await self._probe()
            for _ in range(IDLE_PROBES):
                latency_s = await self._probe()
                if latency_s is not None:
                    self._yielder.probed_idle(latency_s)
                await asyncio.sleep(IDLE_EVERY_S)

    async def watch(self) -> None:
        """Probe until cancelled."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if monotonic() - self._probed_s < PROBE_EVERY_S * 0.9:
                continue  # another call of this place has just done so
            self._probed_s = monotonic()
            latency_s = await self._probe()
            if latency_s is not None:
                self._yielder.probed(latency_s, readers=sum(gate.taken for gate in self._gates()))
                for gate in self._gates():
                    gate.wake()

    async def _probe(self) -> float | None:
        if self._piece is None:
            return None
        try:
            return await self._threads.run(self._reader.probe, self._piece)
        except OSError:
            return None  # it went, or the mount did: those who read will say so

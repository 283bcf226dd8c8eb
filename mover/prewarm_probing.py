"""Probe a mount with light reads while it is warmed, so that those who work on it are not starved.

One file after another is opened, and a little of it read past the page cache, forty times a second: that
waits in the same queues as the reads of a training job do. The files are in the mount's cache, as that job's are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from time import monotonic
from typing import Final

from mover.prewarm.model import Piece
from mover.prewarm.yielding import IDLE_PROBES, Yielder
from mover.prewarm_gate import Gate
from mover.prewarm_places import unheard
from mover.prewarm_reading import Reader
from mover.prewarm_threads import Threads

PROBE_EVERY_S: Final = 0.025
"""Often enough to see how slow the slow ones are, on the idle mount as well: after a longer rest a read is slower."""

PROBED_FILES: Final = 8
"""Of one file a mount may keep the pages in its memory, and answer quicker than it answers others."""

PROBED_BYTES: Final = 4 * 1024 * 1024
"""So much of each is read before."""


class Prober:
    """Tells the yielder of one place how slow the mount is. All calls of the place share it.

    ``take`` waits until so many bytes may be read from the origin.
    """

    def __init__(
        self,
        yielder: Yielder,
        threads: Threads,
        reader: Reader,
        *,
        take: Callable[[int], Awaitable[None]],
        gates: Callable[[], Sequence[Gate]],
    ) -> None:
        self._yielder = yielder
        self._threads = threads
        self._reader = reader
        self._take = take
        self._gates = gates
        self._pieces = cycle(list[Piece]())
        self._first = asyncio.Lock()
        self._probed_s = 0.0

    async def begin(self, pieces: Sequence[Piece]) -> None:
        """Learn what a light read takes while nothing is warmed; once, before the first call reads or looks."""
        async with self._first:
            if self._yielder.knows_idle:
                return
            pieces = [piece for piece in pieces if piece.size > 0]
            pieces = sorted(pieces, key=lambda piece: piece.entry.size)[:PROBED_FILES]
            if not pieces:
                return
            pieces = [
                piece._replace(stop=min(piece.stop, piece.start + PROBED_BYTES)) for piece in pieces
            ]
            await self._take(sum(piece.size for piece in pieces))
            await self._threads.run_long(self._reader.read, pieces, unheard)
            self._pieces = cycle(pieces)
            for _ in range(IDLE_PROBES):
                latency_s = await self._probe()
                if latency_s is not None:
                    self._yielder.probed_idle(latency_s)
                await asyncio.sleep(PROBE_EVERY_S)

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
        piece = next(self._pieces, None)
        if piece is None:
            return None
        try:
            return await self._threads.run(self._reader.probe, piece)
        except OSError:
            return None  # it went, or the mount did: those who read will say so

"""Bring pieces into a mount's cache: by plain reads, or by JuiceFS's own loader.

Both take their slots from the place's gate, and their bytes from the job's rates before they move.
A cancelled call ends its threads after the read or the message that they are in.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, TypeVar

from mover.beside import first_leaf, running_beside
from mover.prewarm.climbing import Climber
from mover.prewarm.cutting import batches_of, parts_of, runs_of
from mover.prewarm.model import Piece, Warmed
from mover.prewarm.yielding import Yielder
from mover.prewarm_gate import Gate
from mover.prewarm_juicefs import JuiceLoader, JuiceMountPoint
from mover.prewarm_places import Ground, Told, unheard
from mover.prewarm_reading import Reader
from mover.prewarm_threads import Threads

T = TypeVar("T")

READERS_MAX: Final = 64
READERS_START: Final = 8
LOADERS_START: Final = 50
"""What ``juicefs warmup`` takes unless it is told otherwise."""

LOADERS_MIN, LOADERS_MAX = 32, 128
"""Fewer do not cost less: it was measured that the same files take more of the processors then."""

LOADERS_WHOLE: Final = 100
"""For a target that is loaded in one go: 5,000 small files took 5.0 to 6.0 s with so many, 5.8 to 6.7 with half of them
(three runs in turns, 2 cores, 2026-11-28); large ones the same."""

BATCH_FILES: Final = 512
BATCH_BYTES: Final = 64 * 1024 * 1024
"""JuiceFS's loader gets files in batches of so many or so much, of which two are on their way at once."""

YIELDING_FILES: Final = 16
"""In smaller ones where others may ask for the mount: a batch on its way cannot be slowed down."""

WATCH_S: Final = 0.75
"""JuiceFS's counter is read so often, and the number of loaders follows it."""

_FETCHED: Final = "juicefs_object_request_data_bytes_GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a place pulls with."""

    threads: Threads
    reader: Reader
    ground: Ground
    yielder: Yielder | None

    def gate(self, *, start: int, most: int, least: int = 1) -> Gate:
        """Slots whose number begins with ``start``."""
        limited = self.ground.limited
        return Gate(
            Climber(start=start, most=most, least=least), self.yielder, lambda: not limited()
        )


class Puller(ABC):
    """Brings pieces into the cache of one place."""

    gates: Sequence[Gate]

    @abstractmethod
    async def pull(self, pieces: Sequence[Piece], *, again: bool, told: Told = unheard) -> Warmed:
        """Read them so that they become resident. ``again`` says that they were read before in vain.

        ``told`` hears of bytes as they come, from any thread.
        """

    async def pull_below(self, directory: str, told: Callable[[int, int], None]) -> Warmed | None:
        """Have all that is below a directory loaded at once; None where that cannot be done, as here."""
        return None


class PlainPuller(Puller):
    """Reads every byte that is asked for."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._gate = tools.gate(start=READERS_START, most=READERS_MAX)
        self.gates = (self._gate,)

    async def pull(self, pieces: Sequence[Piece], *, again: bool, told: Told = unheard) -> Warmed:
        total, tools = Warmed(), self._tools

        async def read(run: list[Piece]) -> None:
            await tools.ground.take(sum(piece.size for piece in run))
            async with self._gate.slots():
                warmed = await tools.threads.run_long(tools.reader.read, run, told)
            add(total, warmed)
            self._gate.moved(warmed.read_bytes)

        await for_each(runs_of(pieces), read, workers=READERS_MAX)
        return counted_once(total, pieces)


class JuicePuller(Puller):
    """Has JuiceFS load the files itself: it skips what it has, and waits where its cache directory is slow.

    Where a rate or others must be minded a large file goes block by block: reading a page of a block makes
    JuiceFS load all of it. It may drop what was so loaded where its writes to the cache directory fall
    behind, so its loader comes to the file once more at the end.
    """

    def __init__(
        self, tools: Tools, loader: JuiceLoader, mount: JuiceMountPoint, block_bytes: int
    ) -> None:
        self._tools = tools
        self._loader = loader
        self._mount = mount
        self._block_bytes = block_bytes
        self._gate = tools.gate(start=LOADERS_START, most=LOADERS_MAX, least=LOADERS_MIN)
        self.gates = (self._gate,)
        self._fetched = 0
        self._fetched_s = 0.0

    async def pull(self, pieces: Sequence[Piece], *, again: bool, told: Told = unheard) -> Warmed:
        # What was in vain before may be so again, but the loader misses nothing: there is no other way.
        total = Warmed()
        by_block: list[Piece] = []
        if self._tools.yielder is not None or self._tools.ground.limited():
            by_block = [piece for piece in pieces if piece.entry.size > self._block_bytes]
            pieces = [piece for piece in pieces if piece.entry.size <= self._block_bytes]

        async def load(batch: Sequence[Piece]) -> None:
            share = self._gate.limit // 2 if len(batch) < len(pieces) else self._gate.limit
            add(total, await self._load(batch, share))
            told(sum(piece.size for piece in batch))

        async def pull_one(piece: Piece) -> None:
            add(total, await self._pull_by_block(piece, told))

        files = YIELDING_FILES if self._tools.yielder else BATCH_FILES
        batches = batches_of(pieces, files_max=files, bytes_max=BATCH_BYTES)
        threads = self._tools.threads
        errors = await threads.run(self._loader.errors)
        async with running_beside(self._watch):
            await for_each(batches, load, workers=2)
            await for_each(by_block, pull_one, workers=2)
        if await threads.run(self._loader.errors) != errors:
            await threads.run_long(self._loader.blame, [*pieces, *by_block], total)
        return total

    async def pull_below(self, directory: str, told: Callable[[int, int], None]) -> Warmed | None:
        if self._tools.ground.limited() or self._tools.yielder is not None:
            return None  # one message, once it is sent, cannot be slowed down
        load = self._loader.load_below
        return await self._tools.threads.run_long(load, directory, LOADERS_WHOLE, told)

    async def _load(self, batch: Sequence[Piece], threads: int) -> Warmed:
        if self._tools.ground.limited():
            # What is in the cache costs the origin nothing, and no wait should be paid for it.
            missing = await self._tools.threads.run_long(self._loader.missing, batch)
            await self._tools.ground.take(missing)
        async with self._gate.slots(max(1, threads)) as granted:
            return await self._tools.threads.run_long(self._loader.load, batch, granted)

    async def _pull_by_block(self, piece: Piece, told: Told) -> Warmed:
        async def touch(block: Piece) -> None:
            await self._touch(block)
            told(block.size)

        if await self._tools.threads.run_long(self._loader.missing, [piece]):
            parts = parts_of(piece, self._block_bytes)
            await for_each(parts, touch, workers=READERS_MAX)
        async with self._gate.slots():
            return await self._tools.threads.run_long(self._loader.load, [piece], 1)

    async def _touch(self, block: Piece) -> None:
        await self._tools.ground.take(block.size)
        async with self._gate.slots():
            touch = self._tools.reader.touch
            await self._tools.threads.run_long(touch, [block], self._block_bytes)

    async def _watch(self) -> None:
        """Measure by the mount's own counter: of files on their way the loader says nothing."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_s = monotonic()
            elapsed_s = now_s - self._fetched_s
            if elapsed_s < WATCH_S * 0.9:
                continue  # another call of this place has just looked
            self._fetched_s = now_s
            (fetched,) = await self._tools.threads.run(self._mount.stats, _FETCHED)
            before, self._fetched = self._fetched, fetched
            if elapsed_s < 2 * WATCH_S and not self._tools.ground.limited():
                self._gate.measured((fetched - before) / elapsed_s)


class KeepingPuller(Puller):
    """Has JuiceFS load the files, and then reads them, so that the page cache has them as well."""

    def __init__(self, loading: JuicePuller, tools: Tools) -> None:
        self._loading = loading
        # What the loader has paid for comes from the cache next door.
        ground = replace(tools.ground, take=_take_nothing)
        self._reading = PlainPuller(replace(tools, ground=ground))
        self.gates = (*loading.gates, *self._reading.gates)

    async def pull(self, pieces: Sequence[Piece], *, again: bool, told: Told = unheard) -> Warmed:
        loaded = await self._loading.pull(pieces, again=again, told=told)
        failed = {key for key, _, _ in loaded.failures}
        rest = [piece for piece in pieces if piece.entry.key not in failed]
        loaded.failures.extend((await self._reading.pull(rest, again=again)).failures)
        return loaded


async def _take_nothing(size_bytes: int) -> None:
    """Nothing is to be paid for these bytes."""


async def for_each(jobs: Iterable[T], run: Callable[[T], Awaitable[None]], *, workers: int) -> None:
    """Run all jobs, so many at once; the first that raises cancels the others, and is raised."""
    jobs = iter(jobs)

    async def work() -> None:
        for job in jobs:
            await run(job)

    try:
        async with asyncio.TaskGroup() as crew:
            for number in range(workers):
                crew.create_task(work(), name=f"prewarm-{number}")
    except BaseExceptionGroup as group:
        raise first_leaf(group) from None


def add(total: Warmed, part: Warmed) -> None:
    """Add what a part came to."""
    total.read_bytes += part.read_bytes
    total.read_files += part.read_files
    total.origin_bytes += part.origin_bytes
    total.peer_bytes += part.peer_bytes
    total.failures.extend(part.failures)


def counted_once(total: Warmed, pieces: Sequence[Piece]) -> Warmed:
    """Count files that were read in several runs as one, and the failures of all its runs as one."""
    total.failures = list({failure[0]: failure for failure in total.failures}.values())
    total.read_files = len({piece.entry.key for piece in pieces}) - len(total.failures)
    return total

"""Find out what of a new object is in a signature, near the object, before anything is sent.

The object is read once from start to end. What comes of it are operations and checksums, small
beside the object; the bytes that must be sent are read again when it is known that they shall be.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mover import packing
from mover.beside import first_leaf
from mover.delta import kernel
from mover.delta.checksums import whole_digest
from mover.delta.costing import gives_up
from mover.delta.delta_format import LEVEL_FAR, DeltaHead, DeltaWriter
from mover.delta.model import Op, OpKind, unpack_ops
from mover.delta_inputs import Input, Take
from mover.delta_levels import Row, Span, literal_spans
from mover.delta_parcels import ParcelWriter
from mover.seeing_out import in_thread
from transports import digests

MIB: Final = 1024 * 1024

BATCH_BYTES: Final = 8 * MIB
"""What is read at a time, with what lies between: literals for the delta, or ranges to be scanned."""

BATCH_READS: Final = 64
"""So many reads may be asked for at once; the store's limit bounds what runs."""

BATCH_OPS: Final = 10_000
"""Others wait for the loop while a batch is written."""

GAP_BYTES: Final = 128 * 1024
"""Between two literals so near to each other it is read through: another request costs more."""


class LadderMaker:
    """Computes the CRC-64/NVME of each MiB of a stream of pieces of any length."""

    def __init__(self) -> None:
        self._steps = list[int]()
        self._crc = 0
        self._filled = 0
        self.size = 0

    def add(self, data: memoryview) -> None:
        """Take the next bytes."""
        self.size += len(data)
        while len(data):
            length = min(len(data), MIB - self._filled)
            self._crc = digests.crc64nvme(data[:length], self._crc)
            self._filled += length
            data = data[length:]
            if self._filled == MIB:
                self._step()

    def finish(self) -> list[int]:
        """The ladder: one number for each MiB, the last one's for what is left."""
        if self._filled:
            self._step()
        return self._steps

    def _step(self) -> None:
        self._steps.append(self._crc)
        self._crc = self._filled = 0


def whole_of(ladder: Iterable[int], size: int) -> int:
    """The CRC-64/NVME of an object from its ladder."""
    starts = range(0, size, MIB)
    parts = [(crc, min(MIB, size - start)) for crc, start in zip(ladder, starts, strict=True)]
    return digests.combine_crc64nvme_parts(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What was found of an object: packed operations, canonical, and checksums of all its bytes."""

    ops: bytes
    digest: bytes  # XXH3-128, for the delta
    whole: int  # CRC-64/NVME
    ladder: list[int]


async def scan(index: kernel.Index, new: Input, size: int) -> Scanned | None:
    """Scan an object of ``size`` bytes; None where too little of it matches to go on.

    Raises ``TransportError``, maybe in groups. A cancel leaves nothing.
    """
    scanning = _Scanning(index, size, gives_up)
    try:
        await new.pour(scanning.take)
    except ExceptionGroup as group:
        if not isinstance(first_leaf(group), _GivenUp):
            raise
        return None
    except _GivenUp:
        return None
    return await in_thread(scanning.finish)


async def scan_all(index: kernel.Index, new: Input, size: int) -> Scanned:
    """The same to the end, whatever matches: elements that changed hide in blocks that did not."""
    scanning = _Scanning(index, size, lambda **_: False)
    await new.pour(scanning.take)
    return await in_thread(scanning.finish)


async def scan_row(index: kernel.Index, row: Input) -> bytes:
    """Packed operations that make ranges of an object, one after another. Raises as ``scan``."""
    scanner = kernel.Scanner(index)
    parts: list[bytes] = []

    async def take(piece: memoryview) -> None:
        parts.append(await in_thread(scanner.feed, piece))

    await row.pour(take)
    parts.append(await in_thread(lambda: scanner.feed(b"", final=True)))
    return kernel.merge(parts)


class _GivenUp(Exception):
    """Next to nothing matched."""


class _Scanning:
    def __init__(self, index: kernel.Index, size: int, stops: Callable[..., bool]) -> None:
        self._stops = stops
        self._scanner = kernel.Scanner(index)
        self._size = size
        self._digest = whole_digest()
        self._ladder = LadderMaker()
        self._parts: list[bytes] = []
        self._matched_bytes = 0

    async def take(self, piece: memoryview) -> None:
        await in_thread(self._feed, piece)
        if self._stops(
            scanned_bytes=self._scanner.stats.scanned,
            matched_bytes=self._matched_bytes,
            size_bytes=self._size,
        ):
            raise _GivenUp

    def _feed(self, piece: memoryview) -> None:
        self._digest.update(piece)
        self._ladder.add(piece)
        packed = self._scanner.feed(piece)
        self._parts.append(packed)
        self._matched_bytes += sum(
            op.length for op in unpack_ops(packed) if op.kind is not OpKind.LITERAL
        )

    def finish(self) -> Scanned:
        self._parts.append(self._scanner.feed(b"", final=True))
        ladder = self._ladder.finish()
        return Scanned(
            ops=kernel.merge(self._parts),
            digest=self._digest.digest(),
            whole=whole_of(ladder, self._size),
            ladder=ladder,
        )


class RowInput(Input):
    """Ranges of an object, one after another. ``requests`` counts the reads that they took."""

    def __init__(self, inner: Input, row: Row) -> None:
        self.name = inner.name
        self.size: int = row.size
        self.requests = 0
        self._inner = inner
        self._row = row

    async def pour(self, take: Take) -> None:
        """Give all bytes of the ranges. Raises as the object does, maybe in groups."""
        for batch in row_batches(self._row.spans):
            reads = near_spans(batch)
            self.requests += len(reads)
            give = source_of(reads, await read_all(self._inner, reads))
            # In one piece: a thread is asked for each.
            await take(memoryview(b"".join(give(*span) for span in batch)))


async def read_all(given: Input, spans: Sequence[Span]) -> list[bytes]:
    """Read some ranges side by side."""
    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(given.read(*span)) for span in spans]
    return [each.result() for each in reading]


def row_batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Ranges in batches of a bounded number of reads and of bytes; long ones are cut."""
    batch, load = list[Span](), _Load()
    for start, stop in spans:
        while start < stop:
            upto = load.take(start, stop)
            batch.append((start, upto))
            start = upto
            if load.is_full:
                yield batch
                batch, load = [], _Load()
    if batch:
        yield batch


class _Load:
    """What it takes to read ranges in ascending order, near ones together."""

    def __init__(self) -> None:
        self._bytes = 0
        self._reads = 0
        self._stop = -GAP_BYTES - 1

    def take(self, start: int, stop: int) -> int:
        """Take a range, or as much of it as there is room for; where that ends."""
        gap = start - self._stop
        if gap > GAP_BYTES:
            gap = 0
            self._reads += 1
        # A byte at least, also where the gap before it is larger than the room: it must go on.
        self._stop = min(stop, start + max(1, BATCH_BYTES - self._bytes - gap))
        self._bytes += gap + self._stop - start
        return self._stop

    @property
    def is_full(self) -> bool:
        return self._bytes >= BATCH_BYTES or self._reads >= BATCH_READS


SAMPLES: Final = 16
SAMPLE_BYTES: Final = 16 * 1024
"""A quarter of a MiB in all: enough for zstd to find what repeats, and read in a moment."""


def sample_spans(ops: bytes) -> list[Span]:
    """A few ranges of the literals, from all over them, to see how well they pack."""
    literals = literal_spans(unpack_ops(ops))
    step = max(1, len(literals) // SAMPLES)
    return [(start, min(stop, start + SAMPLE_BYTES)) for start, stop in literals[::step][:SAMPLES]]


def packed_share(samples: Sequence[bytes]) -> float:
    """How much a byte takes once it is packed, at most 1."""
    data = b"".join(samples)
    if not data:
        return 1.0
    return min(1.0, len(packing.pack(data, level=LEVEL_FAR)) / len(data))


# -- the delta ---------------------------------------------------------------------------------


async def write_delta(
    ops: bytes, digest: bytes, new: Input, basis_size: int, writer: ParcelWriter
) -> int:
    """Write the delta of an object; its literals are read again. Return how many requests.

    Raises ``TransportError``, alone or in groups. A cancel leaves what was written so far.
    """
    head = DeltaHead(basis_size=basis_size, new_size=new.size)
    delta = DeltaWriter(head, level=LEVEL_FAR)
    requests = 0
    await writer.write(delta.begin())
    for batch in batches(unpack_ops(ops)):
        spans = read_spans(batch)
        requests += len(spans)
        source = source_of(spans, await read_all(new, spans))
        for section in delta.add(batch, source):
            await writer.write(section)
    for section in delta.end(digest):
        await writer.write(section)
    return requests


def batches(ops: Iterable[Op]) -> Iterator[list[Op]]:
    """Operations in batches, bounded by number, reads and their bytes; long literals are cut."""
    batch, load = list[Op](), _Load()
    for op in ops:
        if op.kind is not OpKind.LITERAL:
            batch.append(op)
            if len(batch) >= BATCH_OPS:
                yield batch
                batch, load = [], _Load()
            continue
        start = op.start
        while start < op.stop:
            upto = load.take(start, op.stop)
            batch.append(Op(start, start, upto - start, OpKind.LITERAL))
            start = upto
            if load.is_full or len(batch) >= BATCH_OPS:
                yield batch
                batch, load = [], _Load()
    if batch:
        yield batch


def read_spans(ops: Iterable[Op]) -> list[Span]:
    """The ranges to read for the literals of a batch; those near to each other come together."""
    return near_spans((op.start, op.stop) for op in ops if op.kind is OpKind.LITERAL)


def near_spans(wanted: Iterable[Span]) -> list[Span]:
    """The ranges to read for some bytes, in any order; those near to each other come together."""
    spans: list[Span] = []
    for start, stop in sorted(wanted):
        if spans and start - spans[-1][1] <= GAP_BYTES:
            spans[-1] = (spans[-1][0], max(spans[-1][1], stop))
        else:
            spans.append((start, stop))
    return spans


def source_of(spans: list[tuple[int, int]], found: list[bytes]) -> Callable[[int, int], memoryview]:
    """Gives bytes of an object out of what was read."""
    starts = [start for start, _ in spans]

    def give(start: int, stop: int) -> memoryview:
        place = bisect_right(starts, start) - 1
        first = starts[place]
        return memoryview(found[place])[start - first : stop - first]

    return give

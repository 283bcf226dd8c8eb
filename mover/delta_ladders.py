"""Pure: checksums of each MiB of a new object, and what is done about a MiB that is wrong."""

from collections.abc import Iterator, Sequence

from mover.delta.model import Op, OpKind, joined, pack_ops, unpack_ops
from mover.delta.parting import MIB
from transports import digests
from transports.model import ByteRange


class Ladder:
    """The CRC-64/NVME of each MiB of an object, the last one's of what is left; or of none."""

    def __init__(self, steps: Sequence[int], size: int) -> None:
        self._steps = steps
        self._size = size

    def crc(self, span: ByteRange) -> int | None:
        """The checksum that a range must have; None where the ladder does not tell."""
        ends_well = span.stop % MIB == 0 or span.stop == self._size
        if not self._steps or span.start % MIB or not ends_well:
            return None
        return digests.combine_crc64nvme_parts(
            [(self._steps[step.start // MIB], len(step)) for step in _steps_of(span)]
        )

    def bad_in(self, span: ByteRange, data: memoryview) -> list[ByteRange]:
        """The steps of a range whose bytes are not the object's. The range begins with a step."""
        if not self._steps:
            return []
        return [
            step
            for step in _steps_of(span)
            if self.crc(step)
            not in (None, digests.crc64nvme(data[step.start - span.start : step.stop - span.start]))
        ]


class RunningLadder:
    """The ladder of bytes that come in pieces of any length, in order."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._running = 0
        self._taken = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take the next bytes."""
        rest = memoryview(data)
        while len(rest):
            piece = rest[: MIB - self._taken]
            rest = rest[len(piece) :]
            self._running = digests.crc64nvme(piece, self._running)
            self._taken += len(piece)
            if self._taken == MIB:
                self._end_step()

    def _end_step(self) -> None:
        self._steps.append(self._running)
        self._running = self._taken = 0

    def steps(self) -> list[int]:
        """The checksums of each MiB and of what is left; no bytes may come after."""
        if self._taken:
            self._end_step()
        return self._steps


def ladder_of(data: memoryview) -> list[int]:
    """The ladder of bytes in memory."""
    return [digests.crc64nvme(data[start : start + MIB]) for start in range(0, len(data), MIB)]


def _steps_of(span: ByteRange) -> list[ByteRange]:
    return [
        ByteRange(start, min(start + MIB, span.stop)) for start in range(span.start, span.stop, MIB)
    ]


def as_literals(packed: bytes, spans: Sequence[ByteRange]) -> bytes:
    """The same operations, but that these ranges of the new object are sent."""
    spans = merged(spans)

    def cut() -> Iterator[Op]:
        for op in unpack_ops(packed):
            for piece, is_sent in split_at(ByteRange(op.start, op.stop), spans):
                moved = piece.start - op.start
                if is_sent or op.kind is OpKind.LITERAL:
                    yield Op(piece.start, piece.start, len(piece), OpKind.LITERAL)
                else:
                    origin = op.origin if op.kind is OpKind.FILL else op.origin + moved
                    yield Op(piece.start, origin, len(piece), op.kind)

    return pack_ops(joined(cut()))


def split_at(span: ByteRange, spans: Sequence[ByteRange]) -> Iterator[tuple[ByteRange, bool]]:
    """The pieces of a range, and whether each lies in one of ``spans`` (sorted, apart)."""
    at = span.start
    for other in spans:
        start, stop = max(at, other.start), min(span.stop, other.stop)
        if start >= stop:
            continue
        if at < start:
            yield ByteRange(at, start), False
        yield ByteRange(start, stop), True
        at = stop
    if at < span.stop:
        yield ByteRange(at, span.stop), False


def merged(spans: Sequence[ByteRange]) -> list[ByteRange]:
    """Ranges sorted, and joined where they touch or overlap."""
    found: list[ByteRange] = []
    for span in sorted(spans, key=lambda span: span.start):
        if found and span.start <= found[-1].stop:
            found[-1] = ByteRange(found[-1].start, max(found[-1].stop, span.stop))
        else:
            found.append(span)
    return found

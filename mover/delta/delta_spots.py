"""Where in a delta the bytes of each literal stand, so that they can be read in any order. Pure."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from mover.delta import kernel
from mover.delta.delta_reading import DeltaReader, Made, Section
from mover.delta.model import OP, OpKind


class Spot(NamedTuple):
    """Bytes ``start`` to ``stop`` of the new object: they begin at ``inner`` of a section's bytes."""

    start: int
    stop: int
    section: Section
    inner: int


class Spots:
    """Collects what a ``DeltaReader`` gives: the operations, and the spots of what is sent.

    Changed elements count as literals, since they are made here and not by a store. The counts are in
    bytes; ``longest_copy`` is the longest run that is copied as it is.
    """

    def __init__(self) -> None:
        self.literal_bytes = 0
        self.copied_bytes = 0
        self.filled_bytes = 0
        self.changed_bytes = 0
        self.longest_copy = 0
        self._ops = bytearray()
        self._found: list[Spot] = []

    def take(self, made: Made, reader: DeltaReader) -> None:
        """Take what the reader gave just now."""
        op, data = made
        is_sent = len(data) > 0
        kind, origin = (OpKind.LITERAL, op.start) if is_sent else (op.kind, op.origin)
        self._ops += OP.pack(op.start, origin, op.length, kind, 0)
        if is_sent:
            last = self._found[-1] if self._found else None
            follows = last is not None and last.section == reader.section
            inner = last.inner + last.stop - last.start if last is not None and follows else 0
            self._found.append(Spot(op.start, op.stop, reader.section, inner))
        if op.kind is OpKind.LITERAL:
            self.literal_bytes += op.length
        elif op.kind is OpKind.FILL:
            self.filled_bytes += op.length
        elif is_sent:
            self.changed_bytes += op.length
        else:
            self.copied_bytes += op.length
            self.longest_copy = max(self.longest_copy, op.length)

    def ops(self) -> bytes:
        """The packed operations, canonical."""
        return kernel.merge([bytes(self._ops)])

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int, Spot]]:
        """What of the spots lies in a range, in order: from where to where, and the spot."""
        index = bisect_right(self._found, start, key=lambda spot: spot.start) - 1
        while 0 <= index < len(self._found) and (spot := self._found[index]).start < stop:
            first, last = max(spot.start, start), min(spot.stop, stop)
            if first < last:
                yield first, last, spot
            index += 1

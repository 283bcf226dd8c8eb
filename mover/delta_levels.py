"""Pure: signatures of what an earlier one left open, and operations over it put back in place.

A first signature with large blocks costs little, and leaves whole blocks open around each edit. The
next one is of the ranges of the basis that nothing has matched, one after another, and is compared
with the literals of the new object, one after another. What comes of it is in coordinates of these
two rows of ranges.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mover.delta.model import Op, OpKind, joined, pack_ops, unpack_ops

Span = tuple[int, int]
"""Start and stop, in bytes."""


@dataclass(frozen=True, slots=True)
class Row:
    """Ranges of one object side by side, and where each begins in the row."""

    spans: Sequence[Span]
    starts: Sequence[int]
    size: int

    @classmethod
    def of(cls, spans: Sequence[Span]) -> "Row":
        ends = list(accumulate(stop - start for start, stop in spans))
        return cls(spans, [0, *ends[:-1]], ends[-1] if ends else 0)

    def place(self, at: int) -> tuple[int, int]:
        """Where a byte of the row is in the object, and how many of the row follow it there."""
        index = bisect_right(self.starts, at) - 1
        start, stop = self.spans[index]
        here = start + at - self.starts[index]
        return here, stop - here


def literal_spans(ops: Iterable[Op]) -> list[Span]:
    """The ranges of the new object that are literals."""
    return [(op.start, op.stop) for op in ops if op.kind is OpKind.LITERAL]


def unmatched_spans(ops: Iterable[Op], basis_size: int) -> list[Span]:
    """The ranges of the basis that nothing is copied from."""
    copied = sorted((op.origin, op.origin + op.length) for op in ops if op.kind is OpKind.COPY)
    spans, at = [], 0
    for start, stop in [*copied, (basis_size, basis_size)]:
        if start > at:
            spans.append((at, start))
        at = max(at, stop)
    return spans


def refined(packed: bytes, fine: bytes, new: Row, basis: Row) -> bytes:
    """Packed operations whose literals are made as ``fine`` says, which is in coordinates of rows.

    Raises ``ValueError`` where ``fine`` does not make exactly the literals.
    """
    kept = (op for op in unpack_ops(packed) if op.kind is not OpKind.LITERAL)
    placed = (piece for op in unpack_ops(fine) for piece in _placed(op, new, basis))
    return pack_ops(joined(sorted([*kept, *placed])))


def _placed(op: Op, new: Row, basis: Row) -> Iterator[Op]:
    """An operation over rows as operations over the objects, cut where a range of either ends."""
    done = 0
    while done < op.length:
        start, length = new.place(op.start + done)
        origin = op.origin if op.kind is OpKind.FILL else start
        if op.kind is OpKind.COPY:
            origin, near = basis.place(op.origin + done)
            length = min(length, near)
        length = min(length, op.length - done)
        yield Op(start, origin, length, op.kind)
        done += length

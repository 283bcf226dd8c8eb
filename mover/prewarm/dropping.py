"""Pure: what of a gateway is read at once, to be dropped."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from mover.prewarm.model import Piece
from transports.model import ByteRange, Entry

RANGE_BYTES: Final = 16 * 1024 * 1024
"""A task reads ranges of one object side by side. Larger ones cost less processor time, but fewer of them
leave connections idle at the end."""

SMALL_BYTES: Final = 256 * 1024
"""Objects up to this size are read in batches, since it is the calls around them that cost; larger ones are let go
in the kernel, one by one."""

BATCH_FILES: Final = 16
BATCHES_MIN: Final = 64
"""Where there would be fewer batches they have fewer files each, so that all connections have something to do."""

Batch = list[Entry]
"""Small objects that are read one after the other."""


class Unit(NamedTuple):
    """One read: a range of an object, or all of it."""

    piece: Piece
    span: ByteRange


def units_of(pieces: Sequence[Piece], *, by_ranges: bool) -> list[Unit | Batch]:
    """Batches of small objects first, then the others: in ranges, or whole where ranges make no sense."""
    small = [piece.entry for piece in pieces if by_ranges and _is_small(piece)]
    count = min(max(len(small) // BATCHES_MIN, 1), BATCH_FILES)
    batches = [small[start : start + count] for start in range(0, len(small), count)]
    others = (piece for piece in pieces if not (by_ranges and _is_small(piece)))
    return [*batches, *_ranges(others, by_ranges=by_ranges)]


def _is_small(piece: Piece) -> bool:
    return piece.is_whole and 0 <= piece.entry.size <= SMALL_BYTES


def _ranges(pieces: Iterable[Piece], *, by_ranges: bool) -> Iterator[Unit]:
    for piece in pieces:
        if not by_ranges or piece.size <= RANGE_BYTES:
            yield Unit(piece, ByteRange(piece.start, piece.stop))
            continue
        for start in range(piece.start, piece.stop, RANGE_BYTES):
            yield Unit(piece, ByteRange(start, min(start + RANGE_BYTES, piece.stop)))

"""How the pieces of a gateway are read: small objects in batches, the others in ranges, nothing twice."""

import pytest

from mover.prewarm.dropping import (
    BATCH_FILES,
    BATCHES_MIN,
    RANGE_BYTES,
    SMALL_BYTES,
    Unit,
    units_of,
)
from mover.prewarm.model import Piece
from transports.model import ByteRange, Entry


def pieces_of(*sizes: int) -> list[Piece]:
    return [Piece(Entry(f"k{n:05}", size, 0), 0, max(size, 0)) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("files", "longest"),
    [(1, 1), (BATCHES_MIN, 1), (4 * BATCHES_MIN, 4), (100 * BATCHES_MIN, BATCH_FILES)],
)
def test_batches_are_as_long_as_leaves_enough_of_them(files: int, longest: int) -> None:
    pieces = pieces_of(*[SMALL_BYTES] * files)
    units = units_of(pieces, by_ranges=True)
    batches = [unit for unit in units if isinstance(unit, list)]
    assert len(batches) == len(units)
    assert max(map(len, batches)) == longest
    assert [entry for batch in batches for entry in batch] == [piece.entry for piece in pieces]


def test_small_objects_come_first_and_large_ones_in_ranges() -> None:
    pieces = pieces_of(SMALL_BYTES + 1, 0, 2 * RANGE_BYTES + 5, -1, 7)
    batches, units = units_of(pieces, by_ranges=True)[:2], units_of(pieces, by_ranges=True)[2:]
    assert batches == [[pieces[1].entry], [pieces[4].entry]]
    assert units == [
        Unit(pieces[0], ByteRange(0, SMALL_BYTES + 1)),
        Unit(pieces[2], ByteRange(0, RANGE_BYTES)),
        Unit(pieces[2], ByteRange(RANGE_BYTES, 2 * RANGE_BYTES)),
        Unit(pieces[2], ByteRange(2 * RANGE_BYTES, 2 * RANGE_BYTES + 5)),
        Unit(pieces[3], ByteRange(0, 0)),
    ]


def test_a_part_of_an_object_is_no_small_object() -> None:
    piece = Piece(Entry("k", RANGE_BYTES, 0), 5, 9)
    assert units_of([piece], by_ranges=True) == [Unit(piece, ByteRange(5, 9))]


def test_where_ranges_make_no_sense_everything_is_read_whole_and_by_itself() -> None:
    pieces = pieces_of(5, 3 * RANGE_BYTES)
    assert units_of(pieces, by_ranges=False) == [
        Unit(piece, ByteRange(0, piece.stop)) for piece in pieces
    ]

import pytest

from mover.prewarm.cutting import BATCH_FILES, batches_of, parts_of, runs_of
from mover.prewarm.model import Piece
from transports.model import Entry

MIB = 1024 * 1024


def piece(size: int, start: int = 0, stop: int | None = None, key: str = "f") -> Piece:
    return Piece(Entry(key, size, 0), start, size if stop is None else stop)


@pytest.mark.parametrize(
    ("start", "stop", "parts"),
    [
        (0, 10, [(0, 4), (4, 8), (8, 10)]),
        (3, 9, [(3, 4), (4, 8), (8, 9)]),
        (4, 8, [(4, 8)]),
        (5, 5, []),
    ],
)
def test_parts_begin_at_multiples(start: int, stop: int, parts: list[tuple[int, int]]) -> None:
    assert [(p.start, p.stop) for p in parts_of(piece(10, start, stop), 4)] == parts


def test_small_ones_go_together_and_large_ones_in_parts() -> None:
    wanted = [piece(MIB), piece(20 * MIB), piece(3 * MIB), piece(6 * MIB), piece(0)]
    sizes = [[p.size // MIB for p in run] for run in runs_of(wanted, run_bytes=8 * MIB)]
    assert sizes == [[8], [8], [4], [1, 3], [6, 0]]


def test_a_batch_has_so_many_files_at_most() -> None:
    runs = list(runs_of([piece(1)] * (BATCH_FILES * 2 + 1)))
    assert [len(run) for run in runs] == [BATCH_FILES, BATCH_FILES, 1]


def test_batches_hold_every_piece_once_in_order() -> None:
    wanted = [piece(size, key=str(size)) for size in (5, 1, 1, 9, 2, 2, 2, 2)]
    batches = list(batches_of(wanted, files_max=3, bytes_max=7))
    assert [[p.size for p in batch] for batch in batches] == [[5, 1, 1], [9], [2, 2, 2], [2]]
    assert list(batches_of([], files_max=3, bytes_max=7)) == []

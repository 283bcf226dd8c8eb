"""Pure: how pieces are cut into what one thread reads in one go."""

from collections.abc import Iterator, Sequence
from typing import Final

from mover.prewarm.model import Piece

BATCH_FILES: Final = 64
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Small files are read in batches of so many: a hop to a thread costs as much as a small file."""

RUN_BYTES: Final = 32 * 1024 * 1024
"""Larger files are read in runs of so much, several at once."""


def runs_of(
    pieces: Sequence[Piece], *, run_bytes: int = RUN_BYTES, batch_bytes: int = BATCH_BYTES
) -> Iterator[list[Piece]]:
    """Cut pieces into runs, in their order: each a batch of small ones, or a part of a large one.

    A part begins at a multiple of ``run_bytes``, so that it holds whole blocks of the cache.
    """
    batch: list[Piece] = []
    held_bytes = 0
    for piece in pieces:
        if piece.size > batch_bytes:
            yield from ([part] for part in parts_of(piece, run_bytes))
            continue
        if batch and (len(batch) >= BATCH_FILES or held_bytes + piece.size > batch_bytes):
            yield batch
            batch, held_bytes = [], 0
        batch.append(piece)
        held_bytes += piece.size
    if batch:
        yield batch


def parts_of(piece: Piece, part_bytes: int) -> Iterator[Piece]:
    """Cut one piece at the multiples of ``part_bytes``."""
    start = piece.start
    while start < piece.stop:
        stop = min(piece.stop, start - start % part_bytes + part_bytes)
        yield Piece(piece.entry, start, stop)
        start = stop


def batches_of(
    pieces: Sequence[Piece], *, files_max: int, bytes_max: int
) -> Iterator[Sequence[Piece]]:
    """Cut pieces into batches of so many files and about so many bytes, in their order."""
    begin, held_bytes = 0, 0
    for at, piece in enumerate(pieces):
        if at > begin and (at - begin >= files_max or held_bytes + piece.size > bytes_max):
            yield pieces[begin:at]
            begin, held_bytes = at, 0
        held_bytes += piece.size
    if begin < len(pieces):
        yield pieces[begin:]

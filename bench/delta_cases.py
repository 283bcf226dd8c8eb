"""Two versions of a file for the delta benchmark: written piece by piece, seeded, of any size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.kernel_data import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EDITS = 100
"""Places that differ in ``edited``: together they are one hundredth of the file."""

OLD_SEED, OTHER_SEED = 1, 2


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of change. ``new`` yields the new file's bytes for a size."""

    name: str
    new: Callable[[int], Iterator[bytes]]


def randoms(seed: int, size: int) -> Iterator[bytes]:
    """Bytes in which nothing repeats, in pieces."""
    source = random.Random(seed)
    for at in range(0, size, PIECE_BYTES):
        yield source.randbytes(min(PIECE_BYTES, size - at))


def _identical(size: int) -> Iterator[bytes]:
    return randoms(OLD_SEED, size)


def _edited(size: int) -> Iterator[bytes]:
    """The old bytes, with ``EDITS`` places replaced by those of another file."""
    step = size // EDITS
    at = 0
    for old, other in zip(randoms(OLD_SEED, size), randoms(OTHER_SEED, size), strict=True):
        piece = bytearray(old)
        for number in range(at // step, (at + len(old)) // step + 1):
            start = number * step + step // 2 - at
            first, stop = max(start, 0), min(start + step // EDITS, len(old))
            if first < stop:
                piece[first:stop] = other[first:stop]
        yield bytes(piece)
        at += len(old)


def _different(size: int) -> Iterator[bytes]:
    return randoms(OTHER_SEED, size)


CASES = (
    Case("identical", _identical),
    Case("edited", _edited),
    Case("different", _different),
)


def write_pieces(path: Path, pieces: Iterator[bytes]) -> None:
    """Write a file of the pieces."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)

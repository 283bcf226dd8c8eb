"""Two versions of a large object, as regions that are kept in step see them. Seeded."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.delta_cases import OLD_SEED, OTHER_SEED, randoms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MB = 1_000_000
SCATTERED_EDITS, EDIT_BYTES = 1000, 100
CLUSTERS = 10
APPENDED_BYTES = 10 * MB
HEADER_BYTES = 8
WEIGHTS_SIGMA = 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """A change, and the most that may cross the line for an object of so many bytes.

    With ``has_base`` the source's region has kept the old version.
    """

    name: str
    old: Callable[[int], Iterator[bytes]]
    new: Callable[[int], Iterator[bytes]]
    wire_bytes_max: Callable[[int], float]
    has_base: bool = False


def unchanged(size: int) -> Iterator[bytes]:
    """The old version."""
    return randoms(OLD_SEED, size)


def _inserted(size: int) -> Iterator[bytes]:
    yield from patched(unchanged(size), [(size // 3, 0, b"x")])


def _scattered(size: int) -> Iterator[bytes]:
    source = random.Random(3)
    places = sorted(source.sample(range(0, size - EDIT_BYTES, EDIT_BYTES), SCATTERED_EDITS))
    edits = [(place, EDIT_BYTES, source.randbytes(EDIT_BYTES)) for place in places]
    yield from patched(unchanged(size), edits)


def clustered(size: int) -> Iterator[bytes]:
    """One hundredth, in ``CLUSTERS`` places."""
    source = random.Random(4)
    length, step = size // 100 // CLUSTERS, size // CLUSTERS
    edits = [(n * step + step // 3, length, source.randbytes(length)) for n in range(CLUSTERS)]
    yield from patched(unchanged(size), edits)


def _appended(size: int) -> Iterator[bytes]:
    yield from unchanged(size)
    yield from randoms(OTHER_SEED, APPENDED_BYTES)


def _different(size: int) -> Iterator[bytes]:
    return randoms(OTHER_SEED, size)


def _tensors(header: int) -> Callable[[int], Iterator[bytes]]:
    def pieces(size: int) -> Iterator[bytes]:
        """The form of safetensors: a length, a text of so many bytes, and the weights."""
        yield struct.pack("<Q", header) + b"{}".ljust(header)
        yield from unchanged(size)

    return pieces


def _byte_table(place: int) -> bytes:
    """What byte of a weight a random byte stands for: their shares are those of normal ones."""
    source = random.Random(5)
    weights = (struct.pack("<f", source.gauss(0, WEIGHTS_SIGMA)) for _ in range(256 * 64))
    return bytes(sorted(weight[2 + place] for weight in weights)[32::64])


def weights(size: int) -> Iterator[bytes]:
    """Weights as bf16: two bytes each, little-endian, drawn apart from each other."""
    low, high = _byte_table(0), _byte_table(1)
    for piece in randoms(OLD_SEED, size):
        half = len(piece) // 2
        made = bytearray(2 * half)
        made[0::2], made[1::2] = piece[:half].translate(low), piece[half : 2 * half].translate(high)
        yield bytes(made)


def _trained(size: int) -> Iterator[bytes]:
    """Every hundredth of them, anywhere, replaced by any two bytes."""
    source = random.Random(6)
    for piece in weights(size):
        data = bytearray(piece)
        for place in source.sample(range(0, len(data), 2), len(data) // 200):
            data[place : place + 2] = source.randbytes(2)
        yield bytes(data)


CASES = (
    Case("1 byte inserted", unchanged, _inserted, lambda _: 60_000),
    Case("1,000 edits of 100 B", unchanged, _scattered, lambda _: 5 * MB),
    Case("1 % clustered", unchanged, clustered, lambda size: 1.1 * size / 100),
    Case("10 MB appended", unchanged, _appended, lambda _: 10.1 * MB),
    Case("all different", unchanged, _different, lambda size: 1.005 * size),
    Case("header 8 bytes longer", _tensors(4096), _tensors(4104), lambda _: 100_000),
    Case("bf16, 1 %, known base", weights, _trained, lambda size: 0.03 * size, has_base=True),
)


def patched(pieces: Iterator[bytes], edits: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
    """Replace ``length`` bytes at each place by others; places ascend and do not overlap."""
    at, waiting = 0, list(reversed(edits))
    skip = 0
    for piece in pieces:
        position, view = 0, memoryview(piece)
        while True:
            dropped = min(skip, len(view) - position)
            position, skip = position + dropped, skip - dropped
            if skip or not waiting or waiting[-1][0] >= at + len(view):
                break
            place, length, data = waiting.pop()
            yield bytes(view[position : place - at])
            yield data
            position, skip = place - at, length
        yield bytes(view[position:])
        at += len(view)

"""Bytes for the kernel's benchmark: seeded, and as hard as a search can make them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PIECE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Pair:
    """Old bytes, which are signed, and new ones, which are scanned."""

    name: str
    old: bytes
    new: bytes


def randoms(seed: int, size: int) -> bytes:
    """Bytes in which nothing repeats."""
    source = random.Random(seed)
    return b"".join(
        source.randbytes(min(PIECE_BYTES, size - at)) for at in range(0, size, PIECE_BYTES)
    )


def inserted(old: bytes) -> bytes:
    """One byte more at a third."""
    return b"".join((old[: len(old) // 3], b"x", old[len(old) // 3 :]))


def edited(old: bytes, other: bytes, *, edits: int = 100) -> bytes:
    """One hundredth of the bytes replaced, in ``edits`` places side by side."""
    new, step = bytearray(old), len(old) // edits
    for at in range(step // 2, len(old), step):
        new[at : at + step // 100] = other[at : at + step // 100]
    return bytes(new)


def periodic(pattern: bytes, size: int) -> bytes:
    """One pattern over and over."""
    return (pattern * (size // len(pattern) + 1))[:size]


def broken(prefix: bytes, block_bytes: int, size: int, source: random.Random) -> bytes:
    """Blocks that begin alike and end differently: their keys promise what they do not keep."""
    rest = block_bytes - len(prefix)
    return b"".join(prefix + source.randbytes(rest) for _ in range(size // block_bytes))


def _patterns(source: random.Random, block_bytes: int, size: int) -> Iterator[Pair]:
    for period in (*range(3, 40), 48, 64, 96, 127, 128, 200, 256, 511):
        pattern = source.randbytes(period)
        new = periodic(pattern, size)
        yield Pair(f"period {period}", randoms(1, size), new)
        prefix = periodic(pattern, block_bytes - 8)
        yield Pair(
            f"period {period}, blocks broken", broken(prefix, block_bytes, size, source), new
        )


def _structures(source: random.Random, block_bytes: int, size: int) -> Iterator[Pair]:
    half = source.randbytes(block_bytes // 2)
    yield Pair("equal keys", broken(half, block_bytes, size, source), periodic(half, size))
    whole = source.randbytes(block_bytes)
    short = whole[:-1]
    yield Pair("all but a byte", broken(short, block_bytes, size, source), periodic(short, size))
    shuffled = randoms(2, size)
    blocks = [shuffled[at : at + block_bytes] for at in range(0, size, block_bytes)]
    source.shuffle(blocks)
    yield Pair("blocks shuffled", shuffled, b"".join(blocks))
    letters = bytes(source.choices(b"ab", k=2**16))
    yield Pair("two letters", periodic(letters, size), periodic(letters[::-1], size))
    zeros = bytes(block_bytes - 1) + b"\1"
    yield Pair("zeros but one", bytes(size), periodic(zeros, size))
    yield Pair("broken zeros", periodic(zeros, size), bytes(size))


def hard_pairs(seed: int, block_bytes: int, size: int) -> Iterator[Pair]:
    """Candidates for the worst that can be asked of a scan."""
    source = random.Random(seed)
    yield from _structures(source, block_bytes, size)
    yield from _patterns(source, block_bytes, size)


def stretched(pair: Pair, size: int) -> Pair:
    """The same, as long as the other cases."""
    return Pair(pair.name, periodic(pair.old, size), periodic(pair.new, size))


Search = Callable[[Pair], float]


def worst(pairs: Iterator[Pair], rate: Search) -> Pair:
    """The pair that is scanned most slowly."""
    return min(((rate(pair), pair.name, pair) for pair in pairs), key=lambda found: found[:2])[2]

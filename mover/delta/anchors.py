"""Anchors: the few positions of a block that bytes themselves choose; and the digests of blocks. Pure.

**The anchor hash.** Let w(p) be the bytes at p and p + 1 as a little-endian number of 16 bits. In
arithmetic modulo 2**16, a window of 32 bytes is folded in four doublings, with one odd factor each::

    x1(p) = w(p)  + FACTORS[0] * w(p + 2)        4 bytes
    x2(p) = x1(p) + FACTORS[1] * x1(p + 4)       8 bytes
    x3(p) = x2(p) + FACTORS[2] * x2(p + 8)      16 bytes
    x4(p) = x3(p) + FACTORS[3] * x3(p + 16)     32 bytes
    hash(p) = 0x7FFF - x4(p)

That is a multilinear hash of sixteen words; it has no state, so a processor does as many positions at
once as its registers are wide, with the same result. p is an *anchor* where the top g bits of hash(p)
are zero; g depends on the block size (``anchor_bits``) and is chosen so that of blocks of 2 KiB one in
two thousand has no anchor, and is found by its neighbours only: twice as many anchors would cost a scan
in which nothing matches a third of its rate. Each factor is 16 * odd - 1, so the sixteen coefficients add up to zero: a window
of one repeated byte, and one of two bytes in turn, has x4 = 0, and is no anchor (for g > 1).

**The key** of an anchor is the seeded XXH3-64 of the 64 bytes that begin there; they must lie inside the
block. A block is known by its first anchor: its offset in the block, and its key. The scan looks keys
up at the anchors of the new bytes only, and asks the digest of the whole block before it believes.
"""

import importlib
from collections.abc import Callable
from typing import Final

import xxhash

from mover.delta.model import SignatureHead, Strong

FACTORS: Final = (0x9E2F, 0x6A8F, 0xC2CF, 0xB54F)
KEY_BYTES: Final = 64
WINDOW_BYTES: Final = 32
CELL_BYTES: Final = 2048
CANDIDATES_MAX: Final = 16
FILL_BYTES_MIN: Final = 256
EARNED: Final = 4
CANDIDATE_COST: Final = 256
SEGMENT_BYTES_MIN: Final = 16 * 1024 * 1024


def anchor_bits(block_bytes: int) -> int:
    """How many top bits of an anchor's hash are zero: 4 to 8 anchors are expected in a block, more in large ones."""
    return min(max((block_bytes - KEY_BYTES + 1).bit_length() - 3, 0), 10)


def anchors_max(block_bytes: int) -> int:
    """How many anchors of one cell the scan looks at."""
    return max(64, 4 * CELL_BYTES >> anchor_bits(block_bytes))


def segment_bytes(block_bytes: int) -> int:
    """The step of the segments, which are scanned each by itself; part of what the result is."""
    return max(SEGMENT_BYTES_MIN, 4 * block_bytes)


def anchors(data: bytes | memoryview, bits: int) -> list[int]:
    """All anchors whose key lies in ``data``, as offsets, in order."""
    positions = len(data) - KEY_BYTES + 1
    if positions <= 0:
        return []
    folded = [low | high << 8 for low, high in zip(data, data[1:], strict=False)]
    for step, factor in zip((2, 4, 8, 16), FACTORS, strict=True):
        folded = [
            (near + factor * far) & 0xFFFF for near, far in zip(folded, folded[step:], strict=False)
        ]
    limit = 1 << (16 - bits)
    return [at for at, value in enumerate(folded[:positions]) if (0x7FFF - value) & 0xFFFF < limit]


def key_of(window: bytes | memoryview, head: SignatureHead) -> int:
    """What is kept of the key of an anchor, of the 64 bytes at it."""
    whole: int = xxhash.xxh3_64_intdigest(window, head.seed)
    return whole & ((1 << 8 * head.key_bytes) - 1)


def slow_digest(strong: Strong) -> Callable[[bytes | memoryview], bytes]:
    """The whole digest of a kind that is not XXH3-128. Raises ``ValueError`` where none is here."""
    if strong is Strong.SHA256:
        import hashlib  # brings a library of its own, which few need

        return lambda block: hashlib.sha256(block).digest()
    if strong is not Strong.BLAKE3:
        raise ValueError(f"{strong.name} is no slow digest")
    try:
        blake3 = importlib.import_module("blake3").blake3
    except ModuleNotFoundError as error:
        raise ValueError(
            "BLAKE3 needs a package that is not installed: pip install 'fluid-mover[blake3]'"
        ) from error
    return lambda block: bytes(blake3(block).digest())


def digest_of(head: SignatureHead) -> Callable[[bytes | memoryview], bytes]:
    """The function that gives what a signature keeps of a block's digest."""
    wide, seed = head.strong_bytes, head.seed
    if head.strong is Strong.XXH3_128:
        return lambda block: xxhash.xxh3_128_digest(block, seed)[:wide]
    whole = slow_digest(head.strong)
    return lambda block: whole(block)[:wide]

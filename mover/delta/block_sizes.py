"""Which block sizes a signature has, from sizes, edits and the link. Pure.

A block costs its row in the signature; an edit costs about the block around it. With ``N`` bytes,
``e`` edits and ``s`` bytes a row, ``N * s / B + e * B`` is least at ``sqrt(N * s / e)``. A second
signature, of the dirty ranges only, with smaller blocks, makes an edit cheap without making the
first signature dear; it takes one more round trip.
"""

import math
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

ROW_BYTES: Final = 21
"""What a block is on the wire, about: packed anchor, key, and a digest cut to what is needed."""

ROUND_BYTES: Final = 16 * KIB
"""What a round trip is worth where only bytes count: not nothing, for nobody waits for a kilobyte."""

LEVELS_MAX: Final = 3

EDITS: Final = 100
"""Edits that are assumed where nobody knows better."""

BLOCK_MIN: Final = 2 * KIB
"""Smaller blocks often have no anchor, and cost more in rows than they save in literals."""

KNOWN_MIN: Final = 1024
SINGLE_MAX: Final = MIB
NEXT_MAX: Final = 16 * MIB
COARSE_MIN: Final = 64 * KIB
COARSE_MAX: Final = 2 * MIB
FINE: Final = 4 * KIB
FINEST: Final = 2 * KIB
FEW_DIRTY: Final = 1000
"""With fewer dirty blocks than this, the finest blocks cost next to nothing."""


def single_block_bytes(size: int, *, edits: int = EDITS) -> int:
    """The block size of a signature that has no second one, for an object of ``size`` bytes.

    A power of two within [2 KiB, 1 MiB].
    """
    return _power(math.sqrt(size * ROW_BYTES / max(edits, 1)), BLOCK_MIN, SINGLE_MAX)


def coarse_block_bytes(size: int) -> int:
    """The block size of the first of two signatures where nobody knows how many edits there are.

    The power of two near ``4 * sqrt(size)`` within [64 KiB, 2 MiB].
    """
    return _power(4 * math.sqrt(size), COARSE_MIN, COARSE_MAX)


def fine_block_bytes(dirty_blocks: int) -> int:
    """The block size of the second of two signatures, by how many blocks of the first are dirty."""
    return FINEST if dirty_blocks < FEW_DIRTY else FINE


def next_block_bytes(
    dirty_bytes: int, edits: int, *, round_bytes: int = ROUND_BYTES, levels: int = LEVELS_MAX
) -> int | None:
    """The block size of the next signature over bytes that may differ; None to send them as they are.

    ``edits`` is how many are expected in them: for bytes that an earlier signature left dirty, as
    many as it has dirty blocks. ``round_bytes`` is what a round trip is worth: the link's bytes per
    second times its round trip in seconds, where time is to be saved. At most ``levels`` signatures
    follow each other, this one counted: ask for the next with one less.
    """
    if dirty_bytes <= 0 or edits <= 0:
        return None
    return _cheapest(dirty_bytes, edits, round_bytes, levels)[1]


def _cheapest(
    dirty_bytes: float, edits: int, round_bytes: int, levels: int
) -> tuple[float, int | None]:
    """What it takes to settle these bytes, in bytes, and the first block size on the way there."""
    best: tuple[float, int | None] = (dirty_bytes, None)
    if levels == 0:
        return best
    block = BLOCK_MIN
    while block <= min(NEXT_MAX, dirty_bytes / edits / 2):
        rows = dirty_bytes * ROW_BYTES / block
        cost = rows + round_bytes + _cheapest(edits * block, edits, round_bytes, levels - 1)[0]
        if cost < best[0]:
            best = (cost, block)
        block *= 2
    return best


def _power(wish: float, least: int, most: int) -> int:
    """The power of two nearest to a wish by ratio, within bounds that are powers themselves."""
    if wish <= least:
        return least
    return int(min(most, 1 << round(math.log2(wish))))


def known_block_bytes(size_bytes: int, *, blocks_max: int) -> int:
    """Blocks for a basis that is at hand: as small as they pay, and few enough to be indexed.

    No row of theirs travels. Of smaller ones than ``KNOWN_MIN`` some stay equal between scattered changes
    of elements, and those are told in fewer bytes without such gaps.
    """
    block_bytes = KNOWN_MIN
    while size_bytes > block_bytes * blocks_max:
        block_bytes *= 2
    return block_bytes

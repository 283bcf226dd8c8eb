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

MENDED_ROW_BYTES: Final = 10
"""The same where false matches are mended, so that shorter keys and digests do."""

ROUND_BYTES: Final = 16 * KIB
"""What a round trip is worth where only bytes count: not nothing, for nobody waits for a kilobyte."""

LEVELS_MAX: Final = 4

EDITS: Final = 100
"""Edits that are assumed where nobody knows better."""

BLOCK_MIN: Final = 2 * KIB
"""Smaller blocks cost more in rows than they save in literals."""

NEXT_MIN: Final = 512
"""The same of a signature that is only of what an earlier one left open."""

KNOWN_MIN: Final = 1024
SINGLE_MAX: Final = MIB
NEXT_MAX: Final = 16 * MIB


def single_block_bytes(size: int, *, edits: int = EDITS, row_bytes: int = ROW_BYTES) -> int:
    """The block size of a signature that has no second one, for an object of ``size`` bytes.

    A power of two within [2 KiB, 1 MiB].
    """
    return _power(math.sqrt(size * row_bytes / max(edits, 1)), BLOCK_MIN, SINGLE_MAX)


def next_block_bytes(
    dirty_bytes: int,
    edits: int,
    *,
    round_bytes: int = ROUND_BYTES,
    levels: int = LEVELS_MAX,
    packed: float = 1.0,
) -> int | None:
    """The block size of the next signature over bytes that may differ; None to send them as they are.

    ``edits`` is how many are expected in them: for bytes that an earlier signature left dirty, as
    many as it has dirty blocks. ``round_bytes`` is what a round trip is worth: the link's bytes per
    second times its round trip in seconds, where time is to be saved. At most ``levels`` signatures
    follow each other, this one counted: ask for the next with one less. ``packed`` is how much a byte
    takes that is sent as it is, once it is packed.
    """
    if dirty_bytes <= 0 or edits <= 0:
        return None
    return _cheapest(dirty_bytes, edits, round_bytes, levels, packed)[1]


def _cheapest(
    dirty_bytes: float, edits: int, round_bytes: int, levels: int, packed: float
) -> tuple[float, int | None]:
    """What it takes to settle these bytes, in bytes, and the first block size on the way there."""
    best: tuple[float, int | None] = (dirty_bytes * packed, None)
    if levels == 0:
        return best
    block = NEXT_MIN
    while block <= min(NEXT_MAX, dirty_bytes / edits / 2):
        rows = dirty_bytes * MENDED_ROW_BYTES / block
        left = _cheapest(edits * block, edits, round_bytes, levels - 1, packed)[0]
        cost = rows + round_bytes + left
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

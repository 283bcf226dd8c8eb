"""Block sizes from sizes, edits and links."""

import pytest

from mover.delta.block_sizes import (
    LEVELS_MAX,
    next_block_bytes,
    single_block_bytes,
)

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4


@pytest.mark.parametrize(
    ("size", "edits", "block"),
    [
        (0, 100, 2 * KIB),
        (1, 100, 2 * KIB),
        (16 * MIB, 100, 2 * KIB),
        (128 * MIB, 100, 4 * KIB),
        (GIB, 100, 16 * KIB),
        (2 * GIB, 100, 16 * KIB),
        (10 * GIB, 100, 64 * KIB),
        (10 * GIB, 10_000, 4 * KIB),
        (10 * GIB, 0, 512 * KIB),
        (TIB, 1, MIB),
        (TIB, 100, 512 * KIB),
        ((1 << 63) - 1, 1, MIB),
    ],
)
def test_single(size: int, edits: int, block: int) -> None:
    assert single_block_bytes(size, edits=edits) == block


@pytest.mark.parametrize(
    ("dirty_bytes", "edits", "round_bytes", "block"),
    [
        (0, 0, 0, None),
        (0, 3, 0, None),
        (3, 0, 0, None),
        (KIB - 1, 1, 0, None),  # nothing to halve
        (64 * KIB, 1, 64 * KIB, None),  # a round trip costs as much
        (64 * KIB, 1, 0, 16 * KIB),  # rounds that cost nothing are taken
        (2 * MIB, 2, 750_000, 4 * KIB),  # 100 Mbit/s and 60 ms: one round
        (256 * KIB, 2, 750_000, None),
        (700 * MIB, 700, 750_000, 16 * KIB),  # so many that one between them pays
        (GIB, 1, 16 * KIB, 2 * MIB),  # a first signature is chosen the same way
        (GIB, 1000, 16 * KIB, 256 * KIB),
        (10 * GIB, 1, 16 * KIB, 16 * MIB),
    ],
)
def test_next(dirty_bytes: int, edits: int, round_bytes: int, block: int | None) -> None:
    assert next_block_bytes(dirty_bytes, edits, round_bytes=round_bytes) == block


@pytest.mark.parametrize(
    ("packed", "block"), [(1.0, 8 * KIB), (0.1, 8 * KIB), (0.01, 4 * KIB), (0.001, None)]
)
def test_what_packs_well_is_sent_rather_than_signed(packed: float, block: int | None) -> None:
    assert next_block_bytes(64 * MIB, 4000, packed=packed) == block


def test_smaller_blocks_follow_and_no_more_than_wanted() -> None:
    dirty, edits, levels = 3 * GIB, 700, LEVELS_MAX
    seen = []
    while (block := next_block_bytes(dirty, edits, levels=levels)) is not None:
        seen.append(block)
        dirty, levels = edits * block, levels - 1
    assert len(seen) == LEVELS_MAX
    assert seen == sorted(set(seen), reverse=True)

"""Block sizes from sizes, edits and links."""

import pytest

from mover.delta.block_sizes import (
    coarse_block_bytes,
    fine_block_bytes,
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
    ("size", "block"),
    [
        (0, 64 * KIB),
        (256 * MIB, 64 * KIB),
        (GIB, 128 * KIB),
        (10 * GIB, 512 * KIB),
        (100 * GIB, MIB),
        (TIB, 2 * MIB),
        ((1 << 63) - 1, 2 * MIB),
    ],
)
def test_coarse(size: int, block: int) -> None:
    assert coarse_block_bytes(size) == block


@pytest.mark.parametrize(
    ("dirty", "block"), [(0, 2 * KIB), (999, 2 * KIB), (1000, 4 * KIB), (10**9, 4 * KIB)]
)
def test_fine(dirty: int, block: int) -> None:
    assert fine_block_bytes(dirty) == block


@pytest.mark.parametrize(
    ("dirty_bytes", "edits", "round_bytes", "block"),
    [
        (0, 0, 0, None),
        (0, 3, 0, None),
        (3, 0, 0, None),
        (4 * KIB - 1, 1, 0, None),  # nothing to halve
        (64 * KIB, 1, 64 * KIB, None),  # a round trip costs as much
        (64 * KIB, 1, 0, 16 * KIB),  # rounds that cost nothing are taken
        (2 * MIB, 2, 750_000, 4 * KIB),  # 100 Mbit/s and 60 ms: one round
        (256 * KIB, 2, 750_000, None),
        (700 * MIB, 700, 750_000, 32 * KIB),  # so many that one between them pays
        (GIB, 1, 16 * KIB, 8 * MIB),  # a first signature is chosen the same way
        (GIB, 1000, 16 * KIB, 128 * KIB),
        (10 * GIB, 1, 16 * KIB, 16 * MIB),
    ],
)
def test_next(dirty_bytes: int, edits: int, round_bytes: int, block: int | None) -> None:
    assert next_block_bytes(dirty_bytes, edits, round_bytes=round_bytes) == block


def test_smaller_blocks_follow_and_no_more_than_wanted() -> None:
    dirty, edits, levels = 3 * GIB, 700, 3
    seen = []
    while (block := next_block_bytes(dirty, edits, levels=levels)) is not None:
        seen.append(block)
        dirty, levels = edits * block, levels - 1
    assert len(seen) == 3
    assert seen == sorted(set(seen), reverse=True)

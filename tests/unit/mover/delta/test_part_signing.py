"""Parts of one object, signed by whoever wrote them."""

import random
from dataclasses import replace

import pytest

from mover.delta import kernel
from mover.delta.part_signing import joined_parts, part_head, sign_part

KIB = 1024
MIB = 1024 * KIB
DATA = random.Random(2).randbytes(5 * 64 * KIB + 777)


@pytest.mark.parametrize(
    ("size", "part_bytes", "block_bytes"),
    [
        (MIB, 8 * MIB, 2 * KIB),
        (1024 * MIB, 8 * MIB, 16 * KIB),
        (1024 * MIB, 5 * MIB + 4 * KIB, 4 * KIB),
        (1024 * MIB, 5 * MIB + 1, None),
        (1024 * MIB, 5 * MIB + KIB, None),
        (1 << 44, 1 << 31, MIB),
    ],
)
def test_blocks_fill_parts(size: int, part_bytes: int, block_bytes: int | None) -> None:
    head = part_head(size, part_bytes, "upload")
    assert (head and head.block_bytes) == block_bytes
    assert head == part_head(size, part_bytes, "upload")
    if head is not None:
        other = part_head(size, part_bytes, "another")
        assert other is not None
        assert other.seed != head.seed


def test_parts_in_any_order_are_the_whole() -> None:
    head = part_head(len(DATA), 64 * KIB, "upload")
    assert head is not None
    starts = list(range(0, len(DATA), 64 * KIB))
    random.Random(1).shuffle(starts)
    parts = {start: sign_part(head, DATA[start : start + 64 * KIB]) for start in starts}
    assert joined_parts(head, parts) == kernel.sign(DATA, head)
    run = {start: part for start, part in parts.items() if 64 * KIB <= start < 3 * 64 * KIB}
    piece = joined_parts(replace(head, size=2 * 64 * KIB), run)
    others = {start: part for start, part in parts.items() if start not in run}
    assert joined_parts(head, {**others, 64 * KIB: piece}) == kernel.sign(DATA, head)


def test_nothing() -> None:
    head = part_head(0, MIB, "upload")
    assert head is not None
    assert joined_parts(head, {}) == kernel.sign(b"", head)


def test_what_does_not_belong_together() -> None:
    head = part_head(len(DATA), 64 * KIB, "upload")
    assert head is not None
    starts = range(0, len(DATA), 64 * KIB)
    parts = {start: sign_part(head, DATA[start : start + 64 * KIB]) for start in starts}
    with pytest.raises(ValueError, match="end at byte 0 of"):
        joined_parts(head, {})
    with pytest.raises(ValueError, match="begins at byte 131072"):
        joined_parts(head, {start: part for start, part in parts.items() if start != 2 * 64 * KIB})
    last = max(parts)
    with pytest.raises(ValueError, match=f"end at byte {last} of"):
        joined_parts(head, {start: part for start, part in parts.items() if start != last})
    with pytest.raises(ValueError, match="begins at byte 0"):
        joined_parts(replace(head, seed=1), parts)
    short = sign_part(head, DATA[: 64 * KIB - 1])
    with pytest.raises(ValueError, match="ends in a block"):
        joined_parts(head, {**parts, 0: short})

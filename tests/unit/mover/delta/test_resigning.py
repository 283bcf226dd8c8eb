"""Signatures of objects that were made of others, from rows that are known."""

import random

import pytest

from mover.delta import kernel
from mover.delta.model import Op, OpKind, SignatureHead, Strong
from mover.delta.resigning import Rows, is_worth_reading, resigned_head

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
BLOCK = 2 * KIB
OLD = random.Random(6).randbytes(10 * BLOCK + 700)


def head(
    size: int, block_bytes: int = BLOCK, strong_bytes: int = 11, seed: int = 9
) -> SignatureHead:
    return SignatureHead(size=size, block_bytes=block_bytes, strong_bytes=strong_bytes, seed=seed)


@pytest.mark.parametrize(
    ("old", "size", "is_kept"),
    [
        (None, MIB, False),
        (head(MIB), MIB, True),
        (head(MIB), 20 * MIB, True),
        (head(MIB, strong_bytes=8), 20 * MIB, False),
        (head(20 * MIB), 64 * GIB, False),
        (head(20 * MIB, MIB), 20 * MIB, False),
        (SignatureHead(size=MIB, block_bytes=BLOCK, strong=Strong.SHA256), MIB, False),
    ],
)
def test_which_rows_can_be_kept(old: SignatureHead | None, size: int, is_kept: bool) -> None:
    found = resigned_head(old, size, 5)
    assert found.size == size
    assert (old is not None and found.seed == old.seed) is is_kept
    if not is_kept:
        assert found.seed == 5


def test_a_bit_more_than_is_read() -> None:
    assert is_worth_reading([], 0)
    assert is_worth_reading([(0, 7 * MIB)], 64 * MIB)
    assert not is_worth_reading([(0, 7 * MIB), (8 * MIB, 8 * MIB)], 64 * MIB)


COPY, LITERAL = OpKind.COPY, OpKind.LITERAL
END = len(OLD)


@pytest.mark.parametrize(
    ("ops", "missing"),
    [
        ([Op(0, 0, END, COPY)], []),
        ([Op(0, 0, END, COPY), Op(END, END, 9, LITERAL)], [(10 * BLOCK, END + 9)]),
        ([Op(0, 0, 9 * BLOCK + 1, COPY)], [(9 * BLOCK, 9 * BLOCK + 1)]),
        ([Op(0, 1, END - 1, COPY)], [(0, END - 1)]),
        ([Op(0, BLOCK, END - BLOCK, COPY)], []),
        (
            [
                Op(0, 0, BLOCK + 5, COPY),
                Op(BLOCK + 5, 0, 9, LITERAL),
                Op(BLOCK + 14, BLOCK + 14, END - BLOCK - 14, COPY),
            ],
            [(BLOCK, 2 * BLOCK)],
        ),
        ([Op(0, 0, BLOCK, LITERAL), Op(BLOCK, 0, END, COPY)], [(0, BLOCK)]),
        # The short last block of the old object in the middle, and at the end behind more.
        ([Op(0, 10 * BLOCK, 700, COPY), Op(700, 0, BLOCK, COPY)], [(0, BLOCK + 700)]),
        ([Op(0, 0, 4 * BLOCK, COPY), Op(4 * BLOCK, 10 * BLOCK, 700, COPY)], []),
    ],
)
def test_rows_that_are_inherited(ops: list[Op], missing: list[tuple[int, int]]) -> None:
    rows = Rows(head(ops[-1].stop))
    rows.inherit(ops, kernel.sign(OLD, head(END)))
    assert rows.missing() == missing


def test_rows_of_another_seed_are_no_help() -> None:
    rows = Rows(head(END))
    rows.inherit([Op(0, 0, END, COPY)], kernel.sign(OLD, head(END, seed=1)))
    assert rows.missing() == [(0, END)]
    with pytest.raises(ValueError, match="11 blocks are missing"):
        rows.signature()


def test_what_is_forgotten_is_missing() -> None:
    rows = Rows(head(END))
    rows.put(0, END, rows.sign(0, OLD))
    assert rows.signature() == kernel.sign(OLD, head(END))
    rows.clear()
    assert rows.missing() == [(0, END)]


def test_nothing() -> None:
    rows = Rows(head(0))
    assert rows.missing() == []
    assert rows.signature() == kernel.sign(b"", head(0))

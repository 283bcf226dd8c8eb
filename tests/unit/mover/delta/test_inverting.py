"""What an old copy has of a new object becomes a plan that makes the new one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.delta import reference
from mover.delta.inverting import fetch_plan
from mover.delta.model import Op, OpKind, Signature, SignatureHead, joined
from tests.property.delta_cases import Case, cases

COPY, LITERAL, FILL = OpKind.COPY, OpKind.LITERAL, OpKind.FILL
BLOCK = 64


def signature(data: bytes) -> Signature:
    return reference.sign(data, SignatureHead(size=len(data), block_bytes=BLOCK, strong_bytes=8))


def distinct(blocks: int) -> bytes:
    return b"".join(bytes([number, number + 1]) * (BLOCK // 2) for number in range(blocks))


@pytest.mark.parametrize(
    ("ops", "plan"),
    [
        ([], [Op(0, 0, 640, LITERAL)]),
        ([Op(7, 0, 640, COPY)], [Op(0, 7, 640, COPY)]),
        ([Op(0, 64, 64, COPY)], [Op(0, 0, 64, LITERAL), Op(64, 0, 64, COPY), Op(128, 128, 512, LITERAL)]),
        ([Op(0, 0, 64, COPY), Op(64, 0, 64, COPY)], [Op(0, 0, 64, COPY), Op(64, 64, 576, LITERAL)]),
        ([Op(0, 320, 320, COPY), Op(320, 0, 320, COPY)], [Op(0, 320, 320, COPY), Op(320, 0, 320, COPY)]),
        ([Op(0, 0, 100, COPY), Op(200, 64, 576, COPY)], [Op(0, 0, 100, COPY), Op(100, 236, 540, COPY)]),
        ([Op(0, 0, 640, FILL), Op(640, 640, 9, LITERAL)], [Op(0, 0, 640, LITERAL)]),
    ],
)  # fmt: skip
def test_turned_round(ops: list[Op], plan: list[Op]) -> None:
    assert fetch_plan(ops, signature(distinct(10)), gap_bytes=0) == plan


@pytest.mark.parametrize(
    ("gap_bytes", "kinds"),
    [
        (0, [COPY, LITERAL, COPY, LITERAL, COPY]),
        (64, [COPY, LITERAL, COPY, LITERAL, COPY]),
        (65, [COPY, LITERAL, COPY]),
    ],
)
def test_short_gaps_are_fetched_and_ends_are_not(gap_bytes: int, kinds: list[OpKind]) -> None:
    ops = [Op(0, 0, 64, COPY), Op(64, 256, 64, COPY), Op(128, 576, 64, COPY)]
    plan = fetch_plan(ops, signature(distinct(10)), gap_bytes=gap_bytes)
    assert [op.kind for op in plan] == kinds
    assert list(joined(plan)) == plan


def test_equal_blocks_and_blocks_of_one_byte_are_not_fetched() -> None:
    one, other = distinct(2)[:BLOCK], distinct(2)[BLOCK:]
    new = one + bytes(2 * BLOCK) + one + other + one
    plan = fetch_plan([Op(3, 0, BLOCK, COPY)], signature(new), gap_bytes=0)
    assert plan == [
        Op(0, 3, BLOCK, COPY),
        Op(BLOCK, 0, 2 * BLOCK, FILL),
        Op(3 * BLOCK, 3, BLOCK, COPY),
        Op(4 * BLOCK, 4 * BLOCK, BLOCK, LITERAL),
        Op(5 * BLOCK, 3, BLOCK, COPY),
    ]


@given(cases(blocks=(64, 100)), st.sampled_from([0, 100, 1000]))
def test_any_plan_makes_the_object(case: Case, gap_bytes: int) -> None:
    """The roles are turned: what is signed is new, what is scanned is old."""
    head = SignatureHead(size=len(case.new), block_bytes=case.block_bytes)
    signed = reference.sign(case.new, head)
    ops = reference.scan(reference.Index(signed), case.old)
    plan = fetch_plan(ops, signed, gap_bytes=gap_bytes)
    made = bytearray()
    for op in plan:
        assert op.start == len(made)
        if op.kind is COPY:
            made += case.old[op.origin : op.origin + op.length]
        elif op.kind is FILL:
            made += bytes([op.origin]) * op.length
        else:
            made += case.new[op.start : op.stop]
    assert made == case.new
    assert list(joined(plan)) == plan

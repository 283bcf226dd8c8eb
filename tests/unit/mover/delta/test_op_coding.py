"""Operations in few bytes: round trips, and what no encoder writes."""

import pytest

from mover.delta import varints
from mover.delta.model import Op, OpKind
from mover.delta.op_coding import OP_BYTES_MAX, OpEncoder, decode_ops, encode_ops

OPS = [
    Op(0, 500, 64, OpKind.COPY),
    Op(64, 64, 3, OpKind.LITERAL),
    Op(67, 564, 100, OpKind.COPY),
    Op(167, 0x41, 1000, OpKind.FILL),
    Op(1167, 0, 33, OpKind.COPY),
]
BASIS, NEW = 1000, 1200


def decode(data: bytes, *, new_size: int = NEW, ops_max: int = 10) -> list[Op]:
    return decode_ops(data, basis_size=BASIS, new_size=new_size, ops_max=ops_max)


def test_round_trip() -> None:
    assert decode(encode_ops(OPS)) == OPS
    assert decode(b"", new_size=0) == []


def test_a_copy_that_goes_on_is_told_in_a_byte_or_two() -> None:
    assert len(encode_ops([Op(64, 564, 10, OpKind.COPY)])) == 3
    assert len(encode_ops(OPS[:3])) - len(encode_ops(OPS[:2])) == 3


def test_the_longest_operation() -> None:
    out = bytearray()
    OpEncoder().put(out, Op(0, (1 << 63) - 2, (1 << 63) - 1, OpKind.COPY))
    assert len(out) <= OP_BYTES_MAX


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0], "it makes nothing"),
        ([3 | 4], "3 is not a valid OpKind"),
        ([8 << 2 | OpKind.COPY, 2 * 993], "it copies bytes 993 to 1001 of 1000"),
        ([8 << 2 | OpKind.COPY, 1], "it copies bytes -1 to 7 of 1000"),
        ([8 << 2 | OpKind.FILL, 256], "256 is no byte"),
        ([1201 << 2 | OpKind.LITERAL], "it ends at byte 1201 of 1200"),
        ([8 << 2 | OpKind.COPY], "a number has no end"),
        ([8 << 2 | OpKind.LITERAL], "end at byte 8 of 1200"),
        ([1 << 2 | OpKind.LITERAL] * 11, "more than 10 operations"),
    ],
)
def test_what_makes_no_sense_is_refused(numbers: list[int], message: str) -> None:
    data = bytearray()
    for number in numbers:
        varints.put(data, number)
    with pytest.raises(ValueError, match=message):
        decode(bytes(data))

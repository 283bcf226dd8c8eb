"""Ladders of checksums, and operations mended where they were wrong."""

from hypothesis import given
from hypothesis import strategies as st

from mover.delta.model import Op, OpKind, pack_ops, unpack_ops
from mover.delta.parting import MIB
from mover.delta_ladders import Ladder, as_literals, ladder_of, merged, split_at
from transports import digests
from transports.model import ByteRange
from transports.testing.support import some_bytes

DATA = some_bytes(3 * MIB + 5)
LADDER = Ladder(ladder_of(memoryview(DATA)), len(DATA))

spans_of = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 20)).map(lambda s: ByteRange(s[0], s[0] + s[1])),
    max_size=6,
)


def test_ranges_on_the_ladder_have_a_checksum() -> None:
    for start, stop in ((0, MIB), (MIB, 3 * MIB), (0, len(DATA)), (3 * MIB, len(DATA)), (0, 0)):
        assert LADDER.crc(ByteRange(start, stop)) == digests.crc64nvme(DATA[start:stop])
    for start, stop in ((1, MIB), (0, MIB + 1), (0, len(DATA) - 1)):
        assert LADDER.crc(ByteRange(start, stop)) is None
    assert Ladder((), 10).crc(ByteRange(0, 10)) is None


def test_a_wrong_step_is_named() -> None:
    wrong = bytearray(DATA)
    wrong[MIB + 7] ^= 1
    wrong[-1] ^= 1
    span = ByteRange(MIB, len(DATA))
    assert LADDER.bad_in(span, memoryview(wrong)[MIB:]) == [
        ByteRange(MIB, 2 * MIB),
        ByteRange(3 * MIB, len(DATA)),
    ]
    assert LADDER.bad_in(span, memoryview(DATA)[MIB:]) == []
    assert Ladder((), 3).bad_in(ByteRange(0, 3), memoryview(b"abc")) == []


@given(spans_of)
def test_merged_ranges_cover_the_same_and_lie_apart(spans: list[ByteRange]) -> None:
    found = merged(spans)
    covered = {byte for span in spans for byte in range(span.start, span.stop)}
    assert {byte for span in found for byte in range(span.start, span.stop)} == covered
    assert all(one.stop < two.start for one, two in zip(found, found[1:], strict=False))


@given(spans_of, st.integers(0, 100), st.integers(0, 50))
def test_a_split_range_is_whole(spans: list[ByteRange], start: int, length: int) -> None:
    spans = merged(spans)
    whole = ByteRange(start, start + length)
    at = start
    for piece, inside in split_at(whole, spans):
        assert piece.start == at
        assert len(piece)
        assert all(
            any(span.start <= byte < span.stop for span in spans) is inside
            for byte in range(piece.start, piece.stop)
        )
        at = piece.stop
    assert at == whole.stop


@given(spans_of)
def test_mended_operations_send_the_ranges_and_nothing_else_changes(
    spans: list[ByteRange],
) -> None:
    ops = [
        Op(0, 7, 40, OpKind.COPY),
        Op(40, 40, 10, OpKind.LITERAL),
        Op(50, 9, 30, OpKind.FILL),
        Op(80, 0, 40, OpKind.COPY),
    ]
    mended = list(unpack_ops(as_literals(pack_ops(ops), spans)))
    assert sum(op.length for op in mended) == 120
    sent = {byte for span in spans for byte in range(span.start, span.stop)} | set(range(40, 50))
    for op in mended:
        for byte in range(op.start, op.stop):
            assert (op.kind is OpKind.LITERAL) is (byte in sent)
            if op.kind is OpKind.COPY:
                (before,) = [o for o in ops if o.start <= byte < o.stop]
                assert op.origin + byte - op.start == before.origin + byte - before.start

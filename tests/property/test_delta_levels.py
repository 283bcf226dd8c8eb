"""Whatever was edited: a finer look at what a coarse one left open makes the same object, of less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mover.delta import kernel
from mover.delta.model import OpKind, Signature, SignatureHead, joined, pack_ops, unpack_ops
from mover.delta_levels import Row, literal_spans, refined, unmatched_spans

COARSE, FINE = 1024, 64

edit = st.tuples(st.integers(0, 1 << 16), st.integers(0, 3000), st.binary(max_size=200))
content = st.builds(
    lambda seed, size: (bytes(range(251)) * 80 + seed * 40)[:size],
    st.binary(min_size=40, max_size=80),
    st.integers(0, 20_000),
)


def edited(old: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    new = bytearray(old)
    for at, length, data in edits:
        at %= len(new) + 1
        new[at : at + length] = data
    return bytes(new)


def signed(data: bytes, block_bytes: int) -> Signature:
    return kernel.sign(data, SignatureHead(size=len(data), block_bytes=block_bytes))


def gathered(data: bytes, row: Row) -> bytes:
    return b"".join(data[start:stop] for start, stop in row.spans)


def made(packed: bytes, old: bytes, new: bytes) -> bytes:
    pieces = []
    for op in unpack_ops(packed):
        if op.kind is OpKind.COPY:
            pieces.append(old[op.origin : op.origin + op.length])
        elif op.kind is OpKind.FILL:
            pieces.append(bytes([op.origin]) * op.length)
        else:
            pieces.append(new[op.start : op.stop])
    return b"".join(pieces)


def literal_bytes(packed: bytes) -> int:
    return sum(op.length for op in unpack_ops(packed) if op.kind is OpKind.LITERAL)


@given(content, st.lists(edit, max_size=6))
def test_a_finer_look_makes_the_same_object(
    old: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    new = edited(old, edits)
    ops = kernel.scan(kernel.Index(signed(old, COARSE)), new)
    news = Row.of(literal_spans(unpack_ops(ops)))
    olds = Row.of(unmatched_spans(unpack_ops(ops), len(old)))
    index = kernel.Index(signed(gathered(old, olds), FINE))
    fine = kernel.scan(index, gathered(new, news))
    found = refined(ops, fine, news, olds)
    assert made(found, old, new) == new
    assert pack_ops(joined(unpack_ops(found))) == found
    assert literal_bytes(found) <= literal_bytes(ops)


@given(content, st.lists(edit, max_size=6))
def test_what_is_open_and_what_is_copied_make_the_basis(
    old: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    ops = kernel.scan(kernel.Index(signed(old, COARSE)), edited(old, edits))
    unmatched = unmatched_spans(unpack_ops(ops), len(old))
    covered = set(range(len(old)))
    for start, stop in unmatched:
        assert start < stop
        covered -= set(range(start, stop))
    copied = {
        at
        for op in unpack_ops(ops)
        if op.kind is OpKind.COPY
        for at in range(op.origin, op.origin + op.length)
    }
    assert covered == copied

"""Parts of an upload from any operations: legal, tiling, and copying as much as there can be."""

from hypothesis import given
from hypothesis import strategies as st

from mover.delta.model import Op, OpKind, joined, pack_ops
from mover.delta.parting import (
    MIB,
    Part,
    PartLimits,
    near_reads,
    pieces_of,
    plan_parts,
)

GIB = 1024 * MIB
TIB = 1024 * GIB


@st.composite
def operations(draw: st.DrawFn, longest: int, count: int = 12) -> tuple[list[Op], int]:
    """Canonical operations, and the size of the object that they make."""
    ops, start = [], 0
    shapes = st.tuples(
        st.sampled_from(OpKind), st.integers(1, longest), st.integers(0, 3 * longest)
    )
    for kind, length, origin in draw(st.lists(shapes, max_size=count)):
        if kind is OpKind.LITERAL:
            origin = start
        elif kind is OpKind.FILL:
            origin %= 256
        ops.append(Op(start, origin, length, kind))
        start += length
    return list(joined(ops)), start


@st.composite
def small_limits(draw: st.DrawFn) -> PartLimits:
    grain = draw(st.sampled_from([1, 1, 2, 3]))
    part_min = draw(st.integers(1, 6))
    shortest = -(-part_min // grain) * grain
    return PartLimits(
        part_min=part_min,
        part_max=draw(st.integers(2 * shortest + grain - 1, 6 * shortest + grain)),
        count_max=draw(st.sampled_from([30, 60, 10_000])),
        grain=grain,
        copy_min=draw(st.integers(1, 8)),
        mixed_bytes=draw(st.integers(1, 30)),
        mixed_bytes_max=draw(st.integers(1, 60)),
        copies=draw(st.sampled_from([True, True, True, False])),
    )


def check_legal(ops: list[Op], size: int, limits: PartLimits, parts: list[Part]) -> None:
    assert 1 <= len(parts) <= limits.count_max
    assert parts[0].start == 0
    assert parts[-1].stop == size
    for part, following in zip(parts, parts[1:], strict=False):
        assert part.stop == following.start
        assert part.stop % limits.grain == 0
        assert part.stop - part.start >= limits.part_min
    packed = pack_ops(ops)
    for part in parts:
        assert part.stop - part.start <= limits.part_max
        pieces = pieces_of(packed, part)
        assert sum(piece.length for piece in pieces) == part.stop - part.start
        if part.is_copied:
            assert limits.copies
            assert pieces == [Op(part.start, part.origin, part.stop - part.start, OpKind.COPY)]


def sent_bytes(ops: list[Op], parts: list[Part]) -> int:
    packed = pack_ops(ops)
    return sum(
        piece.length
        for part in parts
        if not part.is_copied
        for piece in pieces_of(packed, part)
        if piece.kind is OpKind.LITERAL
    )


def literal_bytes(ops: list[Op]) -> int:
    return sum(op.length for op in ops if op.kind is OpKind.LITERAL)


@given(operations(40), small_limits())
def test_parts_are_legal_and_send_the_literals_only(
    made: tuple[list[Op], int], limits: PartLimits
) -> None:
    ops, size = made
    if size > limits.longest * limits.count_max:
        return
    parts = plan_parts(ops, size, limits)
    check_legal(ops, size, limits, parts)
    assert sent_bytes(ops, parts) == literal_bytes(ops)


def most_copied(ops: list[Op], size: int, limits: PartLimits) -> int:
    """By trying every cut: the most bytes that parts of these operations can copy."""
    cuts = sorted({*range(0, size, limits.grain), size})
    best = {0: 0}
    for stop in cuts[1:]:
        found = []
        for start in cuts[: cuts.index(stop)]:
            if start not in best:
                continue
            length = stop - start
            if stop == size or length >= limits.shortest:
                found.append(best[start])
            whole = any(
                op.kind is OpKind.COPY and op.start <= start and stop <= op.stop for op in ops
            )
            if whole and (stop == size or length >= limits.shortest_copy):
                found.append(best[start] + length)
        if found:
            best[stop] = max(found)
    return best[size]


@given(operations(12), st.integers(1, 5), st.integers(1, 7), st.sampled_from([1, 1, 2]))
def test_as_much_is_copied_as_can_be(
    made: tuple[list[Op], int], part_min: int, copy_min: int, grain: int
) -> None:
    ops, size = made
    limits = PartLimits(part_min=part_min, copy_min=copy_min, grain=grain)
    parts = plan_parts(ops, size, limits)
    copied = sum(part.stop - part.start for part in parts if part.is_copied)
    assert copied == most_copied(ops, size, limits)


@given(operations(60 * MIB, 30), st.sampled_from([1, MIB]))
def test_real_arithmetic(made: tuple[list[Op], int], grain: int) -> None:
    ops, size = made
    limits = PartLimits(grain=grain)
    parts = plan_parts(ops, size, limits)
    check_legal(ops, size, limits, parts)


@given(operations(4 * TIB, 12), st.sampled_from([1, MIB]))
def test_huge_objects(made: tuple[list[Op], int], grain: int) -> None:
    ops, size = made
    limits = PartLimits(grain=grain)
    if size <= limits.longest * limits.count_max:
        parts = plan_parts(ops, size, limits)
        check_legal(ops, size, limits, parts)


@given(operations(50), st.integers(0, 20), st.integers(1, 60))
def test_near_reads_bring_every_copied_piece(
    made: tuple[list[Op], int], gap_bytes: int, read_bytes: int
) -> None:
    ops, _ = made
    reads = near_reads(ops, gap_bytes=gap_bytes, read_bytes=read_bytes)
    served = [piece for read in reads for piece in read.pieces]
    assert sorted(served) == [op for op in ops if op.kind is OpKind.COPY]
    for read in reads:
        assert read.start == min(piece.origin for piece in read.pieces)
        assert read.stop == max(piece.origin + piece.length for piece in read.pieces)
        assert len(read.pieces) == 1 or read.stop - read.start <= read_bytes

"""Parts of an upload: the cases that people think of."""

import pytest

from mover.delta.model import Op, OpKind, joined, pack_ops
from mover.delta.parting import (
    MIB,
    MIXED,
    Part,
    PartLimits,
    near_reads,
    pieces_of,
    plan_composed,
    plan_parts,
)

GIB = 1024 * MIB
COPY, LITERAL, FILL = OpKind.COPY, OpKind.LITERAL, OpKind.FILL
S3 = PartLimits()
ON_MIB = PartLimits(grain=MIB)


def copied_bytes(parts: list[Part]) -> int:
    return sum(part.stop - part.start for part in parts if part.is_copied)


def edited(size: int, places: list[int], length: int = 100) -> list[Op]:
    """An object that differs from its basis by overwritten ranges."""
    ops, end = [], 0
    for place in places:
        ops += [Op(end, end, place - end, COPY), Op(place, place, length, LITERAL)]
        end = place + length
    return list(joined([*ops, Op(end, end, size - end, COPY)]))


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([], [Part(0, 0)]),
        ([Op(0, 7, 100, COPY)], [Part(0, 100, 7)]),
        ([Op(0, 0, 100, LITERAL)], [Part(0, 100)]),
        # An insertion at the head: the mixed part grows to the least size.
        (
            [Op(0, 0, 8, LITERAL), Op(8, 0, 20 * MIB, COPY)],
            [Part(0, 5 * MIB), Part(5 * MIB, 20 * MIB + 8, 5 * MIB - 8)],
        ),
        # An append: the last part is free.
        (
            [Op(0, 0, 20 * MIB, COPY), Op(20 * MIB, 20 * MIB, 3, LITERAL)],
            [Part(0, 20 * MIB, 0), Part(20 * MIB, 20 * MIB + 3)],
        ),
        # A change close to the end leaves a short copy as the last part.
        (
            [
                Op(0, 0, 20 * MIB, COPY),
                Op(20 * MIB, 20 * MIB, 5 * MIB, LITERAL),
                Op(25 * MIB, 0, 9, COPY),
            ],
            [Part(0, 20 * MIB, 0), Part(20 * MIB, 25 * MIB), Part(25 * MIB, 25 * MIB + 9, 0)],
        ),
        # Two copies that touch need nothing between them.
        (
            [Op(0, 0, 6 * MIB, COPY), Op(6 * MIB, 90 * MIB, 6 * MIB, COPY)],
            [Part(0, 6 * MIB, 0), Part(6 * MIB, 12 * MIB, 90 * MIB)],
        ),
        # A short copy between changes is not worth a part, but for near reads.
        (
            [
                Op(0, 0, 4 * MIB, LITERAL),
                Op(4 * MIB, 0, 4 * MIB, COPY),
                Op(8 * MIB, 8 * MIB, 4 * MIB, LITERAL),
            ],
            [Part(0, 12 * MIB)],
        ),
    ],
)
def test_plain_cases(ops: list[Op], expected: list[Part]) -> None:
    size = ops[-1].stop if ops else 0
    assert plan_parts(ops, size, S3) == expected


def test_cuts_lie_on_the_ladder() -> None:
    ops = edited(100 * MIB + 5, [50 * MIB + 77])
    parts = plan_parts(ops, 100 * MIB + 5, ON_MIB)
    assert [part.is_copied for part in parts] == [True, False, True]
    assert all(part.stop % MIB == 0 for part in parts[:-1])
    assert copied_bytes(parts) == 95 * MIB + 5


def test_just_over_the_largest_part_is_halved() -> None:
    size = 5 * GIB + 1
    parts = plan_parts([Op(0, 3, size, COPY)], size, S3)
    assert [part.stop - part.start for part in parts] == [(5 * GIB) // 2, (5 * GIB) // 2 + 1]
    assert [part.origin for part in parts] == [3, 3 + 5 * GIB // 2]


def test_the_largest_object_of_copies_and_of_literals() -> None:
    size = 10_000 * 5 * GIB  # 48.8 TiB
    for kind in (COPY, LITERAL):
        parts = plan_parts([Op(0, 0, size, kind)], size, ON_MIB)
        assert len(parts) == 10_000
        assert {part.stop - part.start for part in parts} == {5 * GIB}
    with pytest.raises(ValueError, match="more than 10000 parts"):
        plan_parts([Op(0, 0, size + 1, COPY)], size + 1, ON_MIB)


def test_more_changes_than_parts() -> None:
    size = 1024 * GIB
    step = size // 25_000
    ops = edited(size, [place + place // 7 % step // 2 for place in range(step, size - step, step)])
    assert sum(op.kind is LITERAL for op in ops) > 20_000
    parts = plan_parts(ops, size, ON_MIB)
    assert len(parts) <= 10_000
    assert parts[0].start == 0
    assert parts[-1].stop == size
    assert copied_bytes(parts) > size // 12


def test_where_parts_are_not_copied_all_are_mixed() -> None:
    parts = plan_parts([Op(0, 0, 100 * MIB, COPY)], 100 * MIB, PartLimits(copies=False))
    assert {part.origin for part in parts} == {MIXED}
    assert max(part.stop - part.start for part in parts) <= 16 * MIB


def test_limits_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        PartLimits(part_min=5 * MIB, part_max=9 * MIB)
    with pytest.raises(ValueError, match="begin at 1"):
        PartLimits(count_max=0)


def test_pieces_are_cut_to_their_part() -> None:
    ops = pack_ops([Op(0, 50, 10, COPY), Op(10, 10, 5, LITERAL), Op(15, 7, 20, FILL)])
    assert pieces_of(ops, Part(4, 20)) == [
        Op(4, 54, 6, COPY),
        Op(10, 10, 5, LITERAL),
        Op(15, 7, 5, FILL),
    ]
    assert pieces_of(ops, Part(0, 0)) == []
    assert pieces_of(b"", Part(0, 0)) == []


def test_reads_that_lie_close_come_together() -> None:
    first, second, far = Op(0, 900, 50, COPY), Op(60, 700, 150, COPY), Op(300, 5_000, 9, COPY)
    reads = near_reads([first, second, far], gap_bytes=50, read_bytes=1_000)
    assert [(read.start, read.stop) for read in reads] == [(700, 950), (5_000, 5_009)]
    assert reads[0].pieces == [second, first]


TAIL = [Op(10 * MIB, 10 * MIB, 40 * MIB, OpKind.LITERAL)]
WHOLE = Op(0, 0, 10 * MIB, OpKind.COPY)


@pytest.mark.parametrize(
    ("ops", "size", "count"),
    [
        ([WHOLE, *TAIL], 50 * MIB, 1 + 3),
        ([WHOLE, Op(10 * MIB, 10 * MIB, 1, OpKind.LITERAL)], 10 * MIB + 1, 1 + 1),
        ([WHOLE, Op(10 * MIB, 0, 10 * MIB, OpKind.COPY)], 20 * MIB, 1 + 1),  # the basis twice
        ([WHOLE], 10 * MIB, None),
        ([Op(0, 0, 9 * MIB, OpKind.COPY), Op(9 * MIB, 0, MIB, OpKind.FILL)], 10 * MIB, None),
        ([Op(0, 0, MIB, OpKind.LITERAL), Op(MIB, 0, 10 * MIB, OpKind.COPY)], 11 * MIB, None),
        ([Op(0, 1, 10 * MIB, OpKind.COPY), *TAIL], 50 * MIB, None),
        ([WHOLE, Op(10 * MIB, 0, 1 << 40, OpKind.FILL)], (10 * MIB) + (1 << 40), None),
        ([], 0, None),
    ],
)
def test_what_only_grew_is_its_basis_and_a_few_parts(
    ops: list[Op], size: int, count: int | None
) -> None:
    parts = plan_composed(ops, size, 10 * MIB, PartLimits(count_max=32))
    if parts is None:
        assert count is None
        return
    assert len(parts) == count
    assert parts[0] == Part(0, 10 * MIB, 0)
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert parts[-1].stop == size
    assert not any(part.is_copied for part in parts[1:])

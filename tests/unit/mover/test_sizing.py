"""Parts cover an object exactly, within what the store allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.sizing import CHUNK_BYTES, PART_BYTES, PartPlan, plan_parts
from transports.model import Capabilities

MIB, GIB, TIB = 1024**2, 1024**3, 1024**4
S3 = Capabilities(scheme="s3")


@pytest.mark.parametrize(
    ("size", "wished", "part", "count"),
    [
        (1, 0, PART_BYTES, 1),
        (GIB, 0, PART_BYTES, 128),
        (GIB, 64 * MIB, 64 * MIB, 16),
        (GIB, 1 * MIB, 5 * MIB, 205),  # below the store's minimum
        (5 * TIB, 0, 583 * MIB, 8993),
    ],
)
def test_sizes(size: int, wished: int, part: int, count: int) -> None:
    plan = plan_parts(size, S3, wished_bytes=wished)
    assert (plan.part_bytes, plan.count) == (part, count)


def test_too_large() -> None:
    with pytest.raises(ValueError, match="more than the"):
        plan_parts(5 * TIB + 1, S3)


@given(st.integers(1, 5 * TIB), st.integers(0, GIB))
def test_parts_cover_the_object(size: int, wished: int) -> None:
    plan = plan_parts(size, S3, wished_bytes=wished)
    assert plan.count <= S3.part_count_max
    assert plan.part(1).range.start == 0
    assert plan.part(plan.count).range.stop == size
    assert S3.part_size_min <= plan.part_bytes <= S3.part_size_max
    runs = plan.runs(CHUNK_BYTES)
    assert runs[0][0] == 1
    assert runs[-1][1] == plan.count
    assert all(last + 1 == first for (_, last), (first, _) in zip(runs, runs[1:], strict=False))


@given(st.integers(1, 20 * GIB), st.integers(5 * MIB, 64 * MIB))
def test_tapered_runs_cover_every_part_and_never_grow(size: int, part_bytes: int) -> None:
    plan = PartPlan(size=size, part_bytes=part_bytes)
    runs = plan.runs(tapered=True)
    assert [n for first, last in runs for n in range(first, last + 1)] == list(
        range(1, plan.count + 1)
    )
    lengths = [last + 1 - first for first, last in runs]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == 1

"""How ranges are read: near ones together, a bounded number and a bounded part of them at a time."""

import asyncio

import pytest

from mover.delta.model import Op, OpKind, pack_ops
from mover.delta_inputs import Input, Take
from mover.delta_levels import Row, Span
from mover.delta_scanning import (
    BATCH_BYTES,
    BATCH_READS,
    GAP_BYTES,
    SAMPLE_BYTES,
    SAMPLES,
    RowInput,
    near_spans,
    packed_share,
    row_batches,
    sample_spans,
)

FAR = GAP_BYTES + 2


class Counted(Input):
    """An object whose bytes tell where they stand, and what was read of it."""

    def __init__(self) -> None:
        self.name = "counted"
        self.size = 1 << 40
        self.reads: list[Span] = []

    async def read(self, start: int, stop: int) -> bytes:
        self.reads.append((start, stop))
        return bytes((start + at) % 251 for at in range(stop - start))

    async def pour(self, take: Take) -> None:
        raise AssertionError("nobody reads all of it")


@pytest.mark.parametrize(
    ("spans", "batches"),
    [
        ([], []),
        ([(5, 6), (9, 12)], [[(5, 6), (9, 12)]]),
        (
            [(FAR * n, FAR * n + 1) for n in range(BATCH_READS + 1)],
            [BATCH_READS, 1],
        ),
        (
            [(2 * n, 2 * n + 1) for n in range(10 * BATCH_READS)],
            [10 * BATCH_READS],
        ),
        (
            [(0, 2 * BATCH_BYTES + 3)],
            [
                [(0, BATCH_BYTES)],
                [(BATCH_BYTES, 2 * BATCH_BYTES)],
                [(2 * BATCH_BYTES, 2 * BATCH_BYTES + 3)],
            ],
        ),
    ],
)
def test_batches(spans: list[Span], batches: list[list[Span]] | list[int]) -> None:
    found = list(row_batches(spans))
    assert [len(batch) if isinstance(batches[0], int) else batch for batch in found] == batches


def test_gaps_that_are_read_through_count() -> None:
    spans = [(n * GAP_BYTES, n * GAP_BYTES + 1) for n in range(1000)]
    for batch in row_batches(spans):
        assert sum(stop - start for start, stop in near_spans(batch)) <= BATCH_BYTES + GAP_BYTES


def test_near_ranges_come_in_one_read() -> None:
    spans = [(n * 1000, n * 1000 + 7) for n in range(50)] + [(FAR * 9, FAR * 9 + 5)]
    inner, row = Counted(), Row.of(spans)
    given = RowInput(inner, row)
    found = bytearray()

    async def take(piece: memoryview) -> None:
        found.extend(piece)

    asyncio.run(given.pour(take))
    assert inner.reads == [(0, 49_007), spans[-1]]
    assert given.requests == 2
    assert bytes(found) == b"".join(
        bytes(at % 251 for at in range(start, stop)) for start, stop in spans
    )


def test_samples_are_from_all_over() -> None:
    ops = [Op(at, at, 40_000, OpKind.LITERAL) for at in range(0, 40_000_000, 40_000)]
    spans = sample_spans(pack_ops(ops))
    assert len(spans) == SAMPLES
    assert {stop - start for start, stop in spans} == {SAMPLE_BYTES}
    assert spans[-1][0] > 30_000_000
    assert sample_spans(pack_ops([Op(0, 0, 9, OpKind.COPY)])) == []


@pytest.mark.parametrize(
    ("samples", "low", "high"),
    [([], 1.0, 1.0), ([b"x" * 9999], 0.0, 0.01), ([bytes(range(7))], 1.0, 1.0)],
)
def test_how_well_samples_pack(samples: list[bytes], low: float, high: float) -> None:
    assert low <= packed_share(samples) <= high

"""Two versions read by ranges: whatever they are, what is written makes the new one of the old one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mover.delta import elements, kernel
from mover.delta.aligning import Look, Piece, Regions, Seen, Shape, Window
from mover.delta.model import Op, OpKind, SignatureHead, pack_ops, unpack_ops
from mover.delta.surveying import Survey, in_batches, survey, windowed
from mover.delta_inputs import StoreInput
from mover.delta_pairing import Pairing
from mover.delta_parcels import parcel_writer
from mover.delta_receiving import received
from mover.depots import Depot
from tests.property.test_delta_aligning import versions
from tests.unit.mover.engine import entries_of, fill
from transports.memory import MemoryTransport
from transports.model import ByteRange

WINDOW_BYTES = 512


@pytest.fixture(scope="module", autouse=True)
def small_windows() -> object:
    """So that versions of some kilobytes have many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "BYTES_MAX", WINDOW_BYTES)
        patch.setattr("mover.delta_receiving.RUN_BYTES", 3 * WINDOW_BYTES)
        patch.setattr("mover.delta_pairing.BATCH_BYTES", 4 * WINDOW_BYTES)
        yield


async def paired(old: bytes, new: bytes, cuts: Sequence[int]) -> tuple[bytes, int]:
    """The new version as a patch would make it between the cuts, and what the survey expected."""
    near, far = MemoryTransport(), MemoryTransport()
    await fill(near, {"old": old, "new": new})
    await fill(far, {"old": old})
    entries, basis = await entries_of(near), (await entries_of(far))["old"]
    inputs = (StoreInput(near, entries[name]) for name in ("old", "new"))
    pairing = Pairing(next(inputs), len(old), next(inputs), len(new))
    index, digest = await pairing.index()
    scanned = await pairing.scan(index)
    assert scanned is not None
    found = await pairing.survey(scanned)
    async with parcel_writer(Depot(far), "delta") as writer:
        delta = await pairing.write(scanned, found, digest, writer)
        parcel = await writer.finish()
    assert (
        delta.literal_bytes + delta.copied_bytes + delta.filled_bytes + delta.changed_bytes
        == len(new)
    )
    made = bytearray(len(new))
    async with received(Depot(far), parcel, size=len(new), basis=basis) as came:
        for op in unpack_ops(came.ops):
            if op.kind is OpKind.COPY:
                made[op.start : op.stop] = old[op.origin : op.origin + op.length]
            elif op.kind is OpKind.FILL:
                made[op.start : op.stop] = bytes([op.origin]) * op.length
            else:
                edges = [op.start, *(at for at in cuts if op.start < at < op.stop), op.stop]
                for start, stop in zip(edges, edges[1:], strict=False):
                    room = memoryview(made)[start:stop]
                    await came.literals.fill(ByteRange(start, stop), room)
    return bytes(made), found.literal_bytes


@given(versions(), st.lists(st.integers(0, 40_000), max_size=8))
@settings(max_examples=100, deadline=None)
def test_whatever_changed_comes_back(given: tuple[bytes, bytes], cuts: list[int]) -> None:
    old, new = given
    if not old or not new:
        return
    made, expected = asyncio.run(paired(old, new, sorted(set(cuts))))
    assert made == new
    assert 0 <= expected <= len(new)


def test_what_is_expected_is_near_what_is_told() -> None:
    source = random.Random(1)
    old = source.randbytes(400_000)
    new = bytearray(old)
    for at in source.sample(range(0, len(new), 2), 2_000):
        new[at] ^= 1
    made, expected = asyncio.run(paired(old, bytes(new), []))
    assert made == new
    assert 1_000 < expected < 0.03 * len(new)


def answered(ops: bytes, old: bytes, new: bytes) -> Survey:
    asking = survey(ops, Shape(len(old), len(new)))
    seen: list[Seen] | None = None
    while True:
        try:
            looks = next(asking) if seen is None else asking.send(seen)
        except StopIteration as end:
            found: Survey = end.value
            return found
        seen = [see(look, old, new) for look in looks]


def see(look: Look, old: bytes, new: bytes) -> Seen:
    assert 0 <= look.start <= look.start + look.length <= len(new)
    assert 0 <= look.origin <= look.origin + look.length <= len(old)
    return (
        memoryview(old)[look.origin : look.origin + look.length],
        memoryview(new)[look.start : look.start + look.length],
    )


@given(versions(), st.integers(1, 4), st.integers(100, 5_000), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_batches_hold_all_and_no_more_than_they_may(
    given: tuple[bytes, bytes], reads: int, room: int, items: int
) -> None:
    old, new = given
    room = max(room, 2 * WINDOW_BYTES)
    signature = kernel.sign(old, SignatureHead(size=len(old), block_bytes=500))
    ops = kernel.scan(kernel.Index(signature), new)
    found = answered(ops, old, new)
    at = 0
    pieces = windowed(ops, found.pieces)
    for batch in in_batches(pieces, bytes_max=room, reads_max=reads, items_max=items):
        assert 0 < len(batch) <= items
        wanted = [item for item in batch if isinstance(item, Window) or item.kind is OpKind.LITERAL]
        assert len(wanted) <= reads
        assert (
            sum((item.stop - item.start) * (1 + isinstance(item, Window)) for item in wanted)
            <= room
        )
        for item in batch:
            assert item.start == at
            at = item.stop
    assert at == len(new)


def test_a_region_of_very_many_operations_is_cut() -> None:
    ops: list[Op] = []
    for number in range(120_000):
        start = 20 * number
        ops.append(Op(start, start, 10, OpKind.LITERAL))
        ops.append(Op(start + 10, start + 10, 10, OpKind.COPY))
    regions = list(Regions().of(ops))
    assert max(len(region.ops) for region in regions) <= 50_000
    assert [op for region in regions for op in region.ops] == ops
    assert list(windowed(pack_ops(ops), list[Piece]())) == ops

"""Any operations over any basis make the object that they say, whatever the store copies."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from mover.budget import ByteBudget
from mover.delta.model import Op, OpKind, joined, pack_ops
from mover.delta.parting import PartLimits
from mover.delta_ladders import ladder_of
from mover.delta_patches import Patch
from mover.delta_patching import Patcher
from transports import digests
from transports.memory import MemoryTransport
from transports.model import ByteRange, Checksum
from transports.testing import contents, put

BASIS = random.Random(3).randbytes(600)


@st.composite
def operations(draw: st.DrawFn) -> list[Op]:
    ops, start = [], 0
    shapes = st.tuples(st.sampled_from(OpKind), st.integers(1, 200), st.integers(0, 599))
    for kind, wished, origin in draw(st.lists(shapes, max_size=8)):
        length = min(wished, len(BASIS) - origin) if kind is OpKind.COPY else wished
        place = {OpKind.COPY: origin, OpKind.LITERAL: start, OpKind.FILL: origin % 256}[kind]
        ops.append(Op(start, place, length, kind))
        start += length
    return list(joined(ops))


def made_by(ops: list[Op]) -> bytes:
    """The object, by the plainest reading of its operations."""
    draw = random.Random(4)
    new = bytearray()
    for op in ops:
        if op.kind is OpKind.COPY:
            new += BASIS[op.origin : op.origin + op.length]
        elif op.kind is OpKind.FILL:
            new += bytes([op.origin]) * op.length
        else:
            new += draw.randbytes(op.length)
    return bytes(new)


@given(
    operations(),
    st.builds(
        PartLimits,
        copy_min=st.integers(1, 100),
        mixed_bytes=st.integers(1, 300),
        copies=st.booleans(),
    ),
    st.booleans(),
)
def test_the_object_is_made(ops: list[Op], limits: PartLimits, ladder: bool) -> None:
    new = made_by(ops)

    async def send(span: ByteRange, buffer: memoryview) -> None:
        literal = {b for op in ops if op.kind is OpKind.LITERAL for b in range(op.start, op.stop)}
        assert literal.issuperset(range(span.start, span.stop))
        buffer[:] = new[span.start : span.stop]

    async def scene() -> None:
        store = MemoryTransport()
        await put(store, {"x": BASIS})
        basis = (await store.head("x")).entry
        patch = Patch(
            key="x",
            size=len(new),
            ops=pack_ops(ops),
            basis=basis,
            whole=Checksum("crc64nvme", digests.crc64nvme_hex(new)),
            ladder=ladder_of(memoryview(new)) if ladder else (),
            replaces=basis,
        )
        work = Patcher(
            target=store,
            near=store,
            literals=send,
            budget=ByteBudget(1_000),
            token="patch",
            limits=limits,
        )
        done = await work.run(patch)
        assert await contents(store) == {"x": new}
        literals = sum(op.length for op in ops if op.kind is OpKind.LITERAL)
        assert done.counts.literal_bytes == literals
        assert store.store.uploads == {}

    asyncio.run(scene())

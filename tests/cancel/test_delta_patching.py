"""A patch that is cancelled leaves the old object or the new one, and no upload."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from mover.budget import ByteBudget
from mover.delta.model import Op, OpKind, pack_ops
from mover.delta.parting import MIB, PartLimits
from mover.delta_ladders import ladder_of
from mover.delta_patching import Patch, Patcher
from transports import digests
from transports.local import LocalTransport
from transports.memory import MemoryTransport
from transports.model import ByteRange, Checksum
from transports.s3 import open_s3
from transports.testing import put
from transports.testing.support import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from transports.base import Transport

OLD = some_bytes(17 * MIB)
NEW = OLD[: 6 * MIB] + b"inserted" + OLD[6 * MIB :]
OPS = pack_ops(
    [
        Op(0, 0, 6 * MIB, OpKind.COPY),
        Op(6 * MIB, 6 * MIB, 8, OpKind.LITERAL),
        Op(6 * MIB + 8, 6 * MIB, 11 * MIB, OpKind.COPY),
    ]
)


@pytest.fixture(params=["memory", "local", "seaweed"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Transport]:
    transport: Transport
    if request.param == "memory":
        transport = MemoryTransport()
    elif request.param == "local":
        transport = LocalTransport(tmp_path / "root", token="patch", create=True)
    else:
        bucket = request.getfixturevalue("seaweed_bucket")
        transport = await open_s3(
            bucket=bucket.name,
            prefix="root/",
            options={"endpoint_url": bucket.server.endpoint_url},
            environment=bucket.server.environment(),
        )
    yield transport
    await transport.close()


async def send(span: ByteRange, buffer: memoryview) -> None:
    buffer[:] = NEW[span.start : span.stop]


async def content(store: Transport) -> bytes:
    entry = (await store.head("x")).entry
    data = bytearray(entry.size)
    await store.read_into(entry, ByteRange(0, entry.size), memoryview(data))
    return bytes(data)


@pytest.mark.parametrize("wait", [0, 1, 2, 4, 8, 16, 32, 64, 0.005, 0.02, 0.05, 0.1])
async def test_a_cancelled_patch(store: Transport, wait: float) -> None:
    await put(store, {"x": OLD})
    basis = (await store.head("x")).entry
    patch = Patch(
        key="x",
        size=len(NEW),
        ops=OPS,
        basis=basis,
        whole=Checksum("crc64nvme", digests.crc64nvme_hex(NEW)),
        ladder=ladder_of(memoryview(NEW)),
        replaces=basis,
    )
    budget = ByteBudget(64 * MIB)
    work = Patcher(
        target=store,
        near=store,
        literals=send,
        budget=budget,
        token="patch",
        limits=PartLimits(mixed_bytes=5 * MIB),
    )
    async with asyncio.TaskGroup() as group:
        patching = group.create_task(work.run(patch), name="patching")
        if wait >= 1:
            for _ in range(int(wait)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(wait)
        patching.cancel()
    assert await content(store) in (OLD, NEW)
    assert list(await store.list_uploads()) == []
    assert budget.reserved_bytes == 0
    with contextlib.suppress(asyncio.CancelledError):
        if await content(store) == OLD:
            await work.run(patch)
    assert await content(store) == NEW

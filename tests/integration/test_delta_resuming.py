"""A patch whose process dies is gone on with at real stores, by the parts that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mover.beside import first_leaf
from mover.budget import ByteBudget
from mover.delta.model import Op, OpKind, pack_ops
from mover.delta.parting import MIB, PartLimits
from mover.delta_keeping import Keeper
from mover.delta_ladders import ladder_of
from mover.delta_patches import Patch
from mover.delta_patching import Patcher
from transports import digests
from transports.decorator import Decorator
from transports.errors import Corrupt, Unavailable
from transports.faults import Fault, Faults
from transports.local import LocalTransport
from transports.memory import MemoryTransport
from transports.model import ByteRange, Checksum, Entry, PartReceipt, PartSpec
from transports.record import Record
from transports.s3 import open_s3
from transports.testing import put
from transports.testing.support import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mover.delta_tasks import OpenUpload
    from transports.base import Pace, Transport

OLD = some_bytes(23 * MIB)
EDIT = b"inserted"
NEW = OLD[: 8 * MIB] + EDIT + OLD[8 * MIB :]
OPS = pack_ops(
    [
        Op(0, 0, 8 * MIB, OpKind.COPY),
        Op(8 * MIB, 8 * MIB, 8, OpKind.LITERAL),
        Op(8 * MIB + 8, 8 * MIB, 15 * MIB, OpKind.COPY),
    ]
)
PATCH = Patch(
    key="x",
    size=len(NEW),
    ops=OPS,
    basis=Entry("x", len(OLD), 0),
    whole=Checksum("crc64nvme", digests.crc64nvme_hex(NEW)),
    ladder=ladder_of(memoryview(NEW)),
)


class Killed(BaseException):
    """Nothing of the process goes on."""


class Mortal(Decorator):
    """Dies after so many parts; who is dead drops nothing."""

    def __init__(self, inner: Transport, lives: int) -> None:
        super().__init__(inner)
        self.lives = lives

    def _count(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise Killed

    async def write_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        data: memoryview,
        *,
        sparse: bool = False,
        pace: Pace | None = None,
    ) -> PartReceipt:
        self._count()
        return await super().write_part(key, upload_id, part, data, sparse=sparse, pace=pace)

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        self._count()
        return await super().copy_part(key, upload_id, part, entry, span, source)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        if self.lives >= 0:
            await super().abort_upload(key, upload_id)


class Kept(Keeper):
    outlives_failure = True

    async def keep(self, upload: OpenUpload) -> bool:
        self.left = upload
        return True

    async def forget(self) -> None:
        self.left = None


@pytest.fixture(autouse=True)
def _noted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "every_s", 0.0)
    monkeypatch.setattr("mover.delta_keeping.NOTE_SHARE", 0.0)


@pytest.fixture(params=["memory", "local", "seaweed", "moto"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Transport]:
    transport: Transport
    if request.param == "memory":
        transport = MemoryTransport()
    elif request.param == "local":
        transport = LocalTransport(tmp_path / "root", token="patch", create=True)
    else:
        bucket = request.getfixturevalue(f"{request.param}_bucket")
        transport = await open_s3(
            bucket=bucket.name,
            prefix="root/",
            options={"endpoint_url": bucket.server.endpoint_url},
            environment=bucket.server.environment(),
        )
    await put(transport, {"x": OLD})
    yield transport
    await transport.close()


def patcher(target: Transport, keeper: Keeper | None) -> Patcher:
    async def send(span: ByteRange, buffer: memoryview) -> None:
        buffer[:] = NEW[span.start : span.stop]

    return Patcher(
        target=target,
        near=target,
        literals=send,
        budget=ByteBudget(64 * MIB),
        token="patch",
        limits=PartLimits(mixed_bytes=5 * MIB),
        keeper=keeper,
    )


async def patch_of(store: Transport) -> Patch:
    from dataclasses import replace

    basis = (await store.head("x")).entry
    return replace(PATCH, basis=basis, replaces=basis)


async def content(store: Transport) -> bytes:
    entry = (await store.head("x")).entry
    data = bytearray(entry.size)
    await store.read_into(entry, ByteRange(0, entry.size), memoryview(data))
    return bytes(data)


async def die(store: Transport, keeper: Keeper, *, lives: int = 2) -> OpenUpload:
    """Patch until death; what was kept. A part that others were making then may be missing."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - the leaf is looked at
        await patcher(Mortal(store, lives), keeper).run(await patch_of(store))
    assert isinstance(first_leaf(raised.value), Killed)
    assert await content(store) == OLD
    assert keeper.left is not None
    assert keeper.left.parts
    return keeper.left


async def test_what_was_brought_is_not_brought_again(store: Transport) -> None:
    keeper = Kept()
    left = await die(store, keeper)
    recorded = Record(store)
    done = await patcher(recorded, keeper).run(await patch_of(store))
    # A disk does not tell the checksum of what it copied by itself.
    assert done.counts.kept_parts == (0 if store.capabilities.local else len(left.parts))
    calls = recorded.log.counts
    assert (
        calls["write_part"] + calls["copy_part"]
        == done.counts.mixed_parts + done.counts.copied_parts
    )
    assert calls["begin_upload"] == 0
    assert await content(store) == NEW
    assert keeper.left is None
    assert list(await store.list_uploads()) == []


async def test_an_upload_that_is_gone_is_begun_anew(store: Transport) -> None:
    keeper = Kept()
    left = await die(store, keeper)
    await store.abort_upload("x", left.upload_id)
    done = await patcher(store, keeper).run(await patch_of(store))
    assert done.counts.kept_parts == 0
    assert await content(store) == NEW
    assert list(await store.list_uploads()) == []


async def test_parts_that_were_written_over_are_made_again(store: Transport) -> None:
    keeper = Kept()
    left = await die(store, keeper)
    first = left.parts[0]
    spec = PartSpec(number=first.number, range=ByteRange(first.start, first.start + first.size))
    await store.write_part("x", left.upload_id, spec, memoryview(bytes(first.size)))
    done = await patcher(store, keeper).run(await patch_of(store))
    assert done.counts.kept_parts < len(left.parts)
    assert await content(store) == NEW


async def test_a_failure_for_now_leaves_the_upload_to_the_next_attempt(store: Transport) -> None:
    keeper = Kept()
    faulty = Faults(store, [Fault(verb="finish_upload", error=Unavailable("x", "away"))])
    with pytest.raises(Unavailable):
        await patcher(faulty, keeper).run(await patch_of(store))
    assert keeper.left is not None
    done = await patcher(store, keeper).run(await patch_of(store))
    assert done.counts.mixed_parts == 0
    assert done.counts.copied_parts == (2 if store.capabilities.local else 0)
    assert await content(store) == NEW


async def test_a_failure_for_good_leaves_nothing(store: Transport) -> None:
    keeper = Kept()
    error = Corrupt("x", algorithm="crc64nvme", expected="1", actual="2")
    faulty = Faults(store, [Fault(verb="finish_upload", error=error)])
    with pytest.raises(Corrupt):
        await patcher(faulty, keeper).run(await patch_of(store))
    assert keeper.left is None
    assert list(await store.list_uploads()) == []
    assert await content(store) == OLD


@pytest.mark.parametrize("store", ["memory", "local", "seaweed"], indirect=True)  # moto: HTTP 500
async def test_an_upload_that_goes_away_meanwhile_is_begun_anew(store: Transport) -> None:
    """Who does not know that it has lost its task may still drop the upload."""
    keeper = Kept()
    await die(store, keeper)

    class Dropped(Decorator):
        async def list_parts(self, key: str, upload_id: str) -> list[PartReceipt]:
            found = list(await super().list_parts(key, upload_id))
            await store.abort_upload(key, upload_id)
            return found

    await patcher(Dropped(store), keeper).run(await patch_of(store))
    assert await content(store) == NEW
    assert list(await store.list_uploads()) == []

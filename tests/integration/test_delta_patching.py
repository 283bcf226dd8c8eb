"""Objects patched at real stores: byte for byte, proved before they are visible, or not at all."""

from __future__ import annotations

import functools
import random
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import pytest

from mover.budget import ByteBudget
from mover.delta.model import Op, OpKind, joined, pack_ops
from mover.delta.parting import MIB, PartLimits
from mover.delta_ladders import ladder_of
from mover.delta_patches import Patch
from mover.delta_patching import Patcher
from tests.faults.script import Answer, Rule
from transports import digests
from transports.decorator import Decorator
from transports.errors import Changed, Corrupt, Invalid, Unavailable, Unsupported
from transports.faults import Fault, Faults
from transports.local import LocalTransport
from transports.memory import MemoryTransport
from transports.model import ByteRange, Checksum, Entry, PartReceipt, PartSpec, Presence
from transports.record import Record
from transports.retry import Retry
from transports.s3 import open_s3
from transports.testing import put

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket, S3Server
    from transports.base import Transport

COPY, LITERAL, FILL = OpKind.COPY, OpKind.LITERAL, OpKind.FILL
KEY = "d/x"


@functools.cache
def drawn(size: int, seed: int) -> tuple[bytes, bytes]:
    """An old object, and a little that is new; drawing them takes longer than a patch in memory."""
    draw = random.Random(seed)
    return draw.randbytes(size), draw.randbytes(1_234)


class Change:
    """An old object, a new one made of it, and the operations that say how."""

    def __init__(self, size: int, seed: int = 5) -> None:
        self.old, fresh = drawn(size, seed)
        half = size // 2
        ops = [
            Op(0, 0, 1_234, LITERAL),
            Op(1_234, 0, half, COPY),
            Op(1_234 + half, 7, 70_000, FILL),
            Op(71_234 + half, half + 9, size - half - 9, COPY),
            Op(71_225 + size, 100, 3_000, COPY),
        ]
        self.ops = list(joined(ops))
        self.new = (
            fresh + self.old[:half] + b"\x07" * 70_000 + self.old[half + 9 :] + self.old[100:3_100]
        )

    def patch(self, basis: Entry, *, ladder: bool = True, ops: Sequence[Op] = ()) -> Patch:
        return Patch(
            key=KEY,
            size=len(self.new),
            ops=pack_ops(ops or self.ops),
            basis=basis,
            whole=Checksum("crc64nvme", digests.crc64nvme_hex(self.new)),
            ladder=ladder_of(memoryview(self.new)) if ladder else (),
            replaces=basis,
        )

    async def send(self, span: ByteRange, buffer: memoryview) -> None:
        buffer[:] = self.new[span.start : span.stop]


def patcher(
    target: Transport, change: Change, *, resends: bool = False, near: Transport | None = None
) -> Patcher:
    return Patcher(
        target=target,
        near=near or target,
        literals=change.send,
        resend=change.send if resends else None,
        budget=ByteBudget(64 * MIB),
        token="patch",
        limits=PartLimits(mixed_bytes=5 * MIB),
    )


async def pinned(store: Transport) -> Entry:
    return (await store.head(KEY)).entry


async def content(store: Transport) -> bytes:
    entry = await pinned(store)
    data = bytearray(entry.size)
    await store.read_into(entry, ByteRange(0, entry.size), memoryview(data))
    return bytes(data)


@pytest.fixture(params=["memory", "local", "seaweed", "moto"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Transport]:
    transport: Transport
    if request.param == "memory":
        transport = MemoryTransport(prefix="root/")
    elif request.param == "local":
        transport = LocalTransport(tmp_path / "root", token="patch", create=True)
    else:
        bucket: Bucket = request.getfixturevalue(f"{request.param}_bucket")
        transport = await s3_of(bucket, bucket.server)
    yield transport
    await transport.close()


async def s3_of(bucket: Bucket, server: S3Server) -> Transport:
    return await open_s3(
        bucket=bucket.name,
        prefix="root/",
        options={"endpoint_url": server.endpoint_url},
        environment=server.environment(),
    )


async def begun(store: Transport, size: int = 17 * MIB + 77) -> tuple[Change, Entry]:
    change = Change(size)
    await put(store, {KEY: change.old})
    return change, await pinned(store)


async def uploads_of(store: Transport) -> list[str]:
    return [each.key for each in await store.list_uploads()]


@pytest.mark.parametrize("ladder", [True, False])
async def test_the_new_object_is_made_near(store: Transport, ladder: bool) -> None:
    change, basis = await begun(store, 23 * MIB + 77)
    log = Record(store)
    done = await patcher(log, change).run(change.patch(basis, ladder=ladder))
    assert await content(store) == change.new
    counts = done.counts
    assert counts.literal_bytes == 1_234
    assert counts.copied_bytes >= 10 * MIB
    assert counts.copied_parts >= 1
    assert counts.requests == sum(log.log.counts.values())
    assert await uploads_of(store) == []


async def test_more_changes_than_a_store_takes_parts(store: Transport) -> None:
    size, step = 24 * MIB, 2_000
    change = Change(size)
    new = bytearray(change.old)
    ops: list[Op] = []
    for place in range(0, size, step):
        stop = min(place + step, size)
        new[place : place + 4] = b"edit"
        ops += [Op(place, place, 4, LITERAL), Op(place + 4, place + 4, stop - place - 4, COPY)]
    change.ops, change.new = ops, bytes(new)
    assert len(ops) > 20_000
    await put(store, {KEY: change.old})
    done = await patcher(store, change).run(change.patch(await pinned(store)))
    assert await content(store) == change.new
    assert done.counts.literal_bytes == 4 * len(range(0, size, step))
    assert done.counts.near_bytes <= size
    assert done.counts.requests < 40


@pytest.mark.parametrize("size", [1, 70, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 11 * MIB])
async def test_objects_of_any_size_shrink_and_grow(store: Transport, size: int) -> None:
    old, new = random.Random(size).randbytes(size), b""
    await put(store, {KEY: old})
    for made in (old[: size // 2] + b"!" + old[size // 2 :], b""):
        basis = await pinned(store)
        half = min(size // 2, len(made))
        ops = [
            Op(0, 0, half, COPY),
            Op(half, half, 1, LITERAL),
            Op(half + 1, half, size - half, COPY),
        ]
        new = made
        change = Change(100_000)
        change.new, change.ops = new, list(joined(ops)) if new else []
        patch = change.patch(basis)
        await patcher(store, change).run(patch)
        assert await content(store) == new


async def test_a_store_that_refuses_copies_is_rewritten_near(store: Transport) -> None:
    change, basis = await begun(store)
    refusing = Faults(store, [Fault(verb="copy_part", times=99, error=Unsupported(KEY, "501"))])
    done = await patcher(refusing, change).run(change.patch(basis))
    assert await content(store) == change.new
    assert (done.counts.copied_bytes, done.counts.refused) == (0, "501")
    assert done.counts.literal_bytes == 1_234
    assert done.counts.near_bytes >= len(change.old) - 9
    assert await uploads_of(store) == []


async def test_a_server_without_the_verb_is_asked_once(
    seaweed_bucket: Bucket, fault_proxy: ProxyFactory
) -> None:
    """The first part goes alone, so what the proxy refuses is the copy."""
    refusal = Answer(status=501, code="NotImplemented")
    rule = Rule(fault=refusal, method="PUT", path="partNumber=", nth={1})
    server = seaweed_bucket.server
    proxy = fault_proxy(server.endpoint_url, rule)
    store = await open_s3(
        bucket=seaweed_bucket.name,
        prefix="root/",
        options={"endpoint_url": proxy.endpoint_url},
        environment=server.environment(),
    )
    try:
        change, basis = await begun(store)
        for _ in range(2):
            done = await patcher(store, change).run(change.patch(basis))
            assert done.counts.copied_parts == 0
            assert "NotImplemented" in done.counts.refused
            assert await content(store) == change.new
            await put(store, {KEY: change.old})
            basis = await pinned(store)
        assert len(proxy.events) == 1
    finally:
        await store.close()


async def test_another_store_as_basis_is_read_near(store: Transport) -> None:
    change = Change(6 * MIB)
    near = MemoryTransport()
    await put(near, {KEY: change.old})
    patch = change.patch(await pinned(near))
    if store.capabilities.scheme == "memory":
        return
    patch = Patch(
        key=patch.key, size=patch.size, ops=patch.ops, basis=patch.basis, whole=patch.whole,
        replaces=Presence.NONE,
    )  # fmt: skip
    done = await patcher(store, change, near=near).run(patch)
    assert await content(store) == change.new
    assert done.counts.copied_parts == 0


def wrong(change: Change) -> list[Op]:
    """Operations with two false matches: one in a copied range, one in a mixed part."""
    ops = list(change.ops)
    long = max(range(len(ops)), key=lambda i: ops[i].length)
    start, origin, length, _ = ops[long]
    middle = 6 * MIB
    ops[long : long + 1] = [
        Op(start, origin, middle, COPY),
        Op(start + middle, origin + middle - 50, 50, COPY),
        Op(start + middle + 50, origin + middle + 50, length - middle - 50, COPY),
    ]
    ops[-1] = ops[-1]._replace(origin=ops[-1].origin + 1)
    return list(joined(ops))


async def test_a_false_match_is_found_and_sent(store: Transport) -> None:
    change, basis = await begun(store)
    patch = change.patch(basis, ops=wrong(change))
    done = await patcher(store, change, resends=True).run(patch)
    assert await content(store) == change.new
    assert 0 < done.counts.resent_bytes <= 3 * MIB
    assert await uploads_of(store) == []


@pytest.mark.parametrize("ladder", [True, False])
async def test_a_false_match_that_cannot_be_mended_is_corrupt(
    store: Transport, ladder: bool
) -> None:
    change, basis = await begun(store)
    with pytest.raises(Corrupt):
        await patcher(store, change).run(change.patch(basis, ladder=ladder, ops=wrong(change)))
    assert await content(store) == change.old
    assert await uploads_of(store) == []


async def test_a_false_match_in_a_long_copy(store: Transport) -> None:
    """The whole object is shifted: every copied part is wrong, and found so by its checksum."""
    change, basis = await begun(store, 12 * MIB)
    change.new = change.old[1:] + b"x"
    patch = change.patch(basis, ops=[Op(0, 0, 12 * MIB, COPY)])
    with pytest.raises(Corrupt):
        await patcher(store, change).run(patch)
    done = await patcher(store, change, resends=True).run(patch)
    assert done.counts.resent_bytes == 12 * MIB
    assert await content(store) == change.new


class Replacing(Faults):
    """Another writer puts an object at the key when a verb is about to be called."""

    def __init__(self, inner: Transport, verb: str, data: bytes) -> None:
        super().__init__(inner, [])
        self.verb = verb
        self.data = data

    async def _before(self, verb: str, key: str) -> Fault:
        if verb == self.verb and self.data:
            data, self.data = self.data, b""
            await put(self.inner, {KEY: data})
        return await super()._before(verb, key)


@pytest.mark.parametrize("verb", ["begin_upload", "copy_part", "write_part", "finish_upload"])
async def test_a_basis_that_is_replaced_wins(store: Transport, verb: str) -> None:
    change, basis = await begun(store)
    theirs = change.old[::-1]
    replacing = Replacing(store, verb, theirs)
    # A store may answer 500 to who reads what is being replaced (moto does): that is asked again.
    with pytest.raises(Changed):
        await patcher(Retry(replacing), change).run(change.patch(basis))
    assert await content(store) == theirs
    assert await uploads_of(store) == []


@pytest.mark.parametrize("verb", ["copy_part", "write_part", "finish_upload"])
async def test_a_failure_leaves_no_upload(store: Transport, verb: str) -> None:
    change, basis = await begun(store)
    failing = Faults(store, [Fault(verb=verb, error=Unavailable(KEY))])
    with pytest.raises(Unavailable):
        await patcher(failing, change).run(change.patch(basis))
    assert await content(store) == change.old
    assert await uploads_of(store) == []


class Miscopying(Decorator):
    """A store that copies other bytes than it was asked to, and tells their checksum."""

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        wrong = memoryview(bytes(len(span)))
        return await self.inner.write_part(key, upload_id, part, wrong)


async def test_a_store_that_copies_other_bytes_is_found_out() -> None:
    store = MemoryTransport()
    change, basis = await begun(store)
    with pytest.raises(Corrupt):
        await patcher(Miscopying(store), change, resends=True).run(change.patch(basis))
    assert await content(store) == change.old
    assert await uploads_of(store) == []


async def test_literals_that_cannot_be_had_leave_no_upload() -> None:
    store = MemoryTransport()
    change, basis = await begun(store)

    async def gone(_: ByteRange, __: memoryview) -> None:
        raise Unavailable("elsewhere")

    work = patcher(store, change)
    work.literals = gone
    with pytest.raises(Unavailable):
        await work.run(change.patch(basis))
    assert await uploads_of(store) == []


@pytest.mark.parametrize(
    "ops",
    [
        [Op(0, 0, 10, COPY)],
        [Op(1, 0, 100, COPY)],
        [Op(0, 0, 60, COPY), Op(50, 0, 50, COPY)],
        [Op(0, 60, 100, COPY)],
        [Op(0, 256, 100, FILL)],
        [Op(0, 0, 101, LITERAL)],
    ],
)
async def test_operations_that_cannot_be_are_refused(ops: list[Op]) -> None:
    store = MemoryTransport()
    change, basis = await begun(store, 150)
    patch = Patch(
        key=KEY, size=100, ops=pack_ops(ops), basis=basis, whole=Checksum("crc64nvme", "0" * 16)
    )
    with pytest.raises(Invalid):
        await patcher(store, change).run(patch)
    assert await content(store) == change.old


async def test_a_torn_list_is_refused() -> None:
    store = MemoryTransport()
    change, basis = await begun(store, 150)
    patch = Patch(
        key=KEY, size=100, ops=b"torn", basis=basis, whole=Checksum("crc64nvme", "0" * 16)
    )
    with pytest.raises(Invalid):
        await patcher(store, change).run(patch)

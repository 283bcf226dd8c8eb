"""Objects that grew, patched at Google's storage API: the old one is composed, and nothing half is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mover.budget import ByteBudget
from mover.delta.model import Op, OpKind, pack_ops
from mover.delta.parting import MIB, PartLimits
from mover.delta_ladders import ladder_of
from mover.delta_patches import Patch
from mover.delta_patching import Patcher
from tests.servers.gcs import GcsServer
from transports import digests
from transports.errors import AlreadyExists, Changed, Corrupt, Unsupported
from transports.location import parse_location
from transports.model import ByteRange, Checksum, Entry, PartSpec, Presence
from transports.opening import open_transport
from transports.record import Record
from transports.testing import put
from transports.testing.support import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from transports.base import Transport
    from transports.model import Receipt

# gcsfs hands aiohttp a body of bytes.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly")

OLD = some_bytes(6 * MIB + 77)
TAIL = some_bytes(7 * MIB, seed=3)
KEY = "d/x"
ANONYMOUS = {"GOOGLE_APPLICATION_CREDENTIALS": "anon"}


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture
async def store(server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Transport]:
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # or it waits for gRPC
    location = parse_location(server.location())
    store = await open_transport(location, side="target", environment=ANONYMOUS, token="patch")
    await put(store, {KEY: OLD})
    yield store
    await store.close()


async def head(store: Transport) -> Entry:
    return (await store.head(KEY)).entry


async def content(store: Transport) -> bytes:
    entry = await head(store)
    data = bytearray(entry.size)
    await store.read_into(entry, ByteRange(0, entry.size), memoryview(data))
    return bytes(data)


def patch_of(new: bytes, basis: Entry, ops: list[Op]) -> Patch:
    return Patch(
        key=KEY,
        size=len(new),
        ops=pack_ops(ops),
        basis=basis,
        whole=Checksum("crc64nvme", digests.crc64nvme_hex(new)),
        ladder=ladder_of(memoryview(new)),
        replaces=basis,
    )


def patcher(store: Transport, new: bytes) -> Patcher:
    async def send(span: ByteRange, buffer: memoryview) -> None:
        buffer[:] = new[span.start : span.stop]

    limits = PartLimits(mixed_bytes=5 * MIB)
    budget = ByteBudget(64 * MIB)
    return Patcher(
        target=store, near=store, literals=send, budget=budget, token="patch", limits=limits
    )


GROWN = [
    Op(0, 0, len(OLD), OpKind.COPY),
    Op(len(OLD), len(OLD), len(TAIL), OpKind.LITERAL),
]


async def test_what_grew_is_composed_of_the_old_object_and_its_tail(store: Transport) -> None:
    recorded = Record(store)
    new = OLD + TAIL
    done = await patcher(recorded, new).run(patch_of(new, await head(store), GROWN))
    assert await content(store) == new
    assert (done.counts.copied_bytes, done.counts.refused) == (len(OLD), "")
    assert recorded.log.counts["write_part"] == 2
    assert done.receipt.version == (await head(store)).version
    assert list(await store.list_uploads()) == []
    await store.clean("patch")
    assert [entry.key async for page in store.list() for entry in page] == [KEY]


async def test_what_changed_elsewhere_is_written_near_by(store: Transport) -> None:
    new = b"new" + OLD
    ops = [Op(0, 0, 3, OpKind.LITERAL), Op(3, 0, len(OLD), OpKind.COPY)]
    done = await patcher(store, new).run(patch_of(new, await head(store), ops))
    assert await content(store) == new
    assert done.counts.copied_parts == 0


async def test_a_false_match_is_not_seen(store: Transport) -> None:
    new = OLD[:-1] + bytes([OLD[-1] ^ 1]) + TAIL
    with pytest.raises(Corrupt):
        await patcher(store, new).run(patch_of(new, await head(store), GROWN))
    assert await content(store) == OLD


async def test_a_basis_that_was_replaced(store: Transport) -> None:
    basis = await head(store)
    await put(store, {KEY: OLD[::-1]})
    with pytest.raises(Changed):
        await patcher(store, OLD + TAIL).run(patch_of(OLD + TAIL, basis, GROWN))
    assert await content(store) == OLD[::-1]


async def finished(store: Transport, replaces: Entry | Presence, *, meanwhile: bool) -> Receipt:
    """Compose the old object and a tail; ``meanwhile`` somebody replaces what stands there."""
    basis = await head(store)
    upload_id = await store.begin_upload(KEY, len(OLD) + 5, token="patch")
    span = ByteRange(0, len(OLD))
    first = PartSpec(number=1, range=span)
    last = PartSpec(number=2, range=ByteRange(len(OLD), len(OLD) + 5))
    receipt = await store.copy_part(KEY, upload_id, first, basis, span, store)
    assert list(await store.list_parts(KEY, upload_id)) == [receipt]
    parts = [
        receipt._replace(crc64nvme=digests.crc64nvme_hex(OLD)),
        await store.write_part(KEY, upload_id, last, memoryview(b"tails")),
    ]
    if meanwhile:
        await put(store, {KEY: OLD[::-1]})
    whole = Checksum("crc64nvme", digests.crc64nvme_hex(OLD + b"tails"))
    made = await store.finish_upload(KEY, upload_id, parts, checksum=whole, replaces=replaces)
    assert await store.finish_upload(KEY, upload_id, parts, checksum=whole) == made
    return made


async def test_only_what_was_seen_is_replaced(store: Transport) -> None:
    basis = await head(store)
    with pytest.raises(AlreadyExists):
        await finished(store, Presence.NONE, meanwhile=False)
    # The server composes whatever is there now: what came of it is not what it must be.
    with pytest.raises((Changed, Corrupt)):
        await finished(store, basis, meanwhile=True)
    assert await content(store) == OLD[::-1]


async def test_a_composed_object_has_all_its_bytes_and_may_be_finished_twice(
    store: Transport,
) -> None:
    basis = await head(store)
    receipt = await finished(store, basis, meanwhile=False)
    assert receipt.size == len(OLD) + 5
    assert await content(store) == OLD + b"tails"


async def test_ranges_are_not_composed(store: Transport) -> None:
    basis = await head(store)
    assert store.capabilities.composes
    upload_id = await store.begin_upload(KEY, 5, token="patch")
    part = PartSpec(number=1, range=ByteRange(0, 5))
    with pytest.raises(Unsupported):
        await store.copy_part(KEY, upload_id, part, basis, ByteRange(0, 5), store)

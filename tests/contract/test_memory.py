from collections.abc import AsyncIterator

import pytest

from transports.base import Transport
from transports.errors import Changed, Corrupt
from transports.memory import MemoryTransport, open_memory
from transports.memory_store import MemoryStore, damage
from transports.model import Blob, Checksum, Proof
from transports.testing import TransportContract, VersionsContract, blob, contents, listed, put


class TestMemory(TransportContract):
    many = 2_500

    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        transport = MemoryTransport(name="t", prefix="root/")
        yield transport
        await transport.close()


class TestMemoryWithVersions(VersionsContract):
    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        store = MemoryStore(keeps_versions=True)
        transport = MemoryTransport(store, name="t", prefix="root/")
        yield transport
        await transport.close()


async def test_named_stores_are_shared_and_prefixes_are_apart() -> None:
    await put(open_memory("shared", "a/"), {"x": b"1"})
    assert await contents(open_memory("shared", "a/")) == {"x": b"1"}
    assert await contents(open_memory("shared")) == {"a/x": b"1"}
    assert await contents(open_memory("shared", "b/")) == {}
    assert await contents(open_memory("another")) == {}


async def test_the_same_bytes_again_are_a_new_version() -> None:
    transport = MemoryTransport()
    await put(transport, {"x": b"1"})
    (entry,) = await listed(transport)
    await put(transport, {"x": b"1"})
    (result,) = await transport.read_small([entry])
    assert isinstance(result, Changed)


async def test_a_wrong_checksum_is_corrupt_and_writes_nothing() -> None:
    transport = MemoryTransport()
    wrong = blob("x", b"data")._replace(checksum=Checksum("xxh3", "00"))
    (result,) = await transport.write_small([wrong])
    assert isinstance(result, Corrupt)
    assert await contents(transport) == {}


async def test_damage_is_seen_by_a_second_reader() -> None:
    store = MemoryStore()
    transport = MemoryTransport(store)
    await put(transport, {"x": b"data"})
    (whole,) = await transport.read_small(await listed(transport))
    damage(store, "x", b"dat\0")
    (broken,) = await transport.read_small(await listed(transport))
    assert isinstance(whole, Blob)
    assert isinstance(broken, Blob)
    assert whole.checksum != broken.checksum


async def test_a_checksum_makes_the_receipt_strong() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    await put(source, {"x": b"data"})
    (read,) = await source.read_small(await listed(source))
    assert isinstance(read, Blob)
    (receipt,) = await target.write_small([read])
    assert receipt.proof is Proof.STRONG  # type: ignore[union-attr]


async def test_cleaning_removes_only_this_job() -> None:
    transport = MemoryTransport()
    await transport.begin_upload("x", 1, token="mine")
    await transport.begin_upload("y", 1, token="other")
    await transport.clean("mine")
    assert [upload.key for upload in await transport.list_uploads()] == ["y"]

"""Signatures that were left at a store while objects were written there."""

import random
from pathlib import Path

import pytest

from mover.delta import kernel
from mover.delta.model import SignatureHead
from mover.delta.part_signing import part_head, sign_part
from mover.delta_stored import PREFIX, PartSigner, StoredParts, stored_signature
from transports.base import Transport
from transports.errors import Unavailable
from transports.faults import Fault, Faults
from transports.local import LocalTransport
from transports.memory import MemoryTransport
from transports.model import Entry, Proof, Receipt
from transports.testing import put

PART = 64 * 1024
DATA = random.Random(4).randbytes(4 * PART + 99)
KEY = "a/ключ"


def head() -> SignatureHead:
    found = part_head(len(DATA), PART, "upload")
    assert found is not None
    return found


async def written(store: Transport, *, without: int = -1, key: str = KEY) -> bool:
    """An object that was written in parts, and its signature, but for one part's."""
    await put(store, {key: DATA})
    entry = (await store.head(key)).entry
    stored = StoredParts(store, key, "upload", head())
    for start in (2 * PART, 0, 4 * PART, PART, 3 * PART):
        if start != without:
            await stored.leave(start, sign_part(head(), DATA[start : start + PART]))
    return await stored.finish(Receipt(key, len(DATA), entry.etag, Proof.STRONG))


async def hidden(store: Transport) -> list[str]:
    return [e.key async for page in store.list("") for e in page if PREFIX in e.key]


async def pinned(store: Transport) -> Entry:
    return (await store.head(KEY)).entry


async def test_a_signature_is_found() -> None:
    store = MemoryTransport()
    assert await stored_signature(store, Entry(KEY, 5, 0, "etag")) is None
    assert await written(store)
    file = await stored_signature(store, await pinned(store))
    assert file is not None
    assert file.signature == kernel.sign(DATA, head())
    (name,) = await hidden(store)
    assert name.startswith(f"a/{PREFIX}")
    inside = MemoryTransport(store.store, prefix="a/")
    assert await stored_signature(inside, (await inside.head("ключ")).entry) == file


async def test_a_signature_is_of_one_object() -> None:
    store = MemoryTransport()
    await written(store)
    entry = await pinned(store)
    assert await stored_signature(store, entry._replace(key="other")) is None
    assert await stored_signature(store, entry._replace(etag="other")) is None
    assert await stored_signature(store, entry._replace(etag="")) is None
    assert await stored_signature(store, entry._replace(size=1)) is None
    await put(store, {KEY: DATA[::-1]})
    assert await stored_signature(store, await pinned(store)) is None


async def test_a_part_that_nobody_signed() -> None:
    store = MemoryTransport()
    assert not await written(store, without=PART)
    assert await hidden(store) == []


async def test_a_damaged_signature_is_none() -> None:
    store = MemoryTransport()
    await written(store)
    (name,) = await hidden(store)
    for data in (b"", b"nonsense", bytes(100)):
        await put(store, {name: data})
        assert await stored_signature(store, await pinned(store)) is None


@pytest.mark.parametrize("verb", ["write_small", "read_small", "list", "delete"])
async def test_a_store_that_fails_costs_the_signature_only(verb: str) -> None:
    store = Faults(MemoryTransport(), [Fault(verb=verb, times=99, error=Unavailable(KEY))])
    await put(store.inner, {KEY: DATA})
    entry = (await store.head(KEY)).entry
    stored = StoredParts(store, KEY, "upload", head())
    await stored.leave(0, sign_part(head(), DATA))
    done = await stored.finish(Receipt(KEY, len(DATA), entry.etag, Proof.STRONG))
    assert done is (verb == "delete")


async def test_where_nothing_tells_one_object_from_another_nothing_is_kept(tmp_path: Path) -> None:
    store = LocalTransport(tmp_path / "root", token="stored", create=True)
    assert not await written(store, key="a")
    assert [key for key in await hidden(store) if not key.endswith("/")] == []
    await store.close()


async def test_workers_that_sign_what_they_write() -> None:
    store = MemoryTransport()
    await put(store, {KEY: DATA})
    entry = await pinned(store)
    stored = StoredParts(store, KEY, "upload", head())
    for starts in ([3 * PART, 0], [PART, 2 * PART, 4 * PART]):
        signer = PartSigner(StoredParts(store, KEY, "upload", head()))
        for start in starts:
            await signer.sign(start, memoryview(DATA)[start : start + PART])
        await signer.leave()
    stale = PartSigner(StoredParts(store, KEY, "never ended", head()))
    await stale.sign(0, memoryview(DATA)[:PART])
    await stale.leave()
    assert len(await hidden(store)) == 5
    assert await stored.finish(Receipt(KEY, len(DATA), entry.etag, Proof.STRONG))
    file = await stored_signature(store, entry)
    assert file is not None
    assert file.signature == kernel.sign(DATA, head())
    assert len(await hidden(store)) == 1

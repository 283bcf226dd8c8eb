"""Ranges of files copied into parts: pinned, in steps, also where the kernel will not copy."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from transports import local_copying
from transports.errors import AlreadyExists, Changed, Invalid, NotFound
from transports.local import LocalTransport, open_local
from transports.memory import MemoryTransport
from transports.model import ByteRange, Entry, PartSpec, Presence
from transports.testing import contents, put
from transports.testing.support import pinned, some_bytes

OLD = some_bytes(300_000)
SPAN = ByteRange(1_001, 201_001)
PART = PartSpec(number=1, range=ByteRange(0, 200_000))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalTransport]:
    transport = open_local(tmp_path / "root", token="job", create=True)
    await put(transport, {"old": OLD})
    yield transport
    await transport.close()


async def begun(store: LocalTransport) -> tuple[str, Entry]:
    return await store.begin_upload("x", 200_000, token="job"), await pinned(store, "old")


async def test_a_kernel_that_will_not_copy_is_done_without(
    store: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    upload_id, entry = await begun(store)
    receipt = await store.copy_part("x", upload_id, PART, entry, SPAN, store)
    assert (receipt.size, receipt.crc64nvme) == (200_000, "")
    await store.finish_upload("x", upload_id, [receipt])
    assert (await contents(store))["x"] == OLD[1_001:201_001]


async def test_a_copy_goes_in_steps_and_a_cancel_is_heard_between(
    store: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_copying, "STEP_BYTES", 100)
    upload_id, entry = await begun(store)
    async with asyncio.TaskGroup() as crew:
        copying = crew.create_task(
            store.copy_part("x", upload_id, PART, entry, SPAN, store), name="copying"
        )
        for _ in range(20):
            await asyncio.sleep(0)
        copying.cancel()
    assert copying.cancelled()
    assert await store.list_parts("x", upload_id) == []
    receipt = await store.copy_part("x", upload_id, PART, entry, SPAN, store)
    assert await store.list_parts("x", upload_id) == [receipt]


async def test_a_file_that_is_written_meanwhile_is_changed(
    store: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id, entry = await begun(store)
    copy = os.copy_file_range

    def disturbed(source: int, target: int, count: int, at: int, to: int) -> int:
        with open(tmp_path / "root" / "old", "r+b") as file:
            file.write(b"!")
        return copy(source, target, count, at, to)

    monkeypatch.setattr(os, "copy_file_range", disturbed)
    with pytest.raises(Changed):
        await store.copy_part("x", upload_id, PART, entry, SPAN, store)
    assert await store.list_parts("x", upload_id) == []


async def test_what_does_not_fit_is_refused(store: LocalTransport) -> None:
    upload_id, entry = await begun(store)
    for span in (ByteRange(0, 5), ByteRange(150_000, 350_000)):
        with pytest.raises(Invalid):
            await store.copy_part("x", upload_id, PART, entry, span, store)
    with pytest.raises(Invalid):
        await store.copy_part("x", upload_id, PART, entry, SPAN, MemoryTransport())
    with pytest.raises(NotFound):
        await store.copy_part("x", "nobody/u-0123456789abcdef-1", PART, entry, SPAN, store)


async def test_another_root_of_the_machine_may_be_the_source(
    store: LocalTransport, tmp_path: Path
) -> None:
    other = open_local(tmp_path / "other", create=True)
    upload_id = await other.begin_upload("x", 200_000, token="job")
    receipt = await other.copy_part("x", upload_id, PART, await pinned(store, "old"), SPAN, store)
    await other.finish_upload("x", upload_id, [receipt], replaces=Presence.NONE)
    assert (await contents(other))["x"] == OLD[1_001:201_001]
    await other.close()


async def test_a_file_of_the_same_size_and_place_is_another_one(store: LocalTransport) -> None:
    await put(store, {"x": b"same"})
    entry = await pinned(store, "x")
    await put(store, {"x": b"size"})
    upload_id = await store.begin_upload("x", 1, token="job")
    part = PartSpec(number=1, range=ByteRange(0, 1))
    receipt = await store.write_part("x", upload_id, part, memoryview(b"n"))
    with pytest.raises(Changed):
        await store.finish_upload("x", upload_id, [receipt], replaces=entry)
    with pytest.raises(AlreadyExists):
        await store.finish_upload("x", upload_id, [receipt], replaces=Presence.NONE)
    assert (await contents(store))["x"] == b"size"

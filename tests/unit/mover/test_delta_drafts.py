"""What a delta command writes is there whole under its name, or not at all."""

import asyncio
import os
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mover.delta_drafts import SPOOL_BYTES, Draft, PipeDraft, file_draft, store_draft
from mover.errors import Incomplete, Rejected
from transports.errors import Denied, NotFound
from transports.memory import MemoryTransport
from transports.memory_store import MemoryStore

LARGE = random.Random(1).randbytes(SPOOL_BYTES * 2 + 5)


@asynccontextmanager
async def store() -> AsyncGenerator[MemoryTransport, None]:
    transport = MemoryTransport(MemoryStore(), name="drafts")
    try:
        yield transport
    finally:
        await transport.close()


async def read(transport: MemoryTransport, key: str) -> bytes:
    entry = (await transport.head(key)).entry
    (blob,) = await transport.read_small([entry])
    assert not isinstance(blob, Exception)
    return bytes(blob.data)


async def write_pieces(draft: Draft, data: bytes, step: int = 1_000_000) -> None:
    for start in range(0, len(data), step):
        await draft.write(data[start : start + step])


async def test_a_file_appears_when_it_is_published(tmp_path: Path) -> None:
    target = tmp_path / "out"
    async with file_draft(str(target)) as draft:
        await draft.write(b"head")
        await draft.skip(5000)
        await draft.write(memoryview(b"tail"))
        await draft.skip(3)
        assert os.listdir(tmp_path) == []
        await draft.publish()
    assert target.read_bytes() == b"head" + bytes(5000) + b"tail" + bytes(3)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("nameless", [True, False])
async def test_a_file_that_is_not_published_is_gone(
    tmp_path: Path, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # refused for a directory: EISDIR
    target = tmp_path / "out"
    target.write_bytes(b"as it was")
    async with file_draft(str(target)) as draft:
        await draft.write(b"new")
        assert (len(os.listdir(tmp_path)) == 1) is nameless
    assert target.read_bytes() == b"as it was"
    assert os.listdir(tmp_path) == ["out"]


async def test_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    async with file_draft(str(tmp_path / "out")) as draft:
        await draft.write(b"new")
        await draft.publish()
    assert (tmp_path / "out").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


async def test_permissions_stay_and_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o604)
    (tmp_path / "link").symlink_to("real")
    async with file_draft(str(tmp_path / "link")) as draft:
        await draft.write(b"new")
        await draft.publish()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o604


async def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    async with file_draft(str(tmp_path / "out")) as draft:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(Incomplete, match="No space left on device; nothing was changed"):
            await draft.write(b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "none/out", "file/out"])
async def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Rejected):
        async with file_draft(str(tmp_path / name)):
            raise AssertionError("it was opened")


async def test_a_named_pipe_sees_nothing_before_all_is_well(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    async with file_draft(str(tmp_path / "pipe")) as draft:
        await draft.write(b"data")
        with pytest.raises(BlockingIOError):
            os.read(reader, 10)
        await draft.publish()
    assert os.read(reader, 10) == b"data"
    os.close(reader)


async def test_a_pipe_gets_bytes_at_once() -> None:
    reader, writer = os.pipe()
    draft = PipeDraft(writer, "pipe")
    await draft.write(b"now")
    assert os.read(reader, 10) == b"now"
    await draft.publish()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=len)
async def test_objects_of_any_size(known: bool, data: bytes) -> None:
    async with store() as transport:
        async with store_draft(transport, "d/key", size=len(data) if known else None) as draft:
            await write_pieces(draft, data)
            with pytest.raises(NotFound):
                await transport.head("d/key")
            await draft.publish()
        assert await read(transport, "d/key") == data
        assert list(await transport.list_uploads()) == []


@pytest.mark.parametrize("known", [True, False])
async def test_an_object_that_is_not_published_leaves_no_upload(known: bool) -> None:
    async with store() as transport:
        async with store_draft(transport, "key", size=len(LARGE) if known else None) as draft:
            await write_pieces(draft, LARGE)
        assert list(await transport.list_uploads()) == []
        with pytest.raises(NotFound):
            await transport.head("key")


async def test_a_part_that_fails_drops_the_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    async def denied(*_: object, **__: object) -> None:
        raise Denied("memory://drafts/key")

    async with store() as transport:
        monkeypatch.setattr(transport, "write_part", denied)
        with pytest.raises(ExceptionGroup):
            await write_large(transport)
        assert list(await transport.list_uploads()) == []


async def write_large(transport: MemoryTransport) -> None:
    async with store_draft(transport, "key", size=len(LARGE)) as draft:
        await write_pieces(draft, LARGE)
        await draft.publish()


async def test_a_cancel_drops_the_upload() -> None:
    async with store() as transport:
        under_way = asyncio.Event()

        async def work() -> None:
            async with store_draft(transport, "key", size=len(LARGE)) as draft:
                await write_pieces(draft, LARGE)
                under_way.set()
                await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())
            await under_way.wait()
            assert list(await transport.list_uploads()) != []
            task.cancel()
        assert list(await transport.list_uploads()) == []

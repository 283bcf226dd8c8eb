"""What a delta command reads: files, pipes, objects with and without ranges."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mover import delta_inputs
from mover.delta_inputs import RANGES, FileInput, Input, PipeInput, StoreInput, spooled
from mover.delta_opening import Opener, beside
from mover.errors import Incomplete, Rejected
from mover.seeing_out import in_thread
from transports.memory import MemoryTransport
from transports.memory_store import MemoryStore
from transports.model import NO_ATTRIBUTES, Blob, Entry, Proof

DATA = random.Random(1).randbytes(3_000_001)
RANGE_BYTES = 1000
LARGE = random.Random(2).randbytes(RANGES * RANGE_BYTES + RANGE_BYTES + 7)


async def poured(given: Input) -> bytes:
    found = bytearray()

    async def take(piece: memoryview) -> None:
        found.extend(piece)

    await given.pour(take)
    return bytes(found)


def file_input(path: Path, data: bytes) -> FileInput:
    path.write_bytes(data)
    return FileInput(os.open(path, os.O_RDONLY), str(path))


async def store_input(data: bytes) -> tuple[MemoryTransport, StoreInput]:
    transport = MemoryTransport(MemoryStore(), name="inputs")
    blob = Blob(Entry("key", len(data), 0), data, NO_ATTRIBUTES, Proof.WEAK)
    await transport.write_small([blob])
    return transport, StoreInput(transport, (await transport.head("key")).entry)


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
async def test_a_file(tmp_path: Path, data: bytes) -> None:
    given = file_input(tmp_path / "x", data)
    assert given.size == len(data)
    assert await poured(given) == data
    with given.mapped() as view:
        assert bytes(view) == data
    assert await given.read(len(data) // 3, len(data)) == data[len(data) // 3 :]
    given.check_unchanged()
    given.close()


async def test_a_file_that_changes(tmp_path: Path) -> None:
    given = file_input(tmp_path / "x", DATA)
    with (tmp_path / "x").open("ab") as file:
        file.write(b"more")
    with pytest.raises(Incomplete, match="changed while it was read"):
        given.check_unchanged()
    os.truncate(tmp_path / "x", 10)
    with pytest.raises(Incomplete, match="ended at byte 10"):
        await given.read(5, 100)
    given.close()


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
async def test_a_pipe(data: bytes) -> None:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    given = PipeInput(reader, "pipe")
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(write))
        async with AsyncExitStack() as stack:
            spool = await spooled(given, stack)
            assert spool.size == len(data)
            assert await poured(spool) == data
    with pytest.raises(Rejected, match="is a pipe"):
        await given.read(0, 1)
    os.close(reader)


async def test_a_device() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    assert await poured(PipeInput(fd, "null")) == b""
    os.close(fd)


@pytest.mark.parametrize("data", [b"", b"x", LARGE], ids=len)
async def test_an_object(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_inputs, "RANGE_BYTES", RANGE_BYTES)
    transport, given = await store_input(data)
    assert given.seekable
    assert await poured(given) == data
    assert await given.read(len(data) // 3, len(data)) == data[len(data) // 3 :]
    await transport.close()


async def test_an_object_without_ranges() -> None:
    transport, _ = await store_input(DATA)

    async def stream(entry: Entry) -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 700_000):
            yield DATA[start : start + 700_000]

    transport.capabilities = replace(transport.capabilities, ranges=False)
    transport.stream = stream  # type: ignore[method-assign]
    given = StoreInput(transport, Entry("key", -1, 0))
    assert (given.size, given.seekable) == (None, False)
    assert await poured(given) == DATA
    with pytest.raises(Rejected):
        await given.read(0, 1)
    await transport.close()


async def test_opening_what_is_not_there(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        opener = Opener(stack=stack, environment={})
        for name in (str(tmp_path / "gone"), "memory://gone/x", str(tmp_path), "s3:x"):
            with pytest.raises(Rejected):
                await opener.input(name)


@pytest.mark.parametrize(
    ("name", "companion"),
    [
        ("disk.img", "disk.img.sig"),
        ("what?.img", "what?.img.sig"),
        ("s3://b/k/x", "s3://b/k/x.sig"),
        ("s3://b/x?endpoint_url=http://h:1", "s3://b/x.sig?endpoint_url=http://h:1"),
        ("s3://b/what?.txt?", "s3://b/what?.txt.sig?"),
        ("https://h/x?version=3#ca_file=/x.pem", "https://h/x.sig?version=3#ca_file=/x.pem"),
        ("https://h/x", "https://h/x.sig"),
    ],
)
def test_a_companion_lies_beside(name: str, companion: str) -> None:
    assert beside(name, ".sig") == companion


async def test_a_thread_is_seen_out() -> None:
    began, ended = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        import time

        loop.call_soon_threadsafe(began.set)
        time.sleep(0.05)
        ended.append(True)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(in_thread(work))
        await began.wait()
        task.cancel()
    assert ended == [True]
    assert await in_thread(len, "four") == 4

"""Writing whole objects: atomic, exact, cancellable, repeatable."""

import asyncio

import pytest

from transports.base import Transport
from transports.errors import NotFound
from transports.model import Attributes, Kind, Receipt
from transports.testing.support import Subject, blob, contents, listed, put, settled, some_bytes

MTIME_NS = 1_234_567_890_123_456_789
# Seconds, the coarsest time that a store keeps, is not asked for; a microsecond is (rclone's format
# has nanoseconds, file systems of this decade too).


class WritingContract(Subject):
    """Whole objects appear wholly or not at all."""

    async def test_objects_round_trip_and_leave_receipts(self, transport: Transport) -> None:
        objects = {"a": b"", "d/one": b"1", "d/e/large": some_bytes(300_000)}
        results = await transport.write_small([blob(key, data) for key, data in objects.items()])
        receipts = [result for result in results if isinstance(result, Receipt)]
        assert [(r.key, r.size) for r in receipts] == [(k, len(d)) for k, d in objects.items()]
        assert await contents(transport) == objects

    async def test_writing_nothing(self, transport: Transport) -> None:
        assert list(await transport.write_small([])) == []

    async def test_any_buffer_is_written(self, transport: Transport) -> None:
        data = some_bytes(5_000)
        for buffer in (data, bytearray(data), memoryview(data)):
            await put(transport, {"x": b"old"})
            await transport.write_small([blob("x", data)._replace(data=buffer)])
            assert await contents(transport) == {"x": data}

    async def test_an_object_is_replaced(self, transport: Transport) -> None:
        await put(transport, {"x": some_bytes(10_000), "y": b"other"})
        await put(transport, {"x": b"new"})
        assert await contents(transport) == {"x": b"new", "y": b"other"}

    async def test_the_same_write_again_changes_nothing(self, transport: Transport) -> None:
        for _ in range(2):
            await put(transport, {"x": b"same"})
        assert await contents(transport) == {"x": b"same"}

    async def test_times_are_kept(self, transport: Transport) -> None:
        if not transport.capabilities.keeps_mtime:
            return
        kept = blob("x", b"data", Attributes(mtime_ns=MTIME_NS))
        assert isinstance((await transport.write_small([kept]))[0], Receipt)
        assert (await transport.head("x")).attributes.mtime_ns == MTIME_NS

    async def test_attributes_are_kept(self, transport: Transport) -> None:
        if not transport.capabilities.keeps_attributes:
            return
        given = Attributes(
            content_type="text/x-mover",
            content_encoding="identity",
            content_disposition="attachment",
            content_language="fr",
            cache_control="no-cache",
            metadata={"color": "blue", "two-words": "a b"},
        )
        assert isinstance((await transport.write_small([blob("x", b"data", given)]))[0], Receipt)
        kept = (await transport.head("x")).attributes
        assert kept.content_type == given.content_type
        assert kept.content_encoding == given.content_encoding
        assert kept.content_disposition == given.content_disposition
        assert kept.content_language == given.content_language
        assert kept.cache_control == given.cache_control
        assert dict(kept.metadata) == dict(given.metadata)

    async def test_the_pace_hears_of_every_byte(self, transport: Transport) -> None:
        heard: list[int] = []

        async def pace(size_bytes: int) -> None:
            heard.append(size_bytes)

        blobs = [blob("x", some_bytes(70_000)), blob("y", b"123")]
        await transport.write_small(blobs, pace=pace)
        assert sum(heard) == 70_003

    async def test_an_empty_directory_is_a_marker(self, transport: Transport) -> None:
        await put(transport, {"d/": b""})
        (entry,) = await listed(transport)
        assert (entry.key, entry.size, entry.kind) == ("d/", 0, Kind.DIRECTORY)
        await put(transport, {"d/": b""})
        assert list(await transport.delete(["d/"])) == [None]
        assert await listed(transport) == []

    async def test_delete_is_a_success_for_what_is_missing(self, transport: Transport) -> None:
        await put(transport, {"d/one": b"1", "d/two": b"2"})
        keys = ["d/one", "missing", "d/missing", "d/two/below", "no/such/", "d/one"]
        assert list(await transport.delete(keys)) == [None] * len(keys)
        assert await contents(transport) == {"d/two": b"2"}
        with pytest.raises(NotFound):
            await transport.head("d/one")

    async def test_deleting_a_prefix_deletes_nothing(self, transport: Transport) -> None:
        await put(transport, {"d/one": b"1"})
        assert list(await transport.delete(["d", "d/"])) == [None, None]
        assert await contents(transport) == {"d/one": b"1"}

    @pytest.mark.parametrize("ticks", [0, 1, 2, 4, 8, 16])
    async def test_a_cancelled_write_leaves_old_or_new(
        self, transport: Transport, ticks: int
    ) -> None:
        old = {f"d/{number}": some_bytes(40_000, number) for number in range(8)}
        new = {key: some_bytes(50_000, 100 + number) for number, key in enumerate(old)}
        await put(transport, old)
        async with asyncio.TaskGroup() as crew:
            writing = crew.create_task(put(transport, new), name="writing")
            for _ in range(ticks):
                await asyncio.sleep(0)
            writing.cancel()
        found = await settled(transport)
        assert found.keys() == old.keys()
        for key, data in found.items():
            assert data in (old[key], new[key])
        await put(transport, new)
        assert await contents(transport) == new

    async def test_cleaning_up_keeps_every_object(self, transport: Transport) -> None:
        await put(transport, {"d/one": b"1"})
        for _ in range(2):
            await transport.clean("some-job")
        assert await contents(transport) == {"d/one": b"1"}

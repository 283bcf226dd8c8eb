"""Uploads in parts, and copies within the store."""

import asyncio

import pytest

from transports.base import Transport
from transports.errors import Changed, Invalid, NotFound
from transports.model import Attributes, PartReceipt
from transports.testing.support import (
    Subject,
    contents,
    cut,
    listed,
    part_size,
    pinned,
    put,
    some_bytes,
)
from transports.testing.writing import MTIME_NS

TOKEN = "contract-job"


def _object(transport: Transport) -> bytes:
    """Return three parts' worth of bytes, the last of them short and odd."""
    return some_bytes(2 * part_size(transport) + 1_001)


async def _upload(
    transport: Transport, key: str, data: bytes, attributes: Attributes | None = None
) -> tuple[str, list[PartReceipt]]:
    """Write all parts but do not finish."""
    kept = attributes or Attributes()
    upload_id = await transport.begin_upload(key, len(data), kept, token=TOKEN)
    receipts = [
        await transport.write_part(key, upload_id, part, view)
        for part, view in cut(data, part_size(transport))
    ]
    return upload_id, receipts


class UploadContract(Subject):
    """Parts come in any order and more than once; the object appears when finished."""

    async def test_a_part_may_be_poured(self, transport: Transport) -> None:
        if not transport.capabilities.takes_pours:
            return
        data = _object(transport)
        upload_id = await transport.begin_upload("d/x", len(data), token=TOKEN)
        receipts = []
        for part, view in cut(data, part_size(transport)):
            sink = await transport.open_part("d/x", upload_id, part)
            for start in range(0, len(view), 50_000):
                sink.take(view[start : start + 50_000])
            receipts.append(await sink.finish())
            await sink.close()
        written = [
            await transport.write_part("d/x", upload_id, part, view)
            for part, view in cut(data, part_size(transport))
        ]
        assert [one.crc64nvme for one in receipts] == [one.crc64nvme for one in written]
        await transport.finish_upload("d/x", upload_id, receipts)
        assert await contents(transport) == {"d/x": data}

    async def test_a_part_is_none_before_it_is_whole(self, transport: Transport) -> None:
        if not transport.capabilities.takes_pours:
            return
        data = _object(transport)
        upload_id = await transport.begin_upload("x", len(data), token=TOKEN)
        part, view = cut(data, part_size(transport))[0]
        sink = await transport.open_part("x", upload_id, part)
        sink.take(view[:1_000])
        with pytest.raises(Invalid):
            sink.take(view)  # it would reach into the next part
        with pytest.raises(Invalid):
            await sink.finish()
        await sink.close()
        await sink.close()
        assert list(await transport.list_parts("x", upload_id)) == []
        with pytest.raises(NotFound):
            await transport.open_part("x", "nobody/u-0123456789abcdef-1", part)
        await transport.abort_upload("x", upload_id)

    async def test_parts_in_any_order_and_repeated(self, transport: Transport) -> None:
        data = _object(transport)
        upload_id = await transport.begin_upload("d/x", len(data), token=TOKEN)
        receipts: dict[int, PartReceipt] = {}
        parts = cut(data, part_size(transport))
        for part, view in (parts[2], parts[0], parts[2], parts[1], parts[0]):
            receipt = await transport.write_part("d/x", upload_id, part, view)
            assert (receipt.number, receipt.start, receipt.size) == (
                part.number,
                part.range.start,
                len(part.range),
            )
            receipts[part.number] = receipt
            assert await listed(transport) == []
        ordered = [receipts[number] for number in sorted(receipts)]
        receipt_of_all = await transport.finish_upload("d/x", upload_id, ordered)
        assert (receipt_of_all.key, receipt_of_all.size) == ("d/x", len(data))
        assert await contents(transport) == {"d/x": data}
        assert list(await transport.list_uploads()) == []

    async def test_one_short_part(self, transport: Transport) -> None:
        upload_id, receipts = await _upload(transport, "x", b"1")
        await transport.finish_upload("x", upload_id, receipts)
        assert await contents(transport) == {"x": b"1"}

    async def test_zero_blocks_may_become_holes(self, transport: Transport) -> None:
        size = part_size(transport) + 300_000
        data = bytearray(size)
        data[100_000:100_010] = b"not a hole"
        data[-1] = 1
        upload_id = await transport.begin_upload("x", size, token=TOKEN)
        receipts = [
            await transport.write_part("x", upload_id, part, view, sparse=True)
            for part, view in cut(bytes(data), part_size(transport))
        ]
        await transport.finish_upload("x", upload_id, receipts)
        assert await contents(transport) == {"x": bytes(data)}

    async def test_the_old_object_stays_until_the_new_is_whole(self, transport: Transport) -> None:
        await put(transport, {"x": b"old"})
        data = _object(transport)
        upload_id, receipts = await _upload(transport, "x", data)
        assert await contents(transport) == {"x": b"old"}
        await transport.finish_upload("x", upload_id, receipts)
        assert await contents(transport) == {"x": data}

    async def test_an_interrupted_upload_is_found_and_resumed(self, transport: Transport) -> None:
        data = _object(transport)
        parts = cut(data, part_size(transport))
        upload_id = await transport.begin_upload("d/x", len(data), token=TOKEN)
        assert list(await transport.list_parts("d/x", upload_id)) == []
        written = await transport.write_part("d/x", upload_id, *parts[1])
        (found,) = await transport.list_uploads("d/")
        assert (found.key, found.upload_id) == ("d/x", upload_id)
        assert list(await transport.list_uploads("e/")) == []
        (part,) = await transport.list_parts("d/x", upload_id)
        assert (part.number, part.size, part.etag) == (2, written.size, written.etag)
        first = await transport.write_part("d/x", upload_id, *parts[0])
        last = await transport.write_part("d/x", upload_id, *parts[2])
        await transport.finish_upload("d/x", upload_id, [first, written, last])
        assert await contents(transport) == {"d/x": data}

    async def test_finishing_may_be_repeated(self, transport: Transport) -> None:
        data = _object(transport)
        upload_id, receipts = await _upload(transport, "x", data)
        first = await transport.finish_upload("x", upload_id, receipts)
        again = await transport.finish_upload("x", upload_id, receipts)
        assert (again.key, again.size, again.etag) == (first.key, first.size, first.etag)
        assert await contents(transport) == {"x": data}

    async def test_aborting_may_be_repeated(self, transport: Transport) -> None:
        data = _object(transport)
        upload_id, receipts = await _upload(transport, "x", data)
        for _ in range(2):
            await transport.abort_upload("x", upload_id)
        assert list(await transport.list_uploads()) == []
        assert await listed(transport) == []
        with pytest.raises(NotFound):
            await transport.write_part("x", upload_id, *cut(data, part_size(transport))[0])
        with pytest.raises(NotFound):
            await transport.list_parts("x", upload_id)
        with pytest.raises(NotFound):
            await transport.finish_upload("x", upload_id, receipts)

    async def test_the_time_given_at_the_end_is_kept(self, transport: Transport) -> None:
        if not transport.capabilities.keeps_mtime:
            return
        attributes = Attributes(mtime_ns=MTIME_NS)
        upload_id, receipts = await _upload(transport, "x", b"data", attributes)
        await transport.finish_upload("x", upload_id, receipts, attributes)
        assert (await transport.head("x")).attributes.mtime_ns == MTIME_NS

    @pytest.mark.parametrize("ticks", [0, 1, 3, 9])
    async def test_a_cancelled_part_can_be_written_again(
        self, transport: Transport, ticks: int
    ) -> None:
        data = _object(transport)
        parts = cut(data, part_size(transport))
        upload_id = await transport.begin_upload("x", len(data), token=TOKEN)
        async with asyncio.TaskGroup() as crew:
            writing = crew.create_task(
                transport.write_part("x", upload_id, *parts[0]), name="writing"
            )
            for _ in range(ticks):
                await asyncio.sleep(0)
            writing.cancel()
        assert await listed(transport) == []
        receipts = [await transport.write_part("x", upload_id, *part) for part in parts]
        await transport.finish_upload("x", upload_id, receipts)
        assert await contents(transport) == {"x": data}


class CopyContract(Subject):
    """A copy within the store moves bytes and attributes, pinned to what was listed."""

    async def test_a_copy_has_the_bytes_and_the_time(self, transport: Transport) -> None:
        data = some_bytes(100_000)
        attributes = Attributes(mtime_ns=MTIME_NS)
        upload_id, receipts = await _upload(transport, "d/x", data, attributes)
        await transport.finish_upload("d/x", upload_id, receipts, attributes)
        receipt = await transport.copy(await pinned(transport, "d/x"), transport, "e/y")
        assert (receipt.key, receipt.size) == ("e/y", len(data))
        assert await contents(transport) == {"d/x": data, "e/y": data}
        if transport.capabilities.keeps_mtime:
            assert (await transport.head("e/y")).attributes.mtime_ns == MTIME_NS

    async def test_a_copy_of_an_empty_object(self, transport: Transport) -> None:
        await put(transport, {"x": b"", "y": b"old"})
        await transport.copy(await pinned(transport, "x"), transport, "y")
        assert await contents(transport) == {"x": b"", "y": b""}

    async def test_a_copy_of_what_moved_is_changed(self, transport: Transport) -> None:
        if not self.pins_content:
            return
        await put(transport, {"x": b"before"})
        entry = await pinned(transport, "x")
        await put(transport, {"x": b"after, and longer"})
        with pytest.raises(Changed):
            await transport.copy(entry, transport, "y")
        assert await contents(transport) == {"x": b"after, and longer"}

    async def test_a_copy_of_what_is_missing(self, transport: Transport) -> None:
        await put(transport, {"x": b"data"})
        entry = await pinned(transport, "x")
        await transport.delete(["x"])
        with pytest.raises(NotFound):
            await transport.copy(entry, transport, "y")

"""Objects made of ranges of others within the store, and finished only over what is expected."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from transports import digests
from transports.base import Transport
from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    NotFound,
    TransportError,
    Unavailable,
)
from transports.model import ByteRange, Checksum, Entry, PartReceipt, PartSpec, Presence
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

TOKEN = "contract-assembly"


class _Made(NamedTuple):
    """A new object of two ranges of an old one around bytes of its own, not finished yet."""

    upload_id: str
    receipts: list[PartReceipt]
    data: bytes


def _old(transport: Transport) -> bytes:
    return some_bytes(2 * part_size(transport) + 70_001, seed=11)


async def _make(transport: Transport, entry: Entry, old: bytes, key: str = "d/new") -> _Made:
    """The old object's bytes from 1,001 on, then other bytes, then its first 3,003."""
    size = part_size(transport)
    fresh = some_bytes(size, seed=12)
    data = old[1_001 : 1_001 + size] + fresh + old[:3_003]
    upload_id = await transport.begin_upload(key, len(data), token=TOKEN)
    parts = [part for part, _ in cut(data, size)]
    receipts = [
        await transport.copy_part(key, upload_id, parts[2], entry, ByteRange(0, 3_003), transport),
        await transport.write_part(key, upload_id, parts[1], memoryview(fresh)),
        await transport.copy_part(
            key, upload_id, parts[0], entry, ByteRange(1_001, 1_001 + size), transport
        ),
    ]
    return _Made(upload_id, sorted(receipts), data)


def _whole(data: bytes) -> Checksum:
    return Checksum("crc64nvme", digests.crc64nvme_hex(data))


def _sealed(receipts: Sequence[PartReceipt], data: bytes) -> list[PartReceipt]:
    """With the checksums that the store did not tell, as a patch knows them."""
    return [
        one._replace(crc64nvme=digests.crc64nvme_hex(data[one.start : one.start + one.size]))
        for one in receipts
    ]


class CopyPartContract(Subject):
    """A part may be a range of an object that is there already, pinned to what was listed."""

    async def test_parts_are_copied_from_any_place(self, transport: Transport) -> None:
        old = _old(transport)
        await put(transport, {"d/old": old})
        made = await _make(transport, await pinned(transport, "d/old"), old)
        assert [(one.number, one.start, one.size) for one in made.receipts] == [
            (part.number, part.range.start, len(part.range))
            for part, _ in cut(made.data, part_size(transport))
        ]
        for one in made.receipts:
            piece = made.data[one.start : one.start + one.size]
            assert one.crc64nvme in ("", digests.crc64nvme_hex(piece))
        assert [entry.key for entry in await listed(transport)] == ["d/old"]
        await transport.finish_upload(
            "d/new", made.upload_id, _sealed(made.receipts, made.data), checksum=_whole(made.data)
        )
        assert await contents(transport) == {"d/old": old, "d/new": made.data}

    async def test_a_wrong_whole_is_corrupt(self, transport: Transport) -> None:
        old = _old(transport)
        await put(transport, {"d/old": old})
        made = await _make(transport, await pinned(transport, "d/old"), old)
        with pytest.raises(Corrupt):
            await transport.finish_upload(
                "d/new",
                made.upload_id,
                _sealed(made.receipts, made.data),
                checksum=_whole(made.data + b"x"),
            )
        await transport.abort_upload("d/new", made.upload_id)
        assert await contents(transport) == {"d/old": old}

    async def test_an_object_is_made_of_itself(self, transport: Transport) -> None:
        old = _old(transport)
        await put(transport, {"d/x": old})
        made = await _make(transport, await pinned(transport, "d/x"), old, "d/x")
        await transport.finish_upload("d/x", made.upload_id, made.receipts)
        assert await contents(transport) == {"d/x": made.data}

    async def test_a_copied_part_may_be_repeated(self, transport: Transport) -> None:
        old = _old(transport)
        await put(transport, {"old": old})
        entry = await pinned(transport, "old")
        upload_id = await transport.begin_upload("x", 5_000, token=TOKEN)
        part = PartSpec(number=1, range=ByteRange(0, 5_000))
        for start in (0, 900, 70_000):
            span = ByteRange(start, start + 5_000)
            receipt = await transport.copy_part("x", upload_id, part, entry, span, transport)
        await transport.finish_upload("x", upload_id, [receipt])
        assert await contents(transport) == {"old": old, "x": old[70_000:75_000]}

    async def test_a_range_of_what_moved_is_changed(self, transport: Transport) -> None:
        if not self.pins_content:
            return
        old = _old(transport)
        await put(transport, {"old": old})
        entry = await pinned(transport, "old")
        upload_id = await transport.begin_upload("x", 5_000, token=TOKEN)
        await put(transport, {"old": old[::-1]})
        part = PartSpec(number=1, range=ByteRange(0, 5_000))
        with pytest.raises(Changed):
            await transport.copy_part("x", upload_id, part, entry, ByteRange(0, 5_000), transport)
        await transport.abort_upload("x", upload_id)
        assert await contents(transport) == {"old": old[::-1]}

    async def test_a_range_of_what_is_missing(self, transport: Transport) -> None:
        await put(transport, {"old": bytes(6_000)})
        entry = await pinned(transport, "old")
        upload_id = await transport.begin_upload("x", 5_000, token=TOKEN)
        await transport.delete(["old"])
        part = PartSpec(number=1, range=ByteRange(0, 5_000))
        with pytest.raises((NotFound, Changed)):
            await transport.copy_part("x", upload_id, part, entry, ByteRange(0, 5_000), transport)
        await transport.abort_upload("x", upload_id)

    async def test_no_part_is_copied_into_an_upload_that_is_gone(
        self, transport: Transport
    ) -> None:
        await put(transport, {"old": bytes(6_000)})
        entry = await pinned(transport, "old")
        upload_id = await transport.begin_upload("x", 5_000, token=TOKEN)
        await transport.abort_upload("x", upload_id)
        part = PartSpec(number=1, range=ByteRange(0, 5_000))
        with pytest.raises(self.gone_errors):
            await transport.copy_part("x", upload_id, part, entry, ByteRange(0, 5_000), transport)

    @pytest.mark.parametrize("ticks", [0, 1, 3, 9])
    async def test_a_cancelled_copy_of_a_part_can_be_repeated(
        self, transport: Transport, ticks: int
    ) -> None:
        old = _old(transport)
        await put(transport, {"old": old})
        entry = await pinned(transport, "old")
        upload_id = await transport.begin_upload("x", len(old), token=TOKEN)
        part = PartSpec(number=1, range=ByteRange(0, len(old)))
        async with asyncio.TaskGroup() as crew:
            copying = crew.create_task(
                transport.copy_part("x", upload_id, part, entry, part.range, transport),
                name="copying",
            )
            for _ in range(ticks):
                await asyncio.sleep(0)
            copying.cancel()
        receipt = await _copied_at_last(transport, upload_id, part, entry)
        await transport.finish_upload("x", upload_id, [receipt])
        assert await contents(transport) == {"old": old, "x": old}


async def _copied_at_last(
    transport: Transport, upload_id: str, part: PartSpec, entry: Entry
) -> PartReceipt:
    """Copy the part again, and again where the store is still at the copy that was cancelled.

    A store may answer 500 while it writes the same part twice (moto does): the caller repeats that.
    """
    for _ in range(9):
        with contextlib.suppress(Unavailable):
            return await transport.copy_part("x", upload_id, part, entry, part.range, transport)
        await asyncio.sleep(0.05)
    return await transport.copy_part("x", upload_id, part, entry, part.range, transport)


class ConditionalFinishContract(Subject):
    """An upload replaces what it was meant to replace, or nothing."""

    async def _upload(self, transport: Transport, data: bytes) -> tuple[str, list[PartReceipt]]:
        upload_id = await transport.begin_upload("d/x", len(data), token=TOKEN)
        part = PartSpec(number=1, range=ByteRange(0, len(data)))
        return upload_id, [await transport.write_part("d/x", upload_id, part, memoryview(data))]

    async def test_the_object_that_was_seen_is_replaced(self, transport: Transport) -> None:
        await put(transport, {"d/x": b"old"})
        entry = await pinned(transport, "d/x")
        upload_id, receipts = await self._upload(transport, b"new")
        for _ in range(2):
            await transport.finish_upload("d/x", upload_id, receipts, replaces=entry)
            assert await contents(transport) == {"d/x": b"new"}

    async def test_what_another_writer_put_there_stays(self, transport: Transport) -> None:
        if not self.pins_content:
            return
        await put(transport, {"d/x": b"old"})
        entry = await pinned(transport, "d/x")
        upload_id, receipts = await self._upload(transport, b"new")
        await put(transport, {"d/x": b"theirs"})
        for _ in range(2):
            with pytest.raises(Changed):
                await transport.finish_upload("d/x", upload_id, receipts, replaces=entry)
        assert await contents(transport) == {"d/x": b"theirs"}
        await transport.abort_upload("d/x", upload_id)

    async def test_what_is_gone_is_not_replaced(self, transport: Transport) -> None:
        await put(transport, {"d/x": b"old"})
        entry = await pinned(transport, "d/x")
        upload_id, receipts = await self._upload(transport, b"new")
        await transport.delete(["d/x"])
        with pytest.raises(Changed):
            await transport.finish_upload("d/x", upload_id, receipts, replaces=entry)
        assert "d/x" not in await contents(transport)
        await transport.abort_upload("d/x", upload_id)

    async def test_a_new_object_replaces_none(self, transport: Transport) -> None:
        upload_id, receipts = await self._upload(transport, b"new")
        for _ in range(2):
            await transport.finish_upload("d/x", upload_id, receipts, replaces=Presence.NONE)
        assert await contents(transport) == {"d/x": b"new"}
        upload_id, receipts = await self._upload(transport, b"newer")
        with pytest.raises(AlreadyExists):
            await transport.finish_upload("d/x", upload_id, receipts, replaces=Presence.NONE)
        assert await contents(transport) == {"d/x": b"new"}
        await transport.abort_upload("d/x", upload_id)

    async def test_of_two_that_patch_one_after_the_other_the_first_wins(
        self, transport: Transport
    ) -> None:
        """Both saw the same object; whoever finishes second must not undo the first's work."""
        if not self.pins_content:
            return
        await put(transport, {"d/x": b"old"})
        entry = await pinned(transport, "d/x")
        uploads = [await self._upload(transport, data) for data in (b"first", b"second")]
        outcomes: list[TransportError | None] = []
        for upload_id, receipts in uploads:
            try:
                await transport.finish_upload("d/x", upload_id, receipts, replaces=entry)
            except TransportError as error:
                outcomes.append(error)
                await transport.abort_upload("d/x", upload_id)
            else:
                outcomes.append(None)
        assert outcomes[0] is None
        assert isinstance(outcomes[1], Changed)
        assert await contents(transport) == {"d/x": b"first"}

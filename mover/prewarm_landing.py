"""The target of a fill: files come under their origin's path in a cache directory, and are put down as they land."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from mover.prewarm.origins import Origin
from mover.prewarm_halves import STAGE, Halves
from mover.prewarm_shelf import Landed, Shelf
from transports import digests
from transports.base import Pace, PartSink, Transport
from transports.decorator import Decorator
from transports.errors import NoSpace, TransportError
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    Checksum,
    Entry,
    PartReceipt,
    PartSpec,
    Presence,
    Receipt,
    UploadInfo,
)


class Landing(Decorator):
    """What a copy asks of its target, and no more: the other verbs are those of the whole cache directory.

    ``coming`` are the objects by key that room has been reserved for. ``inner`` is the cache directory, which stays
    open. With ``halves`` an upload goes on where one was broken off, and one that fails for now is left for that.
    """

    def __init__(
        self,
        inner: Transport,
        shelf: Shelf,
        origin: Origin,
        coming: Mapping[str, Entry],
        halves: Halves | None = None,
    ) -> None:
        super().__init__(inner)
        self.location = f"{inner.location}{origin.root}/{origin.prefix}"
        self._shelf = shelf
        self._under = f"{origin.root}/{origin.prefix}"
        self._coming = coming
        self._halves = halves

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        results: dict[int, Receipt | TransportError] = await self._refused(blobs)
        taken = [place for place in range(len(blobs)) if place not in results]
        placed = [self._placed(blobs[place]) for place in taken]
        receipts = await self.inner.write_small(placed, pace=pace)
        results.update(zip(taken, receipts, strict=True))
        landed = []
        for place in taken:
            blob = blobs[place]
            if not isinstance(results[place], TransportError):
                entry = blob.entry._replace(size=len(blob.data))
                landed.append(Landed(entry, digests.crc64nvme_hex(blob.data)))
        await self._shelf.land(landed)
        return [results[place] for place in range(len(blobs))]

    async def _refused(self, blobs: Sequence[Blob]) -> dict[int, Receipt | TransportError]:
        """Those that grew since room was reserved for them, and for which there is none now."""
        grown = [
            place
            for place, blob in enumerate(blobs)
            if len(blob.data) > self._coming[blob.entry.key].size
        ]
        if not grown:
            return {}
        entries = [blobs[place].entry._replace(size=len(blobs[place].data)) for place in grown]
        reserved = await self._shelf.reserve(entries, anew=True)
        lacking = set(range(len(grown))) - set(reserved.granted)
        return {grown[each]: NoSpace(self.location + entries[each].key) for each in lacking}

    def _placed(self, blob: Blob) -> Blob:
        return blob._replace(entry=blob.entry._replace(key=self._under + blob.entry.key))

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        if self._halves is None:
            return await self.inner.begin_upload(self._under + key, size, attributes, token=token)
        entry = self._coming[key]
        if found := await self._halves.take_up(entry):
            return found
        made = await self.inner.begin_upload(self._under + key, size, attributes, token=STAGE)
        await self._halves.note(entry, made)
        return made

    async def write_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        data: memoryview,
        *,
        sparse: bool = False,
        pace: Pace | None = None,
    ) -> PartReceipt:
        return await self.inner.write_part(
            self._under + key, upload_id, part, data, sparse=sparse, pace=pace
        )

    async def open_part(
        self, key: str, upload_id: str, part: PartSpec, *, sparse: bool = False
    ) -> PartSink:
        return await self.inner.open_part(self._under + key, upload_id, part, sparse=sparse)

    async def finish_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        checksum: Checksum | None = None,
        replaces: Entry | Presence = Presence.ANY,
    ) -> Receipt:
        receipt = await self.inner.finish_upload(
            self._under + key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
        )
        sums = [(int(part.crc64nvme, 16), part.size) for part in parts]
        digest = f"{digests.combine_crc64nvme_parts(sums):016x}"
        await self._shelf.land([Landed(self._coming[key], digest)])
        if self._halves is not None:
            with suppress(
                TransportError
            ):  # it has landed; what is left of its upload is the next one's
                await self._halves.drop(key)
        return receipt

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self.inner.abort_upload(self._under + key, upload_id)
        if self._halves is not None:
            await self._halves.drop(key)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        return await self.inner.list_parts(self._under + key, upload_id)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        return [
            UploadInfo(each.key.removeprefix(self._under), each.upload_id, each.started_ns)
            for each in await self.inner.list_uploads(self._under + prefix)
        ]

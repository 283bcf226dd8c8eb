"""Copies inside the store: of whole objects, and of ranges into parts of an upload.

What a store makes of a copied part is looked at once: whether it minds the pin and the range. A
store that ignores the pin is looked at again after each part; one that ignores the range, or does
not have the verb, is not asked again.
"""

import asyncio
from typing import Final, NamedTuple
from urllib.parse import quote

from transports.errors import (
    Changed,
    Invalid,
    TransportError,
    Unsupported,
)
from transports.model import ByteRange, Checksum, Entry, PartReceipt, PartSpec, Proof, Receipt
from transports.s3_headers import attributes_of, etag_kind, quoted_key
from transports.s3_reply import Reply
from transports.s3_requests import Pairs, S3Client
from transports.s3_uploads import Uploads, crc_hex_of
from transports.undoing import undone_if_cancelled

WHOLE_COPY_BYTES_MAX: Final = 5 * 1024**3
_COPY_PART_BYTES: Final = 512 * 1024**2
_COPY_PARTS_MAX: Final = 10_000
_COPY_CREW: Final = 4
_ABORT_S: Final = 10.0
_NOBODYS_ETAG: Final = '"00000000000000000000000000000000"'


class Copies:
    """The copying verbs of one transport; keys here are full ones.

    ``extra`` are the headers that go along with every new object (storage class, encryption).
    """

    def __init__(self, client: S3Client, uploads: Uploads, *, extra: Pairs) -> None:
        self._client = client
        self._uploads = uploads
        self._extra = tuple(extra)
        self._minds_pins: bool | None = None  # in copies of parts; None: not seen yet
        self._lacks = ""  # why parts are not copied here
        self._turn = asyncio.Lock()

    async def whole(self, entry: Entry, source: S3Client, source_key: str, key: str) -> Receipt:
        """Copy an object inside the store, pinned to its ETag; in parts where it is too large."""
        pin = _pin(entry, source, source_key)
        if entry.size > WHOLE_COPY_BYTES_MAX:
            return await self._in_parts(entry, source, source_key, key, pin)
        reply = await self._client.send("PUT", key, (), sorted([*pin, *self._extra]))
        etag = self._copied(reply, key, "CopyObjectResult").get("ETag", "").strip('"')
        after = etag_kind(etag)
        if etag_kind(entry.etag).md5 and after.md5 and etag != entry.etag:
            # Another ETag may come from encryption, or from a store that does not honour the pin.
            await self._check_there(entry, source, source_key)
        same = bool(entry.etag) and entry.etag == etag
        return Receipt(
            key,
            entry.size,
            etag,
            Proof.STRONG if same else Proof.WEAK,
            Checksum("md5", after.md5) if same and after.md5 else None,
            reply.text(b"x-amz-version-id"),
        )

    async def part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: S3Client,
        source_key: str,
    ) -> PartReceipt:
        """Copy a range into a part. The first one of a transport costs two requests more."""
        location = self._client.location_of(key)
        if not len(span) or len(span) != len(part.range):
            detail = f"{len(span)} bytes for a part of {len(part.range)} bytes"
            raise Invalid(location, detail)
        pin = _pin(entry, source, source_key)
        asking = _PartCopy(key, upload_id, part, span)
        if self._minds_pins is None and not self._lacks:
            async with self._turn:  # of many parts at once, one tries the store
                if self._minds_pins is None and not self._lacks:
                    return await self._first_part(asking, entry, pin, source, source_key)
        if self._lacks:
            raise Unsupported(location, self._lacks)
        receipt = await self._part(asking, pin)
        if not self._minds_pins:
            await self._check_there(entry, source, source_key)
        return receipt

    async def _first_part(
        self,
        asking: "_PartCopy",
        entry: Entry,
        pin: list[tuple[str, str]],
        source: S3Client,
        source_key: str,
    ) -> PartReceipt:
        """Copy a part, and see whether the store minds the range and the pin.

        A wrong pin must be refused. Where it is not, the same part is copied over it right away.
        """
        wrong = [(n, _NOBODYS_ETAG if n.endswith("if-match") else v) for n, v in pin]
        minds_pins = False
        if wrong != pin:
            try:
                await self._part(asking, wrong)
            except Changed:
                minds_pins = True
        receipt = await self._part(asking, pin)
        sizes = {one.number: one.size for one in await self._uploads.parts(*asking[:2])}
        if sizes.get(receipt.number) != receipt.size:
            self._lacks = "the store copies whole objects where a range was asked for"
            raise Unsupported(self._client.location_of(asking.key), self._lacks)
        if not minds_pins:
            await self._check_there(entry, source, source_key)
        self._minds_pins = minds_pins
        return receipt

    async def _part(self, asking: "_PartCopy", pin: list[tuple[str, str]]) -> PartReceipt:
        key, upload_id, part, span = asking
        query = (("partNumber", str(part.number)), ("uploadId", upload_id))
        wanted = ("x-amz-copy-source-range", f"bytes={span.start}-{span.stop - 1}")
        try:
            reply = await self._client.send("PUT", key, query, sorted([*pin, wanted]))
            fields = self._copied(reply, key, "CopyPartResult")
        except Unsupported as error:
            self._lacks = error.detail
            raise
        crc_hex = crc_hex_of(fields.get("ChecksumCRC64NVME", ""))
        etag = fields.get("ETag", "").strip('"')
        return PartReceipt(part.number, part.range.start, len(part.range), etag, crc_hex)

    async def _check_there(self, entry: Entry, source: S3Client, source_key: str) -> None:
        """Raise ``Changed`` unless the source is still the object that was listed."""
        if entry.etag and (await source.send("HEAD", source_key)).etag != entry.etag:
            raise Changed(source.location_of(source_key))

    async def _in_parts(
        self,
        entry: Entry,
        source: S3Client,
        source_key: str,
        key: str,
        pin: list[tuple[str, str]],
    ) -> Receipt:
        """Copy by ranges. A failure or a cancel aborts the upload, within ten seconds."""
        info = await source.send("HEAD", source_key)
        part_bytes = max(_COPY_PART_BYTES, -(-entry.size // _COPY_PARTS_MAX))
        starts = range(0, entry.size, part_bytes)
        upload_id = await undone_if_cancelled(
            lambda: self._uploads.begin(key, attributes_of(info.headers)),
            lambda made: self._abort_late(key, made),
            within_s=_ABORT_S,
        )
        queue = iter(enumerate(starts, start=1))
        receipts: list[PartReceipt] = []

        async def work() -> None:
            for number, start in queue:
                span = ByteRange(start, min(start + part_bytes, entry.size))
                part = PartSpec(number=number, range=span)
                receipts.append(await self._part(_PartCopy(key, upload_id, part, span), pin))

        try:
            async with asyncio.TaskGroup() as crew:
                for number in range(min(_COPY_CREW, len(starts))):
                    crew.create_task(work(), name=f"copy-part-{number}")
            receipt = await self._uploads.finish(key, upload_id, sorted(receipts), None)
        except BaseExceptionGroup as group:
            await self._abort_late(key, upload_id)
            raise _first(group) from group
        except BaseException:
            await self._abort_late(key, upload_id)
            raise
        return receipt

    async def _abort_late(self, key: str, upload_id: str) -> None:
        """Abort on the way out of a failure, which stays the error to report."""
        try:
            async with asyncio.timeout(_ABORT_S):
                await asyncio.shield(self._uploads.abort(key, upload_id))
        except (TransportError, TimeoutError):
            return

    def _copied(self, reply: Reply, key: str, root: str) -> dict[str, str]:
        """The fields of a success; a copy that fails late is a success with an error in its body."""
        if root.encode() not in reply.body:
            raise self._client.refused(reply.body, key)
        return self._uploads.fields_of(reply, key, root)


class _PartCopy(NamedTuple):
    """What is asked of the store."""

    key: str
    upload_id: str
    part: PartSpec
    span: ByteRange


def _pin(entry: Entry, source: S3Client, source_key: str) -> list[tuple[str, str]]:
    """The headers that name the source and pin it."""
    named = f"/{source.bucket}/{quoted_key(source_key, source.location_of(source_key))}"
    if entry.version:
        named += f"?versionId={quote(entry.version, safe='')}"
    pin = [("x-amz-copy-source", named)]
    if entry.etag:
        pin.append(("x-amz-copy-source-if-match", f'"{entry.etag}"'))
    return pin


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a group of failures: one copy reports one error."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

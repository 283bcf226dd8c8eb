"""Uploads in parts, and copies inside the store."""

import asyncio
from collections.abc import Sequence
from typing import Final

from transports import digests, s3_xml
from transports.base import Pace
from transports.errors import (
    Changed,
    Corrupt,
    Invalid,
    NotFound,
    TransportError,
    Unavailable,
)
from transports.model import (
    Attributes,
    Checksum,
    Entry,
    PartReceipt,
    PartSpec,
    Proof,
    Receipt,
    UploadInfo,
)
from transports.s3_headers import (
    attributes_of,
    checksums_of,
    composite_etag,
    etag_kind,
    headers_for,
    quoted_key,
)
from transports.s3_proofs import Prover
from transports.s3_reply import Reply
from transports.s3_requests import Pairs, S3Client
from transports.undoing import undone_if_cancelled

WHOLE_COPY_BYTES_MAX: Final = 5 * 1024**3
_COPY_PART_BYTES: Final = 512 * 1024**2
_COPY_PARTS_MAX: Final = 10_000
_COPY_CREW: Final = 4
_ABORT_S: Final = 10.0


class Uploads:
    """The multipart verbs and copies of one transport; keys here are full ones.

    ``extra`` are the headers that go along with every new object (storage class, encryption).
    """

    def __init__(self, client: S3Client, prover: Prover, *, extra: Pairs) -> None:
        self._client = client
        self._prover = prover
        self._extra = tuple(extra)
        self._takes_crc: bool | None = None  # at CreateMultipartUpload; None: not seen yet

    async def begin(self, key: str, attributes: Attributes) -> str:
        """Open an upload, with a full-object CRC-64/NVME where the store takes one."""
        headers = [*headers_for(attributes, self._client.location_of(key)), *self._extra]
        with_crc = [
            ("x-amz-checksum-algorithm", "CRC64NVME"),
            ("x-amz-checksum-type", "FULL_OBJECT"),
        ]
        query = (("uploads", ""),)
        if self._takes_crc is False:
            reply = await self._client.send("POST", key, query, sorted(headers))
        else:
            try:
                reply = await self._client.send("POST", key, query, sorted(headers + with_crc))
                self._takes_crc = True
            except Invalid:
                if self._takes_crc:
                    raise
                reply = await self._client.send("POST", key, query, sorted(headers))
                self._takes_crc = False
        upload_id = self._fields(reply, key, "InitiateMultipartUploadResult").get("UploadId", "")
        if not upload_id:
            raise Unavailable(
                self._client.location_of(key), "the store opened an upload namelessly"
            )
        return upload_id

    async def write(
        self, key: str, upload_id: str, part: PartSpec, data: memoryview, *, pace: Pace | None
    ) -> PartReceipt:
        """Write one part, proved like a whole object."""
        crc_hex = digests.crc64nvme_hex(data)
        query = (("partNumber", str(part.number)), ("uploadId", upload_id))
        reply, _ = await self._prover.put(key, query, (), data, crc_hex=crc_hex, pace=pace)
        return PartReceipt(part.number, part.range.start, len(data), reply.etag, crc_hex)

    async def finish(
        self, key: str, upload_id: str, parts: Sequence[PartReceipt], checksum: Checksum | None
    ) -> Receipt:
        """Complete an upload; a repeated call finds the object that the first one made."""
        location = self._client.location_of(key)
        size = sum(part.size for part in parts)
        crc_hex = _combined_crc(parts)
        if checksum is not None and checksum.algorithm == "crc64nvme":
            if crc_hex and crc_hex != checksum.hex:
                raise Corrupt(
                    location, algorithm="crc64nvme", expected=checksum.hex, actual=crc_hex
                )
            crc_hex = checksum.hex
        etag = composite_etag([part.etag for part in parts])
        try:
            reply = await self._complete(key, upload_id, parts, size, crc_hex)
        except NotFound:
            return await self._found(key, size, etag, crc_hex)
        if b"CompleteMultipartUploadResult" not in reply.body:
            raise self._client.refused(reply.body, key)
        fields = self._fields(reply, key, "CompleteMultipartUploadResult")
        return self._receipt(
            key,
            size,
            fields.get("ETag", "").strip('"'),
            etag,
            crc_hex,
            fields.get("ChecksumCRC64NVME", ""),
            reply.text(b"x-amz-version-id"),
        )

    async def _complete(
        self, key: str, upload_id: str, parts: Sequence[PartReceipt], size: int, crc_hex: str
    ) -> Reply:
        body = s3_xml.complete_body([(part.number, part.etag, "") for part in parts])
        query = (("uploadId", upload_id),)
        plain = (("content-type", "application/xml"),)
        if not crc_hex or self._takes_crc is False:
            return await self._client.send("POST", key, query, plain, body=body)
        sealed = (
            *plain,
            ("x-amz-checksum-crc64nvme", digests.base64_of(crc_hex)),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-mp-object-size", str(size)),
        )
        try:
            return await self._client.send("POST", key, query, sealed, body=body)
        except Invalid:
            if self._takes_crc:
                raise
            # Another process opened it, perhaps without the checksum that we send now.
            return await self._client.send("POST", key, query, plain, body=body)

    def _receipt(
        self,
        key: str,
        size: int,
        etag: str,
        expected_etag: str,
        crc_hex: str,
        echoed: str,
        version: str,
    ) -> Receipt:
        proof, checksum = Proof.WEAK, None
        if echoed and crc_hex:
            if echoed != digests.base64_of(crc_hex):
                raise Corrupt(
                    self._client.location_of(key),
                    algorithm="crc64nvme",
                    expected=crc_hex,
                    actual=echoed,
                )
            proof, checksum = Proof.STRONG, Checksum("crc64nvme", crc_hex)
        elif expected_etag and etag.lower() == expected_etag:
            proof = Proof.STRONG
            checksum = Checksum("crc64nvme", crc_hex) if crc_hex else None
        return Receipt(key, size, etag, proof, checksum, version)

    async def _found(self, key: str, size: int, etag: str, crc_hex: str) -> Receipt:
        """The receipt of an upload that was completed before, told by what is at the key.

        Raises ``NotFound`` when that is something else.
        """
        location = self._client.location_of(key)
        gone = "the upload is gone, and the object at its key is not the one that it makes"
        try:
            reply = await self._client.send("HEAD", key, (), (("x-amz-checksum-mode", "ENABLED"),))
        except NotFound:
            raise NotFound(location, "the upload is gone") from None
        stored = dict(checksums_of(reply.headers)).get("crc64nvme", "")
        same_crc = bool(stored) and stored == crc_hex
        same_etag = bool(etag) and reply.etag.lower() == etag
        if reply.text(b"content-length") != str(size) or not (same_crc or same_etag):
            raise NotFound(location, gone)
        echoed = digests.base64_of(stored) if same_crc else ""
        return self._receipt(
            key, size, reply.etag, etag, crc_hex, echoed, reply.text(b"x-amz-version-id")
        )

    async def abort(self, key: str, upload_id: str) -> None:
        """Forget an upload; one that is gone is a success."""
        try:
            await self._client.send("DELETE", key, (("uploadId", upload_id),))
        except NotFound:
            return

    async def parts(self, key: str, upload_id: str) -> list[PartReceipt]:
        """The parts that the store holds. It does not tell where they start: ``start`` is -1."""
        found: list[PartReceipt] = []
        marker = 0
        while True:
            query = [("uploadId", upload_id), ("max-parts", "1000")]
            if marker:
                query.append(("part-number-marker", str(marker)))
            reply = await self._client.send("GET", key, query)
            try:
                listed, following = s3_xml.parse_parts(reply.body)
            except s3_xml.GarbledAnswer as error:
                raise self._unreadable(key, error) from error
            found += [
                PartReceipt(
                    part.number,
                    -1,
                    part.size,
                    part.etag,
                    _crc_hex(part.crc64nvme),
                )
                for part in listed
            ]
            if not following:
                return sorted(found)
            if following <= marker:
                raise Unavailable(self._client.location_of(key), "the list of parts repeats itself")
            marker = following

    async def unfinished(self, prefix: str) -> list[UploadInfo]:
        """All open uploads under a full prefix, by full keys."""
        found: list[UploadInfo] = []
        markers: tuple[str, str] = ("", "")
        while True:
            query = [("uploads", ""), ("encoding-type", "url"), ("max-uploads", "1000")]
            query += [
                (name, value)
                for name, value in (
                    ("prefix", prefix),
                    ("key-marker", markers[0]),
                    ("upload-id-marker", markers[1]),
                )
                if value
            ]
            reply = await self._client.send("GET", None, query)
            try:
                uploads, following = s3_xml.parse_uploads(reply.body)
            except s3_xml.GarbledAnswer as error:
                raise self._unreadable(prefix, error) from error
            # Some stores take the prefix for a hint.
            found += [UploadInfo(*upload) for upload in uploads if upload.key.startswith(prefix)]
            if following is None:
                return found
            if following == markers:
                raise Unavailable(
                    self._client.location_of(prefix), "the list of uploads repeats itself"
                )
            markers = following

    # -- copies ----------------------------------------------------------------------------------

    async def copy(self, entry: Entry, source: S3Client, source_key: str, key: str) -> Receipt:
        """Copy an object inside the store, pinned to its ETag; in parts where it is too large."""
        copy_from = f"/{source.bucket}/{quoted_key(source_key, source.location_of(source_key))}"
        pin = [("x-amz-copy-source", copy_from)]
        if entry.etag:
            pin.append(("x-amz-copy-source-if-match", f'"{entry.etag}"'))
        if entry.size > WHOLE_COPY_BYTES_MAX:
            return await self._copy_in_parts(entry, source, source_key, key, pin)
        reply = await self._client.send("PUT", key, (), sorted([*pin, *self._extra]))
        etag = self._copied_etag(reply, key, "CopyObjectResult")
        after = etag_kind(etag)
        if etag_kind(entry.etag).md5 and after.md5 and etag != entry.etag:
            # Another ETag may come from encryption, or from a store that does not honour the pin.
            present = await source.send("HEAD", source_key)
            if present.etag != entry.etag:
                raise Changed(source.location_of(source_key))
        same = bool(entry.etag) and entry.etag == etag
        return Receipt(
            key,
            entry.size,
            etag,
            Proof.STRONG if same else Proof.WEAK,
            Checksum("md5", after.md5) if same and after.md5 else None,
            reply.text(b"x-amz-version-id"),
        )

    async def _copy_in_parts(
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
            lambda: self.begin(key, attributes_of(info.headers)),
            lambda made: self._abort_late(key, made),
            within_s=_ABORT_S,
        )
        queue = iter(enumerate(starts, start=1))
        receipts: list[PartReceipt] = []

        async def work() -> None:
            for number, start in queue:
                stop = min(start + part_bytes, entry.size)
                query = (("partNumber", str(number)), ("uploadId", upload_id))
                headers = sorted([*pin, ("x-amz-copy-source-range", f"bytes={start}-{stop - 1}")])
                reply = await self._client.send("PUT", key, query, headers)
                etag = self._copied_etag(reply, key, "CopyPartResult")
                receipts.append(PartReceipt(number, start, stop - start, etag))

        try:
            async with asyncio.TaskGroup() as crew:
                for number in range(min(_COPY_CREW, len(starts))):
                    crew.create_task(work(), name=f"copy-part-{number}")
            receipt = await self.finish(key, upload_id, sorted(receipts), None)
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
                await asyncio.shield(self.abort(key, upload_id))
        except (TransportError, TimeoutError):
            return

    def _copied_etag(self, reply: Reply, key: str, root: str) -> str:
        if root.encode() not in reply.body:
            raise self._client.refused(reply.body, key)
        return self._fields(reply, key, root).get("ETag", "").strip('"')

    def _fields(self, reply: Reply, key: str, root: str) -> dict[str, str]:
        try:
            return s3_xml.parse_fields(reply.body.strip(), root)
        except s3_xml.GarbledAnswer as error:
            raise self._unreadable(key, error) from error

    def _unreadable(self, key: str, error: s3_xml.GarbledAnswer) -> TransportError:
        kind = Invalid if error.hostile else Unavailable
        return kind(self._client.location_of(key), f"the answer cannot be read: {error}")


def _combined_crc(parts: Sequence[PartReceipt]) -> str:
    if not parts or not all(part.crc64nvme for part in parts):
        return ""
    pairs = [(int(part.crc64nvme, 16), part.size) for part in parts]
    return f"{digests.combine_crc64nvme_parts(pairs):016x}"


def _crc_hex(base64_digest: str) -> str:
    try:
        return digests.hex_of(base64_digest)
    except ValueError:
        return ""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a group of failures: one copy reports one error."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

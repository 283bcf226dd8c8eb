"""Uploads in parts."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from transports import digests, s3_xml
from transports.base import Pace
from transports.errors import (
    AlreadyExists,
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
    Presence,
    Proof,
    Receipt,
    UploadInfo,
)
from transports.s3_headers import (
    checksums_of,
    composite_etag,
    headers_for,
)
from transports.s3_proofs import Prover
from transports.s3_reply import Reply
from transports.s3_requests import Pairs, S3Client


class Uploads:
    """The multipart verbs of one transport; keys here are full ones.

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
        upload_id = self.fields_of(reply, key, "InitiateMultipartUploadResult").get("UploadId", "")
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
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        checksum: Checksum | None,
        replaces: Entry | Presence = Presence.ANY,
    ) -> Receipt:
        """Complete an upload; a repeated call finds the object that the first one made.

        What it ``replaces`` is looked at before, for stores that ignore conditions here, and made a
        condition of the request, for those that do not: there nobody can come in between.
        """
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
            condition = await self._condition(key, replaces)
            reply = await self._complete(key, upload_id, parts, size, crc_hex, condition)
        except NotFound:
            return await self._found(key, size, etag, crc_hex)
        except (Changed, AlreadyExists):
            # A repeated call meets the object that the first one made, which is no other's.
            with suppress(NotFound):
                return await self._found(key, size, etag, crc_hex)
            raise
        if b"CompleteMultipartUploadResult" not in reply.body:
            raise self._client.refused(reply.body, key)
        fields = self.fields_of(reply, key, "CompleteMultipartUploadResult")
        if checksum is not None and not all(part.crc64nvme for part in parts):
            etag = ""  # the store's own digests of parts that it copied say nothing about the bytes
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
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        size: int,
        crc_hex: str,
        condition: Pairs,
    ) -> Reply:
        body = s3_xml.complete_body([(part.number, part.etag, "") for part in parts])
        creating = any(name == "if-none-match" for name, _ in condition)
        send = partial(self._client.send, "POST", key, (("uploadId", upload_id),), body=body)
        plain = (("content-type", "application/xml"), *condition)
        if not crc_hex or self._takes_crc is False:
            return await send(plain, creating=creating)
        sealed = (
            *plain,
            ("x-amz-checksum-crc64nvme", digests.base64_of(crc_hex)),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-mp-object-size", str(size)),
        )
        try:
            return await send(sealed, creating=creating)
        except Invalid:
            if self._takes_crc:
                raise
            # Another process opened it, perhaps without the checksum that we send now.
            return await send(plain, creating=creating)

    async def _condition(self, key: str, replaces: Entry | Presence) -> Pairs:
        """The headers that say what must be at the key; raises when it is not there now."""
        if replaces is Presence.ANY:
            return ()
        location = self._client.location_of(key)
        try:
            there = await self._client.send("HEAD", key)
        except NotFound:
            if replaces is Presence.NONE:
                return (("if-none-match", "*"),)
            raise Changed(location, "the object is gone") from None
        if not isinstance(replaces, Entry):
            raise AlreadyExists(location)
        if there.etag != replaces.etag:
            raise Changed(location, "another object has taken its place")
        return (("if-match", f'"{replaces.etag}"'),)

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
                    crc_hex_of(part.crc64nvme),
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

    def fields_of(self, reply: Reply, key: str, root: str) -> dict[str, str]:
        """The fields of a flat answer."""
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


def crc_hex_of(base64_digest: str) -> str:
    """A checksum of an answer in hex; "" for none, and for what is not one."""
    try:
        return digests.hex_of(base64_digest)
    except ValueError:
        return ""

"""What a bucket knows of an object without its bytes: of the current version, and of older ones."""

from typing import Final

from transports import s3_xml
from transports.errors import Invalid, NotFound, Unavailable
from transports.model import ByteRange, Entry, Kind, ObjectInfo
from transports.s3_headers import attributes_of, date_ns, etag_kind
from transports.s3_proofs import Prover
from transports.s3_requests import Pairs, S3Client

CHECKSUMS: Final = ("x-amz-checksum-mode", "ENABLED")
VERSIONS_MAX: Final = 10
"""Older versions that are looked at, with a request for each: the newest ones of the right size."""

_PAGES_MAX: Final = 3
"""Pages of a thousand versions that are gone through for them."""


def pin_query(entry: Entry) -> Pairs:
    """What asks for an older version, whose entry names it; a current one's does not."""
    return (("versionId", entry.version),) if entry.version else ()


def pin_headers(entry: Entry, span: ByteRange | None = None) -> list[tuple[str, str]]:
    """What pins a read to the object that was listed, and asks for a range of it."""
    headers = [("if-match", f'"{entry.etag}"')] if entry.etag else []
    if span is not None:
        headers.append(("range", f"bytes={span.start}-{span.stop - 1}"))
    return headers


class Looks:
    """The looks of one transport; keys are full ones, ``prefix`` is that of the transport's root."""

    def __init__(self, client: S3Client, prover: Prover, prefix: str) -> None:
        self._client = client
        self._prover = prover
        self._cut = len(prefix)

    async def at(self, full: str, version: str = "") -> ObjectInfo:
        """The current version, or another one. Raises ``NotFound``."""
        query = (("versionId", version),) if version else ()
        reply = await self._client.send("HEAD", full, query, (CHECKSUMS,))
        etag, key = reply.etag, full[self._cut :]
        if key.endswith("/") and etag.endswith("-0"):
            # SeaweedFS answers for a directory without a marker; no upload has zero parts.
            raise NotFound(self._client.location_of(full))
        modified_ns = date_ns(reply.text(b"last-modified"))
        size = int(reply.text(b"content-length") or -1)
        kind = Kind.DIRECTORY if key.endswith("/") and not size else Kind.OBJECT
        parts = reply.text(b"x-amz-mp-parts-count")
        return ObjectInfo(
            entry=Entry(key, size, modified_ns, etag, version, kind, modified_ns),
            attributes=attributes_of(reply.headers),
            checksums=self._prover.known_of(reply),
            parts=int(parts) if parts.isdecimal() else etag_kind(etag).parts,
        )

    async def older(self, full: str, size: int) -> list[ObjectInfo]:
        """Older versions of so many bytes, newest first; none that went while they were looked at."""
        found: list[ObjectInfo] = []
        for version in await self._listed(full, size):
            try:
                found.append(await self.at(full, version))
            except NotFound:
                continue
        return found

    async def _listed(self, full: str, size: int) -> list[str]:
        found: list[str] = []
        marker = ("", "")
        for _ in range(_PAGES_MAX):
            query = [("versions", ""), ("encoding-type", "url"), ("prefix", full)]
            if marker[0]:
                query += [("key-marker", marker[0]), ("version-id-marker", marker[1])]
            reply = await self._client.send("GET", None, query)
            try:
                listed, following = s3_xml.parse_versions(reply.body)
            except s3_xml.GarbledAnswer as error:
                kind = Invalid if error.hostile else Unavailable
                detail = f"the answer cannot be read: {error}"
                raise kind(self._client.location_of(full), detail) from error
            found += [
                each.version
                for each in listed
                if each.key == full and each.size == size and not each.is_latest
            ]
            # The key itself is the first one with this prefix.
            if following is None or following[0] != full or len(found) >= VERSIONS_MAX:
                break
            marker = following
        return found[:VERSIONS_MAX]

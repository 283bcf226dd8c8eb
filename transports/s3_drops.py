"""Reads whose bytes nobody wants, of one bucket: for what a cache on the way says and keeps."""

from collections.abc import Mapping
from typing import Final

from transports.errors import Changed, Invalid
from transports.model import ByteRange, Entry
from transports.s3_lean import Drop
from transports.s3_looks import pin_headers, pin_query
from transports.s3_reply import Reply
from transports.s3_requests import S3Client

NOT_CACHED: Final = 504
"""The status of a cache that was asked not to fetch what it does not have (RFC 9111, 5.2.1.7)."""


class Drops:
    """The drops and peeks of one transport; keys are full ones."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def drop(self, full: str, entry: Entry, span: ByteRange) -> None:
        """Raises ``NotPourable`` for an answer that cannot be let go as it comes, else as the port."""
        if not len(span) and entry.size:
            return
        part = None if len(span) == entry.size else span
        query, headers = pin_query(entry), pin_headers(entry, part)
        reply = await self._client.send("GET", full, query, headers, into=Drop(len(span)))
        check_range(reply, span, self._client.location_of(full))

    async def peek(
        self, full: str, entry: Entry, at: int, *, cached_only: bool
    ) -> Mapping[str, str]:
        """See the port."""
        headers = pin_headers(entry, ByteRange(at, at + 1) if entry.size else None)
        if cached_only:
            headers.insert(0, ("cache-control", "only-if-cached"))
        also = NOT_CACHED if cached_only else 0
        reply = await self._client.send("GET", full, pin_query(entry), headers, also=also)
        told = {":status": str(reply.status)}
        for name, value in reply.headers.items():
            told[name.decode("latin-1").lower()] = value.decode("latin-1")
        return told


def check_range(reply: Reply, span: ByteRange, location: str) -> None:
    """Raise unless the answer is the range that was asked for."""
    if reply.status == 206:
        given = reply.text(b"content-range").removeprefix("bytes ").partition("/")[0]
        if given != f"{span.start}-{span.stop - 1}":
            raise Changed(location, f"another range came: {given!r}")
    elif span.start:
        raise Invalid(location, "the store ignores ranges")

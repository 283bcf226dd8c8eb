"""Reads whose bytes nobody wants, of one bucket: for what a cache on the way says and keeps."""

from collections.abc import Sequence
from typing import Final

from transports.base import DROP_BYTES, Told, further
from transports.errors import Changed, Invalid, TransportError, Truncated
from transports.model import ByteRange, Entry
from transports.s3_errors import told_of
from transports.s3_lean import Drop
from transports.s3_looks import pin_headers, pin_query
from transports.s3_reply import Reply
from transports.s3_requests import NotPourable, S3Client, Wanted

NOT_CACHED: Final = 504
"""The status of a cache that was asked not to fetch what it does not have (RFC 9111, 5.2.1.7)."""


class Drops:
    """The drops of one transport; keys are full ones."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def drop(self, full: str, entry: Entry, span: ByteRange, *, cached_only: bool) -> Told:
        """See the port."""
        if not len(span) and entry.size:
            return {}
        try:
            return await self._ask(full, entry, span, cached_only=cached_only)
        except NotPourable:
            return await self._by_buffer(full, entry, span, cached_only=cached_only)

    async def drop_small(
        self, fulls: Sequence[str], entries: Sequence[Entry]
    ) -> list[Told | TransportError]:
        """See the port. Runs of requests, and by itself whatever is no plain success."""
        results: list[Told | TransportError] = []
        wanted = [
            Wanted(full, pin_query(entry), pin_headers(entry), entry.size)
            for full, entry in zip(fulls, entries, strict=True)
        ]
        while (done := len(results)) < len(wanted):
            replies, failure = await self._client.run(wanted[done:])
            results += [self._told(reply) for reply in replies]
            if (done := len(results)) == len(wanted):
                break
            if failure is None and not replies:
                results.append(await self._by_itself(fulls[done], entries[done]))
            elif failure is not None:
                # Where the way there is broken it is so for those behind it too.
                stop = done + 1 if isinstance(failure, Truncated) else None
                places = map(self._client.location_of, fulls[done:stop])
                results += [told_of(failure, place) for place in places]
        return results

    async def _by_itself(self, full: str, entry: Entry) -> Told | TransportError:
        try:
            return await self.drop(full, entry, ByteRange(0, entry.size), cached_only=False)
        except TransportError as error:
            return error

    async def _by_buffer(
        self, full: str, entry: Entry, span: ByteRange, *, cached_only: bool
    ) -> Told:
        """Where the answers are not for the lean lane: a buffer at a time."""
        room = memoryview(bytearray(min(len(span), DROP_BYTES)))
        told: Told = {}
        for start in range(span.start, max(span.stop, span.start + 1), DROP_BYTES):
            part = ByteRange(start, min(start + DROP_BYTES, span.stop))
            into = room[: len(part)]
            try:
                said = await self._ask(full, entry, part, cached_only=cached_only, into=into)
            except Truncated as error:
                raise further(error, start - span.start, span) from error
            told = told or said
        return told

    async def _ask(
        self,
        full: str,
        entry: Entry,
        span: ByteRange,
        *,
        cached_only: bool,
        into: memoryview | None = None,
    ) -> Told:
        headers = pin_headers(entry, None if len(span) == entry.size else span)
        if cached_only:
            headers.insert(0, ("cache-control", "only-if-cached"))
        reply = await self._client.send(
            "GET",
            full,
            pin_query(entry),
            headers,
            into=Drop(len(span)) if into is None else into,
            also=NOT_CACHED if cached_only else 0,
        )
        if reply.status != NOT_CACHED:
            check_range(reply, span, self._client.location_of(full))
        return self._told(reply)

    @staticmethod
    def _told(reply: Reply) -> Told:
        return {**reply.headers, b":status": b"%d" % reply.status}


def check_range(reply: Reply, span: ByteRange, location: str) -> None:
    """Raise unless the answer is the range that was asked for."""
    if reply.status == 206:
        given = reply.text(b"content-range").removeprefix("bytes ").partition("/")[0]
        if given != f"{span.start}-{span.stop - 1}":
            raise Changed(location, f"another range came: {given!r}")
    elif span.start:
        raise Invalid(location, "the store ignores ranges")

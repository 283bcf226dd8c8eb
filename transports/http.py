"""HTTP(S) as a source: single objects by URL, and trees by a server's directory pages.

An object is discovered with a GET of its first byte, because that works where HEAD does not (a
presigned URL is signed for one method) and says at once whether ranges are offered. Reads are
pinned by ETag, else by Last-Modified. Bytes are never decoded: what the server stores is what
arrives. Writing is refused.

Credentials come from the environment: ``HTTP_AUTHORIZATION`` is sent as the Authorization header
(and not beyond a redirect to another host), ``HTTP_QUERY`` is appended to each URL. Proxies and
``SSL_CERT_FILE`` as everywhere.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Final, NoReturn

from transports import digests
from transports.base import Told, check_received
from transports.errors import (
    Changed,
    Corrupt,
    Invalid,
    NotFound,
    TransportError,
    Truncated,
    Unavailable,
)
from transports.http_answers import (
    attributes_of,
    checksums_of,
    entry_of,
    error_of,
    length_of,
    range_of,
    same_object,
)
from transports.http_client import BODY_ERRORS, HttpAnswer, HttpClient, open_client
from transports.http_index import PAGE_MAX_BYTES, children
from transports.location import Location
from transports.model import (
    NO_ATTRIBUTES,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    Kind,
    ObjectInfo,
    Proof,
)
from transports.read_only import ReadOnlyTransport

PIECE_MAX_BYTES: Final = 1024 * 1024
PAGE_ENTRIES: Final = 64
"""Entries of a page of a listing, each asked for its facts, as many at once as ``ASKING``."""
ASKING: Final = 8
DEPTH_MAX: Final = 64
NOT_CACHED: Final = 504
"""The status of a cache that was asked not to fetch what it does not have (RFC 9111, 5.2.1.7)."""
DRAIN_MAX_BYTES: Final = 64 * 1024
"""A body that is not wanted is read off up to here, to keep its connection."""

CAPABILITIES: Final = Capabilities(
    scheme="http",
    writable=False,
    multipart=False,
    small_batch_count=1,
    concurrency_start=8,
    concurrency_max=32,
    has_etags=True,
)


class HttpTransport(ReadOnlyTransport):
    """A URL and what lies below it. Open it with ``open_http``.

    ``capabilities.ranges`` turns False with the first object whose server does not offer them.
    """

    def __init__(self, location: Location, client: HttpClient) -> None:
        self.location = replace(location, query="").text
        self.capabilities = CAPABILITIES
        self._client = client

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """See the port. Costs one request per directory and one per object, for size and pin."""
        names: list[str] = []
        async for name in self._names("", prefix, start_after, stop_at, 0):
            names.append(name)
            if len(names) == PAGE_ENTRIES:
                if page := await self._entries(names):
                    yield page
                names = []
        if names and (page := await self._entries(names)):
            yield page

    async def _names(
        self, directory: str, prefix: str, start_after: str, stop_at: str | None, depth: int
    ) -> AsyncIterator[str]:
        if depth > DEPTH_MAX:
            raise Invalid(self._name(directory), f"more than {DEPTH_MAX} directories deep")
        found = await self._children(directory)
        if not found and directory and directory > start_after and directory.startswith(prefix):
            yield directory
        for child in found:
            key = directory + child
            if stop_at is not None and key >= stop_at:
                return
            if child.endswith("/"):
                wanted = key.startswith(prefix) or prefix.startswith(key)
                if wanted and not (key < start_after and not start_after.startswith(key)):
                    async for name in self._names(key, prefix, start_after, stop_at, depth + 1):
                        if stop_at is None or name < stop_at:
                            yield name
            elif key > start_after and key.startswith(prefix):
                yield key

    async def _children(self, directory: str) -> Sequence[str]:
        name = self._name(directory)
        async with self._client.get(directory) as answer:
            kind = answer.headers.get("Content-Type", "")
            if not kind.startswith(("text/html", "application/xhtml")):
                raise Invalid(name, "the server shows no directory page here")
            body = bytearray()
            async for piece in answer.content.iter_chunked(PIECE_MAX_BYTES):
                body += piece
                if len(body) > PAGE_MAX_BYTES:
                    raise Invalid(name, "the page is too large to be a directory's")
            check_received(
                name, received=len(body), expected=max(length_of(answer.headers), len(body))
            )
            text = body.decode(answer.charset or "utf-8", errors="replace")
            return children(text, str(answer.url.with_query(None)))

    async def _entries(self, names: Sequence[str]) -> Sequence[Entry]:
        """Ask for each object's facts, a few at a time; what has vanished is left out."""
        found: dict[str, Entry] = {}
        waiting = iter(names)

        async def ask() -> None:
            for name in waiting:
                if name.endswith("/"):
                    found[name] = Entry(name, 0, 0, kind=Kind.DIRECTORY)
                    continue
                try:
                    found[name] = (await self.head(name)).entry
                except NotFound:
                    continue

        await _together([ask] * min(ASKING, len(names)))
        return [found[name] for name in names if name in found]

    async def head(self, key: str) -> ObjectInfo:
        if not key or key.endswith("/"):
            raise NotFound(self._name(key))
        async with self._client.get(key, {"Range": "bytes=0-0"}, also=(416,)) as answer:
            ranged = range_of(answer.headers) if answer.status in {206, 416} else None
            if answer.status == 416 and (ranged is None or ranged[2] != 0):
                raise error_of(416, answer.headers, self._name(key), now_s=self._client.now_s())
            size = ranged[2] if ranged else length_of(answer.headers)
            entry = entry_of(answer.headers, key, size=size)
            if length_of(answer.headers) in range(DRAIN_MAX_BYTES):
                await answer.read()
            ranges = answer.status != 200
            if not ranges and size != 0:
                # Said before a job starts: its first look at the source comes through here.
                self.capabilities = replace(self.capabilities, ranges=False)
            return ObjectInfo(
                entry=entry,
                attributes=attributes_of(answer.headers, entry),
                checksums=checksums_of(answer.headers),
                ranges=ranges,
            )

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        results: list[Blob | TransportError] = []
        for entry in entries:
            try:
                results.append(await self._read_whole(entry))
            except TransportError as error:
                results.append(error)
        return results

    async def _read_whole(self, entry: Entry) -> Blob:
        if entry.kind is Kind.DIRECTORY:
            return Blob(entry, b"", NO_ATTRIBUTES, Proof.WEAK)
        name = self._name(entry.key)
        async with self._client.get(entry.key, _pin(entry)) as answer:
            now = self._check_pin(entry, answer, length_of(answer.headers))
            data = bytearray()
            try:
                async for piece in answer.content.iter_any():
                    data += piece
                    if entry.size >= 0 and len(data) > entry.size:
                        break
            except BODY_ERRORS as error:
                _broke_off(error, name, len(data), max(entry.size, len(data) + 1))
            check_received(
                name, received=len(data), expected=entry.size if entry.size >= 0 else len(data)
            )
            kept = attributes_of(answer.headers, now)
            for checksum in checksums_of(answer.headers):
                _compare(name, checksum, digests.checksum(checksum.algorithm, data).hex)
                return Blob(entry, data, kept, Proof.STRONG, checksum)
            return Blob(entry, data, kept, Proof.WEAK)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        """See the port. A server that ignores ranges makes it read and drop what lies before."""
        if len(span):
            await self._read_range(entry, span, buffer)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        if not len(span) and entry.size:
            return {}
        return await self._read_range(entry, span, None, cached_only=cached_only)

    async def _read_range(
        self,
        entry: Entry,
        span: ByteRange,
        buffer: memoryview | None,
        *,
        cached_only: bool = False,
    ) -> Told:
        """Fill the buffer, or without one let the bytes go, all of an object's without a range."""
        name = self._name(entry.key)
        asked = _pin(entry)
        if buffer is not None or len(span) != entry.size:
            asked["Range"] = f"bytes={span.start}-{span.stop - 1}"
        if cached_only:
            asked["Cache-Control"] = "only-if-cached"
        also = (416, NOT_CACHED) if cached_only else (416,)
        async with self._client.get(entry.key, asked, also=also) as answer:
            if answer.status == NOT_CACHED:
                return told_of(answer)
            ranged = range_of(answer.headers)
            if answer.status == 416:
                if ranged is None or ranged[2] != entry.size:
                    raise Changed(name)
                raise Truncated(name, received_bytes=0, expected_bytes=len(span))
            partial = answer.status == 206
            size = (ranged[2] if ranged else -1) if partial else length_of(answer.headers)
            self._check_pin(entry, answer, size)
            if partial and (ranged is None or ranged[0] != span.start):
                raise Unavailable(name, "the server answered with another range")
            skip = 0 if partial else span.start
            await self._fill(answer, name, buffer, len(span), skip=skip)
            return told_of(answer)

    async def _fill(
        self, answer: HttpAnswer, name: str, buffer: memoryview | None, size: int, *, skip: int
    ) -> None:
        done = 0
        try:
            async for piece in answer.content.iter_any():
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                wanted = memoryview(piece)[skip : skip + size - done]
                skip = 0
                if buffer is not None:
                    buffer[done : done + len(wanted)] = wanted
                done += len(wanted)
                if done == size:
                    return
        except BODY_ERRORS as error:
            _broke_off(error, name, done, size)
        check_received(name, received=done, expected=size)

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        name = self._name(entry.key)
        async with self._client.get(entry.key, _pin(entry)) as answer:
            self._check_pin(entry, answer, length_of(answer.headers))
            checksums = checksums_of(answer.headers)
            digest = digests.new_digest(checksums[0].algorithm) if checksums else None
            done = 0
            try:
                async for piece in answer.content.iter_chunked(PIECE_MAX_BYTES):
                    done += len(piece)
                    if digest is not None:
                        digest.update(piece)
                    yield piece
            except BODY_ERRORS as error:
                _broke_off(error, name, done, max(entry.size, done + 1))
            check_received(name, received=done, expected=entry.size if entry.size >= 0 else done)
            if digest is not None:
                _compare(name, checksums[0], digest.hexdigest())

    def _name(self, key: str) -> str:
        return self.location + key

    def _check_pin(self, entry: Entry, answer: HttpAnswer, size: int) -> Entry:
        now = entry_of(answer.headers, entry.key, size=size)
        if not same_object(entry, now):
            raise Changed(self._name(entry.key))
        return now

    async def close(self) -> None:
        await self._client.close()


def open_http(location: Location, environment: Mapping[str, str]) -> HttpTransport:
    """Open a URL inside a running loop; no request is made. See the module for ``environment``.

    The URL is the root of a tree, whose pages and objects are asked for with its query. Raises
    ``ValueError`` for an option that is unknown or cannot be used.
    """
    return HttpTransport(location.as_tree(), open_client(location.as_tree(), environment))


def told_of(answer: HttpAnswer) -> Told:
    """What an answer says beside its bytes."""
    told = {name.lower(): value for name, value in answer.raw_headers}
    return told | {b":status": b"%d" % answer.status}


def _pin(entry: Entry) -> dict[str, str]:
    """Headers that make the server itself refuse an object that moved."""
    if entry.etag and not entry.etag.startswith("W/"):
        return {"If-Match": f'"{entry.etag}"'}
    if entry.mtime_ns:
        stamp = formatdate(entry.mtime_ns // 1_000_000_000, usegmt=True)
        return {"If-Unmodified-Since": stamp}
    return {}


def _compare(name: str, expected: Checksum, actual: str) -> None:
    if actual != expected.hex:
        raise Corrupt(name, algorithm=expected.algorithm, expected=expected.hex, actual=actual)


def _broke_off(error: Exception, name: str, received: int, expected: int) -> NoReturn:
    raise Truncated(name, received_bytes=received, expected_bytes=expected) from error


async def _together(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run children of one listing page; of several errors the first is raised, not a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for number, work in enumerate(works):
                group.create_task(_awaited(work), name=f"http-facts-{number}")
    except* TransportError as errors:
        raise _first(errors) from None


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _first(errors: BaseExceptionGroup[TransportError]) -> TransportError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error

"""Decorator: a log of what was asked of a store, for tests and benchmarks.

A count of calls is the same on every run and says what a clock says only on a quiet machine: that
copying 1,000 objects takes one page of a listing on each side and not one HEAD.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from transports.base import Pace, PartSink, Sink, Told, Transport
from transports.decorator import Decorator, closing
from transports.errors import TransportError
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    ByteRange,
    Checksum,
    Entry,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Presence,
    Receipt,
    UploadInfo,
)

CALLS_MAX: Final = 100_000
"""Calls kept by a log; the oldest go first. The counts go on."""


class Call(NamedTuple):
    """One call: its verb, the keys it named, and the bytes it was to move."""

    verb: str
    keys: tuple[str, ...]
    size_bytes: int = 0


class Log:
    """Calls in the order in which they began, each page of a listing a call of its own."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=CALLS_MAX)
        self.counts: Counter[str] = Counter()
        self.size_bytes: Counter[str] = Counter()

    def add(self, verb: str, *keys: str, size_bytes: int = 0) -> None:
        """Note a call."""
        self.calls.append(Call(verb, keys, size_bytes))
        self.counts[verb] += 1
        self.size_bytes[verb] += size_bytes

    def take(self) -> list[Call]:
        """Return the calls so far and forget them, counts included."""
        calls = list(self.calls)
        self.calls.clear()
        self.counts.clear()
        self.size_bytes.clear()
        return calls


class Record(Decorator):
    """Notes every call in ``log``, which several transports may share."""

    def __init__(self, inner: Transport, log: Log | None = None) -> None:
        super().__init__(inner)
        self.log = log if log is not None else Log()

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        pages = self.inner.list(prefix, start_after=start_after, stop_at=stop_at)
        async with closing(pages) as listing:
            async for page in listing:
                self.log.add("list", prefix)
                yield page

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        self.log.add("first_after", key)
        return await self.inner.first_after(key, prefix)

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        self.log.add("children", prefix)
        return await self.inner.children(prefix, start_after=start_after, limit=limit)

    async def head(self, key: str) -> ObjectInfo:
        self.log.add("head", key)
        return await self.inner.head(key)

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        self.log.add("older_versions", key)
        return await self.inner.older_versions(key, size)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        size = sum(max(entry.size, 0) for entry in entries)
        self.log.add("read_small", *(entry.key for entry in entries), size_bytes=size)
        return await self.inner.read_small(entries)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        self.log.add("read_into", entry.key, size_bytes=len(span))
        await self.inner.read_into(entry, span, buffer)

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        self.log.add("read_to", entry.key, size_bytes=len(span) - sink.taken_bytes)
        await self.inner.read_to(entry, span, sink)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        self.log.add("drop", entry.key, size_bytes=len(span))
        return await self.inner.drop(entry, span, cached_only=cached_only)

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        size = sum(entry.size for entry in entries)
        self.log.add("drop_small", *(entry.key for entry in entries), size_bytes=size)
        return await self.inner.drop_small(entries)

    def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        self.log.add("stream", entry.key, size_bytes=max(entry.size, 0))
        return self.inner.stream(entry)

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        size = sum(len(blob.data) for blob in blobs)
        self.log.add("write_small", *(blob.entry.key for blob in blobs), size_bytes=size)
        return await self.inner.write_small(blobs, pace=pace)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        self.log.add("begin_upload", key)
        return await self.inner.begin_upload(key, size, attributes, token=token)

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
        self.log.add("write_part", key, size_bytes=len(data))
        return await self.inner.write_part(key, upload_id, part, data, sparse=sparse, pace=pace)

    async def open_part(
        self, key: str, upload_id: str, part: PartSpec, *, sparse: bool = False
    ) -> PartSink:
        self.log.add("open_part", key, size_bytes=len(part.range))
        return await self.inner.open_part(key, upload_id, part, sparse=sparse)

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        self.log.add("copy_part", entry.key, key, size_bytes=len(span))
        return await super().copy_part(key, upload_id, part, entry, span, source)

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
        self.log.add("finish_upload", key)
        return await self.inner.finish_upload(
            key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
        )

    async def abort_upload(self, key: str, upload_id: str) -> None:
        self.log.add("abort_upload", key)
        await self.inner.abort_upload(key, upload_id)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        self.log.add("list_parts", key)
        return await self.inner.list_parts(key, upload_id)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        self.log.add("list_uploads", prefix)
        return await self.inner.list_uploads(prefix)

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        self.log.add("copy", entry.key, key)
        return await super().copy(entry, source, key)

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        self.log.add("delete", *keys)
        return await self.inner.delete(keys)

    async def clean(self, token: str) -> None:
        self.log.add("clean")
        await self.inner.clean(token)

    async def close(self) -> None:
        self.log.add("close")
        await self.inner.close()

"""The common ground of everything that a transport can wear.

A decorator is a ``Transport`` around another one. It forwards every verb unchanged; a subclass
replaces those that it has something to say about. Sibling decorators do not know each other; the
order in which they are worn stands in ``opening``.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from transports.base import Pace, PartSink, Sink, Told, Transport
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

T = TypeVar("T")


class Decorator(Transport):
    """Forwards every verb to ``inner``, which it owns: closing it closes ``inner``."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.location = inner.location
        self.capabilities = inner.capabilities

    def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        return self.inner.list(prefix, start_after=start_after, stop_at=stop_at)

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        return await self.inner.first_after(key, prefix)

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        return await self.inner.children(prefix, start_after=start_after, limit=limit)

    async def head(self, key: str) -> ObjectInfo:
        return await self.inner.head(key)

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        return await self.inner.older_versions(key, size)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        return await self.inner.read_small(entries)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        await self.inner.read_into(entry, span, buffer)

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        await self.inner.read_to(entry, span, sink)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        return await self.inner.drop(entry, span, cached_only=cached_only)

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        return await self.inner.drop_small(entries)

    def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        return self.inner.stream(entry)

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        return await self.inner.write_small(blobs, pace=pace)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
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
        return await self.inner.write_part(key, upload_id, part, data, sparse=sparse, pace=pace)

    async def open_part(
        self, key: str, upload_id: str, part: PartSpec, *, sparse: bool = False
    ) -> PartSink:
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
        return await self.inner.copy_part(key, upload_id, part, entry, span, bare(source))

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
        return await self.inner.finish_upload(
            key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
        )

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self.inner.abort_upload(key, upload_id)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        return await self.inner.list_parts(key, upload_id)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        return await self.inner.list_uploads(prefix)

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        # The adapter looks into its own kind for the source's bucket; what that one wears is
        # none of its business.
        return await self.inner.copy(entry, bare(source), key)

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        return await self.inner.delete(keys)

    async def clean(self, token: str) -> None:
        await self.inner.clean(token)

    async def close(self) -> None:
        await self.inner.close()


def bare(transport: Transport) -> Transport:
    """The adapter under everything that it wears."""
    while isinstance(transport, Decorator):
        transport = transport.inner
    return transport


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close a listing or a stream on the way out, also where only half of it was taken."""
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()

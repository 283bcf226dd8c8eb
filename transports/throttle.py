"""Decorator: how many bytes and requests may pass in a second. And the token bucket, pure.

The decorator asks two callables before it lets anything pass; where the budget comes from (one
bucket in this process, or a share of a job's budget over many) is none of its business. Nothing
larger than a *slice* is ever asked for, so that no single read or write bursts: a range is read in
slices, a batch goes in groups of at most a slice, and writers are handed a ``pace``.

Control traffic (abort, clean, close) passes freely.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from transports import digests
from transports.base import Pace, Sink, Told, Transport, further
from transports.decorator import Decorator, closing
from transports.errors import Changed, Corrupt, TransportError, Truncated
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
    Proof,
    Receipt,
)

T = TypeVar("T")

Take = Callable[[int], Awaitable[None]]
"""Awaited with a number of bytes or requests; returns when they may pass."""

SLICE_MIN_BYTES: Final = 64 * 1024
"""The least that is fetched at once. What is granted is fetched at once, so a slice is how far a
meter on the wire may be off: whoever gives the rate says how much a slice may be."""

SLICE_LANES: Final = 6
"""Slices of one range under way at a time: the next is granted while one still crosses the network,
or a round trip longer than a slice would set the rate."""

SLICED_RANGES: Final = 3
"""Ranges that are read in slices at a time, in the order they were asked for. All at once they would share
the rate, none would be whole for long, and nothing could be written meanwhile. So many, with so many
slices each under way, fill a round trip of a third of a second."""

DEFAULT_SLICE_BYTES: Final = 1024 * 1024
DEFAULT_SLICE_REQUESTS: Final = 16


class Throttle(Decorator):
    """Lets bytes and requests pass when they may.

    ``slice_bytes`` and ``slice_requests`` say how much one grant may be. They are asked anew before
    each, because a rate may be changed while a job runs.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        take_bytes: Take | None = None,
        take_requests: Take | None = None,
        slice_bytes: Callable[[], int] = lambda: DEFAULT_SLICE_BYTES,
        slice_requests: Callable[[], int] = lambda: DEFAULT_SLICE_REQUESTS,
    ) -> None:
        super().__init__(inner)
        if take_bytes is not None:
            # Ranges are cut to the rate and fetched side by side: their pieces have no order.
            self.capabilities = replace(inner.capabilities, pours=False)
        self._take_bytes = take_bytes
        self._take_requests = take_requests
        self._slice_bytes = slice_bytes
        self._slice_requests = slice_requests
        self._sliced_ranges = asyncio.Semaphore(SLICED_RANGES)

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Takes one request per page. A store that fetches ahead is a page or two ahead of it."""
        pages = self.inner.list(prefix, start_after=start_after, stop_at=stop_at)
        async with closing(pages) as listing:
            await self._request()
            async for page in listing:
                yield page
                await self._request()

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        await self._request()
        return await self.inner.first_after(key, prefix)

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        await self._request()
        return await self.inner.children(prefix, start_after=start_after, limit=limit)

    async def head(self, key: str) -> ObjectInfo:
        await self._request()
        return await self.inner.head(key)

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        await self._request()
        return await self.inner.older_versions(key, size)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        results: list[Blob | TransportError] = []
        for group in self._groups(entries, [entry.size for entry in entries]):
            if self._slices and len(group) == 1 and group[0].size > self._slice_bytes():
                results.append(await self._read_sliced(group[0]))
                continue
            await self._request(len(group))
            await self._pass(sum(max(entry.size, 0) for entry in group))
            results += await _settled(self.inner.read_small(group), len(group))
        return results

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        if not self._slices:
            await self._request()
            await self._pass(len(span))
            await self.inner.read_into(entry, span, buffer)
            return
        if len(span) <= self._slice_bytes():  # an empty range is still a request: it checks the pin
            await self._read_slice(entry, span, buffer)
            return
        async with self._sliced_ranges:
            await self._read_in_slices(entry, span, buffer)

    async def _read_in_slices(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        arrived: list[ByteRange] = []
        cuts = self._cut(span)

        async def lane() -> None:
            for part in cuts:
                start, stop = part.start - span.start, part.stop - span.start
                try:
                    await self._read_slice(entry, part, buffer[start:stop])
                except Truncated as error:
                    arrived.append(ByteRange(part.start, part.start + error.received_bytes))
                    raise
                arrived.append(part)

        try:
            async with asyncio.TaskGroup() as crew:
                for number in range(SLICE_LANES):
                    crew.create_task(lane(), name=f"slice-lane-{number}")
        except* TransportError as group:
            error = _first(group)
            if not isinstance(error, Truncated):
                raise error from None
            received = _reach(arrived, span.start) - span.start
            raise Truncated(
                error.location, received_bytes=received, expected_bytes=len(span)
            ) from error

    async def _read_slice(self, entry: Entry, part: ByteRange, buffer: memoryview) -> None:
        await self._request()
        await self._pass(len(part))
        await self.inner.read_into(entry, part, buffer)

    def _cut(self, span: ByteRange) -> Iterator[ByteRange]:
        start = span.start
        while start < span.stop:
            stop = min(start + self._slice_bytes(), span.stop)
            yield ByteRange(start, stop)
            start = stop

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        """Slice after slice, since a sink takes bytes in their order."""
        while (start := span.start + sink.taken_bytes) < span.stop:
            size_bytes = span.stop - start
            if self._take_bytes is not None:
                size_bytes = min(size_bytes, self._slice_bytes())
            await self._request()
            await self._pass(size_bytes)
            await self.inner.read_to(entry, ByteRange(span.start, start + size_bytes), sink)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        """Slice after slice: nobody waits for one range, so it needs no lanes to be fast enough for a rate."""
        told: Told = {}
        for part in [*self._cut(span)] if self._slices and len(span) else [span]:
            await self._request()
            await self._pass(len(part))
            try:
                said = await self.inner.drop(entry, part, cached_only=cached_only)
            except Truncated as error:
                raise further(error, part.start - span.start, span) from error
            told = told or said
        return told

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        results: list[Told | TransportError] = []
        for group in self._groups(entries, [entry.size for entry in entries]):
            if self._slices and len(group) == 1 and group[0].size > self._slice_bytes():
                results += await Transport.drop_small(self, group)  # slice by slice
                continue
            await self._request(len(group))
            await self._pass(sum(entry.size for entry in group))
            results += await _settled(self.inner.drop_small(group), len(group))
        return results

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        """Takes each piece before it is handed on; the network stalls behind it."""
        await self._request()
        async with closing(self.inner.stream(entry)) as pieces:
            async for piece in pieces:
                await self._pass(len(piece))
                yield piece

    # -- writing -------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        results: list[Receipt | TransportError] = []
        for group in self._groups(blobs, [0] * len(blobs)):  # the pace sees to the bytes
            await self._request(len(group))
            writing = self.inner.write_small(group, pace=self._pace(pace))
            results += await _settled(writing, len(group))
        return results

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        await self._request()
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
        await self._request()
        return await self.inner.write_part(
            key, upload_id, part, data, sparse=sparse, pace=self._pace(pace)
        )

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        """Takes one request and no bytes: they do not pass through here."""
        await self._request()
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
        await self._request()
        return await self.inner.finish_upload(
            key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
        )

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        """Takes one request and no bytes: they do not pass through here."""
        await self._request()
        return await super().copy(entry, source, key)

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        """Takes one request per key: stores with bulk deletion count each key all the same."""
        results: list[TransportError | None] = []
        for group in self._groups(keys, [0] * len(keys)):
            await self._request(len(group))
            results += await _settled(self.inner.delete(group), len(group))
        return results

    # -- the budget ----------------------------------------------------------------------------

    @property
    def _slices(self) -> bool:
        return self._take_bytes is not None and self.capabilities.ranges

    async def _request(self, count: int = 1) -> None:
        if self._take_requests is not None and count > 0:
            await self._take_requests(count)

    async def _pass(self, size_bytes: int) -> None:
        take = self._take_bytes
        if take is None:
            return
        while size_bytes > 0:
            grant = min(size_bytes, self._slice_bytes())
            await take(grant)
            size_bytes -= grant

    def _pace(self, pace: Pace | None) -> Pace | None:
        if self._take_bytes is None:
            return pace
        if pace is None:
            return self._pass
        outer = pace

        async def both(size_bytes: int) -> None:
            await outer(size_bytes)
            await self._pass(size_bytes)

        return both

    def _groups(self, items: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
        """Neighbours that fit into one grant together; what is larger than a slice is alone."""
        bytes_max = self._slice_bytes() if self._take_bytes is not None else 0
        count_max = self._slice_requests() if self._take_requests is not None else len(items)
        group: list[T] = []
        held_bytes = 0
        for item, size in zip(items, sizes, strict=True):
            size_bytes = max(size, 0)
            full = len(group) >= count_max or (bytes_max and held_bytes + size_bytes > bytes_max)
            if group and full:
                yield group
                group, held_bytes = [], 0
            group.append(item)
            held_bytes += size_bytes
        if group:
            yield group

    async def _read_sliced(self, entry: Entry) -> Blob | TransportError:
        """Read an object that is larger than a slice: its facts first, then slice by slice."""
        try:
            info = await self.head(entry.key)
            if (info.entry.etag, info.entry.size) != (entry.etag, entry.size):
                return Changed(self.location + entry.key)
            data = bytearray(entry.size)
            await self.read_into(entry, ByteRange(0, entry.size), memoryview(data))
        except TransportError as error:
            return error
        for expected in info.checksums:
            if expected.algorithm not in digests.ALGORITHMS:
                continue
            actual = digests.checksum(expected.algorithm, data)
            if actual != expected:
                return Corrupt(
                    self.location + entry.key,
                    algorithm=expected.algorithm,
                    expected=expected.hex,
                    actual=actual.hex,
                )
            return Blob(entry, data, info.attributes, Proof.STRONG, expected)
        return Blob(entry, data, info.attributes, Proof.WEAK)


def _reach(arrived: Sequence[ByteRange], start: int) -> int:
    """Where the bytes that are there without a gap from ``start`` end."""
    for part in sorted(arrived, key=lambda each: each.start):
        if part.start != start:
            break
        start = part.stop
    return start


def _first(group: BaseExceptionGroup[TransportError]) -> TransportError:
    """The first single error in a group: the others were ended by it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TransportError)  # noqa: S101 - the group's type says so
    return error


async def _settled(
    call: Awaitable[Sequence[T | TransportError]], count: int
) -> Sequence[T | TransportError]:
    """The results of one group; its failure as a whole must not hide the groups before it."""
    try:
        return await call
    except TransportError as error:
        return [error] * count

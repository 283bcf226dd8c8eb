"""Decorator: failures by script, for tests and benchmarks.

A script is a list of faults. Each names a verb, which of its calls it strikes, and what happens
there. Of verbs that take many objects each object counts as a call, and a fault strikes it alone,
as stores do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from transports.base import Pace, Sink, Told, Transport
from transports.decorator import Decorator, closing
from transports.errors import TransportError, Truncated
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

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, and when.

    It strikes the calls of ``verb`` (and, where ``key`` is given, of that key) from the ``nth`` on,
    counted from 1, ``times`` times, and then: waits ``delay_s``; flips a bit of byte ``flip_at`` of
    what is read, behind the adapter's own checks; breaks a range or a stream off after
    ``truncate_at`` bytes; raises ``error``. ``after=True`` raises it when the call has taken
    effect: the lost answer.
    """

    verb: str
    nth: int = 1
    times: int = 1
    key: str | None = None
    delay_s: float = 0.0
    flip_at: int | None = None
    truncate_at: int | None = None
    error: TransportError | None = None
    after: bool = False


NO_FAULT = Fault(verb="")


class Faults(Decorator):
    """Plays a script over a transport. ``struck`` lists the faults that have struck."""

    def __init__(
        self,
        inner: Transport,
        script: Sequence[Fault],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(inner)
        self.script = list(script)
        self.struck: list[Fault] = []
        self._seen = [0] * len(self.script)
        self._sleep = sleep

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Each page counts as a call."""
        pages = self.inner.list(prefix, start_after=start_after, stop_at=stop_at)
        async with closing(pages) as listing:
            async for page in listing:
                fault = await self._before("list", prefix)
                yield page
                _raise_after(fault)

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        fault = await self._before("first_after", key)
        found = await self.inner.first_after(key, prefix)
        _raise_after(fault)
        return found

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        fault = await self._before("children", prefix)
        names = await self.inner.children(prefix, start_after=start_after, limit=limit)
        _raise_after(fault)
        return names

    async def head(self, key: str) -> ObjectInfo:
        fault = await self._before("head", key)
        info = await self.inner.head(key)
        _raise_after(fault)
        return info

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        fault = await self._before("older_versions", key)
        found = await self.inner.older_versions(key, size)
        _raise_after(fault)
        return found

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        return await self._each(
            "read_small", entries, [e.key for e in entries], self.inner.read_small, _spoil
        )

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        fault = await self._before("read_into", entry.key)
        if fault.truncate_at is not None and fault.truncate_at < len(span):
            got = fault.truncate_at
            rest = ByteRange(span.start, span.start + got)
            await self.inner.read_into(entry, rest, buffer[:got])
            raise Truncated(
                f"{self.location}{entry.key}", received_bytes=got, expected_bytes=len(span)
            )
        await self.inner.read_into(entry, span, buffer)
        if fault.flip_at is not None and fault.flip_at < len(span):
            buffer[fault.flip_at] ^= 1
        _raise_after(fault)

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        fault = await self._before("read_to", entry.key)
        left = len(span) - sink.taken_bytes
        if fault.flip_at is not None:
            sink = _FlippingSink(sink, fault.flip_at)
        if fault.truncate_at is not None and fault.truncate_at < left:
            got = fault.truncate_at
            stop = span.start + sink.taken_bytes + got
            await self.inner.read_to(entry, ByteRange(span.start, stop), sink)
            raise Truncated(f"{self.location}{entry.key}", received_bytes=got, expected_bytes=left)
        await self.inner.read_to(entry, span, sink)
        _raise_after(fault)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        fault = await self._before("drop", entry.key)
        got = len(span) if fault.truncate_at is None else min(fault.truncate_at, len(span))
        part = ByteRange(span.start, span.start + got)
        told = await self.inner.drop(entry, part, cached_only=cached_only)
        if got < len(span):
            raise Truncated(
                f"{self.location}{entry.key}", received_bytes=got, expected_bytes=len(span)
            )
        _raise_after(fault)
        return told

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        return await Transport.drop_small(self, entries)

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        fault = await self._before("stream", entry.key)
        sent = 0
        async with closing(self.inner.stream(entry)) as pieces:
            async for piece in pieces:
                if fault.truncate_at is not None and sent + len(piece) > fault.truncate_at:
                    yield piece[: fault.truncate_at - sent]
                    raise Truncated(
                        f"{self.location}{entry.key}",
                        received_bytes=fault.truncate_at,
                        expected_bytes=entry.size,
                    )
                if fault.flip_at is not None and sent <= fault.flip_at < sent + len(piece):
                    piece = _flipped(piece, fault.flip_at - sent)
                sent += len(piece)
                yield piece
        _raise_after(fault)

    # -- writing -------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        async def write(some: Sequence[Blob]) -> Sequence[Receipt | TransportError]:
            return await self.inner.write_small(some, pace=pace)

        return await self._each("write_small", blobs, [b.entry.key for b in blobs], write)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        fault = await self._before("begin_upload", key)
        upload_id = await self.inner.begin_upload(key, size, attributes, token=token)
        _raise_after(fault)
        return upload_id

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
        fault = await self._before("write_part", key)
        receipt = await self.inner.write_part(key, upload_id, part, data, sparse=sparse, pace=pace)
        _raise_after(fault)
        return receipt

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        fault = await self._before("copy_part", entry.key)
        receipt = await super().copy_part(key, upload_id, part, entry, span, source)
        _raise_after(fault)
        return receipt

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
        fault = await self._before("finish_upload", key)
        receipt = await self.inner.finish_upload(
            key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
        )
        _raise_after(fault)
        return receipt

    async def abort_upload(self, key: str, upload_id: str) -> None:
        fault = await self._before("abort_upload", key)
        await self.inner.abort_upload(key, upload_id)
        _raise_after(fault)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        fault = await self._before("list_parts", key)
        parts = await self.inner.list_parts(key, upload_id)
        _raise_after(fault)
        return parts

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        fault = await self._before("list_uploads", prefix)
        uploads = await self.inner.list_uploads(prefix)
        _raise_after(fault)
        return uploads

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        fault = await self._before("copy", entry.key)
        receipt = await super().copy(entry, source, key)
        _raise_after(fault)
        return receipt

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        return await self._each("delete", keys, keys, self.inner.delete)

    # -- the script ----------------------------------------------------------------------------

    def _strike(self, verb: str, key: str) -> Fault:
        """Count a call in every fault that watches for it; the first that is due strikes."""
        due = NO_FAULT
        for place, fault in enumerate(self.script):
            if fault.verb != verb or (fault.key is not None and fault.key != key):
                continue
            self._seen[place] += 1
            if due is NO_FAULT and 0 <= self._seen[place] - fault.nth < fault.times:
                due = fault
                self.struck.append(fault)
        return due

    async def _before(self, verb: str, key: str) -> Fault:
        fault = self._strike(verb, key)
        if fault.delay_s:
            await self._sleep(fault.delay_s)
        if fault.error is not None and not fault.after:
            raise fault.error
        return fault

    async def _each(
        self,
        verb: str,
        items: Sequence[Item],
        keys: Sequence[str],
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | TransportError]]],
        spoil: Callable[[Result, Fault], Result | TransportError] | None = None,
    ) -> Sequence[Result | TransportError]:
        """Items that fail before the call do not reach the store; the others go in one call."""
        faults = [self._strike(verb, key) for key in keys]
        if delay_s := max((fault.delay_s for fault in faults), default=0.0):
            await self._sleep(delay_s)
        passing = [
            item
            for item, fault in zip(items, faults, strict=True)
            if fault.error is None or fault.after
        ]
        passed = iter(await run(passing) if passing else [])
        results: list[Result | TransportError] = []
        for fault in faults:
            result = fault.error if fault.error and not fault.after else next(passed)
            if fault.error is not None and fault.after:
                result = fault.error
            elif spoil is not None and not isinstance(result, TransportError):
                result = spoil(result, fault)
            results.append(result)
        return results


def _raise_after(fault: Fault) -> None:
    if fault.error is not None and fault.after:
        raise fault.error


def _spoil(blob: Blob, fault: Fault) -> Blob | TransportError:
    if fault.truncate_at is not None and fault.truncate_at < len(blob.data):
        return Truncated(
            blob.entry.key, received_bytes=fault.truncate_at, expected_bytes=len(blob.data)
        )
    if fault.flip_at is not None and fault.flip_at < len(blob.data):
        return blob._replace(data=_flipped(blob.data, fault.flip_at))
    return blob


def _flipped(data: bytes | bytearray | memoryview, place: int) -> bytes:
    spoiled = bytearray(data)
    spoiled[place] ^= 1
    return bytes(spoiled)


class _FlippingSink(Sink):
    """Spoils the byte that is ``place`` bytes ahead, and hands on everything."""

    def __init__(self, sink: Sink, place: int) -> None:
        self._sink = sink
        self._place = place
        self.taken_bytes = sink.taken_bytes

    def take(self, piece: memoryview) -> None:
        spoiled = 0 <= self._place < len(piece)
        self._sink.take(memoryview(_flipped(piece, self._place)) if spoiled else piece)
        self._place -= len(piece)
        self.taken_bytes = self._sink.taken_bytes

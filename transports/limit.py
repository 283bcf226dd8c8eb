"""Decorator: how many calls may be under way at once, found out while they run.

``limit_policy`` decides, this holds the slots. A ``Brake`` joins a limit with the limits of other processes. Memory is
bounded elsewhere, by bytes, before a call gets here.

Control traffic takes no slot: aborting an upload, cleaning and closing never queue behind data, nor do listings and
the looks that cut them, of which a job has few.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from transports.base import Pace, Sink, Told, Transport
from transports.decorator import Decorator
from transports.errors import Throttled, TimedOut, TransportError
from transports.limit_policy import AdaptiveLimit, LimitPolicy
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
)

T = TypeVar("T")


class Brake:
    """Joins the limits of one store with those that other processes have on it.

    ``on_throttled`` is called each time the store asks one of these limits to slow down; ``press`` slows all of them
    down, as if the store had asked. Neither waits.
    """

    def __init__(self, on_throttled: Callable[[], None] | None = None) -> None:
        self.on_throttled = on_throttled
        self._limits: list[Limit] = []

    def attach(self, limit: "Limit") -> None:
        """Let a limit be slowed down by ``press``; a limit does this itself."""
        self._limits.append(limit)

    def press(self) -> None:
        """Another process was asked to slow down."""
        for limit in self._limits:
            limit.slow_down()

    def heard(self) -> None:
        """A limit was asked to slow down."""
        if self.on_throttled is not None:
            self.on_throttled()


class Limit(Decorator):
    """Holds a slot for each call; first come, first served."""

    def __init__(
        self,
        inner: Transport,
        policy: LimitPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        brake: Brake | None = None,
    ) -> None:
        super().__init__(inner)
        self._brake = brake or Brake()
        self._brake.attach(self)
        policy = policy or LimitPolicy.of(inner.capabilities)
        self.capabilities = replace(
            inner.capabilities, concurrency_start=policy.start, concurrency_max=policy.maximum
        )
        self.adaptive = AdaptiveLimit(policy)
        self.in_use = 0
        self._waiters: deque[asyncio.Future[None]] = deque()  # bounded by the callers' own crews
        self._clock = clock

    async def head(self, key: str) -> ObjectInfo:
        return await self._held(lambda: self.inner.head(key), 0)

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        return await self._held(lambda: self.inner.older_versions(key, size), 0)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        size_bytes = sum(entry.size for entry in entries)
        return await self._held_batch(
            lambda: self.inner.read_small(entries), size_bytes, len(entries)
        )

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        await self._held(lambda: self.inner.read_into(entry, span, buffer), len(span))

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        size_bytes = len(span) - sink.taken_bytes
        await self._held(lambda: self.inner.read_to(entry, span, sink), size_bytes)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        drop = self.inner.drop
        return await self._held(lambda: drop(entry, span, cached_only=cached_only), len(span))

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        size_bytes = sum(entry.size for entry in entries)
        return await self._held_batch(
            lambda: self.inner.drop_small(entries), size_bytes, len(entries)
        )

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        size_bytes = sum(len(blob.data) for blob in blobs)
        return await self._held_batch(
            lambda: self.inner.write_small(blobs, pace=pace), size_bytes, len(blobs)
        )

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        return await self._held(
            lambda: self.inner.begin_upload(key, size, attributes, token=token), 0
        )

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
        return await self._held(
            lambda: self.inner.write_part(key, upload_id, part, data, sparse=sparse, pace=pace),
            len(data),
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
        copying = super().copy_part
        return await self._held(lambda: copying(key, upload_id, part, entry, span, source), 0)

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
        return await self._held(
            lambda: self.inner.finish_upload(
                key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
            ),
            0,
        )

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        return await self._held(lambda: super(Limit, self).copy(entry, source, key), 0)

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        return await self._held_batch(lambda: self.inner.delete(keys), 0, len(keys))

    def slow_down(self) -> None:
        """Take it that the store asked to slow down: another process of ours was asked."""
        self.adaptive.throttled(self._clock())

    # -- slots ---------------------------------------------------------------------------------

    def _asked_to_slow_down(self) -> None:
        self.slow_down()
        self._brake.heard()

    async def _held_batch(
        self, call: Callable[[], Awaitable[Sequence[T | TransportError]]], size: int, count: int
    ) -> Sequence[T | TransportError]:
        results = await self._held(call, size, count)
        if any(isinstance(result, Throttled) for result in results):
            self._asked_to_slow_down()
        elif any(isinstance(result, TimedOut) for result in results):
            self.slow_down()
        return results

    async def _held(self, call: Callable[[], Awaitable[T]], size: int, count: int = 1) -> T:
        if self.in_use < self.adaptive.value and not self._waiters:
            self.in_use += 1  # the way of nearly every call: no await, no future
        else:
            await self._queue()
        started_s = self._clock()
        try:
            result = await call()
        except Throttled:
            self._asked_to_slow_down()
            raise
        except TimedOut:
            self.slow_down()  # it may be our own way there, so the others need not hear of it
            raise
        else:
            now_s = self._clock()
            self.adaptive.note(
                now_s,
                size_bytes=max(size, 0),
                calls=count,
                latency_s=now_s - started_s,
                saturated=self.in_use >= self.adaptive.value,
            )
            return result
        finally:
            self.in_use -= 1
            self._wake()

    async def _queue(self) -> None:
        """Wait for a slot; when this returns, it is taken."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.in_use -= 1  # it was handed over in the moment of the cancel: pass it on
                self._wake()
            elif waiter in self._waiters:  # somebody who left just now may have passed it over
                self._waiters.remove(waiter)
            raise

    def _wake(self) -> None:
        while self._waiters and self.in_use < self.adaptive.value:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_use += 1
                waiter.set_result(None)

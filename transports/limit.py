"""Decorator: how many calls may be under way at once, found out while they run.

No number is right for every store, so none has to be set: ``AdaptiveLimit`` (pure) starts at what the store's
capabilities say, raises the limit step by step for as long as that brings throughput, goes back when it does not,
and halves it when the store asks to slow down. It is a hill climb with additive increase and multiplicative decrease
(Chiu and Jain 1989), on throughput and not on loss. At first its steps double, for as long as each brings its share:
from 16 to 128 takes six seconds.

What it hears: how much comes through, how long calls take, refusals (429, 503) and timeouts. It is bounded by the
ceiling of the store's capabilities; memory is bounded elsewhere, by bytes, before a call gets here. A ``Brake`` joins
it with the limits of other processes.

Control traffic takes no slot: aborting an upload, cleaning and closing never queue behind data, nor do listings and
the looks that cut them, of which a job has few.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from transports.base import Pace, Sink, Told, Transport
from transports.decorator import Decorator
from transports.errors import Throttled, TimedOut, TransportError
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Presence,
    Receipt,
)

T = TypeVar("T")

CALL_BYTES: Final = 64 * 1024
"""What a call costs beside its bytes, in bytes: a round trip of about a millisecond at the rate of one ordinary
connection. It makes many small objects and few large ones one sum."""

HOLD_MAX_S: Final = 60.0
"""The longest rest between two attempts to go higher that brought nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    """Bounds and pace of the climb. ``minimum == maximum`` is a fixed limit.

    A decision is due every ``interval_s``, when at least as many calls have ended as may run. ``gain_min`` is the part
    by which throughput must rise for a step to be kept.
    """

    start: int
    maximum: int
    minimum: int = 1
    interval_s: float = 1.0
    gain_min: float = 0.03
    hold_s: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.start <= self.maximum:
            raise ValueError(
                f"a limit starts between its bounds: {self.minimum} <= {self.start} <="
                f" {self.maximum} does not hold"
            )

    @classmethod
    def fixed(cls, calls: int) -> "LimitPolicy":
        """A limit that stays at ``calls``."""
        return cls(start=calls, minimum=calls, maximum=calls)

    @classmethod
    def of(cls, capabilities: Capabilities) -> "LimitPolicy":
        """The bounds that a store states for itself."""
        start, maximum = capabilities.concurrency_start, capabilities.concurrency_max
        return cls(start=min(start, maximum), maximum=maximum)


class AdaptiveLimit:
    """The limit and the decisions on it. Pure: it is told the time and what happened."""

    def __init__(self, policy: LimitPolicy) -> None:
        self.policy = policy
        self.value = policy.start
        self._step = max(1, policy.start // 4)
        self._is_quick = True  # steps double until one does not bring its share
        self._adapts = policy.minimum < policy.maximum
        self._climbing = False  # the last decision was a step up, on trial
        self._rate = 0.0  # bytes/s of the last window whose limit was kept
        self._best_pace_s = 0.0  # seconds per byte when the store was at its quickest
        self._hold_s = policy.hold_s
        self._hold_until_s = 0.0
        self._deaf_until_s = float("-inf")
        # The window that the next decision looks at.
        self._since_s = 0.0
        self._calls = self._bytes = 0
        self._latency_s, self._saturated = 0.0, False

    def note(
        self, now_s: float, *, size_bytes: int, calls: int, latency_s: float, saturated: bool
    ) -> None:
        """A call ended well. ``saturated``: all slots were taken when it did."""
        if not self._adapts:
            return
        if not self._calls:
            self._since_s = now_s - latency_s
        self._calls += 1
        self._bytes += size_bytes + calls * CALL_BYTES
        self._latency_s += latency_s
        self._saturated = self._saturated or saturated
        if now_s - self._since_s >= self.policy.interval_s and self._calls >= self.value:
            self._decide(now_s)
            self._start_window(now_s)

    def throttled(self, now_s: float) -> None:
        """The store asked to slow down, or a call timed out, here or at another process. Halves once per interval."""
        if not self._adapts or now_s < self._deaf_until_s:
            return
        self._go_slowly()
        self.value = max(self.policy.minimum, self.value // 2)
        self._climbing = False
        self._rate = 0.0
        self._hold_until_s = now_s + self._hold_s
        self._deaf_until_s = (
            now_s + self.policy.interval_s
        )  # calls under way at the old limit say nothing new
        self._start_window(now_s)

    def _go_slowly(self) -> None:
        self._is_quick = False
        self._step = max(1, self.policy.start // 4)

    def _start_window(self, now_s: float) -> None:
        self._since_s = now_s
        self._calls = self._bytes = 0
        self._latency_s = 0.0
        self._saturated = False

    def _decide(self, now_s: float) -> None:
        """One step.

        1. The limit was not what limited: nothing is learned.
        2. A step up is on trial and brought nothing: take it back, and rest, longer each time.
        3. A step up brought something: keep it, and try the next.
        4. At rest or at the ceiling: the store has become much slower and brings less: a step down.
        5. The rest is over: try a step up.
        """
        rate = self._bytes / (now_s - self._since_s)
        pace_s = self._latency_s / self._bytes
        quickest = self._best_pace_s == 0.0 or pace_s < self._best_pace_s
        self._best_pace_s = pace_s if quickest else self._best_pace_s
        if not self._saturated:
            return
        if self._climbing and rate < self._rate * (1.0 + self._gain_due()):
            self.value = max(self.policy.minimum, self.value - self._step)
            self._climbing = False
            self._go_slowly()
            self._hold_until_s = now_s + self._hold_s
            self._hold_s = min(HOLD_MAX_S, self._hold_s * 2)
            return
        if self._climbing:
            self._hold_s = self.policy.hold_s
            self._step *= 2 if self._is_quick else 1
        elif now_s < self._hold_until_s or self.value >= self.policy.maximum:
            if pace_s > 4.0 * self._best_pace_s and rate < 0.7 * self._rate:
                self.value = max(self.policy.minimum, self.value - self._step)
                self._rate = rate
                self._hold_until_s = now_s + self._hold_s
            self._rate = max(self._rate, rate)
            return
        self._rate = rate
        self._climbing = self.value < self.policy.maximum
        self._step = min(self._step, max(1, self.policy.maximum - self.value))
        self.value += self._step if self._climbing else 0

    def _gain_due(self) -> float:
        """What the step on trial must have brought.

        A wide one may end far beyond the best limit and still bring a little, so it must bring half of its share.
        """
        if not self._is_quick:
            return self.policy.gain_min
        share = self._step / max(1, self.value - self._step)
        return max(self.policy.gain_min, 0.5 * share)


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

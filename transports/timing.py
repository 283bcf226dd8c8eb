"""Decorator: how quick a store really is. Worn under the rates, whose waits are not its doing.

Requests of one kind have a stopwatch, which runs while any of them is under way: what side by side
ones bring counts together, and pauses between them do not count. Small requests tell more of the
round trip than of the rate and are left out.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from transports.base import Pace, Sink, Told, Transport
from transports.decorator import Decorator
from transports.errors import TransportError
from transports.model import Blob, ByteRange, Entry, PartReceipt, PartSpec, Receipt

T = TypeVar("T")

TIMED_BYTES_MIN: Final = 1024 * 1024
"""Requests of less are not timed: over a round trip of 60 ms, as between regions, half a MiB in one
request is no quicker on 10 Gbit/s than on 100 Mbit/s."""

SETTLED: Final = 4
"""A sample of requests that never pause ends when it has brought this many times what is under way.
What had begun before the sample and what ends after it are then a small part of it."""

Note = Callable[[int, float], None]
"""Receives a sample: bytes, and the seconds that they took."""


class Stopwatch:
    """Times requests of one kind that may overlap. ``note`` is given a sample now and then.

    A sample in which a request failed is dropped: it took time and brought nothing that is known.
    """

    def __init__(self, note: Note, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._note = note
        self._clock = clock
        self._running = 0
        self._since_s = 0.0
        self._under_way_bytes = 0
        self._brought_bytes = 0
        self._busy_s = 0.0
        self._has_failed = False

    def begin(self, size_bytes: int) -> None:
        """A request goes out, for so many bytes."""
        self._under_way_bytes += size_bytes
        self.go_on()

    def pause(self) -> None:
        """A request waits for something that is not the store's."""
        self._running -= 1
        if not self._running:
            self._busy_s += self._clock() - self._since_s

    def go_on(self) -> None:
        """A request that waited goes on."""
        if not self._running:
            self._since_s = self._clock()
        self._running += 1

    def end(self, size_bytes: int, *, brought: bool) -> None:
        """The request is over, and has ``brought`` its bytes or not."""
        self.pause()
        self._under_way_bytes -= size_bytes
        self._has_failed = self._has_failed or not brought
        self._brought_bytes += size_bytes
        if self._brought_bytes >= SETTLED * self._under_way_bytes:
            self._close()

    def _close(self) -> None:
        if self._running:
            now_s = self._clock()
            self._busy_s += now_s - self._since_s
            self._since_s = now_s
        if self._busy_s > 0 and not self._has_failed:
            self._note(self._brought_bytes, self._busy_s)
        self._brought_bytes, self._busy_s, self._has_failed = 0, 0.0, False


class Timed(Decorator):
    """Times what is read, written, and copied by the store; None for what nobody wants to know."""

    def __init__(
        self,
        inner: Transport,
        *,
        reads: Stopwatch | None = None,
        writes: Stopwatch | None = None,
        copies: Stopwatch | None = None,
    ) -> None:
        super().__init__(inner)
        self._reads = reads
        self._writes = writes
        self._copies = copies

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        size_bytes = sum(max(entry.size, 0) for entry in entries)
        reading = self.inner.read_small(entries)
        return await _timed(self._reads, size_bytes, reading, is_well=_all_well)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        await _timed(self._reads, len(span), self.inner.read_into(entry, span, buffer))

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        size_bytes = len(span) - sink.taken_bytes
        await _timed(self._reads, size_bytes, self.inner.read_to(entry, span, sink))

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        dropping = self.inner.drop(entry, span, cached_only=cached_only)
        return await _timed(self._reads, len(span), dropping)

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        size_bytes = sum(entry.size for entry in entries)
        dropping = self.inner.drop_small(entries)
        return await _timed(self._reads, size_bytes, dropping, is_well=_all_well)

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        size_bytes = sum(len(blob.data) for blob in blobs)
        pace = _paused(self._writes, size_bytes, pace)
        writing = self.inner.write_small(blobs, pace=pace)
        return await _timed(self._writes, size_bytes, writing, is_well=_all_well)

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
        pace = _paused(self._writes, len(data), pace)
        writing = self.inner.write_part(key, upload_id, part, data, sparse=sparse, pace=pace)
        return await _timed(self._writes, len(data), writing)

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        copying = super().copy_part(key, upload_id, part, entry, span, source)
        return await _timed(self._copies, len(span), copying)


async def _timed(
    watch: Stopwatch | None,
    size_bytes: int,
    call: Awaitable[T],
    *,
    is_well: Callable[[T], bool] = lambda answer: True,
) -> T:
    if watch is None or size_bytes < TIMED_BYTES_MIN:
        return await call
    brought = False
    watch.begin(size_bytes)
    try:
        answer = await call
        brought = is_well(answer)
    finally:
        watch.end(size_bytes, brought=brought)
    return answer


def _all_well(answers: Sequence[object]) -> bool:
    return not any(isinstance(answer, TransportError) for answer in answers)


def _paused(watch: Stopwatch | None, size_bytes: int, pace: Pace | None) -> Pace | None:
    """The pace, with the stopwatch told while it makes the request wait."""
    if watch is None or pace is None or size_bytes < TIMED_BYTES_MIN:
        return pace

    waiting = 0  # a batch may ask for several objects at once

    async def wait(size_bytes: int) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 1:
            watch.pause()
        try:
            await pace(size_bytes)
        finally:
            waiting -= 1
            if not waiting:
                watch.go_on()

    return wait

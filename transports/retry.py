"""Decorator: try again what is worth trying again.

Only ``Transient`` errors are tried again, a ``Corrupt`` read a fixed number of times, and a
``NotFound`` of something written a moment ago where the store declares such lies. How long to
wait is decided in ``retry_policy``.

What was got already is kept: of a batch only the failed items go again, a broken range is read on
from its last good byte, a listing goes on behind the last key that it yielded.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from transports.base import Pace, PartSink, Sink, Told, Transport
from transports.decorator import Decorator, closing
from transports.errors import (
    Corrupt,
    TransportError,
    Truncated,
)
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
from transports.retry_policy import DEFAULT_POLICY, RetryPolicy
from transports.retry_tries import OnRetry, Sleep, Tries

T = TypeVar("T")
Item = TypeVar("Item")

PROGRESS_MIN_BYTES: Final = 64 * 1024
"""A broken read that brought this much starts counting afresh; less is a failed attempt, or a
server that breaks off after every byte would be asked for each byte of an object."""

WRITTEN_KEYS_MAX: Final = 4096
"""How many keys are remembered as just written, for stores whose NotFound cannot be trusted."""


class Retry(Decorator):
    """Tries again as its policy says. A call that waits holds nothing of the layers below."""

    def __init__(
        self,
        inner: Transport,
        policy: RetryPolicy = DEFAULT_POLICY,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        on_retry: OnRetry | None = None,
    ) -> None:
        super().__init__(inner)
        self.policy = policy
        self.rng = rng or random.Random()
        self.clock = clock
        self.sleep = sleep
        self.on_retry = on_retry
        self.settled = False  # whether the store has ever answered
        self._written: dict[str, None] = {}  # the latest keys, WRITTEN_KEYS_MAX at most

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        tries = Tries(self, "list")
        yielded = False
        while True:
            try:
                pages = self.inner.list(prefix, start_after=start_after, stop_at=stop_at)
                async with closing(pages) as listing:
                    while (
                        page := await tries.patiently(partial(anext, listing, None))
                    ) is not None:
                        tries.progressed()
                        yielded = True
                        start_after = page[-1].key
                        yield page
                self.settled = True
                return
            except TransportError as error:
                # Without an order there is no place to go on from: keys would repeat.
                if yielded and not self.capabilities.ordered:
                    raise
                await tries.failed(error)

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        look = partial(self.inner.first_after, key, prefix)
        return await self._call("first_after", look, patient=True)

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        look = partial(self.inner.children, prefix, start_after=start_after, limit=limit)
        return await self._call("children", look, patient=True)

    async def head(self, key: str) -> ObjectInfo:
        return await self._call("head", lambda: self.inner.head(key), key=key, patient=True)

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        look = partial(self.inner.older_versions, key, size)
        return await self._call("older_versions", look, key=key, patient=True)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        return await self._batch(
            "read_small", entries, self.inner.read_small, lambda entry: entry.key
        )

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        async def read(rest: ByteRange) -> None:
            await self.inner.read_into(entry, rest, buffer[rest.start - span.start :])

        await self._go_on("read_into", entry.key, span, read)

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        drop = self.inner.drop
        return await self._go_on(
            "drop", entry.key, span, lambda rest: drop(entry, rest, cached_only=cached_only)
        )

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        return await self._batch(
            "drop_small", entries, self.inner.drop_small, lambda entry: entry.key
        )

    async def _go_on(
        self, verb: str, key: str, span: ByteRange, read: Callable[[ByteRange], Awaitable[T]]
    ) -> T:
        """Read a range, and after a break what is left of it."""
        tries = Tries(self, verb)
        done = 0
        while True:
            try:
                result = await read(ByteRange(span.start + done, span.stop) if done else span)
            except Truncated as error:
                done += error.received_bytes
                if error.received_bytes >= PROGRESS_MIN_BYTES:
                    tries.progressed()
                told = Truncated(error.location, received_bytes=done, expected_bytes=len(span))
                await tries.failed(told)
            except TransportError as error:
                if isinstance(error, Corrupt):
                    done = 0  # nobody knows which of the bytes are bad
                await tries.failed(error, fresh=self._is_fresh(key))
            else:
                self.settled = True
                return result

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        tries = Tries(self, "read_to")
        while True:
            taken_before = sink.taken_bytes
            try:
                await self.inner.read_to(entry, span, sink)
            except TransportError as error:
                if sink.taken_bytes - taken_before >= PROGRESS_MIN_BYTES:
                    tries.progressed()
                await tries.failed(error, fresh=self._is_fresh(entry.key))
            else:
                self.settled = True
                return

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        """Tried again only until the first piece: without ranges there is no way to go on."""
        tries = Tries(self, "stream")
        yielded = False
        while True:
            try:
                async with closing(self.inner.stream(entry)) as pieces:
                    async for piece in pieces:
                        self.settled = yielded = True
                        yield piece
                return
            except TransportError as error:
                if yielded:
                    raise
                await tries.failed(error, fresh=self._is_fresh(entry.key))

    # -- writing -------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        async def write(some: Sequence[Blob]) -> Sequence[Receipt | TransportError]:
            return await self.inner.write_small(some, pace=pace)

        if self.capabilities.flaky_not_found:
            for blob in blobs:
                self._wrote(blob.entry.key)
        return await self._batch("write_small", blobs, write, lambda blob: blob.entry.key)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        """A lost answer leaves an upload that nobody knows; ``list_uploads`` finds it."""
        self._wrote(key)
        return await self._call(
            "begin_upload", lambda: self.inner.begin_upload(key, size, attributes, token=token)
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
        return await self._call(
            "write_part",
            lambda: self.inner.write_part(key, upload_id, part, data, sparse=sparse, pace=pace),
            key=key,
        )

    async def open_part(
        self, key: str, upload_id: str, part: PartSpec, *, sparse: bool = False
    ) -> PartSink:
        return await self._call(
            "open_part",
            lambda: self.inner.open_part(key, upload_id, part, sparse=sparse),
            key=key,
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
        return await self._call(
            "copy_part", lambda: copying(key, upload_id, part, entry, span, source), key=key
        )

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
        return await self._call(
            "finish_upload",
            lambda: self.inner.finish_upload(
                key, upload_id, parts, attributes, checksum=checksum, replaces=replaces
            ),
            key=key,
        )

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self._call("abort_upload", lambda: self.inner.abort_upload(key, upload_id))

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        return await self._call(
            "list_parts", lambda: self.inner.list_parts(key, upload_id), key=key
        )

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        return await self._call("list_uploads", lambda: self.inner.list_uploads(prefix))

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        self._wrote(key)
        return await self._call("copy", lambda: super(Retry, self).copy(entry, source, key))

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        return await self._batch("delete", keys, self.inner.delete, lambda key: key)

    # -- the machinery -------------------------------------------------------------------------

    async def _call(
        self, verb: str, call: Callable[[], Awaitable[T]], *, key: str = "", patient: bool = False
    ) -> T:
        tries = Tries(self, verb)
        while True:
            try:
                result = await (tries.patiently(call) if patient else call())
            except TransportError as error:
                await tries.failed(error, fresh=self._is_fresh(key))
            else:
                self.settled = True
                return result

    async def _batch(
        self,
        verb: str,
        items: Sequence[Item],
        run: Callable[[Sequence[Item]], Awaitable[Sequence[T | TransportError]]],
        key_of: Callable[[Item], str],
    ) -> Sequence[T | TransportError]:
        """Run a batch; then, round by round, those items that failed and may be tried again.

        A round waits once: for the longest wait that one of its items asks for.
        """
        tries = Tries(self, verb)
        results = await _round(run, items)
        waiting = [place for place, result in enumerate(results) if _failed(result)]
        if len(waiting) < len(results):
            self.settled = True
        if not waiting:
            return results
        outcome = list(results)
        while waiting:
            again = tries.sift(
                (place, outcome[place], self._is_fresh(key_of(items[place]))) for place in waiting
            )
            if not again:
                break
            await self.sleep(max(again.values()))
            results = await _round(run, [items[place] for place in again])
            for place, result in zip(again, results, strict=True):
                outcome[place] = result
            waiting = [place for place in again if _failed(outcome[place])]
        return outcome

    def _wrote(self, key: str) -> None:
        if not self.capabilities.flaky_not_found:
            return
        self._written[key] = None
        if len(self._written) > WRITTEN_KEYS_MAX:
            del self._written[next(iter(self._written))]

    def _is_fresh(self, key: str) -> bool:
        return key in self._written


def _failed(result: object) -> bool:
    return isinstance(result, TransportError)


async def _round(
    run: Callable[[Sequence[Item]], Awaitable[Sequence[T | TransportError]]],
    items: Sequence[Item],
) -> Sequence[T | TransportError]:
    """One call for a batch; an error of the whole call is the error of each item."""
    try:
        return await run(items)
    except TransportError as error:
        return [error] * len(items)

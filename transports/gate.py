"""Decorator: rates that may begin and end while a job runs.

While no rate is set calls go straight to the store, ranges may be poured, and nothing is counted.
Once one is set every new call goes through the ``Throttle``; a pour that is under way breaks off at
its next piece and goes on through it. A request that is under way ends as it began.
"""

from collections.abc import Callable

from transports.base import Sink, Transport
from transports.decorator import Decorator
from transports.errors import Truncated
from transports.model import ByteRange, Entry
from transports.throttle import Throttle


class Gate(Decorator):
    """Forwards to ``throttle`` while ``is_limited`` says so, else to what is under it."""

    def __init__(self, throttle: Throttle, is_limited: Callable[[], bool]) -> None:
        self._throttle = throttle
        self._open = throttle.inner
        self._is_limited = is_limited
        super().__init__(throttle.inner)

    @property
    def inner(self) -> Transport:
        """The way that a call takes now."""
        return self._throttle if self._is_limited() else self._open

    @inner.setter
    def inner(self, inner: Transport) -> None:
        self._open = inner

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        """See the port. Raises ``Truncated`` when a rate begins; another call goes on under it."""
        if self._is_limited():
            await self._throttle.read_to(entry, span, sink)
            return
        watched = _Watched(sink, self._is_limited, location=self.location + entry.key, span=span)
        await self._open.read_to(entry, span, watched)


class _Watched(Sink):
    """Passes pieces on for as long as no rate is set."""

    def __init__(
        self, sink: Sink, is_limited: Callable[[], bool], *, location: str, span: ByteRange
    ) -> None:
        self._sink = sink
        self._is_limited = is_limited
        self._location = location
        self._expected = len(span)
        self.taken_bytes = sink.taken_bytes

    def take(self, piece: memoryview) -> None:
        if self._is_limited():
            raise Truncated(
                self._location, received_bytes=self.taken_bytes, expected_bytes=self._expected
            )
        self._sink.take(piece)
        self.taken_bytes = self._sink.taken_bytes

"""Where the body of a large answer goes while it arrives: a caller's buffer, or a sink."""

from typing import Final, NamedTuple, Protocol

from transports.base import Sink
from transports.lean_answer import BODILESS

POUR_BYTES: Final = 512 * 1024
"""The buffer between a socket and a sink: all connections of a pool share it, because each piece is
taken before the loop asks for the next; it fits the second-level cache of a core."""


class Pour(NamedTuple):
    """A body of exactly ``size_bytes`` for ``sink``."""

    sink: Sink
    size_bytes: int


class Drop(NamedTuple):
    """A body of exactly ``size_bytes`` that nobody wants."""

    size_bytes: int


class Landing(Protocol):
    """Takes a body of ``size_bytes`` in order.

    ``room`` is where the next bytes shall be written, ``landed`` tells how many were, and ``put``
    takes bytes that were written elsewhere.
    """

    size_bytes: int

    def put(self, data: bytes) -> None: ...

    def room(self) -> memoryview: ...

    def landed(self, count: int) -> None: ...


class BufferLanding:
    """Fills a writable buffer of exactly the body's size."""

    __slots__ = ("_left", "size_bytes")

    def __init__(self, buffer: memoryview) -> None:
        self.size_bytes = len(buffer)
        self._left = buffer

    def put(self, data: bytes) -> None:
        self._left[: len(data)] = data
        self.landed(len(data))

    def room(self) -> memoryview:
        return self._left

    def landed(self, count: int) -> None:
        self._left = self._left[count:]


class SinkLanding:
    """Hands a body of ``size_bytes`` on to a sink, through a buffer that may be shared.

    ``put`` and ``landed`` raise what the sink raises.
    """

    __slots__ = ("_buffer", "_left_bytes", "_sink", "size_bytes")

    def __init__(self, sink: Sink, size_bytes: int, buffer: memoryview) -> None:
        self.size_bytes = self._left_bytes = size_bytes
        self._sink = sink
        self._buffer = buffer

    def put(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        self._sink.take(memoryview(data))

    def room(self) -> memoryview:
        return self._buffer[: self._left_bytes]

    def landed(self, count: int) -> None:
        self._left_bytes -= count
        self._sink.take(self._buffer[:count])


class DropLanding:
    """Lets a body of ``size_bytes`` go; what has to be copied for that goes into a shared buffer."""

    __slots__ = ("_buffer", "_left_bytes", "size_bytes")

    def __init__(self, size_bytes: int, buffer: memoryview) -> None:
        self.size_bytes = self._left_bytes = size_bytes
        self._buffer = buffer

    def put(self, data: bytes) -> None:
        self._left_bytes -= len(data)

    def room(self) -> memoryview:
        return self._buffer[: self._left_bytes]

    def landed(self, count: int) -> None:
        self._left_bytes -= count


class NoLanding:
    """For an answer to HEAD, which has no body whatever it says."""

    size_bytes = BODILESS

    def put(self, data: bytes) -> None:
        """Nothing comes."""

    def room(self) -> memoryview:
        return memoryview(bytearray(1))

    def landed(self, count: int) -> None:
        """Nothing comes."""


NO_LANDING: Final = NoLanding()

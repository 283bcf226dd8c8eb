"""Bodies that nobody wants: the kernel lets them go without copying them to anybody."""

import asyncio
import contextlib
import mmap
import os
import socket
from collections.abc import Callable
from typing import Final

from transports.lean_http import LeanConnection
from transports.lean_landing import DropLanding, Landing
from transports.lean_socket import LowWater

DRAIN_MIN_BYTES: Final = 256 * 1024
"""Below this the few calls that a drain takes to begin and to end cost more than copying: 330 against 274 us for
64 KiB, even at 256 KiB, 400 against 501 us for 512 KiB (2 busy cores, 2026-11-28)."""

DRAIN_LOW_WATER_BYTES: Final = 1024 * 1024
"""A drain is woken for so many bytes, or for all that are left: they are on a plain socket, so they all come."""

_GULP_BYTES: Final = 4 * 1024 * 1024
# Addresses that the kernel is shown and never writes to, so no memory is behind them.
_NOWHERE: Final = memoryview(mmap.mmap(-1, _GULP_BYTES))


class Drain:
    """Takes bytes off a plain TCP connection with ``MSG_TRUNC`` (Linux), past its paused transport.

    ``on_gone`` hears how many went, 0 for the end of the stream; ``on_broken`` of an error of the socket's.
    Both are called by the loop, and neither after ``close``.
    """

    __slots__ = (
        "_loop", "_low_water_bytes", "_on_broken", "_on_gone", "_transport", "_twin", "left_bytes",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        left_bytes: int,
        on_gone: Callable[[int], None],
        on_broken: Callable[[OSError | None], None],
    ) -> None:
        """Raises ``OSError`` where the process has no descriptor left for it."""
        self._transport = transport
        self.left_bytes = left_bytes
        self._on_gone = on_gone
        self._on_broken = on_broken
        exposed = transport.get_extra_info("socket")
        self._twin = socket.socket(fileno=os.dup(exposed.fileno()))
        self._low_water_bytes = 0
        self._wait_for(min(left_bytes, DRAIN_LOW_WATER_BYTES))
        transport.pause_reading()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._twin, self._drink)

    def _drink(self) -> None:
        size_bytes = min(self.left_bytes, _GULP_BYTES)
        try:
            gone = self._twin.recv_into(
                _NOWHERE, size_bytes, socket.MSG_TRUNC | socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._on_broken(error)
            return
        self.left_bytes -= gone
        if 0 < self.left_bytes < self._low_water_bytes:
            self._wait_for(self.left_bytes)
        self._on_gone(gone)

    def hurry(self) -> None:
        """Take whatever comes from now on: the network is slow, and waiting for more looks like silence."""
        self._wait_for(1)

    def _wait_for(self, size_bytes: int) -> None:
        if self._low_water_bytes == 1 or size_bytes == self._low_water_bytes:
            return
        with contextlib.suppress(OSError):  # a hint: without it there are more and smaller gulps
            self._twin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)
        self._low_water_bytes = size_bytes

    def close(self) -> None:
        """Give the connection back to its transport. May be repeated."""
        if self._twin.fileno() < 0:
            return
        self._loop.remove_reader(self._twin)
        with contextlib.suppress(OSError):
            self._twin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._twin.close()
        if not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):  # it was not paused after all
                self._transport.resume_reading()


def can_drain(transport: asyncio.Transport | None) -> bool:
    """Whether a connection's bytes are on its socket as they are: no TLS, and a kernel that lets them go."""
    return (
        transport is not None
        and hasattr(socket, "MSG_TRUNC")
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


class DrainingConnection(LeanConnection):
    """A lean connection that lets the body for a ``DropLanding`` go where it is, in the kernel."""

    __slots__ = ("_drain",)

    _drain: Drain | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._drain = None
        super().connection_made(transport)

    def _land(self, into: Landing, come: bytes | int) -> bool:
        landed = super()._land(into, come)
        if landed and self._drain is None and isinstance(into, DropLanding):
            self._begin_drain(into.size_bytes - self._filled_bytes)
        return landed

    def _begin_drain(self, left_bytes: int) -> None:
        transport = self._transport
        if left_bytes < DRAIN_MIN_BYTES or transport is None or not can_drain(transport):
            return
        with contextlib.suppress(OSError):  # no descriptor is left: then the bytes are copied
            self._drain = Drain(transport, left_bytes, self._gone, self._broken)
            self._low_water = LowWater()  # the drain has its own, and leaves none behind

    def _gone(self, count: int) -> None:
        self.quiet_ticks = 0
        into = self._into
        if into is None or not count:
            self._broken(None)
            return
        into.landed(count)
        self._filled_bytes += count
        if self._filled_bytes >= into.size_bytes:
            self._complete = True
            self._succeed()

    def hurry(self) -> None:
        if self._drain is None:
            super().hurry()
        else:
            self._drain.hurry()

    def _broken(self, error: OSError | None) -> None:
        self.fail(self._loss(error))

    def _forget_buffers(self) -> None:
        drain, self._drain = self._drain, None
        if drain is not None:
            drain.close()
        super()._forget_buffers()

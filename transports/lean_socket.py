"""What the lean lane does with the socket under its transport, past the event loop."""

import asyncio
import contextlib
import os
import socket
from typing import Final

LOW_WATER_BYTES: Final = 256 * 1024
"""A large body is fetched when so much of it is there: fewer and larger reads cost less processor
time than reading whatever has come (3.4 against 3.7 s for 4 x 1 GiB over the loopback, 2026-11-24)."""


class LowWater:
    """How many bytes of a body must be there before the kernel wakes the loop (SO_RCVLOWAT)."""

    __slots__ = ("_bytes", "_in_a_hurry")

    def __init__(self) -> None:
        self._bytes = 1
        self._in_a_hurry = False

    def begin(self) -> None:
        """A new body comes; the network gets another chance."""
        self._in_a_hurry = False

    def adjust(self, transport: asyncio.Transport | None, left_bytes: int) -> None:
        """Choose by what is left of the body.

        Never more than is sure to come: TLS may hold a part of the rest in its own buffers.
        """
        high = left_bytes >= 2 * LOW_WATER_BYTES and not self._in_a_hurry
        wanted = LOW_WATER_BYTES if high else 1
        if wanted != self._bytes:
            self._set(transport, wanted)

    def hurry(self, transport: asyncio.Transport | None) -> None:
        """Read whatever comes: the network is slow, and waiting for more would look like silence."""
        self._in_a_hurry = True
        if self._bytes > 1:
            self._set(transport, 1)

    def _set(self, transport: asyncio.Transport | None, size_bytes: int) -> None:
        exposed = None if transport is None else transport.get_extra_info("socket")
        if exposed is not None:
            with contextlib.suppress(OSError):  # a hint: without it there are more reads
                exposed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)
        self._bytes = size_bytes


def shut_down(transport: asyncio.Transport) -> None:
    """Shut a transport's socket for both directions, now and not at the loop's leisure."""
    exposed = transport.get_extra_info("socket")
    if exposed is None:
        return
    with contextlib.suppress(OSError):  # it is gone already
        twin = socket.socket(fileno=os.dup(exposed.fileno()))
        with twin:
            twin.shutdown(socket.SHUT_RDWR)

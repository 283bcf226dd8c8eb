"""One side of a proxied conversation, and passing one body across with everything that befalls it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

from tests.faults.script import Drip, Flip, Reset, Side, Stall, Truncate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.flow_meter import Meter
    from tests.faults.http1 import Piece
    from tests.faults.script import Fault

# What the kernel holds has left the meter's sight, so it may hold little (it doubles this).
_SEND_BUFFER_BYTES = 128 * 1024
_DRIP_STEP_S = 0.02
_LINGER_NONE = struct.pack("ii", 1, 0)


class Broken(Exception):
    """The far end of a link has gone."""


class Struck(Exception):
    """A fault has ended the conversation, as it should."""


class Link:
    """A connection whose ``send`` returns when the kernel has taken every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        # As near to nothing as can be: with a high mark of 0, asyncio's TLS never resumes writing.
        self._writer.transport.set_write_buffer_limits(high=1, low=0)
        self._socket: socket.socket = writer.get_extra_info("socket")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, data: bytes) -> None:
        """Raise Broken when the far end no longer takes anything."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Broken from error

    async def reset(self) -> None:
        """Break the connection so that the far end sees RST, after all that was sent."""
        # The far end may lose what it has not read yet once the RST is there: let it read.
        await asyncio.sleep(0.02)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close in good order: the far end reads all that was sent, then the end."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Let go of the connection at once."""
        self._writer.transport.abort()


class Passage:
    """Passes the body of one message from one link to the other.

    ``sink`` takes the bytes; ``client`` is the link that resets and closes strike.
    """

    def __init__(
        self, faults: Sequence[Fault], *, side: Side, sink: Link, client: Link, meter: Meter
    ) -> None:
        self._sink = sink
        self._client = client
        self._meter = meter
        mine = [fault for fault in faults if getattr(fault, "side", Side.RESPONSE) is side]
        points = [fault for fault in mine if isinstance(fault, Reset | Truncate | Stall)]
        self._points = sorted(points, key=lambda fault: fault.at_byte)
        self._flips = [fault for fault in mine if isinstance(fault, Flip)]
        self._drips = [fault for fault in mine if isinstance(fault, Drip)]
        self._position = 0

    async def run(self, pieces: AsyncIterator[Piece]) -> None:
        """Pass everything. Raises Struck when a fault ended it, Broken when the sink has gone."""
        async for piece in pieces:
            if piece.framing:
                await self._sink.send(piece.data)
            else:
                await self._pass(self._flipped(piece.data))
        for point in self._points:
            if not isinstance(point, Stall):
                await self._strike(point)

    async def _pass(self, data: bytes) -> None:
        while data:
            size_bytes = len(data)
            if self._points:
                size_bytes = min(size_bytes, self._points[0].at_byte - self._position)
                if size_bytes <= 0:
                    await self._strike(self._points.pop(0))
                    continue
            await self._send(data[:size_bytes])
            data = data[size_bytes:]
            self._position += size_bytes

    async def _send(self, data: bytes) -> None:
        step_bytes = len(data)
        if self._drips:
            slowest = min(drip.bytes_per_s for drip in self._drips)
            step_bytes = max(1, int(slowest * _DRIP_STEP_S))
        for start in range(0, len(data), step_bytes):
            part = data[start : start + step_bytes]
            if self._drips:
                await asyncio.sleep(len(part) / slowest)
            # Before the send: whoever has received the last byte must find it counted.
            self._meter.record(time.monotonic(), len(part))
            await self._sink.send(part)

    async def _strike(self, point: Reset | Truncate | Stall) -> None:
        if isinstance(point, Stall):
            await asyncio.sleep(point.for_s)
            return
        if isinstance(point, Reset):
            await self._client.reset()
        else:
            await self._client.close()
        raise Struck

    def _flipped(self, data: bytes) -> bytes:
        for flip in self._flips:
            place = flip.at_byte - self._position
            if 0 <= place < len(data):
                changed = bytearray(data)
                changed[place] ^= 1 << flip.bit
                data = bytes(changed)
        return data

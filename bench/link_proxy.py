"""A line between two sides, for TCP: so many bytes a second each way, a round trip, and a count.

What comes in is held back until its turn on the line and half of a round trip are over, so that
any number of connections share the line as they would share a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHUNK_BYTES = 64 * 1024
WAITING_CHUNKS = 64
"""Of a connection and way: what a sender's window and the line's own buffers would hold."""


@dataclass(slots=True, kw_only=True)
class Way:
    """One direction. ``rate_per_s`` is in bytes, None for no limit; ``half_s`` is how long a byte takes."""

    rate_per_s: float | None = None
    half_s: float = 0.0
    total_bytes: int = 0
    _free_at_s: float = 0.0

    def book(self, size: int, now_s: float) -> float:
        """Count so many bytes; return when the last of them arrives."""
        self.total_bytes += size
        self._free_at_s = max(self._free_at_s, now_s)
        if self.rate_per_s is not None:
            self._free_at_s += size / self.rate_per_s
        return self._free_at_s + self.half_s


@dataclass(slots=True, kw_only=True)
class Line:
    """Both ways of a line, shared by all its connections."""

    there: Way
    back: Way

    @classmethod
    def of(cls, *, rate_per_s: float | None = None, round_trip_s: float = 0.0) -> Line:
        ways = (Way(rate_per_s=rate_per_s, half_s=round_trip_s / 2) for _ in range(2))
        return cls(there=next(ways), back=next(ways))

    @property
    def total_bytes(self) -> int:
        """All bytes that crossed, both ways."""
        return self.there.total_bytes + self.back.total_bytes


@asynccontextmanager
async def opened_line(line: Line, port: int, *, turned: bool = False) -> AsyncGenerator[int, None]:
    """Carry connections to a loopback port over a line; yields the port to connect to.

    ``turned`` for those that are opened at the other end: their requests go back. All of them end
    with the block.
    """
    there, back = (line.back, line.there) if turned else (line.there, line.back)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Who connects waits a round trip; here it is his first bytes that wait.
        await asyncio.sleep(there.half_s + back.half_s)
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            # Who ends one direction has ended the connection: HTTP closes nothing by halves.
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_carry(reader, far_writer, there), name="there")
                    group.create_task(_carry(far_reader, writer, back), name="back")
            far_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=4 * CHUNK_BYTES)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    """Carry one direction of one connection to its end, which is an ``OSError`` in a group."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING_CHUNKS)

    async def deliver() -> None:
        while True:
            due_s, data = await waiting.get()
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver(), name="deliver")
        while data := await reader.read(CHUNK_BYTES):
            await waiting.put((way.book(len(data), loop.time()), data))
        await waiting.put((loop.time() + way.half_s, b""))

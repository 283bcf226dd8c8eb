"""A scripted HTTP server on loopback: it reads requests and answers with exactly the bytes told."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from transports.lean_pool import LeanPool

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's side of one connection; ``number`` counts connections from 1."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.transport = cast(asyncio.Transport, writer.transport)
        self.requests: list[bytes] = []

    async def request(self) -> bytes:
        """Read a request's head and, by its Content-Length, its body; return the body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return await self.reader.readexactly(length)

    async def send(self, *pieces: bytes) -> None:
        """Send pieces so that each arrives by itself."""
        for piece in filter(None, pieces):
            if self.writer.is_closing():
                raise ConnectionResetError("the client has closed")
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.001)

    async def ended(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass


class Server:
    """A running scripted server with the peers that it has seen."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.port = 0
        self.failures: list[BaseException] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        try:
            await self.script(peer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, which many of these tests are about
        except BaseException as error:
            self.failures.append(error)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run ``script`` for every connection; whatever a script asserts fails the test."""
    server = Server(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls, limit=1 << 22)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0.002)
    if server.failures:
        raise server.failures[0]


@contextlib.asynccontextmanager
async def pool_at(
    port: int,
    *,
    connections_max: int = 1,
    idle_timeout_s: float = 20.0,
    keep_s: float = 20.0,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> AsyncIterator[LeanPool]:
    """A pool at a loopback port; it must end with nothing open and nobody waiting."""
    pool = LeanPool(
        host="127.0.0.1",
        port=port,
        connections_max=connections_max,
        connect_timeout_s=5.0,
        idle_timeout_s=idle_timeout_s,
        keep_s=keep_s,
        tls=tls,
        server_hostname=server_hostname,
    )
    try:
        yield pool
    finally:
        await pool.close()
        assert (pool.connections, pool.idle, pool.waiting) == (0, 0, 0)

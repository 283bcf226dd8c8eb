"""An S3 server that answers what a test writes down, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

from transports.s3 import S3Transport, open_s3

if TYPE_CHECKING:
    import ssl

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "hush",
    "AWS_CONFIG_FILE": "/nowhere",
}


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        parsed = parse_qs(self.target.partition("?")[2], keep_blank_values=True)
        return {name: values[0] for name, values in parsed.items()}


Handler = Callable[[Request], bytes | None]
"""From a request to the raw answer; None never answers."""


def answer(status: int = 200, body: bytes = b"", /, **headers: str) -> bytes:
    """An answer with a length; ``_`` in a header's name stands for ``-``."""
    fields = {"content_length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def error(status: int, code: str, more: str = "", /, **headers: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>scripted</Message>{more}</Error>".encode()
    return answer(status, body, **headers)


class ScriptedS3:
    """``requests`` holds what came; ``reading`` false leaves bodies unread."""

    def __init__(self, handler: Handler, *, reading: bool = True) -> None:
        self.handler = handler
        self.requests: list[Request] = []
        self.reading = reading
        self.arrived = asyncio.Event()
        self.open_connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self.open_connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        if not self.reading:
            await asyncio.sleep(30)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, target, headers, body)
        self.requests.append(request)
        self.arrived.set()
        reply = self.handler(request)
        if reply is None:
            await reader.read()
            return False
        if method == "HEAD":
            reply = reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        writer.write(reply)
        await writer.drain()
        return b"connection: close" not in reply


@contextlib.asynccontextmanager
async def scripted(
    handler: Handler, *, tls: ssl.SSLContext | None = None, reading: bool = True
) -> AsyncIterator[ScriptedS3]:
    script = ScriptedS3(handler, reading=reading)
    server = await asyncio.start_server(script._serve, "127.0.0.1", 0, ssl=tls)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()


@contextlib.asynccontextmanager
async def transport_to(
    script: ScriptedS3,
    prefix: str = "",
    environment: Mapping[str, str] = KEYS,
    **options: str,
) -> AsyncIterator[S3Transport]:
    transport = await open_s3(
        bucket="bucket",
        prefix=prefix,
        options={"endpoint_url": script.url, **options},
        environment=environment,
    )
    try:
        yield transport
    finally:
        await transport.close()

"""Just enough HTTP/1.1 framing for a proxy that must count bytes of bodies, not of sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Small enough that one piece is 1.3 % of five seconds at 1 MB/s, the slowest throttle tested.
PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request's or response's first lines, raw as received, and what the framing needs of them."""

    raw: bytes
    first: tuple[str, str, str]
    fields: dict[str, str]

    @property
    def closes(self) -> bool:
        """Whether the sender says that the connection ends after this message."""
        return self.fields.get("connection", "").lower() == "close" or "HTTP/1.0" in self.first

    @property
    def status(self) -> int:
        """A response's status."""
        return int(self.first[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of a message after its head; framing (of chunks) is not part of the body."""

    data: bytes
    framing: bool = False


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read one head, or return None at a clean end. Raises IncompleteReadError within one."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    lines = raw.decode("latin-1").split("\r\n")
    words = [*lines[0].split(" ", 2), "", ""]
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return Head(raw=raw, first=(words[0], words[1], words[2]), fields=fields)


def has_body(response: Head, *, method: str) -> bool:
    """Whether bytes follow this response's head."""
    return method != "HEAD" and response.status >= 200 and response.status not in (204, 304)


async def read_body(
    reader: asyncio.StreamReader, head: Head, *, until_close: bool
) -> AsyncIterator[Piece]:
    """Yield what follows a head. ``until_close`` is the rule for responses without a length.

    Raises IncompleteReadError when the sender ends too early.
    """
    if "chunked" in head.fields.get("transfer-encoding", "").lower():
        async for piece in _read_chunks(reader):
            yield piece
    elif "content-length" in head.fields:
        async for piece in _read_exactly(reader, int(head.fields["content-length"])):
            yield piece
    elif until_close:
        while data := await reader.read(PIECE_BYTES):
            yield Piece(data=data)


async def _read_exactly(reader: asyncio.StreamReader, size_bytes: int) -> AsyncIterator[Piece]:
    left = size_bytes
    while left:
        data = await reader.read(min(left, PIECE_BYTES))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)
        yield Piece(data=data)


async def _read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[Piece]:
    while True:
        line = await reader.readuntil(b"\r\n")
        yield Piece(data=line, framing=True)
        size_bytes = int(line.split(b";")[0], 16)
        if size_bytes == 0:
            break
        async for piece in _read_exactly(reader, size_bytes):
            yield piece
        yield Piece(data=await reader.readexactly(2), framing=True)
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield Piece(data=line, framing=True)
    yield Piece(data=line, framing=True)

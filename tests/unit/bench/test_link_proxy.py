"""A line between two sides: what it counts, how fast it is, and how it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bench.link_proxy import Line, Way, opened_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def echo(times: int) -> AsyncGenerator[int, None]:
    """A server that gives back ten bytes so many times, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            writer.write(await reader.readexactly(10))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("turned", [False, True])
async def test_what_crosses_is_counted_both_ways(turned: bool) -> None:
    line = Line.of()
    async with echo(3) as port, opened_line(line, port, turned=turned) as near:
        reader, writer = await asyncio.open_connection("127.0.0.1", near)
        for number in range(3):
            writer.write(bytes([number]) * 10)
            assert await reader.readexactly(10) == bytes([number]) * 10
        assert await reader.read() == b""  # the server's end is ours
        writer.close()
    assert (line.there.total_bytes, line.back.total_bytes) == (30, 30)


async def test_a_server_that_is_not_there_ends_the_connection() -> None:
    async with echo(1) as port:
        pass
    async with opened_line(Line.of(), port) as near:
        reader, writer = await asyncio.open_connection("127.0.0.1", near)
        assert await reader.read() == b""
        writer.close()


def test_bytes_take_their_turn_and_half_of_a_round_trip() -> None:
    way = Way(rate_per_s=100.0, half_s=0.5)
    assert way.book(100, 10.0) == pytest.approx(11.5)
    assert way.book(50, 10.0) == pytest.approx(12.0)
    assert way.book(50, 20.0) == pytest.approx(21.0)
    assert way.total_bytes == 200

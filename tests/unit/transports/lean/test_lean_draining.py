"""Bodies that are let go: in the kernel where that is possible, and never mistaken for the next answer."""

import asyncio
import gc
import os
import ssl

import pytest
import trustme

from tests.unit.transports.lean.lean_server import Peer, pool_at, serving
from transports.errors import TimedOut, Truncated, Unavailable
from transports.lean_draining import DRAIN_LOW_WATER_BYTES, DRAIN_MIN_BYTES, Drain
from transports.lean_http import PEEK_BYTES
from transports.lean_landing import Drop

GET = b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
SIZES = [
    0,
    1,
    4_096,
    DRAIN_MIN_BYTES - 1,
    DRAIN_MIN_BYTES + PEEK_BYTES,
    DRAIN_LOW_WATER_BYTES + 1,
    5_000_000,
]


def head(size: int, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nage: 7\r\ncontent-length: %d\r\n\r\n" % (status.encode(), size)


@pytest.fixture
def drains(monkeypatch: pytest.MonkeyPatch) -> list[Drain]:
    """The drains that were begun."""
    begun: list[Drain] = []
    begin = Drain.__init__

    def note(self: Drain, *arguments: object) -> None:
        begun.append(self)
        begin(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Drain, "__init__", note)
    return begun


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_of_any_size_is_let_go_and_the_connection_kept(
    size: int, drains: list[Drain]
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(head(size, "206 Partial Content"), bytes(size))
            await peer.request()
            await peer.send(HELLO)

    async with serving(script) as server, pool_at(server.port) as pool:
        for _ in range(3):
            answer = await pool.request(GET, into=Drop(size))
            assert (answer.status, answer.received_bytes, answer.body) == (206, size, b"")
            assert answer.headers[b"age"] == b"7"
            assert (await pool.request(GET)).body == b"hello"
        assert len(server.peers) == 1
    assert len(drains) == (3 if size > DRAIN_MIN_BYTES else 0)


async def test_other_large_bodies_are_as_before_after_a_drain() -> None:
    body = bytes(range(256)) * 8_192

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(head(len(body)) + body)

    async with serving(script) as server, pool_at(server.port) as pool:
        for _ in range(2):
            await pool.request(GET, into=Drop(len(body)))
            buffer = bytearray(len(body))
            await pool.request(GET, into=memoryview(buffer))
            assert buffer == body
        assert len(server.peers) == 1


@pytest.mark.parametrize("sent", [10, 300_000, 2_500_000])
async def test_a_body_that_breaks_off_is_counted(sent: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(3_000_000) + bytes(sent))

    async with serving(script) as server, pool_at(server.port) as pool:
        with pytest.raises(Truncated) as caught:
            await pool.request(GET, into=Drop(3_000_000))
        assert (caught.value.received_bytes, caught.value.expected_bytes) == (sent, 3_000_000)


async def test_bytes_behind_the_body_never_become_the_next_answer() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            unasked = HELLO if peer.number == 1 else b""
            await peer.send(head(1_000_000) + bytes(1_000_000) + unasked)
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes")

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET, into=Drop(1_000_000))
        await asyncio.sleep(0.02)
        await pool.request(GET, into=Drop(1_000_000))
        assert (await pool.request(GET)).body == b"yes"


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.01, 0.03])
async def test_a_cancel_lets_go_of_everything(after_s: float) -> None:
    large = b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.requests == [large]:
            await peer.send(head(9_000_000))
            await peer.send(bytes(400_000))
            await peer.ended()
        await peer.send(HELLO)

    async with serving(script) as server, pool_at(server.port) as pool:
        task = asyncio.create_task(pool.request(large, into=Drop(9_000_000)))
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(3):
            assert (await pool.request(GET)).body == b"hello"


async def test_silence_is_found_and_slowness_is_not_silence() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(2_000_000))
        for _ in range(6):
            await peer.send(bytes(60_000))  # far less than what a drain waits for at first
            await asyncio.sleep(0.1)
        await peer.ended()

    async with serving(script) as server, pool_at(server.port, idle_timeout_s=0.4) as pool:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        with pytest.raises(TimedOut):
            await pool.request(GET, into=Drop(2_000_000))
        assert loop.time() - started_s > 0.6


async def test_a_pool_that_closes_ends_a_drain() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(9_000_000) + bytes(1_000_000))
        await peer.ended()

    async with serving(script) as server, pool_at(server.port) as pool:
        task = asyncio.create_task(pool.request(GET, into=Drop(9_000_000)))
        await asyncio.sleep(0.02)
        await pool.close()
        with pytest.raises(Unavailable):
            await task


async def test_no_descriptor_is_left_behind() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(head(600_000) + bytes(600_000))

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET, into=Drop(600_000))
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await pool.request(GET, into=Drop(600_000))
        assert len(os.listdir("/proc/self/fd")) == before


async def test_what_is_encrypted_is_read_and_dropped(drains: list[Drain]) -> None:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("store.example").configure_cert(served)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(head(3_000_000) + bytes(3_000_000))

    async with (
        serving(script, tls=served) as server,
        pool_at(server.port, tls=context, server_hostname="store.example") as pool,
    ):
        for _ in range(2):
            assert (await pool.request(GET, into=Drop(3_000_000))).received_bytes == 3_000_000
    assert drains == []

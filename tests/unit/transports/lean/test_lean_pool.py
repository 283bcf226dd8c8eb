"""Connections shared by requests: order, reuse, staleness, cancels, addresses, TLS."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time

import pytest
import trustme

from tests.unit.transports.lean.lean_server import Peer, pool_at, serving
from transports.errors import Denied, NoSpace, TimedOut, Truncated, Unavailable
from transports.lean_answer import Answer
from transports.lean_http import SLICE_BYTES, WRITE_HIGH_BYTES
from transports.lean_landing import Pour
from transports.lean_pool import LeanPool
from transports.testing.support import Gathering

GET = b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
DONE = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def put(length: int, method: bytes = b"PUT") -> bytes:
    return b"%s /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % (method, length)


async def answer_all(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


async def answer_one_then_close(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK)


async def settled(pool: LeanPool, *, connections: int) -> None:
    async with asyncio.timeout(3):
        while pool.connections != connections:  # noqa: ASYNC110 (the pool tells nobody)
            await asyncio.sleep(0.002)


# -- lending -----------------------------------------------------------------------------------


async def test_many_requests_share_few_connections() -> None:
    async with (
        serving(answer_all) as server,
        pool_at(server.port, connections_max=3) as pool,
        asyncio.TaskGroup() as crew,
    ):
        for _ in range(50):
            crew.create_task(pool.request(GET))
        await asyncio.sleep(0)
        assert (pool.connections, pool.waiting) == (3, 47)
    assert len(server.peers) == 3


async def test_requests_wait_in_order() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            seen.append(peer.requests[-1][5:7])
            await peer.send(OK)

    async with (
        serving(script) as server,
        pool_at(server.port) as pool,
        asyncio.TaskGroup() as crew,
    ):
        for number in range(10, 40):
            crew.create_task(pool.request(b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % number))
    assert seen == [b"%d" % number for number in range(10, 40)]


async def test_cancelled_waiter_loses_no_slot() -> None:
    gate = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await gate.wait()
            await peer.send(OK)

    async with serving(script) as server, pool_at(server.port) as pool:
        async with asyncio.TaskGroup() as crew:
            first = crew.create_task(pool.request(GET))
            waiters = [crew.create_task(pool.request(GET)) for _ in range(6)]
            await asyncio.sleep(0.02)
            for waiter in waiters[::2]:
                waiter.cancel()
            await asyncio.sleep(0)
            assert pool.waiting == 3
            gate.set()
        assert (await first).status == 200
        assert [waiter.cancelled() for waiter in waiters] == [True, False] * 3
        assert (pool.connections, pool.idle, pool.waiting) == (1, 1, 0)
        assert len(server.peers) == 1


@pytest.mark.parametrize("broken", [False, True])
async def test_waiter_cancelled_in_the_moment_of_its_grant_passes_it_on(broken: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.01)
        await peer.send(OK if not broken or peer.number > 1 else b"nonsense\r\n")
        await answer_all(peer)

    async with serving(script) as server, pool_at(server.port) as pool:
        async with asyncio.TaskGroup() as crew:

            async def ask_and_cancel_next() -> None:
                with contextlib.suppress(Exception):
                    await pool.request(GET)
                second.cancel()  # its grant was set a moment ago, and it has not run since

            crew.create_task(ask_and_cancel_next())
            await asyncio.sleep(0)
            second = crew.create_task(pool.request(GET))
            third = crew.create_task(pool.request(GET))
        assert second.cancelled()
        assert third.result().body == b"hello"
        assert (pool.connections, pool.idle, pool.waiting) == (1, 1, 0)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.005, 0.02, 0.05])
@pytest.mark.parametrize("with_into", [False, True])
async def test_cancel_at_any_time_leaves_the_pool_fit(after_s: float, with_into: bool) -> None:
    slow = b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if peer.requests[-1] == slow:
                await asyncio.sleep(0.003)
                await peer.send(head, b"x" * 50_000, b"y" * 20_000)
                await peer.ended()
            await peer.send(OK)

    async with serving(script) as server, pool_at(server.port) as pool:
        buffer = bytearray(100_000)
        task = asyncio.create_task(
            pool.request(slow, into=memoryview(buffer) if with_into else None)
        )
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        frozen = bytes(buffer)
        async with asyncio.timeout(3):
            assert (await pool.request(GET)).body == b"hello"
        await asyncio.sleep(0.02)
        assert buffer == frozen  # nothing lands after the call
        buffer.append(0)  # nobody holds a view of it
        assert pool.connections == 1


async def test_cancelled_upload_sends_nothing_that_is_written_later() -> None:
    arrived = bytearray()
    reading = threading.Event()

    def sink() -> None:
        connection, _ = listener.accept()
        with connection:
            reading.wait(5)
            connection.settimeout(5)
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(1 << 20):
                    arrived.extend(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=sink)
        server.start()
        async with pool_at(listener.getsockname()[1]) as pool:
            data = bytearray(b"a" * (32 << 20))

            async def upload() -> None:
                try:
                    await pool.request(put(len(data)), memoryview(data))
                finally:
                    data[:] = b"b" * len(data)  # the caller's buffer is the caller's again
                    reading.set()
                    # The loop stands still while the server makes room, so that a socket which
                    # may still send will be the first thing that the loop sees.
                    time.sleep(0.1)  # noqa: ASYNC251

            task = asyncio.create_task(upload())
            await asyncio.sleep(0.1)  # the socket's buffers are full, and slices wait in the loop
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled(pool, connections=0)
            await asyncio.sleep(0.02)
            data.append(0)  # no view is left
        server.join(5)
    assert 0 < len(arrived) < len(data)
    assert b"bb" not in arrived


# -- kept connections that went away -----------------------------------------------------------


@pytest.mark.parametrize("size", [None, 100, 5_000_000])
async def test_request_on_a_stale_connection_goes_again_once(size: int | None) -> None:
    bodies: list[bytes] = []

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.request()
            await peer.send(OK)
            await peer.reader.readexactly(1)  # closes at the first byte of the second request
            return
        bodies.append(await peer.request())
        await peer.send(OK)
        await peer.ended()

    body = None if size is None else memoryview(b"d" * size)
    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET)
        answer = await pool.request(GET if size is None else put(size), body)
        assert answer.body == b"hello"
        assert len(server.peers) == 2
        assert bodies == [bytes(body) if body is not None else b""]
        assert (pool.connections, pool.idle) == (1, 1)


async def test_second_close_is_an_error_and_not_a_third_try() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.request()
            await peer.send(OK)
        await peer.request()

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET)
        with pytest.raises(Unavailable):
            await pool.request(GET)
        assert len(server.peers) == 2
        assert pool.connections == 0


async def test_post_never_goes_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET)
        with pytest.raises(Unavailable):
            await pool.request(put(2, b"POST"), b"{}")
        assert len(server.peers) == 1


async def test_partly_answered_request_never_goes_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(OK[:-2])

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET)
        with pytest.raises(Truncated):
            await pool.request(GET)
        assert len(server.peers) == 1


async def test_connection_closed_while_idle_is_not_used() -> None:
    async with serving(answer_one_then_close) as server, pool_at(server.port) as pool:
        for number in range(1, 4):
            await pool.request(GET)
            await settled(pool, connections=0)
            assert len(server.peers) == number


async def test_unused_connection_is_closed_after_a_while() -> None:
    async with serving(answer_all) as server, pool_at(server.port, keep_s=0.1) as pool:
        await pool.request(GET)
        assert pool.idle == 1
        await settled(pool, connections=0)


# -- flow, time, closing -----------------------------------------------------------------------


async def test_large_upload_keeps_little_waiting() -> None:
    most = 0

    async def script(peer: Peer) -> None:
        peer.transport.pause_reading()
        for _ in range(20):
            await asyncio.sleep(0.005)
            watch()
        peer.transport.resume_reading()
        await peer.request()
        await peer.send(DONE)

    def watch() -> None:
        nonlocal most
        most = max(most, *(each.waiting_bytes() for each in pool._open), 0)

    async with serving(script) as server, pool_at(server.port) as pool:
        body = memoryview(bytes(64 << 20))
        assert (await pool.request(put(len(body)), body)).status == 200
    assert 0 < most <= WRITE_HIGH_BYTES + SLICE_BYTES


async def test_upload_that_nobody_reads_times_out() -> None:
    async def script(peer: Peer) -> None:
        peer.transport.pause_reading()
        await asyncio.sleep(5)

    async with serving(script) as server, pool_at(server.port, idle_timeout_s=0.2) as pool:
        body = memoryview(bytes(64 << 20))
        async with asyncio.timeout(3):
            with pytest.raises(TimedOut):
                await pool.request(put(len(body)), body)
        assert pool.connections == 0


async def test_close_ends_requests_and_waiters() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.ended()

    async with serving(script) as server, pool_at(server.port, connections_max=2) as pool:
        tasks = [asyncio.create_task(pool.request(GET)) for _ in range(4)]
        await asyncio.sleep(0.05)
        await pool.close()
        await pool.close()
        for task in tasks:
            with pytest.raises(Unavailable, match="closed"):
                await task
        with pytest.raises(Unavailable, match="closed"):
            await pool.request(GET)


async def test_failure_of_one_lets_the_next_in() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number > 2:
            await peer.send(OK)

    async with serving(script) as server, pool_at(server.port) as pool:
        tasks = [asyncio.create_task(pool.request(GET)) for _ in range(4)]
        async with asyncio.timeout(3):
            results = [await settle(task) for task in tasks]
        assert results == [Unavailable, Unavailable, 200, 200]


async def settle(task: asyncio.Task[Answer]) -> object:
    try:
        return (await task).status
    except Unavailable as error:
        return type(error)


def test_pool_without_connections_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LeanPool(host="h", port=1, connections_max=0)


# -- addresses ---------------------------------------------------------------------------------


async def test_next_address_is_tried_and_the_answer_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        nonlocal asked
        asked += 1
        assert host == "store.example"
        # Nobody listens at the second loopback address.
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]

    loop = asyncio.get_running_loop()
    async with serving(answer_one_then_close) as server:
        pool = LeanPool(host="store.example", port=server.port, connections_max=1)
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        for _ in range(4):
            assert (await pool.request(GET)).body == b"hello"
            await settled(pool, connections=0)
        await pool.close()
    assert asked == 1
    assert len(server.peers) == 4


async def test_refused_connection_is_unavailable() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, but nobody listens
        pool = LeanPool(host="127.0.0.1", port=holder.getsockname()[1], connections_max=1)
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot connect"):
                await pool.request(GET)
        assert pool.connections == 0
        await pool.close()


async def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.fail("this machine has no IPv6 loopback")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "::1", 0)
    pool = LeanPool(host="::1", port=listener.sockets[0].getsockname()[1], connections_max=1)
    try:
        assert pool.location.startswith("[::1]:")
        assert (await pool.request(GET)).body == b"hello"
    finally:
        await pool.close()
        listener.close()


# -- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("store.example").configure_cert(context)
    return context


async def test_tls_carries_bodies_both_ways(authority: trustme.CA) -> None:
    body = bytes(range(256)) * 20_000  # 5 MB
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.request()
            assert received in (b"", body)
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with (
        serving(script, tls=server_context(authority)) as server,
        pool_at(server.port, tls=context, server_hostname="store.example") as pool,
    ):
        for _ in range(3):
            buffer = bytearray(len(body))
            answer = await pool.request(put(len(body)), memoryview(body), into=memoryview(buffer))
            assert answer.received_bytes == len(body)
            assert buffer == body
            assert (await pool.request(GET)).body == body
        assert len(server.peers) == 1


@pytest.mark.parametrize("fault", ["authority", "name"])
async def test_certificate_that_is_not_trusted_is_refused(
    authority: trustme.CA, fault: str
) -> None:
    context = ssl.create_default_context()
    if fault == "name":
        authority.configure_trust(context)
    name = "store.example" if fault == "authority" else "other.example"
    async with (
        serving(answer_all, tls=server_context(authority)) as server,
        pool_at(server.port, tls=context, server_hostname=name) as pool,
    ):
        with pytest.raises(Denied, match="not trusted"):
            await pool.request(GET)
        assert pool.connections == 0


async def test_tls_spoken_to_a_plain_server_is_unavailable(authority: trustme.CA) -> None:
    context = ssl.create_default_context()

    async def script(peer: Peer) -> None:
        await peer.reader.read(16)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        serving(script) as server,
        pool_at(server.port, tls=context, server_hostname="store.example") as pool,
    ):
        with pytest.raises(Unavailable, match="cannot connect"):
            await pool.request(GET)


# -- pouring -----------------------------------------------------------------------------------


async def test_a_body_is_poured_while_it_arrives() -> None:
    body = bytes(range(256)) * 8_192  # 2 MiB: above and below the low-water mark

    async def serve(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(b"HTTP/1.1 206 Part\r\ncontent-length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 300_000):
                await peer.send(body[start : start + 300_000])

    async with serving(serve) as server, pool_at(server.port) as pool:
        for _ in range(2):
            sink = Gathering()
            answer = await pool.request(GET, into=Pour(sink, len(body)))
            assert (answer.status, answer.received_bytes) == (206, len(body))
            assert sink.data == body
    assert len(server.peers) == 1


async def test_a_slow_body_is_not_taken_for_silence() -> None:
    size = 1_000_000

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(10):  # far less than the low-water mark at a time
            await peer.send(bytes(1_000))
            await asyncio.sleep(0.1)
        await peer.send(bytes(size - 10_000))

    async with serving(serve) as server, pool_at(server.port, idle_timeout_s=0.6) as pool:
        sink = Gathering()
        await pool.request(GET, into=Pour(sink, size))
        assert sink.taken_bytes == size


async def test_what_was_poured_before_a_break_is_counted() -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n" + bytes(400))

    async with serving(serve) as server, pool_at(server.port) as pool:
        sink = Gathering()
        with pytest.raises(Truncated) as caught:
            await pool.request(GET, into=Pour(sink, 900))
        assert (caught.value.received_bytes, sink.taken_bytes) == (400, 400)


async def test_a_sink_that_refuses_costs_the_connection_and_no_more() -> None:
    async def serve(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    async with serving(serve) as server, pool_at(server.port) as pool:
        with pytest.raises(NoSpace):
            await pool.request(GET, into=Pour(Gathering(room_bytes=1), 5))
        await settled(pool, connections=0)
        sink = Gathering()
        await pool.request(GET, into=Pour(sink, 5))
        assert sink.data == b"hello"

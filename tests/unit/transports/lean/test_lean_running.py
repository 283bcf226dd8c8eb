"""Runs of requests whose bodies nobody wants: what comes back, where a run ends, and what that leaves."""

import asyncio
import ssl

import pytest
import trustme

from tests.unit.transports.lean.lean_server import Peer, pool_at, serving
from transports.errors import Truncated, Unavailable
from transports.lean_answer import NotPlain, WrongLength
from transports.lean_draining import DRAIN_MIN_BYTES
from transports.lean_http import PEEK_BYTES
from transports.lean_running import Run

SIZES = [0, 1, 5, PEEK_BYTES, 65_536, DRAIN_MIN_BYTES + PEEK_BYTES, 7, 0]


def head(size: int, *more: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % size, *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def run_of(*sizes: int) -> Run:
    return Run([b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % n for n in range(len(sizes))], sizes)


@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("split", [0, 10, 60, 5_000])
async def test_all_answers_of_a_run_come_over_one_connection(split: int, with_tls: bool) -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def script(peer: Peer) -> None:
        for size in SIZES:
            await peer.request()
            answer = head(size, b"age: %d" % size) + bytes(size)
            await peer.send(*filter(None, (answer[:split], answer[split:])))
        await peer.request()
        await peer.send(head(5) + b"hello")

    tls = server_tls if with_tls else None
    async with (
        serving(script, tls=tls) as server,
        pool_at(server.port, tls=client_tls if with_tls else None) as pool,
    ):
        run = run_of(*SIZES)
        await pool.run(run)
        assert [int(answer.headers[b"age"]) for answer in run.answers] == SIZES
        assert [answer.received_bytes for answer in run.answers] == SIZES
        assert (await pool.request(run.heads[0])).body == b"hello"
        (peer,) = server.peers
        assert [line.split()[1] for line in peer.requests[:-1]] == [
            b"/%d" % number for number in range(len(SIZES))
        ]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_run_ends_behind_an_error_and_keeps_the_connection(chunked: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(3) + b"abc")
        await peer.request()
        if chunked:
            said = b"transfer-encoding: chunked\r\n\r\n4\r\n<E/>\r\n0\r\n\r\n"
            await peer.send(b"HTTP/1.1 404 Not Found\r\n" + said)
        else:
            more = b"x-filler: " + b"-" * PEEK_BYTES
            await peer.send(head(4, more, status=b"404 Not Found") + b"<E/>")
        await peer.request()
        await peer.send(head(5) + b"hello")

    async with serving(script) as server, pool_at(server.port) as pool:
        run = run_of(3, 3, 3)
        await pool.run(run)
        assert [(each.status, each.body) for each in run.answers] == [(200, b""), (404, b"<E/>")]
        assert (await pool.request(run.heads[0])).body == b"hello"
        assert len(server.peers) == 1


async def test_an_interim_answer_counts_for_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + head(9_000) + bytes(9_000))

    async with serving(script) as server, pool_at(server.port) as pool:
        run = run_of(9_000)
        await pool.run(run)
        assert [(each.status, each.received_bytes) for each in run.answers] == [(200, 9_000)]


@pytest.mark.parametrize("says_so", [False, True])
async def test_a_server_that_closes_in_between_ends_a_run_and_no_more(says_so: bool) -> None:
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(head(3, b"connection: close" if says_so else b"x: y") + b"abc")
            if says_so:
                break

    async with serving(script) as server, pool_at(server.port) as pool:
        run = run_of(3, 3, 3, 3)
        await pool.run(run)
        assert len(run.answers) == (1 if says_so else 2)
        again = run_of(3)
        await pool.run(again)
        assert (len(again.answers), len(server.peers)) == (1, 2)


async def test_a_stale_connection_is_replaced_once() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.request()
            await peer.send(head(0))
            await peer.request()  # and closes
            return
        for _ in range(2):
            await peer.request()
            await peer.send(head(3) + b"abc")

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.run(run_of(0))
        run = run_of(3, 3)
        await pool.run(run)
        assert (len(run.answers), len(server.peers)) == (2, 2)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (head(10) + b"abc", Truncated),
        (head(10_000) + bytes(8_000), Truncated),
        (head(10)[:20], Unavailable),
        (head(4) + b"abcd", WrongLength),
        (b"HTTP/1.1 301 Moved\r\ncontent-length: 0\r\n\r\n" + bytes(5_000), NotPlain),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", NotPlain),
        (b"SSH-2.0-OpenSSH_9.6\r\n", NotPlain),
    ],
)
async def test_what_came_before_a_failure_stays(answer: bytes, kind: type[Exception]) -> None:
    size = 10_000 if len(answer) > 5_000 and kind is Truncated else 10

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(10) + bytes(10))
        await peer.request()
        await peer.send(answer)

    async with serving(script) as server, pool_at(server.port) as pool:
        run = run_of(10, size, 10)
        with pytest.raises(kind):
            await pool.run(run)
        assert [each.status for each in run.answers] == [200]
        assert pool.connections == 0


async def test_what_nobody_asked_for_is_not_the_next_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(5_000) + bytes(5_000) + head(5) + b"wrong")

    async with serving(script) as server, pool_at(server.port) as pool:
        run = run_of(5_000, 5)
        await pool.run(run)
        assert len(run.answers) == 1
        assert pool.connections == 0


async def test_a_cancel_closes_the_connection() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(10) + b"abc")
        begun.set()
        await peer.ended()
        ended.set()

    async with serving(script) as server, pool_at(server.port) as pool:
        running = asyncio.ensure_future(pool.run(run_of(10, 10)))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await ended.wait()
        assert pool.connections == 0

"""One exchange at a time: what counts as a plain answer, however its bytes arrive."""

import asyncio
from collections.abc import Callable

import pytest

from tests.unit.transports.lean.lean_server import Peer, pool_at, serving
from transports.errors import TimedOut, Truncated, Unavailable
from transports.lean_answer import Answer, NotPlain, WrongLength, judge_head

GET = b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n"
OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 5\r\n\r\nhello'


def put(length: int) -> bytes:
    return b"PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % length


async def ask(*pieces: bytes, into: memoryview | None = None, close: bool = False) -> Answer:
    """Ask a server that answers every request with these pieces; then closes, or waits."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if not close:
            await peer.ended()

    async with serving(script) as server, pool_at(server.port) as pool:
        return await pool.request(GET, into=into)


# -- heads and bodies --------------------------------------------------------------------------


@pytest.mark.parametrize("with_into", [False, True])
async def test_answer_is_whole_wherever_its_bytes_are_split(with_into: bool) -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 P\r\nX-A: b\r\ncontent-length: 5\r\n\r\nhello"
    )
    cuts = iter(range(1, len(answer)))

    async def script(peer: Peer) -> None:
        for cut in cuts:
            await peer.request()
            await peer.send(answer[:cut], answer[cut:])
        await peer.ended()

    async with serving(script) as server, pool_at(server.port) as pool:
        for _ in range(1, len(answer)):
            buffer = bytearray(5)
            got = await pool.request(GET, into=memoryview(buffer) if with_into else None)
            assert got.status == 206
            assert got.headers == {b"x-a": b"b", b"content-length": b"5"}
            assert got.received_bytes == 5
            assert (bytes(buffer), got.body) == (
                (b"hello", b"") if with_into else (b"\0" * 5, b"hello")
            )
        assert len(server.peers) == 1  # every split left the connection fit for the next


async def test_answer_is_whole_byte_by_byte() -> None:
    answer = await ask(*(bytes([byte]) for byte in OK))
    assert answer == Answer(200, {b"etag": b'"e"', b"content-length": b"5"}, b"hello", 5)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 131072, 3_000_001])
@pytest.mark.parametrize("with_into", [False, True])
async def test_body_of_any_size(size: int, with_into: bool) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + body)

    async with serving(script) as server, pool_at(server.port) as pool:
        for _ in range(3):
            buffer = bytearray(size)
            got = await pool.request(GET, into=memoryview(buffer) if with_into else None)
            assert (bytes(buffer) if with_into else got.body) == body
            assert got.received_bytes == size
            buffer.append(0)  # no view of it is left behind
        assert len(server.peers) == 1


@pytest.mark.parametrize("status", [400, 412, 503])
@pytest.mark.parametrize("chunked", [False, True])
async def test_error_comes_with_its_body_not_in_the_callers_buffer(
    status: int, chunked: bool
) -> None:
    if chunked:
        body = b"transfer-encoding: chunked\r\n\r\n3\r\n<E>\r\n1\r\n!\r\n0\r\n\r\n"
    else:
        body = b"content-length: 4\r\n\r\n<E>!"
    buffer = bytearray(4)
    pieces = [b"HTTP/1.1 %d X\r\n" % status, body[:40], body[40:]]
    answer = await ask(*pieces, into=memoryview(buffer))
    assert (answer.status, answer.body, answer.received_bytes) == (status, b"<E>!", 4)
    assert buffer == bytes(4)


async def test_no_content_has_no_body() -> None:
    assert (await ask(b"HTTP/1.1 204 No Content\r\n\r\n")).status == 204


@pytest.mark.parametrize(
    ("answer", "status", "length"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 200, None),
        (b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\nhello", 200, None),
        (b"HTTP/1.1 301 Moved\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 301, 0),
        (b"HTTP/1.1 307 Go\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 307, 0),
        (b"HTTP/1.1 500 X\r\ncontent-length: 65537\r\n\r\n", 500, 65537),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 16777217\r\n\r\n", 200, 16777217),
        (b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 101, None),
        (b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 9 + OK, 103, None),
        (b"SSH-2.0-OpenSSH_9.6\r\n", None, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", None, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello", None, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", None, None),
        (b"HTTP/1.1 200 OK\n\nhello", None, None),
        (b"HTTP/1.1 200 OK\r\n" + b"x-a: bbbbbbbbbbbbbb\r\n" * 4000, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("with_into", [False, True])
async def test_what_is_not_plain_is_left_to_the_general_client(
    answer: bytes, status: int | None, length: int | None, with_into: bool
) -> None:
    with pytest.raises(NotPlain) as caught:
        await ask(answer, into=memoryview(bytearray(5)) if with_into else None)
    if not isinstance(caught.value, WrongLength):
        assert (caught.value.status, caught.value.length) == (status, length)


@pytest.mark.parametrize("step", [1, 7, 1_000])
async def test_a_chunked_body_is_held_whole(step: int) -> None:
    body = bytes(range(256)) * 20
    chunks = [body[at : at + 300] for at in range(0, len(body), 300)]
    framed = b"".join(b"%x;e=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    sent = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    pieces = [sent[at : at + step] for at in range(0, 50, step)]
    answer = await ask(*pieces, sent[sum(map(len, pieces)) :])
    assert (answer.status, answer.body, answer.received_bytes) == (200, body, len(body))


async def test_trailers_are_not_headers_of_the_next_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
        await peer.send(chunked + b"etag: bad\r\nx-more: bad\r\n\r\n")
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as server, pool_at(server.port) as pool:
        assert (await pool.request(GET)).body == b"hi"
        assert (await pool.request(GET)).headers == {b"content-length": b"0"}


async def test_a_chunked_body_without_an_end_is_given_up() -> None:
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 18
    with pytest.raises(NotPlain, match="too long"):
        await ask(endless)


async def test_a_chunked_body_that_breaks_off_is_no_body() -> None:
    with pytest.raises(Unavailable, match="within the answer"):
        await ask(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", close=True)


@pytest.mark.parametrize(
    ("status", "length"), [(200, 1 << 40), (200, 0), (404, 200_000), (412, 5), (200, None)]
)
async def test_an_answer_to_head_has_no_body_whatever_it_says(
    status: int, length: int | None
) -> None:
    said = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 %d X\r\netag: e\r\n%s\r\n\r\n" % (status, said))
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    async with serving(script) as server, pool_at(server.port) as pool:
        answer = await pool.request(b"HEAD /b/k HTTP/1.1\r\nhost: h\r\n\r\n")
        assert (answer.status, answer.body, answer.received_bytes) == (status, b"", 0)
        assert answer.headers[b"etag"] == b"e"
        assert (await pool.request(GET)).body == b"hello"
        assert len(server.peers) == 1


async def test_a_body_behind_an_answer_to_head_spoils_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    async with serving(script) as server, pool_at(server.port) as pool:
        assert (await pool.request(b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n")).body == b""
        assert pool.connections == 0


async def test_length_other_than_the_buffers_is_told() -> None:
    buffer = bytearray(4)
    with pytest.raises(WrongLength) as caught:
        await ask(OK, into=memoryview(buffer))
    assert (caught.value.status, caught.value.length) == (200, 5)
    assert caught.value.headers[b"etag"] == b'"e"'
    assert buffer == bytes(4)


def test_judge_allows_what_it_should() -> None:
    assert judge_head(200, {b"content-length": b"5"}, 5) is None
    assert judge_head(206, {b"content-length": b"5"}, None) is None
    assert judge_head(503, {b"content-length": b"65536"}, 5) is None
    assert judge_head(404, {b"transfer-encoding": b"chunked"}, None) is None
    assert isinstance(judge_head(204, {}, 5), NotPlain)


# -- what may be reused, and what may not ------------------------------------------------------


@pytest.mark.parametrize("with_into", [False, True])
async def test_bytes_after_the_answer_never_become_the_next(with_into: bool) -> None:
    evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(OK + evil[: peer.number])

    async with serving(script) as server, pool_at(server.port) as pool:
        for number in range(1, len(evil) + 1):
            buffer = bytearray(5)
            got = await pool.request(GET, into=memoryview(buffer) if with_into else None)
            assert (bytes(buffer) if with_into else got.body) == b"hello"
            assert len(server.peers) == number  # a new connection each time
            assert pool.connections == 0


async def test_two_whole_answers_at_once_are_not_joined() -> None:
    assert (await ask(OK + OK)).body == b"hello"
    assert (await ask(b"HTTP/1.1 404 X\r\ncontent-length: 1\r\n\r\nx" + OK)).body == b"x"


@pytest.mark.parametrize("unasked", [OK, b"\xff", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_unasked_bytes_on_an_idle_connection_close_it(unasked: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await asyncio.sleep(0.02)
            await peer.send(unasked)
        await peer.ended()

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(GET)
        async with asyncio.timeout(3):
            while pool.idle:  # noqa: ASYNC110 (the pool tells nobody)
                await asyncio.sleep(0.005)
        assert pool.connections == 0
        assert (await pool.request(GET)).body == b"hello"
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.0 200 OK\r\n"],
)
@pytest.mark.parametrize("with_into", [False, True])
async def test_connection_that_says_close_is_not_reused(head: bytes, with_into: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head + b"content-length: 5\r\n\r\nhello")
        await peer.ended()  # closed by the client, not by us

    async with serving(script) as server, pool_at(server.port) as pool:
        for number in range(1, 4):
            buffer = memoryview(bytearray(5)) if with_into else None
            assert (await pool.request(GET, into=buffer)).received_bytes == 5
            assert (len(server.peers), pool.idle) == (number, 0)


async def test_answer_before_the_end_of_the_request_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.sleep(5)

    async with serving(script) as server, pool_at(server.port) as pool:
        body = memoryview(bytearray(64 << 20))
        async with asyncio.timeout(3):
            answer = await pool.request(put(len(body)), body)
        assert (answer.status, answer.body) == (403, b"no")
        assert pool.connections == 0


# -- breaking off ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_into", [False, True])
async def test_body_that_breaks_off_says_how_much_is_good(with_into: bool) -> None:
    buffer = bytearray(8)
    with pytest.raises(Truncated) as caught:
        await ask(
            b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nab", b"cd",
            into=memoryview(buffer) if with_into else None, close=True,
        )  # fmt: skip
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (4, 8)
    if with_into:
        assert buffer == b"abcd\0\0\0\0"


@pytest.mark.parametrize(
    "partial",
    [b"H", b"HTTP/1.1 200 OK\r\nconte", b"HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\n<Er"],
)
async def test_head_or_error_that_breaks_off_is_unavailable(partial: bytes) -> None:
    with pytest.raises(Unavailable, match="within the answer"):
        await ask(partial, close=True)


async def test_close_without_an_answer_is_unavailable_on_a_new_connection() -> None:
    with pytest.raises(Unavailable, match="before the answer"):
        await ask(b"", close=True)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"]
)
async def test_silence_times_out(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.ended()

    clock = asyncio.get_running_loop().time
    async with serving(script) as server, pool_at(server.port, idle_timeout_s=0.2) as pool:
        begun_s = clock()
        with pytest.raises(TimedOut):
            await pool.request(GET)
        assert 0.2 <= clock() - begun_s < 3.0
        assert pool.connections == 0


async def test_slow_but_steady_does_not_time_out() -> None:
    assert (await ask(*(bytes([byte]) for byte in OK))).body == b"hello"

    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in OK:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.01)

    async with serving(script) as server, pool_at(server.port, idle_timeout_s=0.2) as pool:
        assert (await pool.request(GET)).body == b"hello"


# -- sending -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32768, 32769, 262144, 262145, 5_000_003])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_body_arrives_as_it_is(size: int, kind: Callable[[bytes], bytes]) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    arrived: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            arrived.append(await peer.request())
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as server, pool_at(server.port) as pool:
        for _ in range(2):
            assert (await pool.request(put(size), kind(body))).status == 200
        assert arrived == [body, body]
        assert len(server.peers) == 1


async def test_pace_is_asked_before_each_slice() -> None:
    asked: list[int] = []
    arrived_bytes = 0

    async def pace(count: int) -> None:
        await asyncio.sleep(0.01)
        # All that was allowed before may have arrived, and nothing more.
        assert arrived_bytes <= sum(asked)
        asked.append(count)

    async def script(peer: Peer) -> None:
        nonlocal arrived_bytes
        await peer.reader.readuntil(b"\r\n\r\n")
        while arrived_bytes < 500_000:
            arrived_bytes += len(await peer.reader.read(1 << 20))
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await peer.ended()

    async with serving(script) as server, pool_at(server.port) as pool:
        await pool.request(put(500_000), bytes(500_000), pace=pace)
    assert sum(asked) == 500_000
    assert max(asked) <= 128 * 1024


async def test_waiting_for_the_budget_is_not_silence() -> None:
    async def pace(count: int) -> None:
        await asyncio.sleep(0.5)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as server, pool_at(server.port, idle_timeout_s=0.1) as pool:
        assert (await pool.request(put(1000), bytes(1000), pace=pace)).status == 200


async def test_failing_pace_ends_the_request_and_its_connection() -> None:
    async def pace(count: int) -> None:
        raise RuntimeError("the budget is gone")

    async def script(peer: Peer) -> None:
        await peer.ended()

    async with serving(script) as server, pool_at(server.port) as pool:
        with pytest.raises(RuntimeError, match="the budget is gone"):
            await pool.request(put(1000), bytes(1000), pace=pace)
        assert pool.connections == 0

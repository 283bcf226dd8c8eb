"""HTTP sources in the manners of real servers: no ranges, no length, weak pins, redirects, doors."""

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.servers.http import HttpServer
from tests.servers.loop_thread import LoopThread
from transports.base import Transport
from transports.errors import (
    Changed,
    Corrupt,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    TransportError,
    Truncated,
    Unavailable,
)
from transports.location import parse_location
from transports.model import NO_ATTRIBUTES, Blob, ByteRange, Entry, Proof
from transports.opening import open_transport
from transports.testing.support import blob, some_bytes

DATA = some_bytes(200_000)
LOGIN = "Basic " + base64.b64encode(b"user:pass").decode()


@asynccontextmanager
async def opened(url: str, **environment: str) -> AsyncIterator[Transport]:
    transport = await open_transport(parse_location(url), side="source", environment=environment)
    try:
        yield transport
    finally:
        await transport.close()


def put(server: HttpServer, name: str = "x", data: bytes = DATA) -> Path:
    path = server.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


async def read(transport: Transport, entry: Entry, start: int, stop: int) -> bytes:
    buffer = bytearray(stop - start)
    await transport.read_into(entry, ByteRange(start, stop), memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize(
    ("manner", "ranges", "size", "pinned"),
    [
        ("ranges", True, 200_000, True),
        ("plain", False, 200_000, True),
        ("chunked", False, -1, True),
        ("bare", False, 200_000, False),
        ("weak", True, 200_000, True),
        ("redirect", True, 200_000, True),
    ],
)
async def test_manners(
    http_server: HttpServer, manner: str, ranges: bool, size: int, pinned: bool
) -> None:
    path = put(http_server)
    async with opened(http_server.url(manner)) as transport:
        info = await transport.head("x")
        entry = info.entry
        assert (info.ranges, transport.capabilities.ranges) == (ranges, ranges)
        assert (entry.size, bool(entry.etag)) == (size, pinned)
        assert await read(transport, entry, 0, 1_000) == DATA[:1_000]
        assert await read(transport, entry, 150_000, 200_000) == DATA[150_000:]
        pieces = [bytes(piece) async for piece in transport.stream(entry)]
        assert b"".join(pieces) == DATA
        assert max(map(len, pieces)) <= 1024 * 1024
        (small,) = await transport.read_small([entry])
        assert isinstance(small, Blob)
        assert (bytes(small.data), small.proof) == (DATA, Proof.WEAK)
        path.write_bytes(DATA[::-1])
        if pinned:
            with pytest.raises(Changed):
                await read(transport, entry, 0, 10)
            with pytest.raises(Changed):
                assert [piece async for piece in transport.stream(entry)]


async def test_an_object_costs_one_request_to_find_and_one_to_read(
    http_server: HttpServer,
) -> None:
    put(http_server)
    async with opened(http_server.url("ranges")) as transport:
        http_server.forget()
        entry = (await transport.head("x")).entry
        await transport.read_small([entry])
        await read(transport, entry, 5, 10)
    asked = [
        (r.method, r.headers.get("range"), r.headers.get("if-match")) for r in http_server.requests
    ]
    assert asked == [
        ("GET", "bytes=0-0", None),
        ("GET", None, f'"{entry.etag}"'),
        ("GET", "bytes=5-9", f'"{entry.etag}"'),
    ]
    assert {r.headers["accept-encoding"] for r in http_server.requests} == {"identity"}


async def test_a_redirect_is_followed_once_and_remembered(http_server: HttpServer) -> None:
    put(http_server)
    async with opened(http_server.url("redirect")) as transport:
        entry = (await transport.head("x")).entry
        http_server.forget()
        await read(transport, entry, 0, 10)
        assert [request.path for request in http_server.requests] == ["/ranges/x"]
    async with opened(http_server.url("loop")) as transport:
        with pytest.raises(Invalid, match="lead nowhere"):
            await transport.head("x")


async def test_credentials_come_from_the_sides_environment(http_server: HttpServer) -> None:
    put(http_server)
    async with opened(http_server.url("denied")) as transport:
        with pytest.raises(Denied, match="HTTP_AUTHORIZATION"):
            await transport.head("x")
    environment = {"MOVER_SOURCE_HTTP_AUTHORIZATION": LOGIN}
    async with opened(http_server.url("denied"), **environment) as transport:
        assert (await transport.head("x")).entry.size == len(DATA)
    environment = {"MOVER_TARGET_HTTP_AUTHORIZATION": LOGIN}
    async with opened(http_server.url("denied"), **environment) as transport:
        with pytest.raises(Denied):
            await transport.head("x")


async def test_names_are_sent_as_they_are(http_server: HttpServer) -> None:
    names = ["a b", "100%", "é+", "q?x", "h#x", "semi;colon", "d/under&"]
    for name in names:
        put(http_server, f"t/{name}", name.encode())
    async with opened(http_server.url("nginx", "t/")) as transport:
        entries = [entry async for page in transport.list() for entry in page]
        assert [entry.key for entry in entries] == sorted(names)
        for entry, result in zip(entries, await transport.read_small(entries), strict=True):
            assert isinstance(result, Blob)
            assert bytes(result.data) == entry.key.encode()


async def test_it_cannot_be_written(http_server: HttpServer) -> None:
    async with opened(http_server.url("ranges")) as transport:
        for call in (
            lambda: transport.write_small([blob("x")]),
            lambda: transport.begin_upload("x", 1, NO_ATTRIBUTES, token="t"),
            lambda: transport.delete(["x"]),
        ):
            with pytest.raises(Invalid, match="can only be read"):
                await call()
        assert list(await transport.list_uploads()) == []
        await transport.clean("t")


async def test_a_host_that_is_not_there() -> None:
    async with opened("http://127.0.0.1:9/") as transport:
        with pytest.raises(Unavailable, match="no connection"):
            await transport.head("x")


class Scripted(LoopThread):
    """Answers every request with one function."""

    def __init__(self, answer: Callable[[web.BaseRequest], web.StreamResponse]) -> None:
        super().__init__()
        self._answer = answer
        self.base_url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return self._answer(request)

        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "headers", "error", "wait_s"),
    [
        (404, {}, NotFound, None),
        (410, {}, NotFound, None),
        (403, {}, Denied, None),
        (429, {"Retry-After": "7"}, Throttled, 7.0),
        (503, {}, Throttled, None),
        (500, {"Retry-After": "3"}, Unavailable, 3.0),
        (502, {}, Unavailable, None),
        (418, {}, Invalid, None),
    ],
)
async def test_statuses(
    status: int, headers: dict[str, str], error: type[TransportError], wait_s: float | None
) -> None:
    with Scripted(lambda _: web.Response(status=status, headers=headers)) as server:
        async with opened(f"{server.base_url}/") as transport:
            with pytest.raises(error) as caught:
                await transport.head("x")
            assert caught.value.retry_after_s == wait_s
            (result,) = await transport.read_small([Entry("x", 1, 0)])
            assert isinstance(result, error)


async def test_a_digest_that_the_server_gives_is_compared() -> None:
    digest = {"bad": "AAAAAAAAAAAAAAAAAAAAAA=="}

    def answer(request: web.BaseRequest) -> web.StreamResponse:
        given = digest[request.path.strip("/")]
        return web.Response(body=b"flipped?", headers={"Content-MD5": given})

    digest["good"] = base64.b64encode(hashlib.md5(b"flipped?").digest()).decode()
    with Scripted(answer) as server:
        async with opened(f"{server.base_url}/") as transport:
            good, bad = await transport.read_small([Entry("good", 8, 0), Entry("bad", 8, 0)])
            assert isinstance(good, Blob)
            assert good.proof is Proof.STRONG
            assert isinstance(bad, Corrupt)
            with pytest.raises(Corrupt):
                assert [piece async for piece in transport.stream(Entry("bad", 8, 0))]


async def test_a_body_that_breaks_off_tells_how_far_it_came() -> None:
    def answer(_: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(
            status=206, body=b"12345", headers={"Content-Range": "bytes 0-9/10"}
        )
        response.force_close()
        return response

    with Scripted(answer) as server:
        async with opened(f"{server.base_url}/") as transport:
            buffer = bytearray(10)
            with pytest.raises(Truncated) as caught:
                await transport.read_into(Entry("x", 10, 0), ByteRange(0, 10), memoryview(buffer))
            assert caught.value.received_bytes == 5
            assert buffer[:5] == b"12345"


async def test_the_secret_query_goes_out_and_into_no_message() -> None:
    seen: list[str] = []

    def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path_qs)
        return web.Response(status=403)

    with Scripted(answer) as server:
        environment = {"MOVER_SOURCE_HTTP_QUERY": "X-Amz-Signature=HUSH"}
        async with opened(f"{server.base_url}/d/?v=1", **environment) as transport:
            with pytest.raises(Denied) as caught:
                await transport.head("x")
    assert seen == ["/d/x?v=1&X-Amz-Signature=HUSH"]
    assert "HUSH" not in str(caught.value)


async def test_a_listing_that_is_no_listing_is_refused() -> None:
    pages = {
        "/json/": web.Response(text="[]", content_type="application/json"),
        "/climb/": web.Response(text='<a href="%2e%2e%2fetc">x</a>', content_type="text/html"),
        "/self/": web.Response(text='<a href="a%2fb">x</a>', content_type="text/html"),
    }

    def answer(request: web.BaseRequest) -> web.StreamResponse:
        return pages[request.path_qs]

    with Scripted(answer) as server:
        for name in ("json", "climb", "self"):
            async with opened(f"{server.base_url}/{name}/") as transport:
                with pytest.raises(Invalid):
                    assert [page async for page in transport.list()]


async def test_a_directory_without_end_is_refused() -> None:
    def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text='<a href="deeper/">deeper</a>', content_type="text/html")

    with Scripted(answer) as server:
        async with opened(f"{server.base_url}/") as transport:
            with pytest.raises(Invalid, match="deep"):
                assert [page async for page in transport.list()]

"""Workers that hand each other parcels over HTTP: the promises of ``Peers``, and a server among strangers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from mover import peer_parcels, peering
from mover.depots import Meter
from mover.gauging import Stopwatches
from mover.measuring import Gauge, Way
from mover.model import CopySpec
from mover.peer_parcels import open_peering
from mover.peer_protocol import (
    DIGEST,
    EXPIRES,
    PIECE_BYTES_MAX,
    PROOF,
    Said,
    digest_of,
)
from mover.peer_shelf import Shelf
from mover.peering import serve_parcels
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mover.depots import Peers

SECRET = b"of the tests, and of no use"
ROOM_BYTES = 32 * 1024 * 1024
PREFIX = ".mover-delta/0123/abcd/"
KEY = f"{PREFIX}7-1.delta-000000"
PATH = "/parcels/0123/abcd/7-1.delta-000000"
DATA = bytes(range(256)) * 4096


class Place:
    """A worker that keeps parcels; ``sees`` is how another, or itself, sees it."""

    def __init__(self, shelf: Shelf, address: str) -> None:
        self.shelf = shelf
        self.address = address

    @contextlib.asynccontextmanager
    async def seen(
        self, *, by_itself: bool = False, secret: bytes = SECRET, meter: Meter | None = None
    ) -> AsyncIterator[Peers]:
        own = {"shelf": self.shelf, "address": self.address} if by_itself else {}
        async with open_peering(secret, {}, **own) as peers:  # type: ignore[arg-type]
            yield peers.seen_from(meter, near_source=False)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    shelf = Shelf(tmp_path, ROOM_BYTES)
    async with serve_parcels(shelf, SECRET, host="127.0.0.1", port=0) as port:
        yield Place(shelf, f"http://127.0.0.1:{port}")


def piece(size: int = len(DATA)) -> Entry:
    return Entry(KEY, size, 0)


# -- what is promised of every keeper ----------------------------------------------------------


@pytest.mark.parametrize("by_itself", [True, False])
async def test_the_promises(place: Place, by_itself: bool) -> None:
    async with place.seen(by_itself=by_itself) as peers:
        at = place.address
        assert (peers.own is not None) is by_itself
        assert await peers.get(at, piece()) is None
        for data in (b"", b"short", DATA):
            assert await peers.put(at, KEY, data)
            assert await peers.get(at, piece(len(data))) == data
        assert await peers.get(at, piece(5)) is None  # it is another one
        await peers.remove(at, PREFIX)
        await peers.remove(at, PREFIX)
        assert await peers.get(at, piece()) is None
        assert not peers.is_away(at)


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_full_keeper_is_no_keeper(place: Place, by_itself: bool) -> None:
    async with place.seen(by_itself=by_itself) as peers:
        pieces = ROOM_BYTES // PIECE_BYTES_MAX
        body = bytes(PIECE_BYTES_MAX)
        taken = [await peers.put(place.address, f"{KEY}{n}", body) for n in range(pieces + 1)]
        assert taken == [True] * pieces + [False]
        peers.forget("0123")
        assert len(place.shelf) == (0 if by_itself else pieces)
        assert not peers.is_away(place.address)


@pytest.mark.parametrize("key", ["data/of/others", ".mover-delta/../x/y", ".mover-delta/a/b/c/d"])
async def test_only_parcels_are_kept(place: Place, key: str) -> None:
    async with place.seen() as peers:
        assert not await peers.put(place.address, key, b"data")
        assert await peers.get(place.address, Entry(key, 4, 0)) is None


async def test_who_is_not_reached_is_left_alone_for_a_while(place: Place) -> None:
    async with place.seen() as peers:
        nowhere = "http://127.0.0.1:1"
        assert not await peers.put(nowhere, KEY, DATA)
        assert peers.is_away(nowhere)
        assert await peers.get(nowhere, piece()) is None
        await peers.remove(nowhere, PREFIX)
        assert not peers.is_away(place.address)


async def test_what_others_did_not_get_is_not_kept_again_soon(place: Place) -> None:
    async with place.seen(by_itself=True) as peers:
        peers.lost("http://somebody:1")
        assert peers.own is not None
        peers.lost(place.address)
        assert peers.own is None


async def test_a_keeper_that_says_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_parcels, "ANSWER_S", 0.3)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await asyncio.sleep(2)

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    silent = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        for body in (b"short", bytes(PIECE_BYTES_MAX)):
            async with place.seen() as peers:
                assert not await peers.put(silent, KEY, body)
                assert peers.is_away(silent)
        async with place.seen() as peers:
            assert await peers.get(silent, piece()) is None


async def test_bytes_count_and_come_in_slices_under_a_rate(place: Place) -> None:
    taken: list[int] = []

    async def take(size: int) -> None:
        taken.append(size)

    meter = Meter(take=take, slice_bytes=lambda: 300_000)
    async with place.seen(meter=meter) as peers:
        assert await peers.put(place.address, KEY, DATA)
        assert sum(taken) == len(DATA)
        assert max(taken) == 300_000
        taken.clear()
        assert await peers.get(place.address, piece()) == DATA
        assert (sum(taken), max(taken)) == (len(DATA), 300_000)
        assert await peers.get(place.address, piece(len(DATA) + 5)) is None


@pytest.mark.parametrize(
    ("pool", "ways"), [("us", (Way.OUT, Way.BACK)), ("eu", (Way.BACK, Way.OUT))]
)
async def test_what_crosses_is_measured(place: Place, pool: str, ways: tuple[Way, Way]) -> None:
    spec = CopySpec(source="s3://a/", target="s3://b/", source_pool="us", target_pool="eu")
    gauge = Gauge(time.monotonic)
    meter = Stopwatches(gauge, spec, [pool]).on_link()
    put, got = ways
    async with place.seen(meter=meter) as peers:
        assert await peers.put(place.address, KEY, DATA)
        assert _measured(gauge) == {put}
        assert await peers.get(place.address, piece()) == DATA
        assert _measured(gauge) == {put, got}


def _measured(gauge: Gauge) -> set[Way]:
    return {way for way in Way if gauge.estimates()[way.value].rate}


# -- strangers ---------------------------------------------------------------------------------


async def asked(
    place: Place, verb: str, path: str = PATH, *, body: bytes | None = None, **changes: str
) -> int:
    """The status of a request that is right but for some headers."""
    digest = "" if body is None else digest_of(body)
    said = Said(verb=verb, path=path, expires_s=int(time.time()) + 60, digest=digest)
    headers = {EXPIRES: str(said.expires_s), DIGEST: digest, PROOF: said.proof(SECRET)} | changes
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            verb, place.address + path, data=body and io.BytesIO(body), headers=headers
        ) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "changes",
    [
        {PROOF: ""},
        {PROOF: "0" * 64},
        {EXPIRES: "1"},
        {EXPIRES: ""},
        {EXPIRES: "9" * 30},
        {DIGEST: "0" * 64},
        {"Range": "bytes=0-1"},
    ],
)
async def test_no_proof(place: Place, verb: str, changes: dict[str, str]) -> None:
    path = PATH if verb != "DELETE" else PATH.rpartition("/")[0]
    body = b"data" if verb == "PUT" else None
    assert await asked(place, verb, path, body=body, **changes) == 401
    assert await asked(place, verb, path, body=body) in {201, 204, 404}


async def test_requests_that_are_refused(place: Place) -> None:
    assert await asked(place, "GET", "/parcels/a/b") == 400
    assert await asked(place, "DELETE") == 400
    assert await asked(place, "GET", "/elsewhere") == 404
    assert await asked(place, "POST", body=b"data") == 405
    assert await asked(place, "PUT", body=bytes(PIECE_BYTES_MAX + 1)) == 413
    assert len(place.shelf) == 0


async def test_a_body_that_is_not_the_one_that_was_promised(place: Place) -> None:
    digest = digest_of(b"good")
    said = Said(verb="PUT", path=PATH, expires_s=int(time.time()) + 60, digest=digest)
    right = {DIGEST: digest, PROOF: said.proof(SECRET), EXPIRES: str(said.expires_s)}
    assert await asked(place, "PUT", body=b"evil", **right) == 400
    assert (len(place.shelf), place.shelf.taken_bytes) == (0, 0)
    assert await asked(place, "PUT", body=b"good", **right) == 201


async def test_a_body_that_stops_coming(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "STALL_S", 0.2)
    digest = digest_of(DATA)
    said = Said(verb="PUT", path=PATH, expires_s=int(time.time()) + 60, digest=digest)
    head = (
        f"PUT {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(DATA)}\r\n{DIGEST}: {digest}\r\n"
        f"{EXPIRES}: {said.expires_s}\r\n{PROOF}: {said.proof(SECRET)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", int(place.address.split(":")[2]))
    writer.write(head.encode() + DATA[:1000])
    assert b" 408 " in await reader.readline()
    writer.close()
    assert place.shelf.taken_bytes == 0


@pytest.mark.parametrize("proof", ["", "0" * 64])
async def test_a_stranger_in_the_place_of_a_keeper(place: Place, proof: str) -> None:
    async def lie(request: web.Request) -> web.Response:
        return web.Response(body=DATA, headers={PROOF: proof})

    app = web.Application()
    app.router.add_get("/{path:.*}", lie)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stranger = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with place.seen() as peers:
            assert await peers.get(stranger, piece()) is None
            assert peers.is_away(stranger)
    finally:
        await runner.cleanup()


async def test_two_secrets(place: Place) -> None:
    async with place.seen(secret=b"another one, as long") as peers:
        assert not await peers.put(place.address, KEY, DATA)
        assert peers.is_away(place.address)
    assert len(place.shelf) == 0

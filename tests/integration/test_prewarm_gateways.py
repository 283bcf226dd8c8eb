"""Gateways that really cache: nginx in front of an HTTP origin and of SeaweedFS's S3."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from mover.filtering import Selection
from mover.prewarm.model import Certainty, Judge, Piece, WarmSpec
from mover.prewarm_gateways import open_gateway
from mover.prewarm_places import Ground
from tests.faults.script import Answer, Rule
from tests.servers.nginx import NginxCache
from transports.errors import NotFound, Unsupported
from transports.location import parse_location
from transports.opening import TransportPolicy, decorate, open_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from mover.prewarm.model import Look, Warmed
    from mover.prewarm_places import Place
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket
    from tests.servers.http import HttpServer
    from transports.base import Transport

NOW_S = 1_800_000_000.0
MIB = 1 << 20


@contextlib.asynccontextmanager
async def opened(
    location: str, *, environment: Mapping[str, str] | None = None, **wishes: Any
) -> AsyncIterator[tuple[Place, list[str]]]:
    """A place over real, dressed transports, and the lines that it says to people."""
    notes: list[str] = []
    async with contextlib.AsyncExitStack() as stack:

        async def open_source(text: str) -> Transport:
            bare = await open_transport(
                parse_location(text).as_tree(), side="source", environment=environment or {}
            )
            stack.push_async_callback(bare.close)
            return decorate(bare, TransportPolicy(sleep=_no_sleep))

        ground = Ground(
            spec=WarmSpec(targets=(location,), **wishes),
            job="j",
            node="n",
            environment={},
            take=_nothing,
            limited=lambda: False,
            open_source=open_source,
            token=_no_token,
            note=notes.append,
        )
        yield await open_gateway(location, ground), notes


async def _nothing(size_bytes: int) -> None: ...


async def _no_sleep(seconds: float) -> None: ...


async def _no_token() -> str:
    return ""


async def pieces_of(place: Place, **selection: Any) -> list[Piece]:
    selector = Selection(**selection).compile(NOW_S)
    found: list[Piece] = []
    async for page in place.walk(selector, metadata=False):
        for entry in page:
            step = place.nature.cut_bytes or max(entry.size, 1)
            found += [
                Piece(entry, start, min(start + step, entry.size))
                for start in range(0, max(entry.size, 1), step)
            ]
    return found


async def warmed(place: Place) -> tuple[Look, Warmed, Look]:
    """A round of a cold cache, and the look that follows it."""
    pieces = await pieces_of(place)
    before = await place.glance(pieces)
    todo: Sequence[Piece] = pieces if before.resident_bytes is None else before.missing
    told: list[int] = []
    came = await place.warm(todo, told=told.append)
    assert sum(told) == came.read_bytes
    return before, came, await place.look(await pieces_of(place))


@pytest.fixture
def tree(http_server: HttpServer) -> dict[str, int]:
    """Objects at the HTTP origin: small ones, an empty one, and one of some megabytes."""
    sizes = {f"d{number % 3}/small-{number:02}": 20_000 + number for number in range(40)}
    sizes |= {"empty": 0, "deep/er/large": 3 * MIB + 1}
    for key, size in sizes.items():
        path = http_server.root / "data" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return sizes


def asked_for_objects(http_server: HttpServer) -> Counter[str]:
    return Counter(
        request.path.partition("/data/")[2]
        for request in http_server.requests
        if not request.path.endswith("/")
    )


async def test_a_cold_cache_becomes_full_and_says_so(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url) as cache:
        async with opened(f"{cache.url}/nginx/data/") as (place, notes):
            _, came, after = await warmed(place)
            assert came.failures == []
            assert after.bytes == after.resident_bytes == sum(tree.values())
            assert place.nature.certainty is Certainty.PROVEN
            assert notes == []
        # Each object has left the origin once, whoever asked for it: the walk, the look or the read.
        assert asked_for_objects(http_server) == dict.fromkeys(tree, 1)


async def test_a_second_run_reads_nothing(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url) as cache:
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            await warmed(place)
        http_server.forget()
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            glance = await place.glance(await pieces_of(place))
            assert glance.resident_bytes == glance.bytes
            assert glance.missing == []
        assert asked_for_objects(http_server) == {}


async def test_what_is_read_without_a_look_says_what_came_from_the_origin(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    key = "deep/er/large"
    with NginxCache(tmp_path, http_server.base_url) as cache:
        origin = await open_transport(
            parse_location(f"{http_server.base_url}/nginx/data/"), side="source", environment={}
        )
        entry = (await origin.head(key)).entry
        await origin.close()
        piece = Piece(entry, 0, entry.size)
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            first, second = await place.warm([piece]), await place.warm([piece])
        assert (first.read_bytes, first.read_files) == (entry.size, 1)
        assert (first.origin_bytes, second.origin_bytes) == (entry.size, 0)


async def test_a_cache_that_never_keeps_anything_is_never_full(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url, directives="proxy_no_cache 1;") as cache:
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            _, came, after = await warmed(place)
            assert came.failures == []
            assert after.resident_bytes == 0
            assert {piece.entry.key for piece in after.missing} == tree.keys() - {"empty"}


async def test_a_cache_that_is_too_small_is_not_called_full(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    for number in range(200):
        (http_server.root / f"data/d0/more-{number}").write_bytes(b"more")
    with NginxCache(tmp_path, http_server.base_url, keys="16k") as cache:
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            pieces = await pieces_of(place)
            await place.warm(pieces)
            after = await place.look(pieces)
            assert after.resident_bytes is not None
            assert after.resident_bytes < after.bytes
            assert after.missing


async def test_a_gateway_that_says_nothing_is_not_judged(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url, says="") as cache:
        async with opened(f"{cache.url}/nginx/data/") as (place, notes):
            before, came, after = await warmed(place)
            assert (before.resident_bytes, after.resident_bytes) == (None, None)
            assert came.read_bytes == sum(tree.values())
            assert place.nature.certainty is Certainty.UNKNOWN
            assert len(notes) == 1
            assert "--hit-header" in notes[0]


async def test_a_header_of_ones_own_is_believed(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url, says="X-Warmth") as cache:
        async with opened(f"{cache.url}/nginx/data/", hit_header="x-warmth=^HIT$") as (place, _):
            _, _, after = await warmed(place)
            assert after.resident_bytes == after.bytes


async def test_an_origin_that_is_busy_is_asked_again(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    busy = fault_proxy(
        http_server.base_url, Rule(fault=Answer(status=503), path="small", nth=range(1, 6))
    )
    with NginxCache(tmp_path, busy.endpoint_url) as cache:
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            _, came, after = await warmed(place)
            assert came.failures == []
            assert after.resident_bytes == after.bytes


async def test_what_changed_or_went_since_the_walk_is_named_and_hides_nothing(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url) as cache:
        async with opened(f"{http_server.base_url}/nginx/data/") as (origin, _):
            pieces = await pieces_of(origin)  # as the origin had them; the cache has seen nothing
        (http_server.root / "data/d0/small-00").write_bytes(b"another")
        (http_server.root / "data/d1/small-01").unlink()
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            came = await place.warm(pieces)
            errors = {key: error for key, error, _ in came.failures}
            assert errors == {"d0/small-00": "Changed", "d1/small-01": "NotFound"}
            assert came.read_files == len(tree) - 2
            after = await place.look(pieces)
            assert {piece.entry.key for piece in after.missing} == errors.keys()


async def test_one_object_filters_and_attributes(
    http_server: HttpServer, tree: dict[str, int], tmp_path: Path
) -> None:
    with NginxCache(tmp_path, http_server.base_url) as cache:
        async with opened(f"{cache.url}/nginx/data/deep/er/large") as (place, _):
            (piece,) = await pieces_of(place)
            assert (piece.entry.key, piece.size) == ("large", tree["deep/er/large"])
        async with opened(f"{cache.url}/nginx/data/deep") as (place, _):
            assert [piece.entry.key for piece in await pieces_of(place)] == ["er/large"]
        async with opened(f"{cache.url}/nginx/data/") as (place, _):
            selector = Selection(size_max_bytes=1).compile(NOW_S)
            pages = [page async for page in place.walk(selector, metadata=True)]
            assert [[entry.key for entry in page] for page in pages] == [["empty"]]


async def test_a_gateway_forgets_nothing_and_knows_no_other_judges(
    http_server: HttpServer,
) -> None:
    location = f"{http_server.base_url}/nginx/"
    async with opened(location) as (place, _):
        with pytest.raises(Unsupported, match="forget"):
            await place.evict([])
        await place.close()
    for wishes in ({"judge": Judge.PAGES}, {"hit_header": "X-Cache"}):
        with pytest.raises(ValueError, match="header|NAME=REGEX"):
            async with opened(location, **wishes):
                pass


async def test_an_s3_gateway(public_bucket: Bucket, tmp_path: Path) -> None:
    for number in range(30):
        public_bucket.put(f"t/{number:02}", bytes(70_000))
    public_bucket.put("t/large", bytes(20 * MIB))
    with NginxCache(tmp_path, public_bucket.server.endpoint_url) as cache:
        location = public_bucket.location("t/", endpoint_url=cache.url) + "&unsigned=true"
        async with opened(location) as (place, _):
            before, came, after = await warmed(place)
            assert before.resident_bytes == 0
            assert came.failures == []
            assert came.read_bytes == after.bytes == after.resident_bytes


async def test_a_bucket_that_is_not_there_ends_the_walk(public_bucket: Bucket) -> None:
    location = public_bucket.location().replace(public_bucket.name, "t-nowhere")
    with pytest.raises(NotFound):
        async with opened(location, environment=public_bucket.server.environment()) as (place, _):
            await pieces_of(place)

"""Nodes that take files from each other's cache directories, over HTTP: once from the origin, whatever fails."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from mover.errors import Rejected
from mover.peer_protocol import DIGEST, EXPIRES, PROOF, Said, digest_of
from mover.prewarm.model import EVERY_NODE, WarmSpec
from mover.prewarm.peer_talk import ABSENT, PATH, Wanted, decode_head, encode_request
from mover.prewarm_serving import listening_at, own_host
from tests.faults.script import Answer, Flip, Reset, Rule, Truncate
from tests.servers.grounds import TOKEN, Yard, pieces_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mover.prewarm_places import Place
    from tests.conftest import ProxyFactory
    from tests.faults.script import Fault
    from tests.servers.buckets import Bucket
    from transports.model import Entry

LOOPBACK = {"MOVER_PEER_LISTEN": "127.0.0.1:0"}
READS = {"read_small", "read_into", "read_to", "stream", "head"}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    directory = tmp_path / "origin"
    for number in range(150):
        file = directory / f"d{number % 3}" / f"f{number:03}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(500 + number))
        os.utime(file, ns=(10**18, 10**18 + number))
    (directory / "large").write_bytes(os.urandom(1 << 20) * 17)
    (directory / "empty").write_bytes(b"")
    return directory


def spec_of(origin: Path, tmp_path: Path) -> WarmSpec:
    return WarmSpec(targets=(f"{origin}/",), into=f"{tmp_path}/cache-{{node}}", replicas=EVERY_NODE)


def tree_of(tmp_path: Path, node: str, origin: Path) -> dict[str, tuple[bytes, int, int]]:
    under = tmp_path / f"cache-{node}/file" / str(origin).lstrip("/")
    return tree_below(under)


def tree_below(under: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(each.relative_to(under)): (
            each.read_bytes(),
            each.stat().st_mtime_ns,
            each.stat().st_mode,
        )
        for each in under.rglob("*")
        if each.is_file()
    }


@contextlib.asynccontextmanager
async def two_places(
    origin: Path, tmp_path: Path, *, token: str = TOKEN
) -> AsyncIterator[tuple[Place, Place, Yard]]:
    """A node that has all, and one that has nothing yet, with the record of what it asks the origin for."""
    spec = spec_of(origin, tmp_path)
    second = Yard(environment=LOOPBACK)
    async with (
        Yard(environment=LOOPBACK).cache(spec, node="a") as full,
        second.cache(spec, node="b", token=token) as empty,
    ):
        warmed = await full.warm(await pieces_of(full))
        assert warmed.failures == []
        assert warmed.peer_bytes == 0
        yield full, empty, second


async def test_the_second_node_takes_all_from_the_first(origin: Path, tmp_path: Path) -> None:
    async with two_places(origin, tmp_path) as (full, empty, yard):
        assert full.address.startswith("http://127.0.0.1:")
        assert full.nature.shares
        pieces = await pieces_of(empty)
        yard.log.take()
        warmed = await empty.warm(pieces, holders=[full.address, empty.address])
        assert warmed.failures == []
        assert warmed.read_files == len(pieces)
        assert warmed.peer_bytes == warmed.read_bytes == sum(piece.size for piece in pieces)
        assert warmed.origin_bytes == 0
        assert READS.isdisjoint(call.verb for call in yard.log.take())
        assert (await empty.look(pieces)).missing == []
    assert tree_of(tmp_path, "b", origin) == tree_of(tmp_path, "a", origin) == tree_below(origin)


async def test_what_a_node_lacks_comes_from_the_origin(origin: Path, tmp_path: Path) -> None:
    async with two_places(origin, tmp_path) as (full, empty, _):
        pieces = await pieces_of(full)
        await full.evict([piece for piece in pieces if piece.entry.key.startswith("d1/")])
        damaged = tmp_path / "cache-a/file" / str(origin).lstrip("/") / "d0/f000"
        damaged.write_bytes(b"!" * damaged.stat().st_size)
        warmed = await empty.warm(pieces, holders=[full.address])
        assert warmed.failures == []
        lacking = [p for p in pieces if p.entry.key.startswith("d1/") or p.entry.key == "d0/f000"]
        assert warmed.origin_bytes == sum(piece.size for piece in lacking)
        assert warmed.peer_bytes == warmed.read_bytes - warmed.origin_bytes
    assert tree_of(tmp_path, "b", origin) == tree_below(origin)


@pytest.mark.slow
async def test_four_nodes_read_their_origin_once(
    seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    body = os.urandom(1 << 20)
    tree = {f"data/d{n % 3}/f{n}": body[: 20_000 + n] for n in range(90)}
    tree["data/large"] = body * 17
    for key, data in tree.items():
        seaweed_bucket.put(key, data)
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url)
    spec = WarmSpec(
        targets=(seaweed_bucket.location("data/", endpoint_url=proxy.endpoint_url),),
        into=f"{tmp_path}/cache-{{node}}",
        replicas=EVERY_NODE,
    )
    yard = Yard(environment=seaweed_bucket.server.environment() | LOOPBACK)
    async with contextlib.AsyncExitStack() as stack:
        places = [await stack.enter_async_context(yard.cache(spec, node=node)) for node in "abcd"]
        pieces = await pieces_of(places[0])
        asked = proxy.down.total_bytes
        for number, place in enumerate(places):
            holders = [each.address for each in places[:number]]
            warmed = await place.warm(pieces, holders=holders)
            assert (warmed.failures, warmed.read_files) == ([], len(tree))
        size = sum(map(len, tree.values()))
        assert size <= proxy.down.total_bytes - asked <= 1.01 * size
        for place in places:
            assert (await place.look(pieces)).missing == []
    trees = [tree_below(tmp_path / f"cache-{node}/s3") for node in "abcd"]
    assert trees == [trees[0]] * 4
    found = {name.partition("/")[2]: data for name, (data, _, _) in trees[0].items()}
    assert found == tree


async def test_nobody_listens_at_a_holder(origin: Path, tmp_path: Path) -> None:
    async with two_places(origin, tmp_path) as (full, empty, yard):
        pieces = await pieces_of(empty)
        await full.close()
        warmed = await empty.warm(pieces, holders=[full.address])
        assert (warmed.failures, warmed.peer_bytes) == ([], 0)
        assert [note for note in yard.notes if full.address in note] == yard.notes[-1:]
    assert tree_of(tmp_path, "b", origin) == tree_below(origin)


@pytest.mark.parametrize(
    "fault",
    [
        Reset(head=True),
        Reset(at_byte=300),
        Reset(at_byte=5_000_000),
        Truncate(at_byte=5_000_000),
        Flip(at_byte=1500),
        Flip(at_byte=5_000_000),
        Answer(status=500),
    ],
    ids=str,
)
async def test_a_holder_that_fails_midway(
    origin: Path, tmp_path: Path, fault_proxy: ProxyFactory, fault: Fault
) -> None:
    async with two_places(origin, tmp_path) as (full, empty, _):
        proxy = fault_proxy(full.address, Rule(fault=fault))
        pieces = await pieces_of(empty)
        warmed = await empty.warm(pieces, holders=[proxy.endpoint_url])
        assert warmed.failures == []
        assert warmed.read_bytes == sum(piece.size for piece in pieces)
        assert proxy.count(type(fault)) > 0
        assert 0 < warmed.origin_bytes <= warmed.read_bytes
        assert (await empty.look(pieces)).missing == []
    assert tree_of(tmp_path, "b", origin) == tree_below(origin)


async def test_another_secret(origin: Path, tmp_path: Path) -> None:
    async with two_places(origin, tmp_path, token="another secret") as (full, empty, yard):
        pieces = await pieces_of(empty)
        warmed = await empty.warm(pieces, holders=[full.address])
        assert (warmed.failures, warmed.peer_bytes) == ([], 0)
        assert "another secret, or its clock" in yard.notes[-1]
        assert TOKEN not in " ".join(yard.notes)
    assert tree_of(tmp_path, "b", origin) == tree_below(origin)


# -- strangers -------------------------------------------------------------------------------------


async def asked(
    address: str, body: bytes, *, secret: bytes = TOKEN.encode(), **headers: str
) -> tuple[int, bytes]:
    said = Said(verb="POST", path=PATH, expires_s=int(time.time()) + 60, digest=digest_of(body))
    proven = {
        EXPIRES: str(said.expires_s),
        PROOF: said.proof(secret),
        DIGEST: said.digest,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(address + PATH, data=body, headers=proven) as answer,
    ):
        return answer.status, await answer.read()


async def had_of(address: str, file: Wanted) -> int:
    status, body = await asked(address, encode_request([file]))
    assert status == 200
    length = int.from_bytes(body[:4], "big")
    (had,) = decode_head(body[4 : 4 + length], [file])
    assert len(body) == 4 + length + max(had.bytes, 0)
    return had.bytes


async def test_strangers_are_refused(origin: Path, tmp_path: Path) -> None:
    async with two_places(origin, tmp_path) as (full, _, _):
        body = encode_request([Wanted(b"empty", 0, 0, "", "", 0, 0)])
        at = full.address
        assert (await asked(at, body))[0] == 200
        assert (await asked(at, body, secret=b"another"))[0] == 401
        assert (await asked(at, body, Mover_Expires="0"))[0] == 401
        assert (await asked(at, body, Mover_Expires="soon"))[0] == 401
        assert (await asked(at, body, Mover_Digest=digest_of(b"other")))[0] == 401
        assert (await asked(at, b"garbled"))[0] == 400
        assert (await asked(at, encode_request([])))[0] == 400
        assert (await asked(at, encode_request([Wanted(b"k", 1, 1, "", "", 0, 0)] * 129)))[0] == 400
        async with aiohttp.ClientSession() as session:
            assert (await session.get(at + PATH)).status == 405
            assert (await session.post(at + "/etc/passwd")).status == 404


async def test_only_what_the_index_has_of_this_target_is_served(
    origin: Path, tmp_path: Path
) -> None:
    async with two_places(origin, tmp_path) as (full, _, _):
        entries = {piece.entry.key: piece.entry for piece in await pieces_of(full)}
        file = entries["d0/f003"]

        def wanted(key: str, entry: Entry = file, start: int = 0, stop: int = 0) -> Wanted:
            pins = (entry.size, entry.mtime_ns, entry.etag, entry.version)
            return Wanted(os.fsencode(key), *pins, start, stop)

        under = tmp_path / "cache-a/file" / str(origin).lstrip("/")
        stranger = under / "stranger"
        stranger.write_bytes((under / file.key).read_bytes())
        deep = "../" * 20
        at = full.address
        assert await had_of(at, wanted(file.key)) == 0
        assert await had_of(at, wanted(file.key, stop=file.size)) == file.size
        assert await had_of(at, wanted(file.key, start=5, stop=7)) == 2
        for other in (
            wanted(file.key, stop=file.size + 1),
            wanted(file.key, file._replace(version="other")),
            wanted(file.key, file._replace(size=file.size + 1)),
            wanted("stranger"),
            wanted("d0"),
            wanted(""),
            wanted(f"d1/../{file.key}"),
            wanted(f"/{file.key}"),
            wanted(f"{deep}etc/passwd"),
            wanted("a\0b"),
        ):
            assert await had_of(at, other) == ABSENT, other
        (under / file.key).write_bytes(b"changed behind our back")
        assert await had_of(at, wanted(file.key)) == ABSENT


async def test_another_target_of_the_same_directory_is_not_served(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "o" / name).mkdir(parents=True)
        (tmp_path / "o" / name / "f").write_bytes(name.encode())
    spec = WarmSpec(targets=(f"{tmp_path}/o/one/",), into=str(tmp_path / "c"), replicas=EVERY_NODE)
    other = WarmSpec(targets=(f"{tmp_path}/o/two/",), into=spec.into, replicas=EVERY_NODE)
    yard = Yard(environment=LOOPBACK)
    async with yard.cache(spec) as one, yard.cache(other) as two:
        await one.warm(await pieces_of(one))
        (piece,) = await pieces_of(one)
        pins = (piece.size, piece.entry.mtime_ns, "", piece.entry.version)
        assert await had_of(one.address, Wanted(b"f", *pins, 0, 3)) == 3
        assert await had_of(two.address, Wanted(b"f", *pins, 0, 3)) == ABSENT
        assert await had_of(two.address, Wanted(b"../one/f", *pins, 0, 3)) == ABSENT


# -- where it listens ------------------------------------------------------------------------------


async def test_a_job_of_one_replica_serves_nothing(origin: Path, tmp_path: Path) -> None:
    spec = WarmSpec(targets=(f"{origin}/",), into=str(tmp_path / "c"))
    async with Yard().cache(spec) as place:
        assert place.address == ""


async def test_where_it_listens(origin: Path, tmp_path: Path) -> None:
    spec = spec_of(origin, tmp_path)
    async with Yard().cache(spec) as place:
        assert place.address.startswith(f"http://{own_host()}:")
        taken = place.address.rpartition(":")[2]
        yard = Yard(environment={"MOVER_PEER_LISTEN": f"{own_host()}:{taken}"})
        async with yard.cache(spec, node="other") as other:
            assert other.address == ""
            assert "cannot take from this one" in yard.notes[0]
    told = Yard(environment=LOOPBACK | {"MOVER_PEER_AT": "http://reached:7/"})
    async with told.cache(spec) as place:
        assert place.address == "http://reached:7"
    for environment in (
        {"MOVER_PEER_LISTEN": "7070"},
        {"MOVER_PEER_LISTEN": "host:70700"},
        {"MOVER_PEER_AT": "reached"},
    ):
        with pytest.raises(Rejected, match="MOVER_PEER"):
            async with Yard(environment=environment).cache(spec):
                pass


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("", "", 0), ("0.0.0.0:0", "0.0.0.0", 0), ("[::1]:7", "::1", 7), (":9", "", 9)],
)
def test_listening(text: str, host: str, port: int) -> None:
    assert listening_at(text) == (host, port)

"""A cache directory over real stores: filled once, found again, and never taken for more than it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mover.errors import Rejected
from mover.prewarm.model import WarmSpec, Wish
from mover.prewarm.origins import Origin
from mover.prewarm_index import Index
from mover.prewarm_shelf import Shelf
from tests.servers.grounds import Yard, pieces_of
from transports.decorator import Decorator
from transports.errors import Transient, TransportError, Unavailable
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mover.prewarm.model import Warmed
    from mover.prewarm_places import Place
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket
    from tests.servers.http import HttpServer
    from transports.base import Transport
    from transports.model import Blob, ByteRange

ANYBODY = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}

LARGE_BYTES = 20 * 1024 * 1024


def some_bytes(size: int, seed: int = 1) -> bytes:
    return (seed.to_bytes(4, "big") + os.urandom(252)) * (size // 256) + b"x" * (size % 256)


@pytest.fixture
def yard(seaweed_bucket: Bucket) -> Yard:
    return Yard(environment=seaweed_bucket.server.environment())


def fill_bucket(bucket: Bucket, *, large: bool = True) -> dict[str, bytes]:
    tree = {f"data/d{n % 3}/f{n:03}": some_bytes(1000 + n, n) for n in range(60)}
    if large:
        tree["data/large"] = some_bytes(LARGE_BYTES)
    for key, body in tree.items():
        bucket.put(key, body)
    return tree


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.relative_to(directory).parts[0].startswith(".mover")
    }


def stages_in(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir() if each.name.startswith(".mover-stage")]


async def test_a_cold_fill_and_a_run_right_after(
    seaweed_bucket: Bucket, yard: Yard, tmp_path: Path
) -> None:
    tree = fill_bucket(seaweed_bucket)
    spec = WarmSpec(
        targets=(seaweed_bucket.location("data/"),), into=str(tmp_path), capacity_bytes=1 << 30
    )
    async with yard.cache(spec) as place:
        pieces = await pieces_of(place)
        assert len(pieces) == len(tree)
        cold = await place.look(pieces)
        assert (cold.resident_bytes, len(cold.missing)) == (0, len(tree))
        warmed = await place.warm(cold.missing)
        assert warmed.failures == []
        assert warmed.read_files == len(tree)
        assert warmed.read_bytes == warmed.origin_bytes == sum(map(len, tree.values()))
        assert (await place.look(pieces)).missing == []
    name = f"s3/{seaweed_bucket.name}"
    assert files_below(tmp_path) == {f"{name}/{key}": body for key, body in tree.items()}
    assert stages_in(tmp_path) == []
    yard.log.take()
    async with yard.cache(spec) as place:
        pieces = await pieces_of(place)
        assert (await place.look(pieces)).missing == []
        again = await place.warm(pieces)
        assert (again.read_bytes, again.failures) == (0, [])
    assert {call.verb for call in yard.log.take()} == {"list"}


def spec_of(origin: Path, cache: Path, capacity_bytes: int = 1 << 30, **wishes: object) -> WarmSpec:
    return WarmSpec(
        targets=(f"{origin}/",),
        into=str(cache),
        capacity_bytes=capacity_bytes,
        **wishes,  # type: ignore[arg-type]
    )


def make_origin(directory: Path, count: int = 10, size: int = 1000) -> Path:
    directory.mkdir()
    for number in range(count):
        (directory / f"f{number:02}").write_bytes(some_bytes(size, number))
    return directory


async def warm_all(place: Place) -> Warmed:
    return await place.warm(await pieces_of(place))


async def missing_in(place: Place) -> list[str]:
    look = await place.look(await pieces_of(place))
    return [piece.entry.key for piece in look.missing]


def held_in(cache: Path) -> int:
    return sum(len(body) for body in files_below(cache).values())


def kept_in(cache: Path, origin: Path) -> list[str]:
    under = cache / "file" / str(origin).lstrip("/")
    return sorted(each.name for each in under.iterdir()) if under.is_dir() else []


# -- what is resident ------------------------------------------------------------------------------


async def test_what_is_damaged_behind_our_back_is_found(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 6), tmp_path / "c"
    async with Yard().cache(spec_of(origin, cache)) as place:
        await warm_all(place)
        under = cache / "file" / str(origin).lstrip("/")
        (under / "f00").unlink()
        (under / "f01").write_bytes(b"other")
        # Written in place, size and time as before: only the change time tells.
        found = (under / "f02").stat()
        with (under / "f02").open("r+b") as file:
            file.write(b"!")
        os.utime(under / "f02", ns=(found.st_atime_ns, found.st_mtime_ns))
        # Another owner, the same bytes.
        (under / "f03").chmod(0o600)
        (under / "f04").replace(under / "aside")
        (under / "f04").symlink_to("aside")
        assert await missing_in(place) == ["f00", "f01", "f02", "f04"]
        warmed = await warm_all(place)
        assert (warmed.read_files, warmed.failures) == (4, [])
        assert await missing_in(place) == []
        assert (under / "f02").read_bytes() == (origin / "f02").read_bytes()
        assert not (under / "f04").is_symlink()


async def test_what_changes_at_the_origin_is_read_again(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 4), tmp_path / "c"
    async with Yard().cache(spec_of(origin, cache, 4000)) as place:
        await warm_all(place)
        (origin / "f01").write_bytes(some_bytes(1000, 99))
        assert await missing_in(place) == ["f01"]
        # The directory is full: the old version goes for the new one.
        warmed = await warm_all(place)
        assert (warmed.read_files, warmed.failures) == (1, [])
        assert files_below(cache) == {
            f"file{each}": each.read_bytes() for each in sorted(origin.iterdir())
        }


async def test_a_single_object_and_names_that_no_directory_holds(
    moto_bucket: Bucket, tmp_path: Path
) -> None:
    yard = Yard(environment=moto_bucket.server.environment())
    for key in ("d/x", "d/a//b", "d/../up", "d/x/", "d/\u00e9"):
        moto_bucket.put(key, b"of " + key.encode())
    moto_bucket.put("d/marker/", b"")
    spec = WarmSpec(targets=(moto_bucket.location("d/x"),), into=str(tmp_path))
    async with yard.cache(spec) as place:
        pieces = await pieces_of(place)
        assert [piece.entry.key for piece in pieces] == ["x"]
        assert (await place.warm(pieces)).read_files == 1
    async with yard.cache(
        WarmSpec(targets=(moto_bucket.location("d/"),), into=str(tmp_path))
    ) as place:
        warmed = await warm_all(place)
        assert sorted((key, error) for key, error, _ in warmed.failures) == [
            ("../up", "Invalid"),
            ("a//b", "Invalid"),
            ("x/", "Invalid"),
        ]
    under = f"s3/{moto_bucket.name}/d"
    assert files_below(tmp_path) == {f"{under}/x": b"of d/x", f"{under}/é": "of d/é".encode()}


# -- room ------------------------------------------------------------------------------------------


async def test_more_than_fits_is_said_and_nothing_that_the_job_needs_goes(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 10), tmp_path / "c"
    async with Yard().cache(spec_of(origin, cache, 6500)) as place:
        assert place.nature.capacity_bytes == 6500
        warmed = await warm_all(place)
        assert (warmed.read_files, warmed.read_bytes) == (6, 6000)
        assert {error for _, error, _ in warmed.failures} == {"NoSpace"}
        assert "--capacity" in warmed.failures[0][2]
        assert len(await missing_in(place)) == 4
        again = await warm_all(place)
        assert (again.read_files, len(again.failures)) == (0, 4)
        assert held_in(cache) == 6000


async def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    old, new, cache = (
        make_origin(tmp_path / "old", 5),
        make_origin(tmp_path / "new", 3),
        tmp_path / "c",
    )
    async with Yard().cache(spec_of(old, cache, 6000), job="first") as place:
        pieces = await pieces_of(place)
        for piece in reversed(pieces):
            await place.warm([piece])
    # The oldest by the index was read since, by somebody who does not know of the index.
    read = cache / "file" / str(old).lstrip("/") / "f04"
    later_ns = read.stat().st_mtime_ns + 10**15
    os.utime(read, ns=(later_ns, read.stat().st_mtime_ns))
    async with Yard().cache(spec_of(new, cache, 6000), job="second") as place:
        assert place.nature.capacity_bytes == 6000
        warmed = await warm_all(place)
        assert warmed.failures == []
    assert kept_in(cache, old) == ["f00", "f01", "f04"]
    assert kept_in(cache, new) == ["f00", "f01", "f02"]


async def test_what_a_job_that_runs_needs_stays(tmp_path: Path) -> None:
    one, two, cache = (
        make_origin(tmp_path / "one", 5),
        make_origin(tmp_path / "two", 5),
        tmp_path / "c",
    )
    async with Yard().cache(spec_of(one, cache, 6000), job="first") as first:
        await warm_all(first)
        async with Yard().cache(spec_of(two, cache, 6000), job="second") as second:
            assert second.nature.capacity_bytes == 1000
            warmed = await warm_all(second)
            assert (warmed.read_files, len(warmed.failures)) == (1, 4)
            assert await missing_in(first) == []
            freed = await second.evict(await pieces_of(second))
            assert (freed.read_files, freed.read_bytes, freed.failures) == (1, 1000, [])
        async with Yard().cache(spec_of(one, cache, 6000, wish=Wish.EVICT), job="third") as third:
            freed = await third.evict(await pieces_of(third))
            assert (freed.read_bytes, {error for _, error, _ in freed.failures}) == (0, {"InUse"})
    async with Yard().cache(spec_of(two, cache, 6000), job="second") as second:
        assert second.nature.capacity_bytes == 6000
        assert (await warm_all(second)).failures == []


async def test_a_full_disk_is_said_with_what_to_do(
    small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    disk = small_disk(8 * 1024 * 1024)
    origin = make_origin(tmp_path / "o", 12, 1024 * 1024)
    async with Yard().cache(spec_of(origin, disk / "c")) as place:
        assert 6 << 20 < place.nature.capacity_bytes < 8 << 20
        warmed = await warm_all(place)
        assert warmed.read_files >= 6
        assert {error for _, error, _ in warmed.failures} == {"NoSpace"}
        freed = await place.evict(await pieces_of(place))
        assert freed.read_bytes == warmed.read_bytes
    assert files_below(disk / "c") == {}
    assert [each.name for each in (disk / "c").iterdir()] == [".mover-cache"]


class Hog(Decorator):
    """An origin that is read while somebody else fills the disk."""

    def __init__(self, inner: Transport, disk: Path) -> None:
        super().__init__(inner)
        self._disk = disk
        self.full = False

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        blobs = await super().read_small(entries)
        self._fill()
        return blobs

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        await super().read_into(entry, span, buffer)
        self._fill()

    def _fill(self) -> None:
        if self.full:
            return
        with contextlib.suppress(OSError), (self._disk / "hog").open("ab", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass


@pytest.mark.parametrize("sizes", [[100_000] * 8, [17 << 20]], ids=["small", "large"])
async def test_a_disk_that_fills_meanwhile(
    small_disk: Callable[[int], Path], tmp_path: Path, sizes: list[int]
) -> None:
    disk = small_disk(sum(sizes) * 2)
    origin = tmp_path / "o"
    origin.mkdir()
    for number, size in enumerate(sizes):
        (origin / f"f{number}").write_bytes(some_bytes(size, number))
    hogs: list[Hog] = []

    def dress(inner: Transport) -> Transport:
        hogs.append(Hog(inner, disk))
        return hogs[-1]

    yard = Yard(dress=dress)
    async with yard.cache(spec_of(origin, disk / "c")) as place:
        warmed = await warm_all(place)
        assert {error for _, error, _ in warmed.failures} == {"NoSpace"}
        assert len(warmed.failures) + warmed.read_files == len(sizes)
        assert "disk" in warmed.failures[0][2]
        hogs[0].full = True
        (disk / "hog").unlink()
        assert (await warm_all(place)).failures == []
        assert await missing_in(place) == []


async def test_a_cancelled_fill_gives_its_room_back(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 200), tmp_path / "c"
    async with Yard().cache(spec_of(origin, cache, 200_000)) as place:
        for delay_s in (0.0, 0.02, 0.05, 0.1):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await warm_all(place)
    with contextlib.closing(sqlite3.connect(cache / ".mover-cache/index")) as index:
        assert index.execute("SELECT count(*) FROM reservation").fetchone() == (0,)
        rows = index.execute("SELECT path, size FROM file").fetchall()
        assert index.execute("SELECT held, reserved FROM tally").fetchone() == (1000 * len(rows), 0)
    assert {os.fsdecode(path) for path, _ in rows} == set(files_below(cache))
    assert stages_in(cache) == []


async def test_room_that_was_asked_for_by_a_cancelled_call_is_no_longer_taken(
    tmp_path: Path,
) -> None:
    index = await Index.open(str(tmp_path), "job")
    shelf = Shelf(index, Origin("s3/b", "", "", "s3://b/"), capacity_bytes=10)
    entry = Entry("k", 10, 1)
    gate = threading.Event()
    index.leave(lambda _: gate.wait())
    asking = asyncio.ensure_future(shelf.reserve([entry]))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    shelf.release([entry])
    gate.set()
    reserved = await shelf.reserve([entry])
    assert (reserved.granted, reserved.busy) == ([0], [])
    again = await shelf.reserve([entry])
    assert (again.granted, again.busy) == ([], [0])
    await index.close()


# -- origins ---------------------------------------------------------------------------------------


class Away(Decorator):
    """An origin that lists and then is gone."""

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        return [Unavailable(entry.key) for entry in entries]


async def test_an_origin_that_is_away_is_no_failure_of_files(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o"), tmp_path / "c"
    async with Yard(dress=Away, retry=None).cache(spec_of(origin, cache, 10_000)) as place:
        with pytest.raises(Transient):
            await warm_all(place)
    async with Yard().cache(spec_of(origin, cache, 10_000)) as place:
        assert (await warm_all(place)).read_files == 10


class Stumbling(Decorator):
    """An origin that fails once, in the fourteenth range of a file."""

    ranges = 0

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        self.ranges += 1
        if self.ranges == 14:
            raise Unavailable(entry.key)
        await super().read_into(entry, span, buffer)


async def test_a_large_file_goes_on_when_its_origin_is_back(tmp_path: Path) -> None:
    origin, cache = tmp_path / "o", tmp_path / "c"
    origin.mkdir()
    (origin / "large").write_bytes(os.urandom(1 << 20) * 160)
    async with Yard(dress=Stumbling, retry=None).cache(spec_of(origin, cache)) as place:
        with pytest.raises(Transient):
            await warm_all(place)
        notes = next(cache.glob(".mover-stage-halves/*.parts")).read_bytes().count(b"\n")
        warmed = await warm_all(place)
        assert warmed.read_bytes == 160 << 20
        assert warmed.origin_bytes == (160 << 20) - notes * (8 << 20)
    assert stages_in(cache) == []
    assert {path.name for path in (cache / "file").rglob("large")} == {"large"}


async def test_an_index_of_before_there_were_halves_goes_on(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o"), tmp_path / "c"
    async with Yard().cache(spec_of(origin, cache)) as place:
        await warm_all(place)
    with contextlib.closing(sqlite3.connect(cache / ".mover-cache/index")) as index:
        index.execute("DROP TABLE half")
        index.commit()
    async with Yard().cache(spec_of(origin, cache)) as place:
        assert (await warm_all(place)).read_files == 0


async def test_stores_of_one_name_are_not_taken_for_each_other(
    seaweed_bucket: Bucket, yard: Yard, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    tree = fill_bucket(seaweed_bucket, large=False)
    elsewhere = fault_proxy(seaweed_bucket.server.endpoint_url).endpoint_url
    one = WarmSpec(targets=(seaweed_bucket.location("data/"),), into=str(tmp_path))
    other = replace(one, targets=(seaweed_bucket.location("data/", endpoint_url=elsewhere),))
    async with yard.cache(one, job="one") as place:
        assert (await warm_all(place)).read_files == len(tree)
        with pytest.raises(Rejected, match="another endpoint"):
            async with yard.cache(other, job="other"):
                pass
    # With nobody there who needs them, files with the etag of the listing are what they are.
    async with yard.cache(other, job="other") as place:
        assert await missing_in(place) == []


async def test_an_http_server_as_the_origin(http_server: HttpServer, tmp_path: Path) -> None:
    (http_server.root / "d/e").mkdir(parents=True)
    (http_server.root / "d/e/a b").write_bytes(b"one")
    (http_server.root / "d/x").write_bytes(b"two")
    yard = Yard()
    spec = WarmSpec(targets=(http_server.url("nginx", "d/"),), into=str(tmp_path))
    async with yard.cache(spec) as place:
        assert (await warm_all(place)).failures == []
        assert await missing_in(place) == []
    under = http_server.url("nginx", "d").replace("://", "/")
    assert files_below(tmp_path) == {f"{under}/e/a b": b"one", f"{under}/x": b"two"}
    # Without ranges a large file is read once through; without a size no room can be reserved.
    body = some_bytes(17 << 20)
    (http_server.root / "large").write_bytes(body)
    for manner, failures in (("plain", []), ("chunked", ["Invalid"])):
        spec = WarmSpec(targets=(http_server.url(manner, "large"),), into=str(tmp_path / manner))
        async with yard.cache(spec) as place:
            assert [error for _, error, _ in (await warm_all(place)).failures] == failures
    assert list(files_below(tmp_path / "plain").values()) == [body]


# -- freeing ---------------------------------------------------------------------------------------


async def test_eviction_takes_what_was_put_there_and_nothing_else(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 4), tmp_path / "c"
    async with Yard().cache(spec_of(origin, cache)) as place:
        await warm_all(place)
    under = cache / "file" / str(origin).lstrip("/")
    (under / "mine").write_bytes(b"a stranger's")
    (under / "f00").unlink()
    (under / "f00").write_bytes(b"a stranger's too")
    async with Yard().cache(spec_of(origin, cache, wish=Wish.STATUS), job="look") as place:
        assert await missing_in(place) == ["f00"]
    async with Yard().cache(spec_of(origin, cache, wish=Wish.EVICT), job="evict") as place:
        pieces = await pieces_of(place)
        assert (await place.evict(pieces)).failures == []
        assert (await place.evict(pieces)).read_bytes == 0
    assert kept_in(cache, origin) == ["f00", "mine"]


# -- what makes no sense ---------------------------------------------------------------------------


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 1), tmp_path / "c"
    (tmp_path / "file").write_bytes(b"")
    refused = [
        spec_of(origin, cache, -1),
        spec_of(origin, tmp_path / "file"),
        spec_of(origin, tmp_path),
        spec_of(origin, origin / "cache"),
        spec_of(origin, tmp_path / "none", wish=Wish.STATUS),
        WarmSpec(targets=(f"{origin}/",), into=""),
        WarmSpec(targets=("s3://bucket/a//b/",), into=str(cache)),
    ]
    for spec in refused:
        with pytest.raises(Rejected):
            async with Yard(environment=ANYBODY).cache(spec):
                pass
    with pytest.raises(Rejected, match="--node"):
        async with Yard().cache(spec_of(origin, tmp_path / "{node}"), node="../up"):
            pass
    async with Yard().cache(spec_of(origin, tmp_path / "{node}/c"), node="n7") as place:
        assert place.nature.where == str(tmp_path / "n7/c")


async def test_an_index_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    origin, cache = make_origin(tmp_path / "o", 1), tmp_path / "c"
    (cache / ".mover-cache").mkdir(parents=True)
    (cache / ".mover-cache/index").write_bytes(b"no database at all" * 100)
    with pytest.raises(TransportError, match="remove all in"):
        async with Yard().cache(spec_of(origin, cache)):
            pass

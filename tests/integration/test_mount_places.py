"""Real mounts in trouble: killed and remounted, hung, too small, gone; and what their places say of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mover.errors import Rejected
from mover.filtering import Selection
from mover.prewarm.model import Certainty, Judge, Piece
from mover.prewarm_mounts import open_mount
from tests.contract.place_contract import entries, pieces, size_of
from tests.servers.bare_grounds import plain_ground
from tests.servers.juicefs import JuiceMount, cool, fuse_is_usable, put_files
from transports.errors import Denied, Transient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from bench.stores import SeaweedServer
    from mover.prewarm_places import Place

MIB = 1024 * 1024
needs_fuse = pytest.mark.skipif(not fuse_is_usable(), reason="no /dev/fuse for this user")


@pytest.fixture(scope="module")
def mount(seaweed: SeaweedServer) -> Iterator[JuiceMount]:
    with JuiceMount(seaweed) as mount:
        yield mount


@pytest.fixture
def own_mount(seaweed: SeaweedServer) -> Iterator[JuiceMount]:
    """A mount that a test may kill."""
    with JuiceMount(seaweed) as mount:
        yield mount


@pytest.fixture
def directory(mount: JuiceMount, request: pytest.FixtureRequest) -> Path:
    path = mount.path / str(request.node.name)
    path.mkdir()
    return path


@pytest.fixture
async def place(directory: Path) -> AsyncIterator[Place]:
    place = await open_mount(str(directory), plain_ground(str(directory)))
    yield place
    await place.close()


@needs_fuse
async def test_the_place_knows_what_is_mounted(place: Place, mount: JuiceMount) -> None:
    nature = place.nature
    assert (nature.judge, nature.certainty) == (Judge.JUICEFS, Certainty.PROVEN)
    assert nature.capacity_bytes == 4096 * MIB
    assert nature.where.startswith(str(mount.cache))
    assert nature.cut_bytes == 0


@needs_fuse
async def test_juicefs_agrees_with_what_the_place_says(
    place: Place, mount: JuiceMount, directory: Path
) -> None:
    files = {f"s/f{n}": 20_000 for n in range(200)} | {"l/one": 21 * MIB, "l/two": 9 * MIB + 5}
    put_files(directory, files)
    cool(mount, directory)
    assert mount.check(directory).percent == 0
    wanted = await pieces(place)
    assert (await place.warm(wanted)).failures == []
    checked = mount.check(directory)
    assert (checked.files, checked.percent) == (len(files), 100.0)
    assert (await place.look(wanted)).resident_bytes == sum(files.values())


@needs_fuse
async def test_warming_again_fetches_nothing(
    place: Place, mount: JuiceMount, directory: Path
) -> None:
    put_files(directory, {f"f{n}": 50_000 for n in range(100)} | {"large": 12 * MIB})
    cool(mount, directory)
    wanted = await pieces(place)
    await place.warm(wanted)
    before = fetched_bytes(mount)
    await place.warm(wanted)
    await place.warm(wanted, again=True)
    await place.look(wanted)
    assert fetched_bytes(mount) == before


@needs_fuse
async def test_names_that_are_hard_are_warmed(place: Place, directory: Path) -> None:
    names = {"new\nline": 10, "a b/ü": 20, "stray-\udcff": 30, "inode:7": 40, "-dash": 50}
    put_files(directory, names)
    os.symlink("a b", directory / "link")
    os.symlink("nowhere", directory / "dangling")
    os.mkfifo(directory / "pipe")
    (directory / ".mover-delta").mkdir()
    (directory / ".mover-delta" / "x").write_bytes(b"x")
    (directory / ".mover-stage-1").write_bytes(b"x")
    wanted = await pieces(place)
    assert {piece.entry.key: piece.size for piece in wanted} == names
    assert (await place.warm(wanted)).read_files == len(names)
    assert (await place.look(wanted)).missing == []


@needs_fuse
async def test_the_root_of_a_mount_shows_only_what_is_stored(own_mount: JuiceMount) -> None:
    put_files(own_mount.path, {"a": 10, "d/b": 20})
    place = await open_mount(str(own_mount.path), plain_ground("x"))
    # Not `.accesslog`, for one, which never ends.
    assert sorted(entry.key for entry in await entries(place)) == ["a", "d/b"]
    await place.close()


@needs_fuse
async def test_one_file_is_a_target(mount: JuiceMount, directory: Path) -> None:
    put_files(directory, {"d/one": 5 * MIB, "d/two": 10})
    cool(mount, directory)
    place = await open_mount(str(directory / "d" / "one"), plain_ground("x"))
    wanted = await pieces(place)
    assert [piece.entry.key for piece in wanted] == ["one"]
    assert (await place.warm(wanted)).failures == []
    assert (await place.look(wanted)).resident_bytes == 5 * MIB
    assert mount.check(directory / "d" / "two").percent == 0
    await place.close()


@needs_fuse
async def test_a_rate_is_asked_for_what_is_missing_only(mount: JuiceMount, directory: Path) -> None:
    put_files(directory, {f"f{n}": 50_000 for n in range(20)} | {"large": 9 * MIB})
    cool(mount, directory)
    taken: list[int] = []
    ground = plain_ground("x", taken=taken, limited=lambda: True)
    place = await open_mount(str(directory), ground)
    wanted = await pieces(place)
    await place.warm(wanted)
    assert sum(taken) == size_of(wanted)
    assert max(taken) <= 4 * MIB
    taken.clear()
    await place.warm(wanted)
    assert sum(taken) == 0
    assert (await place.look(wanted)).missing == []
    await place.close()


@needs_fuse
@pytest.mark.parametrize("judge", [Judge.AUTO, Judge.PAGES])
async def test_the_page_cache_may_be_filled_as_well(mount: JuiceMount, judge: Judge) -> None:
    directory = mount.path / f"pages-{judge}"
    put_files(directory, {"small": 50_000, "large": 9 * MIB})
    cool(mount, directory)
    place = await open_mount(str(directory), plain_ground("x", judge=judge, keep_page_cache=True))
    pages = await open_mount(str(directory), plain_ground("x", judge=Judge.PAGES))
    wanted = await pieces(place)
    await pages.evict(wanted)
    assert (await place.warm(wanted)).failures == []
    assert (await place.look(wanted)).missing == []
    assert (await pages.look(wanted)).missing == []
    assert mount.check(directory).percent == 100
    await place.close()
    await pages.close()


@needs_fuse
async def test_the_juicefs_program_is_not_needed(
    mount: JuiceMount, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_files(directory, {"f": 50_000})
    cool(mount, directory)
    monkeypatch.setenv("PATH", "")
    place = await open_mount(str(directory), plain_ground("x", judge=Judge.JUICEFS))
    wanted = await pieces(place)
    assert (await place.warm(wanted)).read_files == 1
    assert (await place.look(wanted)).missing == []
    await place.close()


@needs_fuse
async def test_a_cache_that_is_too_small_is_never_called_full(seaweed: SeaweedServer) -> None:
    with JuiceMount(seaweed, cache_size_mib=60) as small:
        put_files(small.path, {f"f{n}": 10 * MIB for n in range(15)})
        small.cold()
        place = await open_mount(str(small.path), plain_ground("x"))
        wanted = await pieces(place)
        assert place.nature.capacity_bytes < size_of(wanted)
        for again in (False, True):
            assert (await place.warm(wanted, again=again)).failures == []
        # It evicts behind our back, a moment after it took them.
        for _ in range(50):
            look = await place.look(wanted)
            if look.resident_bytes is not None and look.resident_bytes < look.bytes:
                break
            await asyncio.sleep(0.1)
        assert look.resident_bytes is not None
        assert look.resident_bytes < look.bytes
        assert look.missing
        assert small.check().percent < 100
        await place.close()


@needs_fuse
async def test_a_killed_daemon_is_another_attempt(own_mount: JuiceMount) -> None:
    put_files(own_mount.path, {f"f{n}": 200_000 for n in range(150)} | {"large": 30 * MIB})
    own_mount.cold()
    place = await open_mount(str(own_mount.path), plain_ground("x"))
    wanted = await pieces(place)
    killer = threading.Timer(0.05, own_mount.kill)
    killer.start()
    with pytest.raises(Transient):
        await warm_for_ever(place, wanted)
    killer.join()
    for verb in (place.look, place.warm, place.evict):
        with pytest.raises(Transient, match="gone"):
            await verb(wanted)
    with pytest.raises(Transient, match="gone"):
        await entries(place)
    # Detached, its directory is there and empty: that says nothing of the files.
    own_mount.unmount()
    with pytest.raises(Transient, match="gone"):
        await place.warm(wanted)
    with pytest.raises(Transient, match="gone"):
        await entries(place)
    own_mount.remount()
    assert (await place.warm(wanted)).failures == []
    assert (await place.look(wanted)).missing == []
    await place.close()


@needs_fuse
async def test_a_hung_daemon_holds_up_a_cancel_for_a_bounded_time(
    own_mount: JuiceMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mover.prewarm_threads.GRACE_S", 0.2)
    put_files(own_mount.path, {"f": 100_000})
    place = await open_mount(str(own_mount.path), plain_ground("x"))
    wanted = await pieces(place)
    own_mount.freeze()
    try:
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await place.warm(wanted)
        assert time.monotonic() - began_s < 5
    finally:
        own_mount.thaw()
    assert (await place.warm(wanted)).failures == []
    await place.close()


@needs_fuse
async def test_an_object_that_its_store_has_lost_is_a_failure(
    seaweed: SeaweedServer,
) -> None:
    options = ["--io-retries=1", "--get-timeout=2s"]
    with JuiceMount(seaweed, options=options) as broken:
        put_files(broken.path, {"good": 100_000, "bad": 100_000})
        broken.cold()
        place = await open_mount(str(broken.path), plain_ground("x"))
        wanted = await pieces(place)
        (name,) = broken.objects(broken.path / "bad")
        seaweed.raw.call("DELETE", f"/{broken.bucket}/{name}")
        warmed = await place.warm(wanted)
        assert [key for key, _, _ in warmed.failures] == ["bad"]
        assert [p.entry.key for p in (await place.look(wanted)).missing] == ["bad"]
        await place.close()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that others than its owner can come to."""
    with tempfile.TemporaryDirectory(prefix="fluid-mover-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@needs_fuse
async def test_yielding_warms_all_the_same(mount: JuiceMount, directory: Path) -> None:
    put_files(directory, {f"f{n}": 50_000 for n in range(40)} | {"large": 17 * MIB})
    cool(mount, directory)
    place = await open_mount(str(directory), plain_ground("x", yield_factor=50.0))
    wanted = await pieces(place)
    assert (await place.warm(wanted)).failures == []
    assert (await place.look(wanted)).missing == []
    await place.close()


async def test_a_directory_that_may_not_be_read_hides_nothing_else(open_path: Path) -> None:
    put_files(open_path, {"a/x": 1, "b/x": 1, "c/x": 1})
    place = await open_mount(str(open_path), plain_ground("x"))
    seen: list[str] = []
    as_nobody = os.geteuid() == 0
    (open_path / "b").chmod(0)
    if as_nobody:
        os.seteuid(65534)
    try:
        with pytest.raises(Denied, match="/b/: access denied"):
            await walk_into(seen, place)
    finally:
        if as_nobody:
            os.seteuid(0)
        (open_path / "b").chmod(0o755)
    assert sorted(seen) == ["a/x", "c/x"]
    await place.close()


async def test_a_page_cache_is_known_to_the_page(tmp_path: Path) -> None:
    put_files(tmp_path, {"f": 10 * MIB})
    cool_pages(tmp_path / "f")
    place = await open_mount(str(tmp_path), plain_ground("x"))
    (whole,) = await pieces(place)
    part = Piece(whole.entry, 3 * MIB + 100, 5 * MIB + 7)
    assert (await place.look([whole])).resident_bytes == 0
    assert (await place.warm([part])).read_bytes == part.size
    look = await place.look([part])
    assert (look.bytes, look.resident_bytes) == (part.size, part.size)
    assert (await place.look([Piece(whole.entry, 7 * MIB, 10 * MIB)])).resident_bytes == 0
    await place.close()


async def test_holes_are_resident_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(32 * MIB)
        file.write(b"x" * MIB)
    cool_pages(path)
    place = await open_mount(str(tmp_path), plain_ground("x"))
    wanted = await pieces(place)
    assert (await place.look(wanted)).resident_bytes == 63 * MIB
    assert (await place.warm(wanted)).read_bytes == MIB
    assert (await place.look(wanted)).resident_bytes == 64 * MIB
    await place.close()


async def test_a_file_that_became_shorter_is_a_failure(tmp_path: Path) -> None:
    put_files(tmp_path, {"f": 100_000, "g": 10})
    place = await open_mount(str(tmp_path), plain_ground("x"))
    wanted = await pieces(place)
    os.truncate(tmp_path / "f", 10)
    warmed = await place.warm(wanted)
    assert [key for key, _, _ in warmed.failures] == ["f"]
    assert [p.entry.key for p in (await place.look(wanted)).missing] == ["f"]
    await place.close()


@pytest.mark.parametrize(
    ("target", "judge", "says"),
    [
        ("", Judge.AUTO, "empty"),
        ("{tmp}/none", Judge.AUTO, "no such directory"),
        ("s3://bucket/x", Judge.AUTO, "no path"),
        ("/dev/null", Judge.AUTO, "neither a directory nor a file"),
        ("{tmp}", Judge.JUICEFS, "needs a JuiceFS mount"),
        ("{tmp}", Judge.HEADER, "does not go with a mount"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, target: str, judge: Judge, says: str
) -> None:
    target = target.format(tmp=tmp_path)
    with pytest.raises(Rejected, match=says) as refused:
        await open_mount(target, plain_ground(target, judge=judge))
    assert "\n" not in str(refused.value)


async def test_nobody_judges_where_nobody_is_wanted(tmp_path: Path) -> None:
    put_files(tmp_path, {"f": 10})
    place = await open_mount(str(tmp_path), plain_ground("x", judge=Judge.NONE))
    wanted = await pieces(place)
    assert place.nature.certainty is Certainty.UNKNOWN
    assert (await place.look(wanted)).resident_bytes is None
    assert (await place.warm(wanted)).read_files == 1
    await place.close()


async def warm_for_ever(place: Place, wanted: list[Piece]) -> None:
    while True:
        await place.warm(wanted)
        await place.evict(wanted)


async def walk_into(seen: list[str], place: Place) -> None:
    async for page in place.walk(Selection().compile(0.0), metadata=False):
        seen.extend(entry.key for entry in page)


def fetched_bytes(mount: JuiceMount) -> int:
    for line in (mount.path / ".stats").read_text().splitlines():
        if line.startswith("juicefs_object_request_data_bytes_GET "):
            return int(float(line.split()[1]))
    return 0


def cool_pages(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_of_files_of_others_the_kernel_says_nothing(open_path: Path) -> None:
    put_files(open_path, {"f": 100_000})
    place = await open_mount(str(open_path), plain_ground("x"))
    wanted = await pieces(place)
    os.seteuid(65534)
    try:
        assert (await place.look(wanted)).resident_bytes is None
    finally:
        os.seteuid(0)
    await place.close()


async def test_a_large_file_is_told_as_it_is_read(tmp_path: Path) -> None:
    put_files(tmp_path / "data", {"large": 9 * MIB + 5} | {f"s{n}": 1000 for n in range(50)})
    place = await open_mount(str(tmp_path / "data"), plain_ground(str(tmp_path), judge=Judge.NONE))
    told: list[int] = []
    wanted = await pieces(place)
    warmed = await place.warm(wanted, told=told.append)
    await place.close()
    assert sum(told) == warmed.read_bytes == size_of(wanted)
    assert 9 <= len(told) <= 12  # each MiB, and what is left of a batch: not each small file

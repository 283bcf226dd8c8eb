"""Several processes on one cache directory, some killed without warning: never too much, nothing left, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mover.prewarm.model import WarmSpec
from tests.servers.grounds import Yard, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPOSITORY = Path(__file__).parents[2]
FILES = 120
SIZE = 4_000


@pytest.fixture
def origins(tmp_path: Path) -> list[Path]:
    found = []
    for name in ("one", "two"):
        directory = tmp_path / "origin" / name
        directory.mkdir(parents=True)
        for number in range(FILES):
            (directory / f"f{number:03}").write_bytes(os.urandom(SIZE))
        (directory / "large").write_bytes(os.urandom(1 << 20) * 17)
        found.append(directory)
    return found


class Filling:
    """A filler that runs."""

    def __init__(
        self, origin: Path, cache: Path, capacity_bytes: int, job: str, files: int = 40
    ) -> None:
        program = [sys.executable, "-m", "tests.servers.filler", f"{origin}/", str(cache)]
        self.process = subprocess.Popen(
            [*program, str(capacity_bytes), job, str(files)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def has_come(self) -> bool:
        """Whether a line is there, after a short while."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0.01)[0])

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def fillings() -> Iterator[list[Filling]]:
    running: list[Filling] = []
    yield running
    for each in running:
        each.end()


def start(running: list[Filling], *fillings: Filling) -> Sequence[Filling]:
    running.extend(fillings)
    for each in fillings:
        assert each.line() == "ready\n"
    for each in fillings:
        each.go()
    return fillings


def files_in(cache: Path) -> dict[str, int]:
    return {
        str(each.relative_to(cache)): each.lstat().st_size
        for each in (cache / "file").rglob("*")
        if each.is_file()
    }


def stages_in(cache: Path) -> list[str]:
    return [each.name for each in cache.iterdir() if each.name.startswith(".mover-stage")]


def check_index(cache: Path, *, holders: int = 0) -> None:
    """The index has exactly the files that are there, and its sums are right."""
    with contextlib.closing(sqlite3.connect(cache / ".mover-cache/index")) as index:
        rows = {
            os.fsdecode(path): size for path, size in index.execute("SELECT path, size FROM file")
        }
        (held, reserved), *_ = index.execute("SELECT held, reserved FROM tally")
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert index.execute("SELECT count(*) FROM reservation").fetchone() == (0,)
        assert index.execute("SELECT count(*) FROM holder").fetchone() == (holders,)
    assert rows == files_in(cache)
    assert (held, reserved) == (sum(rows.values()), 0)


@pytest.mark.slow
def test_two_processes_fill_one_directory_and_never_too_much(
    origins: list[Path], tmp_path: Path, fillings: list[Filling]
) -> None:
    cache = tmp_path / "c"
    capacity_bytes = 18 * (1 << 20) + 80 * SIZE
    pair = start(
        fillings,
        Filling(origins[0], cache, capacity_bytes, "one"),
        Filling(origins[1], cache, capacity_bytes, "two"),
    )
    most = 0
    while not all(each.has_come() for each in pair):
        most = max(most, sum(files_in(cache).values()))
    came = [json.loads(each.line()) for each in pair]
    assert most <= capacity_bytes
    assert sum(each["bytes"] for each in came) <= capacity_bytes
    # Nobody's files went for the other's: what each has warmed, it has.
    assert [each["files"] + each["missing"] for each in came] == [FILES + 1] * 2
    assert [each["failures"] for each in came] == [each["missing"] for each in came]
    for each in pair:
        each.go()
        assert each.process.wait(10) == 0
    assert stages_in(cache) == []
    check_index(cache)


@pytest.mark.slow
def test_two_processes_of_one_job_share_its_files(
    origins: list[Path], tmp_path: Path, fillings: list[Filling]
) -> None:
    cache = tmp_path / "c"
    pair = start(
        fillings,
        *(Filling(origins[0], cache, 40 << 20, "job", files) for files in (40, 60)),
    )
    came = [json.loads(each.line()) for each in pair]
    assert [(each["failures"], each["missing"]) for each in came] == [(0, 0)] * 2
    # What one copies the other waits for: the origin is read once.
    assert sum(each["files"] for each in came) == FILES + 1
    for each in pair:
        each.go()
        assert each.process.wait(10) == 0
    assert len(files_in(cache)) == FILES + 1
    check_index(cache)


@pytest.mark.slow
async def test_killed_at_any_time_the_next_run_completes_it(
    origins: list[Path], tmp_path: Path, fillings: list[Filling]
) -> None:
    cache = tmp_path / "c"
    chance = random.Random(7)
    kept = []
    for round_number in range(4):
        (filling,) = start(fillings, Filling(origins[0], cache, 40 << 20, "job", 40))
        await until_rows(cache, 10 * (round_number + 1))
        await asyncio.sleep(chance.uniform(0.0, 0.02))
        filling.process.send_signal(signal.SIGKILL)
        filling.process.wait()
        kept.append(rows_in(cache))
        if round_number == 1:
            # Another job comes by, and clears up what the dead one had: its room, not its files.
            spec = WarmSpec(targets=(f"{origins[1]}/",), into=str(cache), capacity_bytes=40 << 20)
            async with Yard().cache(spec, job="other") as place:
                assert place.nature.capacity_bytes == 40 << 20
                await place.warm((await pieces_of(place))[:1])
            check_index(cache)
            assert stages_in(cache) == []
    assert kept == sorted(kept), "what was warmed once stays"
    assert kept[-1] > 0
    spec = WarmSpec(targets=(f"{origins[0]}/",), into=str(cache), capacity_bytes=40 << 20)
    async with Yard().cache(spec, job="job") as place:
        pieces = await pieces_of(place)
        assert (await place.warm(pieces)).failures == []
        assert (await place.look(pieces)).missing == []
    assert stages_in(cache) == []
    check_index(cache)
    under = cache / "file" / str(origins[0]).lstrip("/")
    for each in origins[0].iterdir():
        assert (under / each.name).read_bytes() == each.read_bytes()


async def until_rows(cache: Path, count: int) -> None:
    async with asyncio.timeout(30):
        while rows_in(cache) < count:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.002)


def rows_in(cache: Path) -> int:
    with contextlib.closing(sqlite3.connect(cache / ".mover-cache/index")) as index:
        found = index.execute("SELECT count(*) FROM file WHERE instr(path, CAST('/one/' AS BLOB))")
        (rows,) = found.fetchone()
        return int(rows)


LARGE = 256 << 20


def parts_in(cache: Path) -> int:
    """Parts of the one half that are on disk."""
    notes = list(cache.glob(".mover-stage-halves/*.parts"))
    return notes[0].read_bytes().count(b"\n") if notes else 0


@pytest.fixture
async def half(tmp_path: Path, fillings: list[Filling]) -> Path:
    """An origin with one large file, whose filler was killed in the middle of it; the cache is beside it."""
    origin, cache = tmp_path / "origin", tmp_path / "c"
    origin.mkdir()
    (origin / "large").write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    (filling,) = start(fillings, Filling(origin, cache, 2 * LARGE, "job"))
    async with asyncio.timeout(60):
        while parts_in(cache) < 12:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.001)
    filling.process.send_signal(signal.SIGKILL)
    filling.process.wait()
    return origin


def spec_for(origin: Path, capacity_bytes: int = 2 * LARGE) -> WarmSpec:
    cache = origin.parent / "c"
    return WarmSpec(targets=(f"{origin}/",), into=str(cache), capacity_bytes=capacity_bytes)


@pytest.mark.slow
async def test_a_large_file_goes_on_where_its_process_was_killed(half: Path) -> None:
    cache = half.parent / "c"
    there = parts_in(cache)
    assert there < 32, "it was killed in the middle"
    yard = Yard()
    async with yard.cache(spec_for(half), job="job") as place:
        warmed = await place.warm(await pieces_of(place))
        assert (warmed.failures, warmed.read_bytes) == ([], LARGE)
    assert warmed.origin_bytes == LARGE - there * (8 << 20)
    assert sum(each.verb == "read_into" for each in yard.log.calls) == 32 - there
    (path,) = list((cache / "file").rglob("large"))
    assert path.read_bytes() == (half / "large").read_bytes()
    assert stages_in(cache) == []
    check_index(cache)


@pytest.mark.slow
async def test_a_half_of_another_version_is_begun_anew(half: Path) -> None:
    os.utime(half / "large")
    async with Yard().cache(spec_for(half), job="job") as place:
        warmed = await place.warm(await pieces_of(place))
        assert (warmed.failures, warmed.origin_bytes) == ([], LARGE)
    assert stages_in(half.parent / "c") == []
    check_index(half.parent / "c")


@pytest.mark.slow
async def test_a_half_that_nobody_takes_up_gives_its_room_back(half: Path) -> None:
    cache, other = half.parent / "c", half.parent / "other"
    other.mkdir()
    (other / "small").write_bytes(b"x" * SIZE)
    spec = WarmSpec(targets=(f"{other}/",), into=str(cache), capacity_bytes=2 * LARGE)
    async with Yard().cache(spec, job="other") as place:
        assert parts_in(cache) == 0
        assert (await place.warm(await pieces_of(place))).failures == []
    assert stages_in(cache) == []
    check_index(cache)


@pytest.mark.slow
async def test_a_half_counts_as_room_until_its_file_comes(half: Path) -> None:
    cache = half.parent / "c"
    (half / "second").write_bytes(os.urandom(1 << 20) * 128)
    async with Yard().cache(spec_for(half, LARGE + (64 << 20)), job="job") as place:
        large, second = sorted(await pieces_of(place), key=lambda piece: piece.entry.key)
        refused = await place.warm([second])
        assert [each[1] for each in refused.failures] == ["NoSpace"]
        assert (await place.warm([large])).failures == []
    assert stages_in(cache) == []
    check_index(cache)

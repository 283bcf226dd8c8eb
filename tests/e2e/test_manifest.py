"""The record that a copy leaves, and targets verified from it: real stores, disks and kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from mover import api
from mover.errors import Rejected
from mover.model import CopySpec
from mover.progress import Silent
from mover.stopping import Stop
from mover.wiring import run_copy
from tests.e2e.support import (
    MIB,
    Mover,
    assert_equal_trees,
    copy_here,
    environment_for,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bench.stores import SeaweedServer
    from mover.model import Report
    from tests.servers.buckets import Bucket

Line = dict[str, Any]


def lines_of(data: bytes) -> list[Line]:
    """A segment as any other program reads it."""
    return [json.loads(line) for line in zstandard.ZstdDecompressor().decompress(data).splitlines()]


def rows_in(segments: Iterable[bytes]) -> list[Line]:
    return [row for data in segments for row in lines_of(data)[1:]]


def segment_paths(place: Path | str) -> list[Path]:
    return sorted(Path(place).rglob("*.jsonl.zst"))


def local_rows(place: Path | str) -> list[Line]:
    return rows_in(path.read_bytes() for path in segment_paths(place))


def newest_rows(rows: Iterable[Line]) -> dict[str, Line]:
    newest: dict[str, Line] = {}
    for row in sorted(rows, key=lambda row: row["at_ms"]):
        newest[row["key"]] = row
    return newest


def manifest_of(state: Path) -> Path:
    """The manifest of the one job in a state directory that has copied."""
    (found,) = state.glob("jobs/*/manifest")
    return found


async def verify(
    manifest: Path | str, target: str, environment: Mapping[str, str], **wishes: Any
) -> tuple[Report, list[str]]:
    found: list[str] = []
    report = await api.check_manifest(
        str(manifest),
        target,
        environment=environment,
        on_difference=lambda each: found.append(f"{each.what} {each.key}"),
        **wishes,
    )
    return report, found


OBJECTS = make_objects(300, seed=5, large={"large.bin": 21 * MIB + 3}) | {"caf\u00e9 +%": b"x"}
KEY = "d03/00003.bin"


async def test_a_download_is_recorded_and_tampering_is_found(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, OBJECTS, "t/")
    environment = environment_for(tmp_path / "state", seaweed)
    target = f"{tmp_path}/target/"
    report = await copy_here(seaweed_bucket.location("t/"), target, environment=environment)
    assert report.exit_code == 0
    place = manifest_of(tmp_path / "state")
    rows = local_rows(place)
    assert sorted(row["key"] for row in rows) == sorted(OBJECTS)
    assert all(row["size"] == len(OBJECTS[row["key"]]) for row in rows)
    assert {row["action"] for row in rows} == {"copied"}
    assert all(row["checksum"] and row["verified"] == "strong" for row in rows)
    assert leftovers(place) == []

    for compare in ("mtime", "size", "checksum"):
        report, found = await verify(place, target, environment, compare=compare)
        assert (report.exit_code, found) == (0, [])
        assert report.tally.skipped_objects == len(OBJECTS)

    # A byte that changed behind the file's back: only reading finds it.
    path = tmp_path / "target" / "large.bin"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(15 * MIB)
        file.write(bytes([OBJECTS["large.bin"][15 * MIB] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "target" / KEY).write_bytes(OBJECTS[KEY] + b"more")
    (tmp_path / "target" / "caf\u00e9 +%").unlink()
    report, found = await verify(place, target, environment)
    assert (report.exit_code, found) == (3, ["missing caf\u00e9 +%", f"differs {KEY}"])
    report, found = await verify(place, target, environment, compare="checksum")
    assert found == ["missing caf\u00e9 +%", f"differs {KEY}", "differs large.bin"]
    assert report.exit_code == 3

    mended = await api.copy(
        seaweed_bucket.location("t/"),
        target,
        workers=1,
        compare="checksum",
        environment=environment,
    )
    assert mended.exit_code == 0
    assert_equal_trees(read_tree(target), OBJECTS)


async def _upload(source: str, target: str, manifest: str, environment: dict[str, str]) -> Report:
    return await run_copy(
        CopySpec(source=source, target=target, manifest=manifest),
        given=(source, target),
        workers=1,
        dry_run=False,
        on_action=None,
        monitor=Silent(),
        environment=environment,
        stop=Stop(),
    )


async def test_an_upload_is_recorded_in_a_store_and_tampering_is_found(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(tmp_path / "source", OBJECTS)
    environment = environment_for(tmp_path / "state", seaweed)
    target, place = seaweed_bucket.location("t/"), seaweed_bucket.location("record/")
    report = await _upload(f"{tmp_path}/source/", target, place, environment)
    assert report.exit_code == 0
    rows = rows_in(read_bucket(seaweed_bucket, "record/").values())
    assert sorted(row["key"] for row in rows) == sorted(OBJECTS)
    assert list(tmp_path.glob("state/jobs/*/manifest")) == []

    shutil.rmtree(tmp_path / "source")
    for compare in ("mtime", "checksum"):
        report, found = await verify(place, target, environment, compare=compare)
        assert (report.exit_code, found) == (0, [])
        assert report.tally.skipped_objects == len(OBJECTS)

    changed = bytes([OBJECTS[KEY][0] ^ 1]) + OBJECTS[KEY][1:]
    seaweed_bucket.put(f"t/{KEY}", changed)
    seaweed_bucket.put("t/large.bin", b"short")
    seaweed_bucket.delete("t/d00/00000.bin")
    report, found = await verify(place, target, environment)
    assert found == ["missing d00/00000.bin", f"differs {KEY}", "differs large.bin"]
    assert report.exit_code == 3


async def test_names_that_are_not_unicode_are_recorded_and_verified(tmp_path: Path) -> None:
    names = [b"stray\xff", b"new\nline", "caf\u00e9".encode(), b"back\\slash"]
    source = os.fsencode(tmp_path / "source")
    os.mkdir(source)
    for name in names:
        Path(os.fsdecode(os.path.join(source, name))).write_bytes(name)
    environment = environment_for(tmp_path / "state")
    target = f"{tmp_path}/target/"
    report = await copy_here(os.fsdecode(source) + "/", target, environment=environment)
    assert (report.exit_code, report.tally.copied_objects) == (0, len(names))
    report, found = await verify(manifest_of(tmp_path / "state"), target, environment)
    assert (report.exit_code, report.tally.skipped_objects, found) == (0, len(names), [])


async def test_a_place_inside_the_target_or_out_of_reach_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "source", {"a": b"1"})
    environment = environment_for(tmp_path / "state")
    source, target = f"{tmp_path}/source/", f"{tmp_path}/target/"
    (tmp_path / "file").write_bytes(b"")
    for place, reason in (
        (f"{target}record", "lies inside the target"),
        (source, "lies inside the source"),
        (f"{tmp_path}/file/", "the manifest cannot be written"),
        ("memory://record/", "would be gone with it"),
        ("https://host/record/", "cannot be written: it is a source only"),
    ):
        with pytest.raises(Rejected, match=reason):
            await _upload(source, target, place, environment)
    assert not os.path.exists(target)


# --- As processes ---


@pytest.fixture
def mover(tmp_path: Path) -> Iterator[Mover]:
    mover = Mover(environment=environment_for(tmp_path / "state"))
    yield mover
    mover.close()


def check(mover: Mover, *arguments: str) -> subprocess.CompletedProcess[str]:
    return mover.run("check", *arguments)


def test_the_command_line_verifies_and_its_list_mends(mover: Mover, tmp_path: Path) -> None:
    objects = make_objects(50, seed=1)
    write_tree(tmp_path / "source", objects)
    source, target = f"{tmp_path}/source/", f"{tmp_path}/target/"
    assert mover.copy(source, target).code == 0
    place = str(manifest_of(tmp_path / "state"))
    done = check(mover, "--manifest", place, target)
    assert (done.returncode, done.stdout) == (0, "")
    assert "50 objects are equal" in done.stderr

    Path(target, "d01/00001.bin").unlink()
    done = check(mover, target, "--manifest", place)
    assert (done.returncode, done.stdout.split(":")[0]) == (1, "missing d01/00001.bin")
    names = done.stderr.rsplit("--files-from ", 1)[1].strip()
    assert mover.copy(source, target, "--files-from", names).code == 0
    assert check(mover, "--manifest", place, target, "--json").returncode == 0

    for arguments, reason in (
        (("--manifest", place, source, target), "give TARGET alone"),
        ((source,), "Missing argument 'TARGET'"),
        (("--manifest", f"{tmp_path}/none/", target), "no such file or directory"),
        (("--manifest", source, target), "there is no manifest at"),
        (("--manifest", place, f"{tmp_path}/none/"), "no such file or directory"),
    ):
        done = check(mover, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_damaged_segment_is_one_clear_line(mover: Mover, tmp_path: Path) -> None:
    write_tree(tmp_path / "source", make_objects(50, seed=1))
    target = f"{tmp_path}/target/"
    assert mover.copy(f"{tmp_path}/source/", target).code == 0
    place = manifest_of(tmp_path / "state")
    path = segment_paths(place)[-1]
    whole = path.read_bytes()
    flipped = whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:]
    for damaged in (whole[:-1], whole[:40], flipped, b""):
        path.write_bytes(damaged)
        done = check(mover, "--manifest", str(place), target)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert f"{path} is damaged: it is not whole zstd data" in done.stderr


@pytest.mark.slow
def test_after_kills_every_object_has_its_row(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(1500, seed=3, large={"large.bin": 40 * MIB + 1})
    fill_bucket(seaweed_bucket, objects, "t/")
    mover = Mover(environment=environment_for(tmp_path / "state", seaweed))
    source, target = seaweed_bucket.location("t/"), f"{tmp_path}/target/"
    rng = random.Random(7)
    kills = 0
    try:
        while True:
            leader = mover.start(source, target, "--workers", "2", "--part-size", "5MiB")
            time.sleep(rng.uniform(0.6, 1.1))
            if kills < 3 and leader.poll() is None:
                leader.send_signal(signal.SIGKILL)
                kills += 1
            ended = mover.finish(leader)
            if ended.code != -signal.SIGKILL:
                break
    finally:
        mover.close()
    assert ended.code == 0, ended
    assert kills > 0
    place = manifest_of(tmp_path / "state")
    newest = newest_rows(local_rows(place))
    assert sorted(newest) == sorted(objects)
    assert {row["action"] for row in newest.values()} <= {"copied", "found"}
    assert leftovers(place) == []
    done = check(mover, "--manifest", str(place), target, "--json", "--compare", "checksum")
    report = json.loads(done.stdout)
    assert (done.returncode, report["objects"]["skipped"]) == (0, len(objects)), done

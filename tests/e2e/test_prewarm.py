"""``mover prewarm`` as a person runs it: on a disk, on a real JuiceFS mount, into a cache directory."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from bench.juice import JuiceMount, fuse_is_usable
from mover.manifest import Deed
from tests.e2e.support import (
    MIB,
    Mover,
    environment_for,
    fill_bucket,
    make_objects,
    read_tree,
    recorded_rows,
)
from tests.faults.script import Answer, Rule
from tests.servers.juicefs import put_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

FILES = {f"d{number % 4}/{number:03d}": 20_000 + number for number in range(120)} | {"big": 9 * MIB}

needs_fuse = pytest.mark.skipif(not fuse_is_usable(), reason="no /dev/fuse, or not root")


@pytest.fixture
def mover(tmp_path: Path, seaweed: SeaweedServer) -> Iterator[Mover]:
    mover = Mover(environment=environment_for(tmp_path / "state", seaweed), timeout_s=90)
    yield mover
    mover.close()


@pytest.fixture(scope="module")
def volume(seaweed: SeaweedServer) -> Iterator[JuiceMount]:
    """A JuiceFS mount with ``FILES``, of small blocks."""
    with JuiceMount(seaweed, block_size_kib=1024) as mount:
        put_files(mount.path / "data", FILES)
        yield mount


def prewarm(mover: Mover, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run the command and return its report."""
    done = mover.run("prewarm", *arguments, "--json")
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


# --- A mount with a cache of its own ---


@needs_fuse
def test_a_mount_is_warm_as_its_own_judge_says(mover: Mover, volume: JuiceMount) -> None:
    volume.cold()
    data = volume.path / "data"
    report = prewarm(mover, str(data))
    assert report["state"] == "done"
    assert report["residency"]["percent_bytes"] == report["residency"]["percent_files"] == 100.0
    assert (report["residency"]["judge"], report["residency"]["certainty"]) == ("juicefs", "proven")
    assert report["objects"]["copied"] == len(FILES)
    checked = volume.check(data)
    assert checked.resident_bytes == checked.bytes > 0
    again = prewarm(mover, str(data))
    assert (again["objects"]["copied"], again["objects"]["skipped"]) == (0, len(FILES))
    assert again["bytes"]["wire"] == 0


@needs_fuse
def test_filters_status_and_eviction(mover: Mover, volume: JuiceMount) -> None:
    volume.cold()
    data = volume.path / "data"
    report = prewarm(mover, str(data), "--exclude", "big", "--exclude", "d3/")
    assert report["objects"]["copied"] == 90
    shown = json.loads(mover.run("show", report["job"], "--json").stdout)
    assert shown["residency"]["percent_bytes"] == 100.0
    assert "resident  100 % of" in mover.run("show", report["job"]).stdout
    looked = prewarm(mover, "--status", str(data), code=1)
    assert looked["residency"]["nodes"][0]["resident_files"] == 90
    printed = mover.run("prewarm", "--evict", "-n", report["job"])
    assert len(printed.stdout.splitlines()) == 90
    assert "plan: 90 files" in printed.stderr
    freed = prewarm(mover, "--evict", report["job"])
    assert freed["state"] == "done"
    assert volume.check(data).resident_bytes == 0


@needs_fuse
def test_a_cache_that_is_too_small_is_never_called_full(
    mover: Mover, seaweed: SeaweedServer
) -> None:
    with JuiceMount(seaweed, cache_size_mib=100, block_size_kib=1024) as mount:
        put_files(mount.path / "data", {f"{number:02d}": 10 * MIB for number in range(15)})
        mount.cold()
        report = prewarm(mover, str(mount.path / "data"), "--oversize", "fit", code=1)
        checked = mount.check(mount.path / "data")
    assert report["residency"]["percent_bytes"] < 100
    assert report["residency"]["percent_bytes"] == pytest.approx(
        100 * checked.resident_bytes / checked.bytes, abs=8
    )


@needs_fuse
def test_a_mount_that_is_killed_is_waited_for(mover: Mover, seaweed: SeaweedServer) -> None:
    with JuiceMount(seaweed, block_size_kib=1024) as mount:
        put_files(mount.path / "data", FILES)
        mount.cold()
        process = mover.begin("prewarm", str(mount.path / "data"), "--limit", "6MiB/s", "--json")
        time.sleep(1.0)
        assert process.poll() is None
        mount.kill()
        mount.remount()
        ended = mover.finish(process)
        assert ended.code == 0, ended
        checked = mount.check(mount.path / "data")
        assert checked.resident_bytes == checked.bytes


# --- A disk, whose cache is the page cache ---


def test_a_disk_is_judged_by_its_page_cache(mover: Mover, tmp_path: Path) -> None:
    put_files(tmp_path / "data", FILES)
    report = prewarm(mover, str(tmp_path / "data"), "--workers", "2")
    assert (report["state"], report["residency"]["judge"]) == ("done", "pages")


def test_several_targets_and_a_list_of_names(mover: Mover, tmp_path: Path) -> None:
    put_files(tmp_path / "a", {"x": 9000, "y": 9000})
    put_files(tmp_path / "b", {"x": 9000, "z": 9000})
    names = tmp_path / "names"
    names.write_text("x\nz\n")
    targets = (str(tmp_path / "a"), str(tmp_path / "b"))
    report = prewarm(mover, *targets, "--files-from", str(names))
    assert report["objects"]["planned"] == 3
    assert prewarm(mover, *targets)["residency"]["nodes"][0]["files"] == 4


def test_attributes_only(mover: Mover, tmp_path: Path) -> None:
    put_files(tmp_path / "data", FILES)
    report = prewarm(mover, str(tmp_path / "data"), "--metadata-only")
    assert report["objects"]["copied"] == len(FILES)
    assert "residency" not in report


# --- A cache directory of ours ---


def test_a_directory_is_filled_once_and_evicted(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(150, seed=3, large={"large.bin": 20 * MIB})
    fill_bucket(seaweed_bucket, objects)
    wished = (seaweed_bucket.location(), "--into", str(tmp_path / "cache"), "--capacity", "1GiB")
    report = prewarm(mover, *wished, "--workers", "2")
    assert report["residency"]["percent_bytes"] == 100.0
    found = read_tree(tmp_path / "cache" / "s3" / seaweed_bucket.name)
    assert found == objects
    assert prewarm(mover, *wished)["bytes"]["wire"] == 0
    (tmp_path / "cache" / "s3" / seaweed_bucket.name / "large.bin").write_bytes(b"damaged")
    assert prewarm(mover, *wished, "--status", code=1)["residency"]["percent_files"] < 100
    mended = prewarm(mover, *wished)
    assert (mended["residency"]["percent_bytes"], mended["bytes"]["wire"]) == (100.0, 20 * MIB)
    seaweed_bucket.delete("large.bin")  # what the origin has no more is evicted all the same
    assert prewarm(mover, *wished, "--evict")["objects"]["copied"] == len(objects)
    assert not (tmp_path / "cache" / "s3").exists()


def test_a_job_frees_what_it_warmed_by_its_manifest(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(60, seed=8)
    fill_bucket(seaweed_bucket, objects)
    before = {key for key in objects if key.startswith("d03/")}
    into, records = ("--into", str(tmp_path / "cache")), tmp_path / "records"
    prewarm(mover, seaweed_bucket.location("d03/"), *into)
    report = prewarm(mover, seaweed_bucket.location(), *into, "--manifest", str(records))
    rows = {row.key: row for row in recorded_rows(records)}
    assert {key for key, row in rows.items() if row.action is Deed.RESIDENT} == before
    assert rows.keys() == objects.keys()
    root = tmp_path / "cache" / "s3" / seaweed_bucket.name
    checked = mover.run("check", "--manifest", str(records / report["job"]), str(root))
    assert checked.returncode == 0, checked
    seaweed_bucket.put("d04/00004.bin", b"another version")
    prewarm(mover, seaweed_bucket.location("d04/"), *into)
    printed = mover.run("prewarm", "--evict", "-n", report["job"]).stdout.splitlines()
    freed = prewarm(mover, "--evict", report["job"])
    assert freed["state"] == "done"
    stays = before | {"d04/00004.bin"}
    assert read_tree(root).keys() == stays
    assert len(printed) == freed["objects"]["copied"] == len(objects) - len(stays)
    again = prewarm(mover, "--evict", report["job"])
    assert again["objects"]["copied"] == 0


def test_a_killed_command_goes_on_and_reads_nothing_twice(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = {f"{number:02d}": bytes([number]) * MIB for number in range(24)}
    fill_bucket(seaweed_bucket, objects)
    wished = (seaweed_bucket.location(), "--into", str(tmp_path / "cache"))
    process = mover.begin("prewarm", *wished, "--limit", "6MB/s", "--json")
    root = tmp_path / "cache" / "s3" / seaweed_bucket.name
    deadline_s = time.monotonic() + 30
    while not root.is_dir() or len(list(root.iterdir())) < 8:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    process.kill()
    process.communicate()
    there = len(list(root.iterdir()))
    report = prewarm(mover, *wished)
    assert (report["state"], read_tree(root)) == ("done", objects)
    # What had its name, but was not in the index yet, is read again: those that were just landing.
    assert report["bytes"]["wire"] <= (len(objects) - there + 4) * MIB
    assert not [path for path in (tmp_path / "cache").rglob("*") if "stage" in path.name]


def test_a_killed_command_goes_on_in_the_middle_of_a_file(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    body = make_objects(0, seed=2, large={"large": MIB})["large"] * 256
    fill_bucket(seaweed_bucket, {"large": body})
    wished = (seaweed_bucket.location(), "--into", str(tmp_path / "cache"))
    process = mover.begin("prewarm", *wished, "--limit", "80MB/s", "--json")
    deadline_s = time.monotonic() + 60
    there = 0
    while there < 12:
        assert time.monotonic() < deadline_s
        notes = list((tmp_path / "cache").glob(".mover-stage-halves/*.parts"))
        there = notes[0].read_bytes().count(b"\n") if notes else 0
        time.sleep(0.02)
    process.kill()
    process.communicate()
    report = prewarm(mover, *wished)  # another job, which reads in larger parts
    assert (report["state"], report["bytes"]["copied"]) == ("done", len(body))
    assert report["bytes"]["wire"] <= len(body) - there * 8 * MIB
    assert read_tree(tmp_path / "cache" / "s3") == {f"{seaweed_bucket.name}/large": body}
    assert not [path for path in (tmp_path / "cache").rglob("*") if "stage" in path.name]


def test_a_job_is_shown_and_cancelled(mover: Mover, seaweed_bucket: Bucket, tmp_path: Path) -> None:
    fill_bucket(seaweed_bucket, {f"{number:02d}": b"x" * MIB for number in range(24)})
    wished = (seaweed_bucket.location(), "--into", str(tmp_path / "cache"), "--limit", "2MB/s")
    process = mover.begin("prewarm", *wished, "--json")
    deadline_s = time.monotonic() + 30
    while not (jobs := json.loads(mover.run("jobs", "--json").stdout or "[]")):
        assert time.monotonic() < deadline_s
    job = jobs[0]["job"]
    assert jobs[0]["source"] == seaweed_bucket.location()
    assert mover.run("cancel", job).returncode == 0
    ended = mover.finish(process)
    assert (ended.code, ended.report["state"]) == (1, "cancelled")
    refused = mover.run("retry", job)
    assert refused.returncode == 2
    assert "run its command again" in refused.stderr


def test_what_does_not_fit_is_said_and_nothing_moves(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, {f"{number}": b"x" * MIB for number in range(4)})
    wished = (seaweed_bucket.location(), "--into", str(tmp_path / "cache"), "--capacity", "2MiB")
    report = prewarm(mover, *wished, code=1)
    assert "needs 4.0 MiB" in report["withheld"]
    assert "can hold 2.0 MiB" in report["withheld"]
    assert report["bytes"]["wire"] == 0
    part = prewarm(mover, *wished, "--oversize", "fit", "--min-percent", "20")
    assert part["state"] == "done"


def test_an_origin_that_is_unwell_is_asked_again(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    objects = make_objects(40, seed=4)
    fill_bucket(seaweed_bucket, objects)
    rule = Rule(fault=Answer(status=503), method="GET", path=r"^[^?]*bin$", nth=range(1, 31))
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, rule)
    origin = seaweed_bucket.location(endpoint_url=proxy.endpoint_url)
    report = prewarm(mover, origin, "--into", str(tmp_path / "cache"))
    assert report["residency"]["percent_bytes"] == 100.0
    assert report["objects"]["failed"] == 0


def test_a_limit_holds_for_an_origin_that_is_a_directory(mover: Mover, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    for number in range(4):
        (origin / f"{number}").write_bytes(bytes(3 * MIB))
    wished = (f"{origin}/", "--into", str(tmp_path / "cache"), "--limit", "6MiB/s")
    report = prewarm(mover, *wished)
    assert report["bytes"]["copied"] == 12 * MIB
    # Two seconds' worth; what may be taken at once, at the start, is less than half of it.
    assert report["seconds"] > 1


# --- What makes no sense ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/no/such/place"], "/no/such/place"),
        ([""], "empty"),
        (["s3://b/", "--into", "/tmp/c", "--capacity", "0"], "--capacity"),
        (["/tmp", "--capacity", "1GiB"], "--into"),
        (["/tmp", "--residency", "juicefs"], "JuiceFS"),
        (["/tmp", "--replicas", "2"], "--queue"),
        (["/tmp", "--replicas", "2", "--every-node"], "give one"),
        (["/tmp", "--dry-run"], "--evict"),
        (["--evict", "/tmp", "--manifest", "/records"], "name the job"),
        (["/tmp", "--manifest", "/tmp/records"], "lies inside"),
        (["/usr", "--manifest", "http://host/records"], "cannot be written"),
        (["/tmp", "--yield", "0.5"], "yield"),
        (["/tmp", "--nodes", ","], "--nodes"),
        (["--status", "0123456789abcdef"], "no job 0123456789abcdef"),
    ],
)
def test_nonsense_is_one_line_and_exit_2(mover: Mover, arguments: list[str], words: str) -> None:
    done = mover.run("prewarm", *arguments)
    assert done.returncode == 2, done
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_a_file_that_cannot_be_read_is_named_with_its_reason(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    fill_bucket(seaweed_bucket, {"good": b"g", "bad": b"b"})
    rule = Rule(fault=Answer(status=403, code="AccessDenied"), method="GET", path="/bad")
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, rule)
    origin = seaweed_bucket.location(endpoint_url=proxy.endpoint_url)
    wished = (origin, "--into", str(tmp_path / "cache"), "--attempts", "1")
    report = prewarm(mover, *wished, code=1)
    (failure,) = report["failures"]
    assert failure["key"] == "bad"
    assert "denied" in failure["detail"].lower()
    with open(report["retry_file"], encoding="utf-8") as names:
        assert names.read().splitlines()[-1] == "bad"

"""``mover rsync --delete`` with real stores: judged by rclone and by rsync, killed, and in a fleet."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from mover.model import Tally
from tests.e2e.fleet import Fleet
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
from tests.e2e.test_judges import Rclone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

SLOW = "tests.e2e.slow_deletes"


def old_and_new() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a source has, and what a target has of it: some, some of another version, and more."""
    new = make_objects(400, seed=31, large={"large.bin": 21 * MIB})
    old = dict(list(new.items())[:150])
    old |= dict.fromkeys(list(new)[150:200], b"another version")
    old |= {f"gone/{name}": b"extra" for name in list(new)[:150]}
    old |= {"keep/me.tmp": b"kept", "gone/too.tmp": b"kept", "\u00fc ber+flow": b"extra"}
    return old, new


KEPT = {"keep/me.tmp": b"kept", "gone/too.tmp": b"kept"}
DELETING = ("--delete", "-y", "--exclude", "*.tmp")


async def test_a_bucket_becomes_equal_to_a_tree(
    mover: Mover, seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    old, new = old_and_new()
    fill_bucket(seaweed_bucket, old, "t/")
    write_tree(tmp_path / "in", new, settle=True)
    ends = f"{tmp_path}/in/", seaweed_bucket.location("t/")
    plan = mover.run("rsync", *ends, *DELETING, "--dry-run")
    assert plan.stdout.count("delete gone/") == 150, plan.stderr
    assert "151 to delete" in plan.stderr
    ended = mover.rsync(*ends, *DELETING)
    assert ended.code == 0, ended
    assert (ended.report["objects"]["deleted"], ended.failed) == (151, 0)
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), new | KEPT)
    rclone, remote = Rclone(seaweed, tmp_path), f"s3:{seaweed_bucket.name}/t"
    await rclone("check", "--download", f"{tmp_path}/in", remote, "--exclude", "*.tmp")
    await rclone("check", "--download", remote, f"{tmp_path}/in", "--exclude", "*.tmp")
    # The record of the job proves the target, deletions included.
    records = f"{mover.environment['MOVER_STATE']}/jobs/{ended.report['job']}/manifest/"
    checked = mover.run("check", "--manifest", records, ends[1])
    assert checked.returncode == 0, checked.stderr
    again = mover.rsync(*ends, *DELETING)
    assert (again.code, again.copied, again.report["objects"]["deleted"]) == (0, 0, 0)


async def test_a_tree_becomes_equal_to_a_bucket(
    mover: Mover, seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    old, new = old_and_new()
    fill_bucket(seaweed_bucket, new, "s/")
    write_tree(tmp_path / "out", old)
    ends = seaweed_bucket.location("s/"), f"{tmp_path}/out/"
    ended = mover.rsync(*ends, *DELETING, "--workers", "2")
    assert ended.code == 0, ended
    assert ended.report["objects"]["deleted"] == 151
    assert_equal_trees(read_tree(tmp_path / "out"), new | KEPT)
    assert sorted(os.listdir(tmp_path / "out/gone")) == ["too.tmp"]
    rclone, remote = Rclone(seaweed, tmp_path), f"s3:{seaweed_bucket.name}/s"
    await rclone("check", "--download", f"{tmp_path}/out", remote, "--exclude", "*.tmp")
    await rclone("check", "--download", remote, f"{tmp_path}/out", "--exclude", "*.tmp")


def test_an_object_that_fails_keeps_everything(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, {"s/a": b"1", "s/d/y": b"a link is in its way"})
    write_tree(tmp_path / "out", {"x": b"extra"})
    (tmp_path / "out/d").symlink_to(tmp_path)
    ends = seaweed_bucket.location("s/"), f"{tmp_path}/out/"
    ended = mover.rsync(*ends, "--delete", "-y")
    assert ended.code == 1, ended
    assert ended.report["withheld"] == "nothing was deleted, because 1 task failed"
    assert (ended.copied, ended.failed, ended.report["objects"]["deleted"]) == (1, 1, 0)
    assert read_tree(tmp_path / "out") == {"a": b"1", "x": b"extra"}
    told = mover.run("rsync", *ends, "--delete", "-y")
    assert "nothing was deleted, because 1 task failed" in told.stderr


@pytest.mark.parametrize("delete", [False, True])
async def test_nothing_at_all_to_a_directory_that_is_not_there(
    delete: bool, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    ends = f"{tmp_path}/in/", f"{tmp_path}/out/"
    environment = {"MOVER_STATE": str(tmp_path / "state")}
    report = await copy_here(*ends, environment=environment, delete=delete)
    assert (report.exit_code, report.tally, report.withheld) == (0, Tally(), "")


def test_a_folder_marker_goes_alone(mover: Mover, seaweed_bucket: Bucket, tmp_path: Path) -> None:
    """SeaweedFS keeps a directory under a marker's key: what lies in it must not go with it."""
    kept = {"d/x": b"1", "d/y.tmp": b"2", "e/f/z.tmp": b"3"}
    markers = {"d/": b"", "e/": b"", "e/f/": b"", "g/": b""}
    fill_bucket(seaweed_bucket, {f"t/{name}": data for name, data in (kept | markers).items()})
    write_tree(tmp_path / "in", {"d/x": b"1"}, settle=True)
    ended = mover.rsync(f"{tmp_path}/in/", seaweed_bucket.location("t/"), *DELETING)
    assert (ended.code, ended.report["objects"]["deleted"]) == (0, 4), ended
    assert read_bucket(seaweed_bucket, "t/") == kept


# --- Beside rsync itself ---


def _random_tree(root: Path, rng: random.Random) -> None:
    for _ in range(60):
        depth = rng.randrange(1, 5)
        path = root.joinpath(*(rng.choice("abcde") + "d" for _ in range(depth)))
        path.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.7:
            name = rng.choice(["f", "g", "h", "t.tmp"])
            (path / name).write_bytes(rng.randbytes(rng.randrange(9)))


def _shape(root: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every directory."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }


def _crowded_tree(root: Path, rng: random.Random) -> None:
    """Files and directories of the same few names, so that two trees are in each other's way."""
    for _ in range(20):
        path = root.joinpath(*(rng.choice("abc") for _ in range(rng.randrange(1, 4))))
        if any(each.is_file() for each in [path, *path.parents]) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.2:
            path.mkdir()
        else:
            path.write_bytes(rng.randbytes(rng.randrange(9)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("exclude", [(), ("--exclude", "*.tmp"), ("--exclude", "/ad/")])
def test_rsync_makes_the_same_tree(
    seed: int, exclude: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _beside_rsync(_random_tree, seed, exclude, tmp_path, monkeypatch)


@pytest.mark.parametrize("seed", range(4))
def test_rsync_makes_way_in_the_same_way(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _beside_rsync(_crowded_tree, seed, (), tmp_path, monkeypatch)


def _beside_rsync(
    grow: Callable[[Path, random.Random], None],
    seed: int,
    exclude: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mover import cli

    rng = random.Random(seed)
    grow(tmp_path / "in", rng)
    grow(tmp_path / "theirs", rng)
    shutil.copytree(tmp_path / "theirs", tmp_path / "ours")
    # Equal sizes and times would hide a difference from both.
    command = ["rsync", "-a", "--checksum", "--delete", *exclude, f"{tmp_path}/in/"]
    subprocess.run([*command, f"{tmp_path}/theirs/"], check=True)
    monkeypatch.setenv("MOVER_STATE", str(tmp_path / "state"))
    wishes = ("--delete", "-y", "--compare", "checksum", "--workers", "1", "--json")
    assert cli.run(["rsync", f"{tmp_path}/in/", f"{tmp_path}/ours/", *wishes, *exclude]) == 0
    ours, theirs = _shape(tmp_path / "ours"), _shape(tmp_path / "theirs")
    if exclude:
        # A directory of which the filters take nothing is made by rsync, and not here.
        ours, theirs = _without_hollow(ours), _without_hollow(theirs)
    assert ours == theirs


def _without_hollow(shape: dict[str, bytes | None]) -> dict[str, bytes | None]:
    files = [name for name, data in shape.items() if data is not None]
    return {
        name: data
        for name, data in shape.items()
        if data is not None or any(each.startswith(f"{name}/") for each in files)
    }


def test_a_link_at_the_target_is_never_followed(mover: Mover, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a": b"1"})
    write_tree(tmp_path / "elsewhere", {"precious": b"!"})
    write_tree(tmp_path / "out", {"a": b"1", "x": b"extra"})
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    for links in ("skip", "follow", "preserve-as-object"):
        ended = mover.rsync(
            f"{tmp_path}/in/", f"{tmp_path}/out/", "--delete", "-y", "--links", links
        )
        assert read_tree(tmp_path / "elsewhere") == {"precious": b"!"}, (links, ended)
    assert not (tmp_path / "out/x").exists()


# --- What it survives ---


def test_a_kill_among_the_deletions(tmp_path: Path) -> None:
    new = make_objects(50, seed=5)
    write_tree(tmp_path / "in", new)
    write_tree(tmp_path / "out", {f"old/{number}": b"" for number in range(2000)})
    mover = Mover(environment=environment_for(tmp_path / "state"), program=SLOW)
    arguments = ("--delete", "-y", "--workers", "1")
    kills = 0
    try:
        while kills < 3:
            process = mover.start(f"{tmp_path}/in/", f"{tmp_path}/out/", *arguments, verb="rsync")
            before = len(os.listdir(tmp_path / "out/old"))
            deadline_s = time.monotonic() + 30
            while len(os.listdir(tmp_path / "out/old")) > before - 100:
                assert time.monotonic() < deadline_s, process.poll()
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert mover.finish(process).code == -signal.SIGKILL
            kills += 1
        assert len(os.listdir(tmp_path / "out/old")) > 0
        mover.program = "mover"
        ended = mover.rsync(f"{tmp_path}/in/", f"{tmp_path}/out/", *arguments)
    finally:
        mover.close()
    assert ended.code == 0, ended
    assert ended.report["objects"]["deleted"] == 2000
    assert_equal_trees(read_tree(tmp_path / "out"), new)
    assert not (tmp_path / "out/old").exists()
    assert leftovers(tmp_path / "out") == []


# --- In a fleet ---


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as redis:
        yield redis


@pytest.fixture
def fleet(redis: RedisProcess, seaweed: SeaweedServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(redis=redis, environment=environment_for(tmp_path / "state", seaweed))
    yield fleet
    fleet.close()


async def test_a_fleet_deletes(
    fleet: Fleet, seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    old, new = old_and_new()
    # More than one removal holds.
    old |= {f"older/{number:05d}": b"" for number in range(1100)}
    fill_bucket(seaweed_bucket, new, "s/")
    fill_bucket(seaweed_bucket, old, "t/")
    for _ in range(2):
        fleet.start_worker("--pool", "eu")
    ends = seaweed_bucket.location("s/"), seaweed_bucket.location("t/")
    ended = fleet.rsync(*ends, *DELETING, "--pool", "eu")
    assert ended.code == 0, ended
    assert (ended.report["objects"]["deleted"], ended.failed) == (1251, 0)
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), new | KEPT)
    rclone, bucket = Rclone(seaweed, tmp_path), f"s3:{seaweed_bucket.name}"
    await rclone("check", f"{bucket}/s", f"{bucket}/t", "--exclude", "*.tmp")
    await rclone("check", f"{bucket}/t", f"{bucket}/s", "--exclude", "*.tmp")


def test_a_fleet_deletes_nothing_behind_a_failure_and_all_of_it_after_the_retry(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, {"s/a": b"1", "s/d/y": b"a link is in its way"})
    write_tree(tmp_path / "out", {"x": b"extra"})
    (tmp_path / "out/d").symlink_to(tmp_path)
    fleet.start_worker()
    ends = seaweed_bucket.location("s/"), f"{tmp_path}/out/"
    ended = fleet.rsync(*ends, "--delete", "-y")
    assert (ended.code, ended.failed) == (1, 1), ended
    assert "nothing was deleted" in ended.report["withheld"]
    assert read_tree(tmp_path / "out").keys() == {"a", "x"}
    (tmp_path / "out/d").unlink()
    job = ended.report["job"]
    fleet.command("retry", job, "--json")
    shown = fleet.wait_for_end(job)
    assert shown["state"] == "done"
    assert read_tree(tmp_path / "out") == {"a": b"1", "d/y": b"a link is in its way"}


def test_a_fleet_without_a_source_deletes_nothing(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(tmp_path / "out", {"x": b"1"})
    fleet.start_worker()
    ends = seaweed_bucket.location("none/"), f"{tmp_path}/out/"
    assert fleet.rsync(*ends, "--delete").code == 2
    ended = fleet.rsync(*ends, "--delete", "-y")
    assert ended.code == 1
    assert "--allow-empty-source" in ended.report["withheld"]
    assert read_tree(tmp_path / "out") == {"x": b"1"}
    job = fleet.mover.run(
        "rsync",
        *ends,
        "--queue",
        fleet.redis.url,
        "--delete",
        "-y",
        "--allow-empty-source",
        "--json",
    )
    assert json.loads(job.stdout)["objects"]["deleted"] == 1
    assert read_tree(tmp_path / "out") == {}


def test_a_worker_that_is_killed_among_the_deletions(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    new = make_objects(20, seed=6)
    fill_bucket(seaweed_bucket, new, "s/")
    write_tree(tmp_path / "out", {f"old/{number}": b"" for number in range(800)})
    fleet.program = SLOW
    first, _ = (fleet.start_worker("--lease", "3s", "--slots", "1") for _ in range(2))
    job = fleet.mover.start(
        *(seaweed_bucket.location("s/"), f"{tmp_path}/out/", "--delete", "-y"),
        *("--queue", fleet.redis.url),
        verb="rsync",
    )
    deadline_s = time.monotonic() + 30
    while len(os.listdir(tmp_path / "out/old")) > 600:
        assert time.monotonic() < deadline_s, job.poll()
        time.sleep(0.01)
    first.kill()
    ended = fleet.mover.finish(job)
    assert ended.code == 0, ended
    assert ended.report["objects"]["deleted"] == 800
    assert_equal_trees(read_tree(tmp_path / "out"), new)
    assert not (tmp_path / "out/old").exists()

"""``mover rsync --base``: older copies near the source, on one host and between two pools of a fleet."""

from __future__ import annotations

import random
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.support import (
    MIB,
    Mover,
    assert_equal_trees,
    fill_bucket,
    leftovers,
    read_bucket,
    read_tree,
    recorded_rows,
    write_tree,
)
from tests.servers.buckets import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.e2e.fleet import Fleet

SIDES = ("--source-pool", "us", "--target-pool", "eu")
ALWAYS = ("--delta", "always", "--no-server-copy")


def weights(size: int = 17 * MIB) -> tuple[bytes, bytes]:
    """Numbers of two bytes as weights of a model are, and a version in which one of a hundred differs."""
    draw = random.Random(1)
    halves = [struct.unpack("<HH", struct.pack("<f", draw.gauss(0, 0.02)))[1] for _ in range(32768)]
    block = struct.pack("<32768H", *halves)
    old = b"".join(
        block[cut:] + block[:cut]
        for cut in (2 * draw.randrange(32768) for _ in range(size // len(block)))
    )
    new = bytearray(old)
    for at in draw.sample(range(0, size, 2), size // 200):
        new[at] ^= draw.randrange(1, 8)
    return old, bytes(new)


OLD, NEW = weights()
OTHER = random.Random(2).randbytes(17 * MIB)
SOURCE = {"d/weights.bin": NEW, "small": b"1", "other.bin": OTHER[:MIB] + b"new" + OTHER[MIB:]}
BASE = {"d/weights.bin": OLD, "small": b"0", "other.bin": OTHER[::-1]}
TARGET = {"d/weights.bin": OLD, "small": b"0", "other.bin": OTHER}


def rows_of(root: Path) -> dict[str, Any]:
    """What records below a directory say of differences, by key."""
    return {row.key: row.delta for row in recorded_rows(root) if row.delta}


def test_two_directories(mover: Mover, tmp_path: Path) -> None:
    write_tree(tmp_path / "out", TARGET)
    write_tree(tmp_path / "base", BASE)
    write_tree(tmp_path / "in", SOURCE)
    ends = f"{tmp_path}/in/", f"{tmp_path}/out/"
    ended = mover.rsync(*ends, "--delta", "always", "--base", str(tmp_path / "base"))
    assert ended.code == 0, ended
    assert_equal_trees(read_tree(tmp_path / "out"), SOURCE)
    assert leftovers(tmp_path / "out") == []
    report = ended.report
    assert (report["objects"]["patched"], report["delta"]["direct"]) == (2, 1)
    assert report["delta"]["changed"] > 0.9 * len(NEW)
    rows = rows_of(tmp_path / "state" / "jobs" / report["job"])
    row = rows["d/weights.bin"]
    assert (row.direct, row.base) == (True, f"{tmp_path}/base/d/weights.bin")
    assert row.wire_bytes <= 0.03 * len(NEW)
    assert (rows["other.bin"].direct, rows["other.bin"].base) == (
        False,
        f"{tmp_path}/base/other.bin: its bytes are others than those at the target",
    )


def test_two_pools(fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path) -> None:
    fill_bucket(seaweed_bucket, {"w.bin": OLD}, "t/")
    fill_bucket(seaweed_bucket, {"w.bin": OLD}, "b/")
    time.sleep(1.1)  # SeaweedFS tells times in seconds
    fill_bucket(seaweed_bucket, {"w.bin": NEW}, "s/")
    ends = seaweed_bucket.location("s/"), seaweed_bucket.location("t/")
    base, record = seaweed_bucket.location("b/"), str(tmp_path / "record")
    ended = fleet.rsync(*ends, *SIDES, *ALWAYS, "--base", base, "--manifest", record)
    assert ended.code == 0, ended
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), {"w.bin": NEW})
    assert seaweed_bucket.upload_keys() == []
    report = ended.report
    assert (report["objects"]["patched"], report["delta"]["direct"]) == (1, 1)
    row = rows_of(tmp_path / "record")["w.bin"]
    assert (row.direct, row.wire_bytes <= 0.03 * len(NEW)) == (True, True)


@pytest.fixture
def versioned(seaweed: SeaweedServer) -> Iterator[Bucket]:
    bucket = Bucket.create(seaweed)
    bucket.keep_versions()
    yield bucket
    bucket.destroy()


def test_a_version_that_the_bucket_keeps(
    fleet: Fleet, seaweed_bucket: Bucket, versioned: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, {"w.bin": OLD}, "t/")
    # One of the same size before and one after the one that TARGET has.
    for data in (OTHER, OLD, OLD[::-1]):
        versioned.put("s/w.bin", data)
    time.sleep(1.1)
    versioned.put("s/w.bin", NEW)
    ends = versioned.location("s/"), seaweed_bucket.location("t/")
    record = str(tmp_path / "record")
    ended = fleet.rsync(*ends, *SIDES, *ALWAYS, "--base-versions", "--manifest", record)
    assert ended.code == 0, ended
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), {"w.bin": NEW})
    assert ended.report["delta"]["direct"] == 1
    row = rows_of(tmp_path / "record")["w.bin"]
    assert (row.direct, row.wire_bytes <= 0.03 * len(NEW)) == (True, True)
    assert f"s3://{versioned.name}/s/w.bin, version " in row.base


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "BASE/"), "--base BASE/ does not exist, or has nothing in it"),
        (("--base", "IN/", "--delta", "never"), "a base is for differences"),
        (("--base", "OUT/old/", "--delete", "-y"), "and --delete would remove it"),
        (("--base-versions",), "--base-versions is for a SOURCE in S3"),
        (("--base", "s3:nothing"), "s3://"),
    ],
)
def test_what_makes_no_sense(
    mover: Mover, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    write_tree(tmp_path / "in", {"a": b"a"})
    write_tree(tmp_path / "out", {"old/a": b"a"})
    places = {
        "BASE/": f"{tmp_path}/base/",
        "IN/": f"{tmp_path}/in/",
        "OUT/old/": f"{tmp_path}/out/old/",
    }
    words = [places.get(word, word) for word in arguments]
    ended = mover.rsync(f"{tmp_path}/in/", f"{tmp_path}/out/", *words)
    assert ended.code == 2
    assert said.replace("BASE/", places["BASE/"]) in ended.report["error"]
    assert "\n" not in ended.report["error"]
    assert read_tree(tmp_path / "out") == {"old/a": b"a"}


def test_a_base_that_a_fleet_cannot_find(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    ends = seaweed_bucket.location("s/"), seaweed_bucket.location("t/")
    ended = fleet.rsync(*ends, *SIDES, "--base", seaweed_bucket.location("no/such/"))
    assert ended.code == 2
    assert "does not exist" in ended.report["error"]

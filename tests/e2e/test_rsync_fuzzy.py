"""``mover rsync --fuzzy``: large objects that TARGET has under other names."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.support import (
    MIB,
    Mover,
    assert_equal_trees,
    fill_bucket,
    read_bucket,
    read_tree,
    recorded_rows,
    write_tree,
)

if TYPE_CHECKING:
    from tests.e2e.fleet import Fleet
    from tests.servers.buckets import Bucket

SIDES = ("--source-pool", "us", "--target-pool", "eu", "--no-server-copy")

DRAW = random.Random(11)
OLD = DRAW.randbytes(20 * MIB)
NEW = b"\x00new\x00new" + OLD[: 9 * MIB] + DRAW.randbytes(40_000) + OLD[9 * MIB + 30_000 :]
# No block of these is one of another; to draw each of them would take a tenth of a second.
SAME = OLD[18 * MIB :: -1]
DECOY = OLD[: 17 * MIB].translate(bytes(range(255, -1, -1)))
OTHER = DECOY[::-1]


def made_of(state: Path | str, job: str) -> dict[str, Any]:
    """What the manifest says that objects were made of, by their keys."""
    rows = recorded_rows(Path(state) / "jobs" / job / "manifest")
    return {row.key: row.delta.basis for row in rows if row.delta}


def test_a_tree_whose_large_objects_were_moved(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    """One was renamed, one moved and edited, and what they are made of is deleted behind it."""
    source = {"b/same-2.bin": SAME, "m/v2/model.bin": NEW, "small": b"1"}
    fill_bucket(seaweed_bucket, {"a/same-1.bin": SAME, "m/v1/model.bin": OLD, "small": b"1"}, "t/")
    fill_bucket(seaweed_bucket, source, "s/")
    ends = seaweed_bucket.location("s/"), seaweed_bucket.location("t/")
    ended = fleet.rsync(*ends, *SIDES, "--fuzzy", "--delta", "always", "--delete", "-y")
    assert ended.code == 0, ended
    fleet.wait_for_end(ended.report["job"])
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), source)
    assert seaweed_bucket.upload_keys() == []
    objects = ended.report["objects"]
    assert (objects["copied"], objects["renamed"], objects["deleted"]) == (2, 2, 2)
    assert ended.report["bytes"]["wire"] < 200_000
    assert made_of(fleet.environment["MOVER_STATE"], ended.report["job"]) == {
        "b/same-2.bin": "a/same-1.bin",
        "m/v2/model.bin": "m/v1/model.bin",
    }


def test_a_decoy_costs_nothing(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    """It has the size and the name, and other bytes."""
    fill_bucket(seaweed_bucket, {"v1/model.bin": DECOY}, "t/")
    fill_bucket(seaweed_bucket, {"v2/model.bin": OTHER}, "s/")
    ends = seaweed_bucket.location("s/"), seaweed_bucket.location("t/")
    ended = fleet.rsync(*ends, *SIDES, "--fuzzy", "--delta", "always")
    assert ended.code == 0, ended
    assert seaweed_bucket.get("t/v2/model.bin") == OTHER
    assert (ended.report["objects"]["copied"], ended.report["objects"]["renamed"]) == (1, 0)
    assert ended.report["bytes"]["wire"] <= 1.005 * len(OTHER)


def test_a_basis_that_is_replaced_meanwhile(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    fill_bucket(seaweed_bucket, {"v1/model.bin": OLD}, "t/")
    fill_bucket(seaweed_bucket, {"v2/model.bin": NEW}, "s/")
    ends = seaweed_bucket.location("s/"), seaweed_bucket.location("t/")
    job = fleet.submit_rsync(*ends, *SIDES, "--fuzzy", "--limit", "100kB/s")
    deadline_s = time.monotonic() + 30
    while not any(".signature" in key for key in seaweed_bucket.list_keys("t/.mover-delta/")):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    seaweed_bucket.put("t/v1/model.bin", OTHER)
    fleet.command("limit", job, "off")
    shown = fleet.wait_for_end(job)
    assert (shown["state"], shown["dead_letters"]) == ("done", 0), shown
    assert seaweed_bucket.get("t/v2/model.bin") == NEW
    assert seaweed_bucket.get("t/v1/model.bin") == OTHER
    assert made_of(fleet.environment["MOVER_STATE"], job) == {}
    assert seaweed_bucket.upload_keys() == []


def test_a_renamed_file_is_copied_by_the_store(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    """By one process that is at neither store, without a byte of it going up."""
    write_tree(tmp_path / "in", {"new.bin": SAME})
    fill_bucket(seaweed_bucket, {"old.bin": SAME}, "t/")
    target = seaweed_bucket.location("t/")
    ended = mover.rsync(f"{tmp_path}/in/", target, "--fuzzy", "--delete", "-y")
    assert ended.code == 0, ended
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), {"new.bin": SAME})
    assert (ended.report["objects"]["renamed"], ended.report["bytes"]["wire"]) == (1, 0)


def test_two_directories(mover: Mover, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"v2/model.bin": NEW, "same-2": SAME})
    write_tree(tmp_path / "out", {"v1/model.bin": OLD, "same-1": SAME})
    ends = f"{tmp_path}/in/", f"{tmp_path}/out/"
    ended = mover.rsync(*ends, "--delta", "always", "--fuzzy", "--delete", "-y")
    assert ended.code == 0, ended
    assert_equal_trees(read_tree(tmp_path / "out"), {"v2/model.bin": NEW, "same-2": SAME})
    assert ended.report["objects"]["renamed"] == 2
    assert made_of(tmp_path / "state", ended.report["job"]) == {
        "v2/model.bin": "v1/model.bin",
        "same-2": "same-1",
    }

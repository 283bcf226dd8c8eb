"""``mover rsync`` that sends differences: on one host, between two pools of a fleet, and killed there."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.fleet import Fleet
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
from tests.faults.script import Answer, Drip, Rule, Side

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

SIDES = ("--source-pool", "us", "--target-pool", "eu")
ALWAYS = ("--delta", "always", "--no-server-copy")


def versions(size: int = 24 * MIB, seed: int = 4) -> tuple[bytes, bytes]:
    """An object, and a later version of it: 8 bytes at its start, and a patch in the middle."""
    draw = random.Random(seed)
    old = draw.randbytes(size)
    middle = size // 2
    return old, b"\x00new\x00new" + old[:middle] + draw.randbytes(40_000) + old[middle + 30_000 :]


OLD, NEW = versions()
SOURCE = {"big.bin": NEW, "d/small": b"1", "same": b"same"}
TARGET = {"big.bin": OLD, "extra": b"extra", "same": b"same"}


def hidden_in(root: Path) -> list[str]:
    return [name for name in os.listdir(root) if name.startswith(".mover-")]


def test_two_directories(mover: Mover, tmp_path: Path) -> None:
    write_tree(tmp_path / "out", TARGET)
    write_tree(tmp_path / "in", SOURCE)
    ends = f"{tmp_path}/in/", f"{tmp_path}/out/"
    ended = mover.rsync(*ends, "--delta", "always", "--delete", "-y")
    assert ended.code == 0, ended
    assert_equal_trees(read_tree(tmp_path / "out"), SOURCE)
    assert (leftovers(tmp_path / "out"), hidden_in(tmp_path / "out")) == ([], [])
    report = ended.report
    assert report["objects"]["patched"] == 1
    assert report["delta"]["literals"] < 200_000
    assert report["delta"]["wire"] == report["bytes"]["wire"] < 200_000
    rows = recorded_rows(tmp_path / "state/jobs" / report["job"])
    ((key, difference),) = [(row.key, row.delta) for row in rows if row.delta]
    assert (key, difference.wire_bytes) == ("big.bin", report["delta"]["wire"])
    assert difference.literal_bytes + difference.matched_bytes == len(NEW)


def test_two_directories_are_copied_whole_unless_somebody_insists(
    mover: Mover, tmp_path: Path
) -> None:
    write_tree(tmp_path / "out", TARGET)
    write_tree(tmp_path / "in", SOURCE)
    ended = mover.rsync(f"{tmp_path}/in/", f"{tmp_path}/out/")
    assert (ended.code, ended.report["objects"]["patched"]) == (0, 0)
    assert_equal_trees(read_tree(tmp_path / "out"), TARGET | SOURCE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--inplace",), "--inplace cannot be used"),
        (SIDES, "give --queue"),
        (("--source-pool", "us", "--target-pool", "any"), "name a pool for each side"),
        (("--source-pool", "us"), "give both --source-pool and --target-pool"),
    ],
)
def test_what_makes_no_sense(
    mover: Mover, seaweed_bucket: Bucket, arguments: tuple[str, ...], said: str
) -> None:
    ended = mover.rsync(seaweed_bucket.location("a/"), seaweed_bucket.location("b/"), *arguments)
    assert ended.code == 2
    assert said in ended.report["error"]


def test_a_store_that_refuses_to_copy_parts(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    write_tree(tmp_path / "in", SOURCE, settle=True)
    fill_bucket(seaweed_bucket, TARGET, "t/")
    refusal = Rule(
        fault=Answer(status=501, code="NotImplemented"), method="PUT", path="partNumber=", nth={1}
    )
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, refusal)
    os.utime(tmp_path / "in/big.bin")
    target = seaweed_bucket.location("t/", endpoint_url=proxy.endpoint_url)
    ended = mover.rsync(f"{tmp_path}/in/", target, *ALWAYS, "--compare", "etag")
    assert ended.code == 0, ended
    assert ended.report["objects"]["patched"] == 1
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), TARGET | SOURCE)
    assert seaweed_bucket.upload_keys() == []


def fill_both(bucket: Bucket) -> tuple[str, str]:
    fill_bucket(bucket, TARGET, "t/")
    time.sleep(1.1)  # SeaweedFS tells times in seconds
    fill_bucket(bucket, SOURCE, "s/")
    return bucket.location("s/"), bucket.location("t/")


def test_two_pools_keep_two_prefixes_in_step(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    ends = fill_both(seaweed_bucket)
    # At this rate a copy in full would take twelve seconds.
    ended = fleet.rsync(*ends, *SIDES, "--no-server-copy", "--limit", "2MB/s", "--delete", "-y")
    assert ended.code == 0, ended
    assert ended.report["objects"]["patched"] == 1
    assert ended.report["bytes"]["wire"] < 200_000
    assert ended.report["seconds"] < 10
    shown = fleet.show(ended.report["job"])
    assert len(shown["workers"]) == 2
    fleet.wait_for_end(ended.report["job"])
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), SOURCE)
    assert seaweed_bucket.upload_keys() == []


def test_what_crosses_is_what_is_reported(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    """A proxy meters all that the worker near the source has to do with the target."""
    fill_bucket(seaweed_bucket, TARGET, "t/")
    write_tree(tmp_path / "in", SOURCE, settle=True)
    os.utime(tmp_path / "in/big.bin")
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url)
    far = {"http_proxy": proxy.endpoint_url}
    metered = Fleet(redis=fleet.redis, environment=fleet.environment | far)
    pools = ("--source-pool", "far", "--target-pool", "eu")
    metered.start_worker("--pool", "far")
    try:
        ends = f"{tmp_path}/in/", seaweed_bucket.location("t/")
        ended = fleet.rsync(*ends, *pools, *ALWAYS, "--compare", "etag")
    finally:
        metered.close()
    assert (ended.code, ended.report["objects"]["patched"]) == (0, 1), ended
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), TARGET | SOURCE)
    crossed = proxy.up.total_bytes + proxy.down.total_bytes
    # Beside the difference: listings, the small object, and answers.
    assert ended.report["delta"]["wire"] < crossed < ended.report["delta"]["wire"] + 20_000


LINK_BYTES_PER_S = 4 * MIB


def test_the_link_is_measured_by_what_the_difference_took(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    fill_bucket(seaweed_bucket, {"big.bin": OLD}, "t/")
    new = OLD[: 8 * MIB] + random.Random(9).randbytes(3 * MIB) + OLD[11 * MIB :]
    write_tree(tmp_path / "in", {"big.bin": new}, settle=True)
    os.utime(tmp_path / "in/big.bin")
    slow = Rule(fault=Drip(bytes_per_s=LINK_BYTES_PER_S, side=Side.REQUEST), method="PUT")
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, slow)
    environment = fleet.environment | {"http_proxy": proxy.endpoint_url}
    far = Fleet(redis=fleet.redis, environment=environment)
    far.start_worker("--pool", "far")
    try:
        ends = f"{tmp_path}/in/", seaweed_bucket.location("t/")
        pools = ("--source-pool", "far", "--target-pool", "eu")
        job = fleet.submit_rsync(*ends, *pools, "--compare", "etag", "--no-server-copy")
        shown = fleet.wait_until(job, lambda shown: "link" in shown["rates"])
        fleet.wait_for_end(job)
    finally:
        far.close()
    # Three MiB in one piece, and what the proxy's machine has held up.
    assert LINK_BYTES_PER_S / 10 < shown["rates"]["link"] < 1.2 * LINK_BYTES_PER_S
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), {"big.bin": new})


def wait_for(look: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_each_side_is_killed_at_its_work(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    ends = fill_both(seaweed_bucket)

    def there(what: str) -> bool:
        return any(f".{what}-" in key for key in seaweed_bucket.list_keys("t/.mover-delta/"))

    pools = ("--source-pool", "west", "--target-pool", "east")
    east = fleet.start_worker("--pool", "east", "--lease", "2s")
    west = fleet.start_worker("--pool", "west", "--lease", "2s")
    watcher = fleet.mover.start(
        *ends, "--queue", fleet.redis.url, *ALWAYS, *pools, "--limit", "1MB/s", verb="rsync"
    )
    wait_for(lambda: there("signature"))
    west.kill()
    fleet.start_worker("--pool", "west", "--lease", "2s")
    wait_for(lambda: there("ladder"))
    east.kill()
    fleet.start_worker("--pool", "east", "--lease", "2s")
    ended = fleet.mover.finish(watcher)
    assert (ended.code, ended.report["objects"]["patched"]) == (0, 1), ended
    fleet.wait_for_end(ended.report["job"])
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), TARGET | SOURCE)
    assert seaweed_bucket.upload_keys() == []


def test_a_cancelled_job_hides_nothing(fleet: Fleet, seaweed_bucket: Bucket) -> None:
    ends = fill_both(seaweed_bucket)
    job = fleet.submit_rsync(*ends, *ALWAYS, *SIDES, "--limit", "10kB/s")
    wait_for(lambda: seaweed_bucket.list_keys("t/.mover-delta/") != [])
    fleet.command("cancel", job)
    shown = fleet.wait_for_end(job)
    assert shown["state"] == "cancelled"
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), {"d/small": b"1"} | TARGET)
    assert seaweed_bucket.upload_keys() == []

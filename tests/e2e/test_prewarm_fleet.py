"""A prewarm on several nodes: each has its own cache, and the origin is read about once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bench.redis_process import RedisProcess
from tests.e2e.fleet import Fleet
from tests.e2e.support import MIB, environment_for, fill_bucket, make_objects, read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

OBJECTS = make_objects(80, seed=5, large={"large.bin": 17 * MIB})
TOTAL = sum(map(len, OBJECTS.values()))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as redis:
        yield redis


@pytest.fixture
def fleet(redis: RedisProcess, seaweed: SeaweedServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(redis=redis, environment=environment_for(tmp_path / "state", seaweed))
    yield fleet
    fleet.close()


def prewarm(fleet: Fleet, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run ``mover prewarm`` on the fleet's queue; its report."""
    report: dict[str, Any] = json.loads(fleet.command("prewarm", *arguments, "--json", code=code))
    return report


def caches(root: Path, nodes: str) -> dict[str, dict[str, bytes]]:
    """What each node's directory has, by name of the object."""
    found = {}
    for node in nodes:
        tree = read_tree(root / node / "s3")
        found[node] = {key.partition("/")[2]: body for key, body in tree.items()}
    return found


def test_every_node_has_all_and_the_origin_is_read_once(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, OBJECTS)
    for node in "abcd":
        fleet.start_worker("--node", node)
    into = f"{tmp_path}/caches/{{node}}"
    wished = (seaweed_bucket.location(), "--into", into, "--every-node", "--nodes", "4")
    report = prewarm(fleet, *wished)
    assert report["state"] == "done"
    assert report["residency"]["percent_bytes"] == 100.0
    assert [row["node"] for row in report["residency"]["nodes"]] == list("abcd")
    for found in caches(tmp_path / "caches", "abcd").values():
        assert found == OBJECTS
    origin = sum(row["origin_bytes"] for row in report["residency"]["nodes"])
    peers = sum(row["peer_bytes"] for row in report["residency"]["nodes"])
    assert TOTAL <= origin <= 1.15 * TOTAL
    assert origin + peers >= 4 * TOTAL
    again = prewarm(fleet, *wished)
    assert again["objects"]["skipped"] == again["objects"]["planned"] == 4 * len(OBJECTS)
    assert again["bytes"]["wire"] == 0
    assert prewarm(fleet, *wished, "--evict")["state"] == "done"
    assert not any(caches(tmp_path / "caches", "abcd").values())


def test_each_node_frees_its_own_rows_of_a_job(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, OBJECTS)
    for node in "ab":
        fleet.start_worker("--node", node)
    wished = ("--into", f"{tmp_path}/caches/{{node}}", "--nodes", "2", "--every-node")
    records = str(tmp_path / "records")
    prewarm(fleet, seaweed_bucket.location("d03/"), *wished)
    job = prewarm(fleet, seaweed_bucket.location(), *wished, "--manifest", records)["job"]
    before = {key for key in OBJECTS if key.startswith("d03/")}
    planned = prewarm(fleet, "--evict", "-n", job)
    assert planned["objects"]["planned"] == 2 * (len(OBJECTS) - len(before))
    assert all(tree == OBJECTS for tree in caches(tmp_path / "caches", "ab").values())
    freed = prewarm(fleet, "--evict", job)
    assert freed["objects"]["copied"] == planned["objects"]["planned"]
    assert [tree.keys() for tree in caches(tmp_path / "caches", "ab").values()] == [before] * 2


def test_spread_puts_each_object_on_one_node_and_a_worker_may_die(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, OBJECTS)
    doomed = fleet.start_worker("--node", "a", "--lease", "2s")
    fleet.start_worker("--node", "a", "--lease", "2s")
    fleet.start_worker("--node", "b", "--lease", "2s")
    into = f"{tmp_path}/caches/{{node}}"
    wished = (seaweed_bucket.location(), "--into", into, "--nodes", "2", "--limit", "8MiB/s")
    job = fleet.command("prewarm", *wished, "--detach").strip()
    fleet.wait_until(job, lambda shown: len(shown["workers"]) == 3)
    doomed.kill()
    report = json.loads(fleet.command("show", job, "--watch", "--json"))
    assert report["state"] == "done"
    found = caches(tmp_path / "caches", "ab")
    assert found["a"]
    assert found["b"]
    assert not found["a"].keys() & found["b"].keys()
    assert found["a"] | found["b"] == OBJECTS

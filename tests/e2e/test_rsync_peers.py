"""Two pools whose workers hand each other parcels: one that keeps them is there, killed, not reached."""

from __future__ import annotations

import socket
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.support import Ended, assert_equal_trees, fill_bucket, read_bucket
from tests.e2e.test_rsync_delta import SOURCE, TARGET, wait_for
from tests.faults.script import Latency, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket
    from tests.servers.ready import Process

SECRET = {"MOVER_PARCELS_SECRET": "of the tests, and of no use elsewhere"}
OTHER_SECRET = {"MOVER_PARCELS_SECRET": "of nobody whom the tests would know"}
LEASE = ("--lease", "2s")
ALWAYS = ("--delta", "always", "--no-server-copy", "--compare", "etag")

_pools = count()


class Pools:
    """Two new pools of the queue of ``fleet``; what is kept is below ``kept``."""

    def __init__(self, fleet: Fleet, kept: Path) -> None:
        number = next(_pools)
        self.near, self.far = f"peer-us-{number}", f"peer-eu-{number}"
        self._kept = kept
        self._fleet = fleet
        self._fleets: list[Fleet] = []
        self.watchers = Fleet(redis=fleet.redis, environment=fleet.environment)

    def start(self, pool: str, *arguments: str, **environment: str) -> Process:
        own = self._fleet.environment | {"TMPDIR": str(self._kept)} | environment
        started = Fleet(redis=self._fleet.redis, environment=own)
        self._fleets.append(started)
        return started.start_worker("--pool", pool, *LEASE, *arguments)

    def keeps(self, what: str) -> bool:
        """Whether a worker keeps a piece that has this in its name."""
        return any(what in path.name for path in self._kept.glob("mover-parcels-*/*"))

    def arguments(self, *ends: str) -> tuple[str, ...]:
        pools = "--source-pool", self.near, "--target-pool", self.far
        return (*ends, "--queue", self._fleet.redis.url, *ALWAYS, *pools)

    def rsync(self, *ends: str, limit: str = "off") -> Ended:
        return self.watchers.mover.rsync(*self.arguments(*ends), "--limit", limit)

    def close(self) -> None:
        for each in (*self._fleets, self.watchers):
            each.close()


@pytest.fixture
def pools(fleet: Fleet, tmp_path: Path) -> Iterator[Pools]:
    made = Pools(fleet, tmp_path)
    yield made
    made.close()


def fill_both(bucket: Bucket) -> tuple[str, str]:
    fill_bucket(bucket, TARGET, "t/")
    fill_bucket(bucket, SOURCE, "s/")
    return bucket.location("s/"), bucket.location("t/")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_nothing_of_a_difference_is_in_the_store(
    pools: Pools, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    hidden = Rule(fault=Latency(delay_s=0.0), method="PUT", path="mover-delta")
    store = fault_proxy(seaweed_bucket.server.endpoint_url, hidden)
    target = seaweed_bucket.location("t/", endpoint_url=store.endpoint_url)
    port = free_port()
    wire = fault_proxy(f"http://127.0.0.1:{port}")
    keeping = "--parcels", f"127.0.0.1:{port}", "--parcels-at", wire.endpoint_url
    keeper = pools.start(pools.far, *keeping, **SECRET)
    pools.start(pools.near, **SECRET)
    source, _ = fill_both(seaweed_bucket)
    ended = pools.rsync(source, target, limit="4MB/s")
    assert (ended.code, ended.report["objects"]["patched"]) == (0, 1), ended
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), TARGET | SOURCE)
    assert store.count(Latency) == 0
    crossed = wire.up.total_bytes + wire.down.total_bytes
    assert crossed == ended.report["delta"]["wire"] > 0
    assert ended.report["bytes"]["wire"] == crossed + len(SOURCE["d/small"])
    wait_for(lambda: not pools.keeps("+"))
    keeper.terminate()
    assert (keeper.wait(30), list(tmp_path.iterdir())) == (0, [])


def test_a_keeper_near_the_source_will_do(
    pools: Pools, seaweed_bucket: Bucket, fault_proxy: ProxyFactory
) -> None:
    # The sign step may be before the keeper's first sign of life is heard.
    hidden = Rule(fault=Latency(delay_s=0.0), method="PUT", path=r"\.(outline|delta|ladder)-")
    store = fault_proxy(seaweed_bucket.server.endpoint_url, hidden)
    target = seaweed_bucket.location("t/", endpoint_url=store.endpoint_url)
    pools.start(pools.far, **SECRET)
    pools.start(pools.near, "--parcels", "127.0.0.1:0", **SECRET)
    source, _ = fill_both(seaweed_bucket)
    check_end(pools.rsync(source, target), seaweed_bucket)
    wait_for(lambda: not pools.keeps("+"))
    assert store.count(Latency) == 0


@pytest.mark.parametrize(
    ("kept", "next_keeps"),
    [(".signature-", ("--parcels", "127.0.0.1:0")), (".ladder-", ())],
    ids=["before-the-difference-is-taken", "before-the-object-is-made"],
)
def test_the_keeper_is_killed(
    kept: str, next_keeps: tuple[str, ...], pools: Pools, seaweed_bucket: Bucket
) -> None:
    keeper = pools.start(pools.far, "--parcels", "127.0.0.1:0", **SECRET)
    pools.start(pools.near, **SECRET)
    ends = fill_both(seaweed_bucket)
    watcher = pools.watchers.mover.start(*pools.arguments(*ends), verb="rsync")
    wait_for(lambda: pools.keeps(kept))
    keeper.kill()
    pools.start(pools.far, *next_keeps, **SECRET)
    check_end(pools.watchers.mover.finish(watcher), seaweed_bucket)


def test_a_worker_with_another_secret(pools: Pools, seaweed_bucket: Bucket) -> None:
    pools.start(pools.far, "--parcels", "127.0.0.1:0", **SECRET)
    pools.start(pools.near, **OTHER_SECRET)
    check_end(pools.rsync(*fill_both(seaweed_bucket)), seaweed_bucket)


def test_a_keeper_that_is_not_reached(pools: Pools, seaweed_bucket: Bucket) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    pools.start(pools.far, "--parcels", "127.0.0.1:0", "--parcels-at", nowhere, **SECRET)
    pools.start(pools.near, **SECRET)
    check_end(pools.rsync(*fill_both(seaweed_bucket)), seaweed_bucket)


def check_end(ended: Ended, bucket: Bucket) -> None:
    """The object was patched all the same, and nothing is left of it."""
    assert (ended.code, ended.report["objects"]["failed"]) == (0, 0), ended
    assert ended.report["objects"]["patched"] == 1
    assert_equal_trees(read_bucket(bucket, "t/"), TARGET | SOURCE)
    assert bucket.upload_keys() == []
    wait_for(lambda: bucket.list_keys("t/.mover-delta/") == [])

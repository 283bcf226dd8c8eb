"""A short storm over a fleet; the long one is in the soak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from bench.stores import SeaweedServer
from tests.e2e.fleet import Fleet
from tests.e2e.storm import Storm, frozen_for, restarted, store_restarted
from tests.e2e.support import (
    MIB,
    assert_equal_trees,
    environment_for,
    fill_bucket,
    make_objects,
    read_bucket,
)
from tests.servers.buckets import Bucket

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def weather(
    tmp_path: Path,
    *,
    seconds: int,
    size: int,
    objects: int,
    limit: str,
    within_s: float,
    seed: int,
    large: Mapping[str, int],
    program: Path | None = None,
) -> None:
    """Copy between two prefixes through a storm of so many seconds; all must be there, once.

    ``program`` is the queue's server, if not the bundled Redis.
    """
    with SeaweedServer() as seaweed, RedisProcess(durable=True, program=program) as redis:
        bucket = Bucket.create(seaweed)
        tree = make_objects(objects, seed=seed, large=large)
        fill_bucket(bucket, tree, "s/")
        environment = environment_for(tmp_path / "state", seaweed)
        fleet = Fleet(redis=redis, environment=environment, timeout_s=within_s)
        try:
            watcher = fleet.start(
                bucket.location("s/"),
                bucket.location("t/"),
                "--no-server-copy",
                "--limit",
                limit,
                "--part-size",
                "5MiB",
            )
            plan = {
                seconds // 4: restarted(redis),
                seconds // 2: frozen_for(redis, seconds / 6),
                3 * seconds // 4: store_restarted(seaweed),
            }
            storm = Storm(fleet, size=size, seed=seed, plan=plan)
            storm.rage(seconds, is_over=lambda: watcher.poll() is not None)
            ended = fleet.mover.finish(watcher)
        finally:
            fleet.close()
        assert storm.killed >= seconds // 2
        assert ended.code == 0, ended
        assert (ended.copied, ended.failed) == (objects + 2, 0)
        assert_equal_trees(read_bucket(bucket, "t/"), tree)
        assert bucket.upload_keys() == []


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_fleet_weathers_a_storm(tmp_path: Path) -> None:
    large = {"l/a.bin": 42 * MIB, "z.bin": 30 * MIB}
    weather(
        tmp_path,
        seconds=12,
        size=3,
        objects=1000,
        limit="6MiB/s",
        within_s=150,
        seed=11,
        large=large,
    )

"""Many more kills, with more workers and another seed each time."""

from __future__ import annotations

import random
import shutil
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.e2e.support import (
    MIB,
    Mover,
    assert_equal_trees,
    environment_for,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

ROUNDS = 40


@pytest.mark.soak
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_forty_kills(
    up: bool, seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(6000, seed=40, large={"large.bin": 200 * MIB, "m.bin": 70 * MIB})
    if up:
        write_tree(tmp_path / "disk", objects)
    else:
        fill_bucket(seaweed_bucket, objects, "s/")
    mover = Mover(environment=environment_for(tmp_path / "state", seaweed), timeout_s=120.0)
    rng = random.Random(41)
    struck = job = 0
    try:
        while struck < ROUNDS:
            ends = (f"{tmp_path}/disk/", seaweed_bucket.location(f"{job}/"))
            if not up:
                ends = (seaweed_bucket.location("s/"), f"{tmp_path}/{job}/")
            leader = mover.start(*ends, "--workers", "3", "--part-size", "5MiB")
            time.sleep(rng.uniform(0.3, 5.0))
            if leader.poll() is None:
                victims = [leader.pid, *(p.pid for p in psutil.Process(leader.pid).children())]
                psutil.Process(rng.choice(victims)).send_signal(signal.SIGKILL)
                struck += 1
            ended = mover.finish(leader)
            if ended.code == -signal.SIGKILL:
                continue
            assert (ended.code, ended.failed) == (0, 0), ended
            if up:
                assert_equal_trees(read_bucket(seaweed_bucket, f"{job}/"), objects)
                assert seaweed_bucket.upload_keys() == []
            else:
                assert leftovers(tmp_path / str(job)) == []
                assert_equal_trees(read_tree(tmp_path / str(job)), objects)
                shutil.rmtree(tmp_path / str(job))
            job += 1
    finally:
        mover.close()

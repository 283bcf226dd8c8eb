"""kill -9 of any process of a job at random moments: the same command ends it, exactly once."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.e2e.support import (
    MIB,
    Ended,
    Mover,
    assert_equal_trees,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import ready
    from tests.servers.buckets import Bucket

ROUNDS = 3
"""Kills in each direction; the soak has forty, and the fleet's storm a dozen more."""

LATEST_S = 1.0
"""A whole undisturbed run takes about a second."""

ARGUMENTS = ("--workers", "2", "--part-size", "5MiB")


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    large = {"large/one.bin": 24 * MIB + 1, "zlarge.bin": 32 * MIB}
    return make_objects(700, seed=20, large=large)


def _crew(leader: ready.Process) -> list[psutil.Process]:
    try:
        children = psutil.Process(leader.pid).children()
        return [child for child in children if "mover.crew_member" in child.cmdline()]
    except psutil.Error:
        return []


def _strike(leader: ready.Process, rng: random.Random) -> bool:
    """Kill the leader or a worker at a random moment; False when the job was faster."""
    time.sleep(rng.uniform(0.1, LATEST_S))
    if leader.poll() is not None:
        return False
    victims = [leader.pid, *(child.pid for child in _crew(leader))]
    try:
        psutil.Process(rng.choice(victims)).send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


def _rounds(mover: Mover, source: str, target: Callable[[int], str], *, seed: int) -> Iterator[int]:
    """Yield the number of each job that was struck and ended well, until ``ROUNDS`` have struck."""
    rng = random.Random(seed)
    strikes = job = 0
    while strikes < ROUNDS:
        leader = mover.start(source, target(job), *ARGUMENTS)
        strikes += _strike(leader, rng)
        ended = mover.finish(leader)
        if ended.code == -signal.SIGKILL and strikes < ROUNDS:
            continue
        if ended.code == -signal.SIGKILL:
            ended = mover.copy(source, target(job), *ARGUMENTS)
        assert ended.code == 0, (ended.report.get("failures"), ended.errors)
        assert ended.failed == 0
        assert _is_once(ended), ended.report
        yield job
        job += 1


def _is_once(ended: Ended) -> bool:
    """All copied by this job, none twice; or all there, where the kill came after the last one."""
    objects = ended.report["objects"]
    found = (objects["planned"], objects["copied"], objects["skipped"])
    return found in ((702, 702, 0), (0, 0, 702))


def _assert_no_process(mover: Mover) -> None:
    """The workers of killed leaders have ended by themselves."""
    state = mover.environment["MOVER_STATE"]
    alive = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(state in word for word in process.info["cmdline"] or ())
    ]
    assert alive == []


@pytest.mark.slow
def test_uploads_survive_kills(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path, objects: dict[str, bytes]
) -> None:
    write_tree(tmp_path / "source", objects)

    def target(job: int) -> str:
        return seaweed_bucket.location(f"{job}/")

    for job in _rounds(mover, f"{tmp_path}/source/", target, seed=1):
        assert_equal_trees(read_bucket(seaweed_bucket, f"{job}/"), objects)
        assert seaweed_bucket.upload_keys() == []
    _assert_no_process(mover)


@pytest.mark.slow
def test_downloads_survive_kills(
    mover: Mover, seaweed_bucket: Bucket, tmp_path: Path, objects: dict[str, bytes]
) -> None:
    fill_bucket(seaweed_bucket, objects, "s/")

    def target(job: int) -> str:
        return f"{tmp_path}/{job}/"

    for job in _rounds(mover, seaweed_bucket.location("s/"), target, seed=2):
        assert leftovers(target(job)) == []
        assert_equal_trees(read_tree(target(job)), objects)
        shutil.rmtree(target(job))
    _assert_no_process(mover)

"""A store that fails one object for a while: the object comes again by itself, or is given up by name.

The network answers 503 or resets for single keys; the mover is the real one in processes of its own,
but gives up its requests within milliseconds (``tests.servers.hasty``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from bench.redis_process import RedisProcess
from tests.e2e.fleet import Fleet
from tests.e2e.support import (
    MIB,
    Ended,
    Mover,
    assert_equal_trees,
    environment_for,
    fill_bucket,
    leftovers,
    make_objects,
    read_tree,
)
from tests.faults.script import Answer, Reset, Rule
from tests.servers.hasty import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

HASTY = "tests.servers.hasty"
SMALL, OTHER, LARGE = "d03/00003.bin", "d05/00005.bin", "large.bin"
SLOW_DOWN = Answer(status=503, code="SlowDown")
ANSWERS = range(1, 6)
"""The requests for a key that fail: more than one attempt has, fewer than all attempts together."""


class Commands(NamedTuple):
    """The same commands on a queue of this host, or on a fleet's."""

    mover: Mover
    queue: tuple[str, ...]

    def copy(self, source: str, target: str) -> Ended:
        return self.mover.copy(source, target, *self.queue)

    def ask(self, *words: str) -> Any:
        done = self.mover.run(*words, "--json", *self.queue)
        assert done.returncode == 0, (words, done.stderr)
        return json.loads(done.stdout)


@pytest.fixture(params=["host", "fleet"])
def commands(
    request: pytest.FixtureRequest, seaweed: SeaweedServer, tmp_path: Path
) -> Iterator[Commands]:
    environment = environment_for(tmp_path / "state", seaweed)
    if request.param == "host":
        mover = Mover(environment=environment, program=HASTY)
        yield Commands(mover, ())
        mover.close()
        return
    with RedisProcess() as redis:
        fleet = Fleet(redis=redis, environment=environment, program=HASTY)
        fleet.start_worker()
        yield Commands(fleet.mover, ("--queue", redis.url))
        fleet.close()


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    return make_objects(200, seed=21, large={LARGE: 20 * MIB})


def test_what_fails_for_a_while_is_copied_by_the_same_job(
    commands: Commands,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
    objects: dict[str, bytes],
) -> None:
    fill_bucket(seaweed_bucket, objects, "s/")
    rules = [
        Rule(fault=SLOW_DOWN, path=f"/{SMALL}", nth=ANSWERS),
        Rule(fault=Reset(head=True), path=f"/{OTHER}", nth=ANSWERS),
        Rule(fault=Answer(status=500, code="InternalError"), path=f"/{LARGE}", nth=ANSWERS),
    ]
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, *rules)
    source = seaweed_bucket.location("s/", endpoint_url=proxy.endpoint_url)
    ended = commands.copy(source, f"{tmp_path}/out/")
    assert (ended.code, ended.copied, ended.failed) == (0, 201, 0), ended
    assert ended.report["objects"]["planned"] == 201
    assert ended.report["bytes"]["copied"] == sum(map(len, objects.values()))
    assert (proxy.count(Answer), proxy.count(Reset)) == (2 * len(ANSWERS), len(ANSWERS))
    assert_equal_trees(read_tree(tmp_path / "out"), objects)
    assert leftovers(tmp_path / "out") == []
    shown = commands.ask("show", ended.report["job"])
    assert (shown["state"], shown["letters"]) == ("done", [])


def test_what_goes_on_failing_is_given_up_by_name_and_retry_mends_it(
    commands: Commands,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
    objects: dict[str, bytes],
) -> None:
    fill_bucket(seaweed_bucket, objects, "s/")
    rules = [Rule(fault=SLOW_DOWN, path=f"/{key}") for key in (SMALL, LARGE)]
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, *rules)
    source = seaweed_bucket.location("s/", endpoint_url=proxy.endpoint_url)
    ended = commands.copy(source, f"{tmp_path}/out/")
    assert (ended.code, ended.copied, ended.failed) == (1, 199, 2), ended
    failures = {row["key"]: row["error"] for row in ended.report["failures"]}
    assert failures == {SMALL: "Throttled", LARGE: "Throttled"}
    shown = commands.ask("show", ended.report["job"])
    assert shown["state"] == "incomplete"
    reasons = sorted(letter["reason"] for letter in shown["letters"])
    assert len(reasons) == 2
    for reason, key in zip(reasons, (SMALL, LARGE), strict=True):
        assert "Throttled" in reason
        assert key in reason
        assert f"after {ATTEMPTS} attempts" in reason
    proxy.follow()
    mended = commands.ask("retry", ended.report["job"])
    assert (mended["state"], mended["objects"]["copied"]) == ("done", 201)
    assert mended["objects"]["failed"] == 0
    assert_equal_trees(read_tree(tmp_path / "out"), objects)

"""A fleet: submit, work, watch, steer and mend, with real Redis and real stores."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from scheduler.model import NewTask
from scheduler.redis_board import RedisBoard
from scheduler.redis_server import RedisServer
from tests.e2e.fleet import Fleet, has_ended
from tests.e2e.support import (
    MIB,
    assert_equal_trees,
    environment_for,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)
from tests.faults.script import Answer, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as redis:
        yield redis


@pytest.fixture
def fleet(redis: RedisProcess, seaweed: SeaweedServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(redis=redis, environment=environment_for(tmp_path / "state", seaweed))
    yield fleet
    fleet.close()


def test_two_workers_share_a_tree_and_one_large_object(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(500, seed=1, large={"large.bin": 40 * MIB})
    fill_bucket(seaweed_bucket, objects, "s/")
    for _ in range(2):
        fleet.start_worker()
    # The limit keeps the work there until both have begun.
    ended = fleet.copy(seaweed_bucket.location("s/"), f"{tmp_path}/out/", "--limit", "12MiB/s")
    assert ended.code == 0, ended
    assert (ended.copied, ended.failed) == (501, 0)
    assert ended.report["objects"]["planned"] == 501
    assert_equal_trees(read_tree(tmp_path / "out"), objects)
    assert leftovers(tmp_path / "out") == []
    shown = fleet.show(ended.report["job"])
    assert shown["state"] == "done"
    assert len(shown["workers"]) == 2
    assert min(worker["bytes"] for worker in shown["workers"]) > 0
    # Every worker has recorded what it did, and the record alone proves the target.
    records = f"{fleet.environment['MOVER_STATE']}/jobs/{ended.report['job']}/manifest/"
    checked = fleet.mover.run("check", "--manifest", records, f"{tmp_path}/out/", "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["objects"]["planned"] == 501
    # The same command again: everything is there.
    again = fleet.copy(seaweed_bucket.location("s/"), f"{tmp_path}/out/")
    assert (again.code, again.copied, again.report["objects"]["skipped"]) == (0, 0, 501)


def test_two_submitters_make_one_job(fleet: Fleet, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", make_objects(300, seed=2))
    ends = (f"{tmp_path}/in/", f"{tmp_path}/out/")
    submitters = [fleet.start(*ends) for _ in range(3)]
    time.sleep(1.0)
    fleet.start_worker()
    reports = [fleet.mover.finish(each) for each in submitters]
    assert [ended.code for ended in reports] == [0, 0, 0]
    assert len({ended.report["job"] for ended in reports}) == 1
    assert [ended.copied for ended in reports] == [300, 300, 300]


def test_jobs_are_listed_shown_and_watched(fleet: Fleet, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", make_objects(50, seed=3))
    job = fleet.submit(f"{tmp_path}/in/", f"{tmp_path}/out/")
    listed = {row["job"]: row for row in json.loads(fleet.command("jobs", "--json"))}
    assert listed[job]["state"] == "running"
    assert job in fleet.command("jobs")
    fleet.start_worker()
    watched = json.loads(fleet.command("show", job[:8], "--watch", "--json"))
    assert (watched["state"], watched["objects"]["copied"]) == ("done", 50)
    text = fleet.command("show", job)
    assert "state     done" in text
    assert " joined" in text
    fleet.command("show", "nonsense", code=2)


def test_a_paused_job_waits_and_a_resumed_one_ends(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(tmp_path / "in", make_objects(200, seed=4))
    job = fleet.submit(f"{tmp_path}/in/", seaweed_bucket.location("p/"))
    fleet.command("pause", job)
    fleet.start_worker()
    fleet.wait_until(job, lambda shown: len(shown["workers"]) == 1)
    time.sleep(2.5)
    assert fleet.look(job)["state"] == "paused"
    assert len(seaweed_bucket.list_keys("p/")) < 200
    fleet.command("resume", job)
    assert fleet.wait_for_end(job)["state"] == "done"
    assert len(seaweed_bucket.list_keys("p/")) == 200


def test_a_job_goes_to_the_workers_of_its_pool(fleet: Fleet, tmp_path: Path) -> None:
    objects = make_objects(40, seed=9, large={"large.bin": 20 * MIB})
    write_tree(tmp_path / "in", objects)
    job = fleet.submit(f"{tmp_path}/in/", f"{tmp_path}/out/", "--pool", "eu")
    fleet.start_worker()
    time.sleep(3.0)
    assert fleet.look(job)["workers"] == []
    fleet.start_worker("--pool", "us,eu")
    assert fleet.wait_for_end(job)["state"] == "done"
    assert_equal_trees(read_tree(tmp_path / "out"), objects)


@pytest.mark.alone
def test_a_link_is_shared_and_its_rate_can_be_changed(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(tmp_path / "in", {f"{n}.bin": os.urandom(MIB) for n in range(60)})
    fleet.start_worker()
    link = ("--link", "wan=10MiB/s")
    jobs = [
        fleet.submit(f"{tmp_path}/in/", seaweed_bucket.location(f"{n}/"), *link) for n in range(2)
    ]
    started_s = time.monotonic()
    time.sleep(4.0)
    done = sum(fleet.look(job)["bytes"]["done"] for job in jobs)
    seconds = time.monotonic() - started_s
    assert done <= 10 * MIB * (seconds + 1.0)
    fleet.command("limit", "link:wan", "off")
    for job in jobs:
        assert fleet.wait_for_end(job)["state"] == "done"
    assert time.monotonic() - started_s < 11.0  # at 10 MiB/s it would take twelve


def test_cancel_leaves_no_upload_and_no_half_object(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(150, seed=5, large={f"{n}.bin": 20 * MIB for n in range(3)})
    write_tree(tmp_path / "in", objects)
    job = fleet.submit(f"{tmp_path}/in/", seaweed_bucket.location("c/"), "--limit", "8MiB/s")
    for _ in range(2):
        fleet.start_worker()
    fleet.wait_until(job, lambda shown: bool(shown["tasks"]["waiting"]))
    fleet.command("cancel", job)
    ended = fleet.wait_for_end(job)
    assert ended["state"] == "cancelled"
    assert seaweed_bucket.upload_keys() == []
    there = read_bucket(seaweed_bucket, "c/")
    assert there.keys() < objects.keys()
    assert all(data == objects[key] for key, data in there.items())
    fleet.command("resume", job, code=2)
    # The same command starts anew.
    again = fleet.copy(f"{tmp_path}/in/", seaweed_bucket.location("c/"))
    assert again.code == 0, again
    assert_equal_trees(read_bucket(seaweed_bucket, "c/"), objects)


def test_poison_ends_in_the_dead_letters_and_retry_mends_it(
    fleet: Fleet, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    objects = make_objects(200, seed=6, large={"large.bin": 20 * MIB})
    fill_bucket(seaweed_bucket, objects, "s/")
    poisoned = ("d03/00003.bin", "large.bin")
    denied = Answer(status=403, code="AccessDenied")
    rules = [Rule(fault=denied, path=f"/{key}") for key in poisoned]
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, *rules)
    fleet.start_worker()
    source = seaweed_bucket.location("s/", endpoint_url=proxy.endpoint_url)
    ended = fleet.copy(source, f"{tmp_path}/out/")
    assert ended.code == 1
    assert (ended.copied, ended.failed) == (199, 2)
    assert sorted(row["key"] for row in ended.report["failures"]) == sorted(poisoned)
    shown = fleet.show(ended.report["job"])
    assert shown["state"] == "incomplete"
    assert len(shown["letters"]) == 2
    assert all("Denied" in letter["reason"] for letter in shown["letters"])
    proxy.follow()
    mended = json.loads(fleet.command("retry", ended.report["job"], "--json"))
    assert (mended["state"], mended["objects"]["copied"]) == ("done", 201)
    assert_equal_trees(read_tree(tmp_path / "out"), objects)


def test_a_drained_worker_leaves_with_zero_and_counts_no_attempt(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(100, seed=7, large={"a.bin": 20 * MIB, "b.bin": 20 * MIB})
    write_tree(tmp_path / "in", objects)
    job = fleet.submit(f"{tmp_path}/in/", seaweed_bucket.location("t/"), "--limit", "6MiB/s")
    first = fleet.start_worker()
    fleet.wait_until(job, lambda shown: bool(shown["tasks"]["leased"]))
    time.sleep(1.0)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    assert fleet.look(job)["tasks"]["leased"] == 0
    fleet.start_worker()
    fleet.command("limit", job, "off")
    assert fleet.wait_for_end(job)["state"] == "done"
    assert_equal_trees(read_bucket(seaweed_bucket, "t/"), objects)
    assert seaweed_bucket.upload_keys() == []


def test_a_worker_leaves_while_a_store_is_out_of_reach(fleet: Fleet, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        job = fleet.submit(f"s3://bucket-1/d/?endpoint_url={address}", f"{tmp_path}/out/")
        worker = fleet.start_worker()
        connection, _ = silent.accept()  # it has begun to open the source, and gets no answer
        with connection:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=15) == 0
    fleet.start_worker()
    fleet.command("cancel", job)
    fleet.wait_until(job, has_ended)


def test_a_stopped_worker_that_wakes_up_late_changes_nothing(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(150, seed=8, large={"a.bin": 36 * MIB})
    write_tree(tmp_path / "in", objects)
    job = fleet.submit(f"{tmp_path}/in/", seaweed_bucket.location("z/"), "--limit", "3MiB/s")
    sleeper = fleet.start_worker("--lease", "3s")
    fleet.wait_until(job, lambda shown: bool(shown["tasks"]["leased"]))
    time.sleep(1.0)
    sleeper.send_signal(signal.SIGSTOP)
    fleet.start_worker("--lease", "3s")
    time.sleep(5.0)
    fleet.command("limit", job, "off")
    sleeper.send_signal(signal.SIGCONT)
    shown = fleet.wait_for_end(job)
    assert shown["state"] == "done", shown
    report = json.loads(fleet.command("show", job, "--watch", "--json"))
    assert (report["objects"]["copied"], report["objects"]["failed"]) == (151, 0)
    assert_equal_trees(read_bucket(seaweed_bucket, "z/"), objects)
    # Who wakes up in the opening of an upload sees it out before it drops it.
    deadline_s = time.monotonic() + 10.0
    while seaweed_bucket.upload_keys() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert seaweed_bucket.upload_keys() == []


def test_a_worker_outlives_a_queue_that_is_away(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = make_objects(400, seed=10, large={"large.bin": 40 * MIB})
    write_tree(tmp_path / "in", objects)
    with RedisProcess(durable=True) as redis:
        fleet = Fleet(redis=redis, environment=environment_for(tmp_path / "state", seaweed))
        try:
            worker = fleet.start_worker()
            ends = (f"{tmp_path}/in/", seaweed_bucket.location("q/"))
            watcher = fleet.start(*ends, "--limit", "8MiB/s")
            fleet.wait_until(fleet.wait_for_job(), lambda shown: bool(shown["tasks"]["done"]))
            redis.stop()
            time.sleep(4.0)
            redis.start()
            ended = fleet.mover.finish(watcher)
            assert (ended.code, ended.copied) == (0, 401), ended
            redis.freeze()
            time.sleep(7.0)
            redis.thaw()
            again = fleet.copy(*ends, "--limit", "8MiB/s")
            assert (again.code, again.copied) == (0, 0), again
            assert worker.poll() is None
        finally:
            fleet.close()
    assert_equal_trees(read_bucket(seaweed_bucket, "q/"), objects)


async def test_a_job_of_another_version_ends_no_worker(fleet: Fleet, tmp_path: Path) -> None:
    server = await RedisServer.open(fleet.redis.url)
    await RedisBoard(server).submit("foreign", b"{}", [NewTask(payload=b"?")], now_s=1.0)
    worker = fleet.start_worker()
    write_tree(tmp_path / "in", make_objects(20, seed=11))
    ended = await asyncio.to_thread(fleet.copy, f"{tmp_path}/in/", f"{tmp_path}/out/")
    assert (ended.code, ended.copied, worker.poll()) == (0, 20, None), ended
    await server.do("DEL", "mover:active")
    await server.aclose()


async def test_a_watcher_says_that_its_job_was_lost(fleet: Fleet, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", make_objects(20, seed=12))
    server = await RedisServer.open(fleet.redis.url)
    # A job that an earlier test left here would be waited for instead of this one.
    await server.do("FLUSHALL")
    watcher = fleet.start(f"{tmp_path}/in/", f"{tmp_path}/out/")
    await asyncio.to_thread(fleet.wait_for_job)
    await server.do("FLUSHALL")
    await server.aclose()
    ended = await asyncio.to_thread(fleet.mover.finish, watcher)
    assert ended.code == 1
    assert "has lost job" in ended.errors


def test_a_dry_run_submits_nothing(fleet: Fleet, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a": b"1"})
    before = fleet.command("jobs", "--json")
    ended = fleet.copy(f"{tmp_path}/in/", f"{tmp_path}/out/", "--detach", "--dry-run")
    assert (ended.code, ended.report["state"]) == (0, "planned")
    assert fleet.command("jobs", "--json") == before


def test_a_request_that_no_worker_can_carry_out_ends_with_the_reason(
    fleet: Fleet, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fleet.start_worker()
    missing = seaweed_bucket.location("d/").replace(seaweed_bucket.name, "no-such-bucket-1")
    ended = fleet.copy(missing, f"{tmp_path}/out/")
    assert (ended.code, ended.report["state"]) == (1, "incomplete")
    (failure,) = ended.report["failures"]
    assert "no-such-bucket-1" in failure["detail"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("jobs", "--queue", "redis://u:secret@127.0.0.1:1/0"), 2, "MOVER_QUEUE_PASSWORD"),
        (("jobs", "--queue", "redis://127.0.0.1:1/0"), 1, "is the server running"),
        (("jobs", "--queue", "http://host/"), 2, "redis://HOST:PORT/0"),
        (("worker", "--queue", "sqlite:///tmp/x"), 2, "--workers N"),
        (("copy", "/tmp/a/", "/tmp/b/", "--detach"), 2, "--queue"),
        (("copy", "/tmp/a/", "/tmp/b/", "--queue", "URL", "--workers", "2"), 2, "mover worker"),
        (("copy", "memory://a/", "/tmp/b/", "--queue", "URL"), 2, "memory"),
        (("worker", "--queue", "URL", "--pool", ","), 2, "--pool"),
        (("worker", "--queue", "URL", "--exit-when-idle", "1"), 2, "--exit-when-idle"),
        (("limit", "x", "50Mb/s", "--queue", "URL"), 2, "RATE"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    fleet: Fleet, arguments: tuple[str, ...], code: int, words: str
) -> None:
    given = [fleet.redis.url if word == "URL" else word for word in arguments]
    done = fleet.mover.run(*given)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_limiter_of_a_link_is_served(fleet: Fleet) -> None:
    link = ("--listen", "127.0.0.1:0", "--link", "served=50MB/s")
    server = fleet.mover.begin("serve", "--queue", fleet.redis.url, *link)
    try:
        assert server.stderr is not None
        said = server.stderr.readline().decode()
        address = said.split()[-1].removesuffix("NAME")
        assert _ask(address + "served", {"bytes": 1000}) == (200, 1000)
        assert _ask(address + "served", {"bytes": -1000}) == (200, 0)
        assert _ask(address + "nobody", {"bytes": 1000})[0] == 404
        assert _ask(address + "served", {"octets": 1})[0] == 400
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=10)
        assert server.returncode == 0


def _ask(url: str, question: dict[str, int]) -> tuple[int, int]:
    """The status, and what was granted."""
    request = urllib.request.Request(url, data=json.dumps(question).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, int(json.load(answer)["granted"])
    except urllib.error.HTTPError as error:
        return error.code, 0

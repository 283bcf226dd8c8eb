"""The world moves while a copy runs: sources change, disks fill, servers restart."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bench.stores import SeaweedServer
from tests.e2e.support import (
    MIB,
    Mover,
    assert_equal_trees,
    copy_here,
    environment_for,
    failures_of,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)
from tests.faults.script import Drip, Latency, Rule
from tests.servers.buckets import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import ProxyFactory
    from tests.faults.proxy import FaultProxy

LARGE = "large.bin"
SMALL = "small.bin"
OBJECTS = {SMALL: b"s" * 3000, LARGE: b"L" * (20 * MIB), "still.bin": b"still"}
SLOWLY = Rule(fault=Drip(bytes_per_s=10 * MIB), path=LARGE)
LATE = Rule(fault=Latency(delay_s=0.6), method="GET", path=SMALL, nth={1})


class Meanwhile:
    """Runs a deed in a thread of its own; ``done`` says that it was done.

    It is done some time from now, or as soon as a proxy holds up a first request.
    """

    def __init__(self, when: float | FaultProxy, deed: Callable[[], object]) -> None:
        self._when = when
        self._deed = deed
        self.done = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        if isinstance(self._when, float):
            time.sleep(self._when)
        else:
            while not self._when.events:
                if self._is_over.wait(0.01):
                    return
        self._deed()
        self.done = True

    def __enter__(self) -> Meanwhile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.mark.parametrize("key", [SMALL, LARGE])
@pytest.mark.parametrize("size", ["same", "other"])
async def test_an_object_replaced_in_the_store_arrives_as_one_version(
    key: str,
    size: str,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    fill_bucket(seaweed_bucket, OBJECTS)
    fresh = b"N" * (len(OBJECTS[key]) + (size == "other"))
    proxy = fault_proxy(seaweed.endpoint_url, SLOWLY if key == LARGE else LATE)
    with Meanwhile(proxy, lambda: seaweed_bucket.put(key, fresh)) as change:
        report = await copy_here(
            seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
            f"{tmp_path}/target/",
            environment=environment_for(tmp_path / "state", seaweed),
        )
        assert change.done, "the copy was faster than the change"
    assert (report.exit_code, report.failures) == (0, [])
    assert_equal_trees(read_tree(tmp_path / "target"), OBJECTS | {key: fresh})
    assert leftovers(tmp_path / "target") == []


@pytest.mark.parametrize("key", [SMALL, LARGE])
async def test_an_object_that_vanishes_is_named(
    key: str,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    fill_bucket(seaweed_bucket, OBJECTS)
    proxy = fault_proxy(seaweed.endpoint_url, SLOWLY if key == LARGE else LATE)
    with Meanwhile(proxy, lambda: seaweed_bucket.delete(key)):
        report = await copy_here(
            seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
            f"{tmp_path}/target/",
            environment=environment_for(tmp_path / "state", seaweed),
        )
    assert failures_of(report) == {key: "NotFound"}
    assert report.exit_code == 1
    assert (
        (tmp_path / "state")
        .joinpath("jobs", report.job, "retry.txt")
        .read_text()
        .endswith(f"{key}\n")
    )
    rest = {name: data for name, data in OBJECTS.items() if name != key}
    assert_equal_trees(read_tree(tmp_path / "target"), rest)
    assert leftovers(tmp_path / "target") == []


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(data)
    beside.replace(path)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize("change", [_replace, _append])
async def test_a_large_file_that_changes_arrives_as_one_version(
    change: Callable[[Path, bytes], None],
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    write_tree(tmp_path / "source", OBJECTS)
    path = tmp_path / "source" / LARGE
    proxy = fault_proxy(
        seaweed.endpoint_url, Rule(fault=Latency(delay_s=0.5), path="partNumber", nth=range(1, 4))
    )
    with Meanwhile(proxy, lambda: change(path, b"N" * (18 * MIB))) as changed:
        report = await copy_here(
            f"{tmp_path}/source/",
            seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
            environment=environment_for(tmp_path / "state", seaweed),
        )
        assert changed.done, "the copy was faster than the change"
    assert (report.exit_code, report.failures) == (0, [])
    found = await asyncio.to_thread(read_bucket, seaweed_bucket)
    assert_equal_trees(found, OBJECTS | {LARGE: path.read_bytes()})
    assert seaweed_bucket.upload_keys() == []


async def test_a_file_that_never_rests_is_reported_as_changed(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    write_tree(tmp_path / "source", OBJECTS)
    proxy = fault_proxy(seaweed.endpoint_url, Rule(fault=Latency(delay_s=0.3), path="partNumber"))
    ended = threading.Event()

    def keep_writing() -> None:
        while not ended.wait(0.02):
            _append(tmp_path / "source" / LARGE, b"more")

    with Meanwhile(0.0, keep_writing):
        try:
            report = await copy_here(
                f"{tmp_path}/source/",
                seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
                environment=environment_for(tmp_path / "state", seaweed),
            )
        finally:
            ended.set()
    assert failures_of(report) == {LARGE: "Changed"}
    assert report.exit_code == 1
    assert set(seaweed_bucket.list_keys()) == OBJECTS.keys() - {LARGE}
    assert seaweed_bucket.upload_keys() == []


async def test_a_target_that_fills_up_names_what_did_not_fit_and_goes_on_when_there_is_room(
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    small_disk: Callable[[int], Path],
    tmp_path: Path,
) -> None:
    objects = make_objects(60, seed=5, size_max=2000) | {"big.bin": b"B" * (9 * MIB)}
    fill_bucket(seaweed_bucket, objects | {"zlarge.bin": b"Z" * (20 * MIB)})
    disk = small_disk(16 * MIB)
    environment = environment_for(tmp_path / "state", seaweed)
    source = seaweed_bucket.location()
    report = await copy_here(source, f"{disk}/out/", environment=environment)
    failed = failures_of(report)
    # The one that can never fit fills the disk while it is under way, and whatever is written in
    # that moment does not fit either: which ones is chance, that each is named is not.
    assert "zlarge.bin" in failed
    assert (set(failed.values()), report.exit_code) == ({"NoSpace"}, 1)
    assert report.tally.copied_objects + len(failed) == len(objects) + 1
    fit = {key: data for key, data in objects.items() if key not in failed}
    assert_equal_trees(read_tree(disk / "out"), fit)
    assert leftovers(disk) == []

    grow = ["mount", "-o", f"remount,size={64 * MIB}", str(disk)]
    await asyncio.to_thread(subprocess.run, grow, check=True)
    report = await copy_here(source, f"{disk}/out/", environment=environment)
    assert (report.exit_code, report.tally.copied_objects) == (0, len(failed))
    assert_equal_trees(read_tree(disk / "out"), objects | {"zlarge.bin": b"Z" * (20 * MIB)})


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A command's prefix that drops to a user without rights; for root it is another user."""
    if os.geteuid() != 0:
        yield ()
        return
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    yield ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def test_permission_denied_is_named(tmp_path: Path, as_nobody: tuple[str, ...]) -> None:
    write_tree(tmp_path / "source", {"open.txt": b"open", "closed.txt": b"closed"})
    (tmp_path / "source" / "closed.txt").chmod(0)
    for name in ("target", "state"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    mover = Mover(environment=environment_for(tmp_path / "state"))
    try:
        ended = mover.copy(f"{tmp_path}/source/", f"{tmp_path}/target/", prefix=as_nobody)
        assert ended.code == 1, ended
        (failure,) = ended.report["failures"]
        assert (failure["key"], failure["error"]) == ("closed.txt", "Denied")
        assert read_tree(tmp_path / "target") == {"open.txt": b"open"}

        (tmp_path / "target").chmod(0o555)
        (tmp_path / "target" / "open.txt").unlink()
        ended = mover.copy(f"{tmp_path}/source/", f"{tmp_path}/target/", prefix=as_nobody)
        assert ended.code in (1, 2), ended
        assert "Traceback" not in ended.errors
        assert read_tree(tmp_path / "target") == {}
    finally:
        mover.close()
        (tmp_path / "target").chmod(0o755)


@pytest.mark.slow
def test_a_server_that_restarts_is_waited_for(tmp_path: Path) -> None:
    objects = make_objects(1500, seed=6) | {"large.bin": b"L" * (20 * MIB)}
    write_tree(tmp_path / "source", objects)
    with SeaweedServer() as server:
        bucket = Bucket.create(server)
        mover = Mover(environment=environment_for(tmp_path / "state", server))
        try:
            process = mover.start(f"{tmp_path}/source/", bucket.location(), "--workers", "2")
            with Meanwhile(1.2, lambda: server.restart(pause_s=1.0)):
                ended = mover.finish(process)
            assert (ended.code, ended.failed) == (0, 0), ended
            assert_equal_trees(read_bucket(bucket), objects)
            assert bucket.upload_keys() == []
        finally:
            mover.close()

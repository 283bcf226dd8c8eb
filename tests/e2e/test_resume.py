"""What is done is not done twice, and what it costs: requests counted on the wire."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from mover.stopping import Stop
from tests.e2e.support import (
    MIB,
    Mover,
    assert_equal_trees,
    copy_here,
    environment_for,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)
from tests.faults.script import Latency, Rule

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.faults.proxy import FaultProxy
    from tests.servers.buckets import Bucket

NOTED = Rule(fault=Latency(delay_s=0.0))
"""Delays nothing, so that the proxy keeps a note of every request."""


def _kinds(proxy: FaultProxy) -> Counter[str]:
    """The requests so far, as LIST, GET, PUT, HEAD, PART and so on."""
    kinds: Counter[str] = Counter()
    for event in proxy.events:
        query = event.target.partition("?")[2]
        if "list-type" in query:
            kinds["LIST"] += 1
        elif "partNumber" in query:
            kinds[f"{event.method}-PART"] += 1
        elif "upload" in query:
            kinds[f"{event.method}-UPLOAD"] += 1
        else:
            kinds[event.method] += 1
    return kinds


def _since(proxy: FaultProxy, before: Counter[str]) -> dict[str, int]:
    return dict(_kinds(proxy) - before)


async def test_a_thousand_objects_cost_a_page_and_no_heads(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    objects = make_objects(1000, seed=9, size_max=500)
    write_tree(tmp_path / "source", objects, settle=True)
    environment = environment_for(tmp_path / "state", seaweed)
    proxy = fault_proxy(seaweed.endpoint_url, NOTED)
    away = seaweed_bucket.location("t/", endpoint_url=proxy.endpoint_url)

    for source, target, verb in (
        (f"{tmp_path}/source/", away, "PUT"),
        (away, f"{tmp_path}/target/", "GET"),
    ):
        before = _kinds(proxy)
        report = await copy_here(source, target, environment=environment)
        assert (report.exit_code, report.tally.copied_objects) == (0, 1000)
        spent = _since(proxy, before)
        assert spent.pop(verb) == 1000
        # The look before the job, to say a wrong key at once; then the listing, a page or two.
        assert 2 <= spent.pop("LIST") <= 4, spent
        assert spent == {}

        before = _kinds(proxy)
        again = await copy_here(source, target, environment=environment)
        assert (again.exit_code, again.tally.copied_objects) == (0, 0)
        assert again.tally.skipped_objects == 1000
        spent = _since(proxy, before)
        assert set(spent) == {"LIST"}
        assert spent["LIST"] <= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_job_that_was_stopped_goes_on_where_it_was(
    number: signal.Signals,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    objects = make_objects(700, seed=10, size_max=500, large={"x/large.bin": 24 * MIB})
    write_tree(tmp_path / "source", objects, settle=True)
    proxy = fault_proxy(seaweed.endpoint_url, NOTED)
    ends = (f"{tmp_path}/source/", seaweed_bucket.location(endpoint_url=proxy.endpoint_url))
    mover = Mover(environment=environment_for(tmp_path / "state", seaweed))
    try:
        process = mover.start(*ends, "--workers", "1", "--part-size", "5MiB")
        deadline_s = time.monotonic() + 20
        while _kinds(proxy)["PUT"] < 200 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(number)
        stopped = mover.finish(process)
        codes = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
        assert stopped.code == codes[number], stopped
        assert "Traceback" not in stopped.errors
        ended = mover.copy(*ends, "--workers", "1", "--part-size", "5MiB")
    finally:
        mover.close()
    assert (ended.code, ended.copied, ended.failed) == (0, 701, 0), ended
    assert_equal_trees(read_bucket(seaweed_bucket), objects)
    assert seaweed_bucket.upload_keys() == []
    kinds = _kinds(proxy)
    # What was under way when it was killed is done again: requests in flight, not whole shards.
    assert kinds["PUT"] <= 700 + 150, kinds
    assert kinds["PUT-PART"] <= 5 + 5, kinds


async def test_a_drained_call_is_resumed_by_the_same_call(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    objects = make_objects(300, seed=11, size_max=500)
    fill_bucket(seaweed_bucket, objects)
    slow = Rule(fault=Latency(delay_s=0.2), method="GET", path=r"\.bin")
    proxy = fault_proxy(seaweed.endpoint_url, slow)
    environment = environment_for(tmp_path / "state", seaweed)
    source = seaweed_bucket.location(endpoint_url=proxy.endpoint_url)
    stop = Stop()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(
            copy_here(source, f"{tmp_path}/target/", environment=environment, stop=stop)
        )
        while len(proxy.events) < 40:  # noqa: ASYNC110 - the proxy runs in another thread
            await asyncio.sleep(0.01)
        stop.request()
        stop.request()
    report = first.result()
    assert report.state == "interrupted"
    done = read_tree(tmp_path / "target")
    assert all(objects[name] == data for name, data in done.items() if ".mover" not in name)
    proxy.follow(NOTED)
    report = await copy_here(source, f"{tmp_path}/target/", environment=environment)
    assert (report.exit_code, report.tally.copied_objects) == (0, 300)
    assert_equal_trees(read_tree(tmp_path / "target"), objects)
    assert leftovers(tmp_path / "target") == []


async def test_filesystem_objects_of_python_go_in_and_out(tmp_path: Path) -> None:
    objects = make_objects(50, seed=12) | {"large.bin": b"L" * (17 * MIB)}
    memory: Any = fsspec.filesystem("memory", skip_instance_cache=True)
    memory.store.clear()
    for name, data in objects.items():
        memory.pipe(f"/from/{name}", data)
    environment = environment_for(tmp_path / "state")
    report = await copy_here((memory, "/from"), f"{tmp_path}/target/", environment=environment)
    assert (report.exit_code, report.failures) == (0, [])
    assert_equal_trees(read_tree(tmp_path / "target"), objects)
    report = await copy_here(f"{tmp_path}/target/", (memory, "/back"), environment=environment)
    assert (report.exit_code, report.failures) == (0, [])
    found = {path.removeprefix("/back/"): memory.cat(path) for path in memory.find("/back")}
    assert_equal_trees(found, objects)
    memory.store.clear()

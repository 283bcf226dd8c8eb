"""``mover limit`` of a job that runs: on the wire within two seconds, for all of its processes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from bench.redis_process import RedisProcess
from tests.e2e.fleet import Fleet
from tests.e2e.support import Mover, environment_for, fill_bucket, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.flow_meter import Meter
    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

pytestmark = pytest.mark.alone

FELT_S = 2.0
WINDOW_S = 2.0
TOLERANCE = 0.1
"""Of two seconds: a machine with other things to do may be late with a few of them."""

TRIES = 3
"""A machine that is busy with other things may starve a copy; it can never excuse a late edit down."""

EDITS = (("8MB/s", 8e6), ("1MB/s", 1e6))
"""Up, and down by far, on a job that began with 3 MB/s."""


class Job(NamedTuple):
    """A copy under way: how its commands are given, and the meter of its bytes."""

    mover: Mover
    queue: tuple[str, ...]
    meter: Meter

    def run(self, *words: str) -> str:
        done = self.mover.run(*words, *self.queue)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    async def assert_edits_hold(self) -> None:
        while self.meter.total_bytes < 1e6:  # noqa: ASYNC110 - a proxy in a thread counts
            await asyncio.sleep(0.05)
        (row,) = json.loads(await asyncio.to_thread(self.run, "jobs", "--json"))
        for _ in range(TRIES):
            shares = [await self._share_after(row["job"], *edit) for edit in EDITS]
            assert max(shares) <= 1 + TOLERANCE, shares
            if min(shares) >= 1 - TOLERANCE:
                break
        else:
            pytest.fail(f"the job stayed below its rates {TRIES} times: {shares}")
        await asyncio.to_thread(self.run, "cancel", row["job"])

    async def _share_after(self, job: str, text: str, rate: float) -> float:
        """Edit the rate; what share of it is on the wire once it must be felt."""
        await asyncio.to_thread(self.run, "limit", job, text)
        felt_s = time.monotonic() + FELT_S
        await asyncio.sleep(FELT_S + WINDOW_S)
        return self.meter.rate_between(felt_s, felt_s + WINDOW_S) / rate


@pytest.mark.slow
async def test_a_new_rate_is_on_the_wire_within_two_seconds(
    seaweed: SeaweedServer,
    bucket_on: Callable[[SeaweedServer], Bucket],
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    """Side by side: one object down on a queue of this host, many up on a fleet's, two workers each."""
    down, up = (fault_proxy(seaweed.endpoint_url) for _ in range(2))
    first, second = bucket_on(seaweed), bucket_on(seaweed)
    fill_bucket(first, {"huge.bin": bytes(150_000_000)})
    write_tree(tmp_path / "in", {f"{n:04d}": bytes(48 * 1024) for n in range(2800)})
    host = Mover(environment=environment_for(tmp_path / "host", seaweed))
    with RedisProcess() as redis:
        fleet = Fleet(redis=redis, environment=environment_for(tmp_path / "fleet", seaweed))
        try:
            for _ in range(2):
                fleet.start_worker()
            away = first.location(endpoint_url=down.endpoint_url)
            host.start(away, f"{tmp_path}/out/", "--limit", "3MB/s", "--workers", "2")
            away = second.location(endpoint_url=up.endpoint_url)
            fleet.submit(f"{tmp_path}/in/", away, "--limit", "3MB/s")
            queue = ("--queue", redis.url)
            async with asyncio.TaskGroup() as both:
                for job in (Job(host, (), down.down), Job(fleet.mover, queue, up.up)):
                    both.create_task(job.assert_edits_hold(), name=str(job.queue))
        finally:
            host.close()
            fleet.close()

"""Rates hold on the wire: within 3 % over any five seconds, for all processes of a job together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bench.flow_meter import Meter
from tests.e2e.support import copy_here, environment_for, fill_bucket, make_objects
from tests.e2e.throttling import START_S, TOLERANCE, WINDOW_S, Case, assert_held
from tests.faults.script import Latency, Rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

pytestmark = pytest.mark.alone

# Cases that run side by side: together they use a fraction of a core.
GROUPS = (
    (Case(1, up=False, huge=True, workers=2), Case(8, up=True, huge=False, workers=2)),
    (Case(1, up=True, huge=False, workers=1), Case(8, up=False, huge=True, workers=1)),
    (Case(20, up=True, huge=True, workers=2),),
)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: "+".join(map(str, group)))
async def test_bytes_per_second(
    group: tuple[Case, ...],
    seaweed: SeaweedServer,
    bucket_on: Callable[[SeaweedServer], Bucket],
    tmp_path: Path,
) -> None:
    async with asyncio.TaskGroup() as crew:
        for case in group:
            held = assert_held(case, lambda: bucket_on(seaweed), tmp_path)
            crew.create_task(held, name=str(case))


@pytest.mark.slow
async def test_requests_per_second(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    rate = 80
    fill_bucket(seaweed_bucket, make_objects(7 * rate, seed=7, size_max=200))
    proxy = fault_proxy(seaweed.endpoint_url, Rule(fault=Latency(delay_s=0.0)))
    report = await copy_here(
        seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state", seaweed),
        limit_requests=f"{rate}/s",
    )
    assert report.exit_code == 0
    meter = Meter()
    for event in proxy.events:  # the rule that delays nothing notes every request
        meter.record(event.at_s, 1)
    rates = meter.window_rates(WINDOW_S, skip_s=START_S)
    assert rates
    assert rate * (1 - TOLERANCE) <= min(rates) <= max(rates) <= rate * (1 + TOLERANCE)
    assert meter.burst_bytes(rate) <= rate

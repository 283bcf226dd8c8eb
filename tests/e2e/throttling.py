"""Throttled copies through the metering proxy, for the quick tests and the long ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.e2e.support import Mover, environment_for, fill_bucket, write_tree
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.flow_meter import Meter
    from tests.e2e.support import Ended
    from tests.servers.buckets import Bucket

WINDOW_S = 5.0
START_S = 1.0
TOLERANCE = 0.03
SMALL_BYTES = 48 * 1024
TRIES = 3
"""A machine that is busy with other things may starve a copy; it can never excuse a burst."""


class Case(NamedTuple):
    """A throttled copy: MB/s, which way, one huge object or many small ones, and how many workers."""

    rate_mb: int
    up: bool
    huge: bool
    workers: int
    seconds: float = 7.0

    def __str__(self) -> str:
        way, what = "up" if self.up else "down", "huge" if self.huge else "small"
        return f"{self.rate_mb}MB-{way}-{what}-{self.workers}w"

    @property
    def rate_bytes_per_s(self) -> float:
        return self.rate_mb * 1e6

    def objects(self) -> dict[str, bytes]:
        size = int(self.rate_bytes_per_s * self.seconds)
        if self.huge:
            return {"huge.bin": b"H" * size}
        return {f"{n:06d}": b"s" * SMALL_BYTES for n in range(size // SMALL_BYTES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """How a throttled copy went; shares are of the rate asked for."""

    ended: Ended
    slowest: float
    fastest: float
    burst_s: float


async def run_case(case: Case, bucket: Bucket, place: Path) -> Metered:
    """Copy under the limit and meter the bytes on their way."""
    objects = case.objects()
    if case.up:
        write_tree(place / "disk", objects)
    else:
        await asyncio.to_thread(fill_bucket, bucket, objects)
    with FaultProxy(bucket.server.endpoint_url) as proxy:
        mover = Mover(environment=environment_for(place / "state", bucket.server))
        ends = [f"{place}/disk/", bucket.location(endpoint_url=proxy.endpoint_url)]
        source, target = ends if case.up else ends[::-1]
        arguments = ("--limit", f"{case.rate_mb}MB/s", "--workers", str(case.workers))
        mover.timeout_s = case.seconds * 3 + 30
        try:
            ended = await asyncio.to_thread(mover.copy, source, target, *arguments)
        finally:
            mover.close()
        return _judge(case, ended, proxy.up if case.up else proxy.down)


def _judge(case: Case, ended: Ended, meter: Meter) -> Metered:
    rate = case.rate_bytes_per_s
    rates = meter.window_rates(WINDOW_S, skip_s=START_S)
    assert rates, f"{case}: over before it could be metered: {meter.total_bytes} bytes, {ended}"
    return Metered(
        ended=ended,
        slowest=min(rates) / rate,
        fastest=max(rates) / rate,
        burst_s=meter.burst_bytes(rate) / rate,
    )


async def assert_held(case: Case, make_bucket: Callable[[], Bucket], place: Path) -> None:
    """Within 3 % in every window of 5 s after the first second, never above a second's budget."""
    for number in range(TRIES):
        metered = await run_case(case, make_bucket(), place / f"{case}-{number}")
        assert metered.ended.code == 0, metered.ended
        assert metered.burst_s <= 1.0, (str(case), metered)
        assert metered.fastest <= 1 + TOLERANCE, (str(case), metered)
        if metered.slowest >= 1 - TOLERANCE:
            return
    pytest.fail(f"{case} stayed below its rate {TRIES} times: {metered}")

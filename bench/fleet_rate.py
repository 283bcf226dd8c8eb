"""Whether a fleet's limit holds on the wire: ``python -m bench fleet rate``.

One object without end is copied from the latent store to itself under ``--limit``, while workers come
and go at random and the queue's server is killed and started again. The store notes the bytes of bodies
as the kernel takes and gives them, in bins of 10 ms; what the windows of one and ten seconds hold is
compared with the limit.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import report
from bench.fleet_rig import Shape, opened_rig
from bench.flow_meter import BIN_S, Meter
from mover.model import CopySpec
from mover.ranging import first_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.fleet_rig import Rig

MIB = 1024 * 1024
SETTLE_S = 2.0
"""From the first byte until the windows count: the first grants, and the store's empty buffers."""

ENDLESS_S = 60.0
"""So much longer than asked the object would take: it must not end while somebody looks."""

STAY_S = (2.0, 8.0)
"""How long it takes until the next worker leaves and another comes."""

_HEADER = (
    "workers", "way", "10 s: least", "most", "1 s: least", "most", "burst s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A fleet under a limit, in bytes a second for each direction."""

    workers: int
    rate_per_s: int
    seconds: float
    part_bytes: int = 5 * MIB


async def measure(limited: Limited) -> dict[str, Meter]:
    """Copy for so many seconds, and return what flowed: ``down`` from the store, ``up`` to it."""
    size_bytes = int(limited.rate_per_s * (limited.seconds + ENDLESS_S))
    spec = CopySpec(
        source=f"s3://source/large-{size_bytes}.bin",
        target="s3://sink/large.bin",
        server_copy=False,
        part_bytes=limited.part_bytes,
        limit=f"{limited.rate_per_s}B/s",
    )
    shape = Shape(workers=limited.workers, keys=1, latency_ms=20.0, durable_queue=True)
    async with opened_rig(shape) as rig:
        rig.counts()
        await rig.submit(spec, first_listing(time.time()))
        await _come_and_go(rig, limited)
        flows = rig.counts()["flows"]
    return {"down": _meter(flows["out"]), "up": _meter(flows["in"])}


async def _come_and_go(rig: Rig, limited: Limited) -> None:
    """Let workers change, but for a single one, and the queue restart halfway."""
    chance = random.Random(limited.workers)
    began_s = time.monotonic()
    restarts = [began_s + limited.seconds / 2]
    while (left_s := began_s + limited.seconds - time.monotonic()) > 0:
        await asyncio.sleep(min(chance.uniform(*STAY_S), left_s))
        if restarts and time.monotonic() >= restarts[0]:
            restarts.pop()
            rig.restart_queue()
        if limited.workers > 1:
            rig.start_worker()
            rig.dismiss_worker()


def _meter(flow: dict[str, int]) -> Meter:
    meter = Meter()
    for place in sorted(flow, key=int):
        meter.record((int(place) + 0.5) * BIN_S, flow[place])
    return meter


def hold(
    crews: Sequence[int], *, rate_per_s: int, seconds: float, tell: Callable[[str], None]
) -> str:
    """Measure every number of workers, and return a table of windows as ratios to the limit."""
    rows = []
    for crew in crews:
        limited = Limited(workers=crew, rate_per_s=rate_per_s, seconds=seconds)
        meters = asyncio.run(measure(limited))
        tell(f"  limit, {crew} workers: {meters['down'].total_bytes / 1e6:.0f} MB")
        rows += [_row(crew, way, meter, rate_per_s) for way, meter in meters.items()]
    return f"limit of {rate_per_s / 1e6:g} MB/s each way\n\n{report.table(_HEADER, rows)}\n"


def ratios(meter: Meter, rate_per_s: int, *, window_s: float) -> tuple[float, float]:
    """The least and the most of all windows of such a length, as ratios to the rate.

    The first ``SETTLE_S`` do not count. Raises ``RuntimeError`` where too little flowed for a window.
    """
    found = [rate / rate_per_s for rate in meter.window_rates(window_s, skip_s=SETTLE_S)]
    if not found:
        raise RuntimeError(f"too little flowed for a window of {window_s:g} seconds")
    return min(found), max(found)


def _row(crew: int, way: str, meter: Meter, rate_per_s: int) -> list[str]:
    windows = (*ratios(meter, rate_per_s, window_s=10.0), *ratios(meter, rate_per_s, window_s=1.0))
    burst_s = meter.burst_bytes(rate_per_s) / rate_per_s
    return [str(crew), way, *(f"{ratio:.3f}" for ratio in windows), f"{burst_s:.2f}"]

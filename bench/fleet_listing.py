"""How fast a fleet plans: ``python -m bench listing``, a flat prefix of a million keys.

The job is submitted with a first task that is never cut, or cut into so many ranges as every job's.
Its end is that of the last listing task: the workers copy meanwhile, one object at a time each, which
shows when the first copy starts and costs next to nothing; what is left to copy is dropped.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench import report
from bench.fleet_rig import Run, Shape, opened_rig
from mover.model import CopySpec
from mover.pools import LISTING
from mover.ranging import RANGES, first_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNCUT = 1
"""What the table calls a listing that is never cut: one range."""

_HEADER = (
    "keys", "ranges", "workers", "wall s", "speed-up", "first copy s", "pages",
    "CPU us a key: workers", "Redis", "store", "cores busy", "RSS MB",
)  # fmt: skip


async def measure(keys: int, ranges: int, *, workers: int, latency_ms: float) -> Run:
    """List and plan once with a fresh fleet; ``ranges`` 1 is never cut."""
    spec = CopySpec(source="s3://source/", target="s3://sink/", server_copy=False)
    shape = Shape(workers=workers, keys=keys, latency_ms=latency_ms, options=("--concurrency", "1"))
    first = first_listing(time.time(), ranges=0 if ranges == UNCUT else ranges)
    async with opened_rig(shape) as rig:
        return await rig.measure(spec, first, pools=(LISTING,))


def compare(
    counts: Sequence[int],
    *,
    ranges: Sequence[int] = (UNCUT, RANGES),
    workers: int,
    latency_ms: float,
    repeats: int,
    tell: Callable[[str], None],
) -> str:
    """Measure every number of keys with every number of ranges; the median of each in a table."""
    rows = []
    for keys in counts:
        base_s = 0.0
        for number in ranges:
            runs = []
            for _ in range(repeats):
                run = asyncio.run(measure(keys, number, workers=workers, latency_ms=latency_ms))
                tell(f"  {keys:,} keys in {number} ranges: {run.wall_s:.2f} s")
                runs.append(run)
            median = sorted(runs, key=lambda run: run.wall_s)[repeats // 2]
            base_s = base_s or median.wall_s
            rows.append(_row(keys, number, workers, median, base_s))
    return f"{latency_ms:g} ms a page\n\n{report.table(_HEADER, rows)}\n"


def _row(keys: int, ranges: int, workers: int, run: Run, base_s: float) -> list[str]:
    return [
        f"{keys:,}",
        str(ranges),
        str(workers),
        f"{run.wall_s:.2f}",
        f"{base_s / run.wall_s:.2f}",
        f"{run.marks.get('get', 0.0):.2f}",
        str(run.store["requests"].get("list", 0)),
        f"{run.workers_cpu_s / keys * 1e6:.1f}",
        f"{run.redis_cpu_s / keys * 1e6:.1f}",
        f"{run.store_cpu_s / keys * 1e6:.1f}",
        f"{run.cpu_s / run.wall_s:.2f}",
        f"{run.rss_peak_bytes / 1e6:.0f}",
    ]

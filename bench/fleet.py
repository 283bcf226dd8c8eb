"""How a fleet scales where the store's latency is the limit: ``python -m bench fleet``.

Every worker is pinned to few requests at a time, so that waiting is what a worker does, and more
workers wait together. Then the wall time shows what the queue, the listing and the cutting of work
cost: with enough processor time, N workers need an N-th of the time of one.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import report
from bench.fleet_rig import SMALL_BYTES, Run, Shape, opened_rig
from mover.model import CopySpec
from mover.ranging import first_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KIB = 1024
MIB = 1024 * KIB
LARGE_BYTES = 8192 * MIB

_HEADER = (
    "workers", "wall s", "speed-up", "efficiency", "tail s", "pick-up s",
    "CPU s: workers", "Redis", "store", "cores busy", "in flight", "RSS MB",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is copied, and how each worker is pinned; ``to_disk``: into the rig's own directory."""

    name: str
    source: str
    target: str
    keys: int = 1
    key_bytes: int = SMALL_BYTES
    part_bytes: int = 0
    to_disk: bool = False
    options: tuple[str, ...] = ()

    @property
    def spec(self) -> CopySpec:
        return CopySpec(
            source=self.source,
            target=self.target,
            server_copy=False,
            part_bytes=self.part_bytes,
        )


def small_objects(count: int, *, concurrency: int) -> Load:
    """Many small objects: each takes two requests, which wait for their answers one after the other."""
    return Load(
        name=f"{count:,} objects of {SMALL_BYTES // 1024} KiB, {concurrency} requests a store",
        source="s3://source/",
        target="s3://sink/",
        keys=count,
        options=("--concurrency", str(concurrency), "--slots", "2"),
    )


def large_object(size_bytes: int, *, part_bytes: int, lanes: int, to_disk: bool = False) -> Load:
    """One object in parts. A worker has room for ``lanes`` parts, so it moves so many at a time.

    To the store a part is read, then written, and waits twice; on its way to a disk it waits once.
    """
    return Load(
        name=f"one object of {size_bytes / 2**30:g} GiB, {lanes} parts of {part_bytes // KIB:,} KiB"
        f" at a time, to {'disk' if to_disk else 'the store'}",
        source=f"s3://source/large-{size_bytes}.bin",
        target="s3://sink/large.bin",
        part_bytes=part_bytes,
        to_disk=to_disk,
        options=(
            "--concurrency",
            str(lanes),
            "--memory",
            str(lanes * part_bytes),
            "--slots",
            "2",
        ),  # fmt: skip
    )


async def measure(load: Load, *, workers: int, latency_ms: float) -> Run:
    """Copy the load once with a fresh fleet of so many workers."""
    shape = Shape(
        workers=workers,
        keys=load.keys,
        key_bytes=load.key_bytes,
        latency_ms=latency_ms,
        options=load.options,
    )
    async with opened_rig(shape) as rig:
        spec = load.spec
        if load.to_disk:
            spec = replace(spec, target=str(rig.directory / "large.bin"))
        return await rig.measure(spec, first_listing(time.time()), pools=("any", "listing"))


def scale(
    load: Load,
    *,
    crews: Sequence[int],
    latency_ms: float,
    repeats: int,
    tell: Callable[[str], None],
) -> str:
    """Measure the load with each number of workers, and return a table: the median of each."""
    runs: dict[int, list[Run]] = {crew: [] for crew in crews}
    for _ in range(repeats):
        for crew in crews:
            run = asyncio.run(measure(load, workers=crew, latency_ms=latency_ms))
            tell(f"  {crew} workers: {run.wall_s:.2f} s, tail {run.tail_s:.2f} s")
            runs[crew].append(run)
    medians = {crew: sorted(found, key=_wall)[len(found) // 2] for crew, found in runs.items()}
    fewest = min(crews)
    base = medians[fewest].wall_s * fewest
    rows = [_row(crew, run, base / run.wall_s) for crew, run in medians.items()]
    return f"{load.name}, {latency_ms:g} ms\n\n{report.table(_HEADER, rows)}\n"


def _wall(run: Run) -> float:
    return run.wall_s


def _row(crew: int, run: Run, speed_up: float) -> list[str]:
    return [
        str(crew),
        f"{run.wall_s:.2f}",
        f"{speed_up:.2f}",
        f"{100 * speed_up / crew:.0f} %",
        f"{run.tail_s:.2f}",
        f"{run.pickup_s:.2f}",
        f"{run.workers_cpu_s:.2f}",
        f"{run.redis_cpu_s:.2f}",
        f"{run.store_cpu_s:.2f}",
        f"{run.cpu_s / run.wall_s:.2f}",
        str(run.store["in_flight_max"]),
        f"{run.rss_peak_bytes / 1e6:.0f}",
    ]

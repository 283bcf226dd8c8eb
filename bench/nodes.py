"""What four nodes with cache directories of their own take from their origin: ``python -m bench nodes``.

The origin is SeaweedFS behind a proxy that counts every byte, heads included. First ``--every-node``: how often
the dataset leaves the origin, and whether all directories hold it. Then the same for ``--replicas 2``, of which two
nodes hold each file. Then ``--spread`` under ``--limit``: what the windows
of one and of ten seconds hold, from the second second on to the last but one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.children import GuardedChild
from bench.datasets import DatasetSpec, FixedSizes, LogNormalSizes, write_tree
from bench.flow_meter import Meter
from bench.link_proxy import Line, opened_line
from bench.processes import CommandFailed
from bench.redis_process import RedisProcess
from bench.report import table
from bench.stores import SeaweedServer, fast_directory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

KIB, MIB = 1024, 1024 * 1024
BUCKET: Final = "origin"
NODES: Final = ("a", "b", "c", "d")
ORIGIN_MAX: Final = 1.15
LIMIT_BYTES_PER_S: Final = 20_000_000
LIMIT_WITHIN: Final = 0.03
SAMPLE_S: Final = 0.01

MIXED: Final = DatasetSpec(
    name="mixed",
    count=1_500,
    sizes=LogNormalSizes(median_bytes=64 * KIB, sigma=1.5, largest_bytes=64 * MIB),
    files_per_directory=100,
)
LONG: Final = DatasetSpec(
    name="long", count=120, sizes=FixedSizes(size_bytes=4 * MIB), files_per_directory=20
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """An origin that is counted, a queue, and a worker on each node."""

    root: Path
    line: Line
    port: int
    queue: str
    environment: Mapping[str, str]

    async def prewarm(self, *arguments: str) -> dict[str, Any]:
        """Run ``mover prewarm`` to its end and return its report. Raises ``CommandFailed``."""
        origin = f"s3://{BUCKET}/?endpoint_url=http://127.0.0.1:{self.port}"
        into = ("--into", f"{self.root}/caches/{{node}}")
        fleet = ("--queue", self.queue, "--nodes", str(len(NODES)), "--json")
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mover", "prewarm", origin, *into, *fleet, *arguments),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, complaints = await child.communicate()
        if child.returncode != 0:
            raise CommandFailed("mover prewarm", child.returncode or 0, complaints.decode()[-500:])
        report: dict[str, Any] = json.loads(told)
        return report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe this benchmark's command line."""
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the data, as in 0.1")


def run(arguments: argparse.Namespace) -> str:
    """Run both parts and return the report."""
    if arguments.scale <= 0:
        raise ValueError("--scale must be above 0")
    scale = arguments.scale
    every = asyncio.run(_copied(scale, "--every-node", copies=len(NODES)))
    twice = asyncio.run(_copied(scale, "--replicas", "2", copies=2))
    limited = asyncio.run(_limited(scale))
    return f"{every}\n\n{twice}\n\n{limited}\n"


async def _copied(scale: float, *options: str, copies: int) -> str:
    async with _opened(MIXED, scale) as fleet:
        before = fleet.line.back.total_bytes
        report = await fleet.prewarm(*options)
        sent = fleet.line.back.total_bytes - before
        held = _held(fleet.root / "caches")
    size = report["bytes"]["planned"] // copies
    ratio = sent / size
    is_right = all(len(digests) == copies and len(set(digests)) == 1 for digests in held.values())
    equal = f"{copies} nodes, equal" if is_right else f"NOT {copies} nodes, or NOT equal"
    residency = report["residency"]
    rows = [
        [row["node"], _mb(row["origin_bytes"]), _mb(row["peer_bytes"]), f"{row['percent_bytes']:g}"]
        for row in residency["nodes"]
    ]
    count, mark = len(held), _mark(is_met=ratio <= ORIGIN_MAX)
    name = " ".join(options)
    title = f"{name}: {count:,} objects, {_mb(size)} MB, in {report['seconds']:.1f} s"
    told = table(("node", "origin MB", "peers MB", "% resident"), rows)
    sum_up = (
        f"the origin sent {_mb(sent)} MB: {ratio:.3f} x the dataset (at most {ORIGIN_MAX}: {mark})"
    )
    return f"{title}\n{told}\n{sum_up}; each object is on {equal}"


async def _limited(scale: float) -> str:
    meter = Meter()
    async with _opened(LONG, scale) as fleet, asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(fleet.line, meter), name="meter")
        await fleet.prewarm("--spread", "--limit", f"{LIMIT_BYTES_PER_S}B/s")
        watching.cancel()
    moving = [start_s for start_s, count in meter.bins() if count > 64 * KIB]
    mean = meter.rate_between(moving[0] + 1, moving[-1] - 1)
    rows = []
    for window_s in (10.0, 1.0):
        rates = meter.window_rates(window_s, skip_s=moving[0] - meter.bins()[0][0] + 1)
        kept = rates[: max(1, len(rates) - 100)]
        rows.append([f"{window_s:g} s", _of_limit(min(kept)), _of_limit(max(kept))])
    off = abs(mean / LIMIT_BYTES_PER_S - 1)
    mark = _mark(is_met=off <= LIMIT_WITHIN)
    title = f"spread under --limit of {LIMIT_BYTES_PER_S / 1e6:g} MB/s, four workers"
    sum_up = f"mean {mean / 1e6:.2f} MB/s: {off:.1%} off (at most {LIMIT_WITHIN:.0%}: {mark})"
    return f"{title}\n{table(('window', 'least', 'most'), rows)}\n{sum_up}"


async def _watch(line: Line, meter: Meter) -> None:
    loop = asyncio.get_running_loop()
    before = line.back.total_bytes
    while True:
        await asyncio.sleep(SAMPLE_S)
        now = line.back.total_bytes
        meter.record(loop.time(), now - before)
        before = now


@contextlib.asynccontextmanager
async def _opened(dataset: DatasetSpec, scale: float) -> AsyncGenerator[Fleet, None]:
    """Start origin, proxy, queue and workers; everything goes with the block."""
    line = Line.of()
    async with contextlib.AsyncExitStack() as house:
        root = fast_directory(need_bytes=8 << 30)
        house.callback(shutil.rmtree, root, ignore_errors=True)
        server = house.enter_context(SeaweedServer(root / "server"))
        server.create_bucket(BUCKET)
        tree = root / "tree"
        write_tree(dataset, tree, seed=1, scale=scale)
        redis = house.enter_context(RedisProcess())
        environment = server.environment() | {"HOME": str(root), "MOVER_STATE": str(root / "state")}
        port = await house.enter_async_context(
            opened_line(line, int(server.endpoint_url.rpartition(":")[2]))
        )
        await _fill(tree, server, environment)
        # What the workers had open ends with them, and the proxy needs a moment to see it.
        house.push_async_callback(asyncio.sleep, 0.3)
        for node in NODES:
            words = ("worker", "--queue", redis.url, "--node", node)
            worker = GuardedChild(
                [sys.executable, "-m", "mover", *words],
                directory=root,
                log=root / f"worker-{node}.log",
                environment=environment,
            )
            house.callback(worker.end)
        yield Fleet(root=root, line=line, port=port, queue=redis.url, environment=environment)


async def _fill(tree: Path, server: SeaweedServer, environment: Mapping[str, str]) -> None:
    target = f"s3://{BUCKET}/?endpoint_url={server.endpoint_url}"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mover", "copy", f"{tree}/", target, "--no-progress"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await child.communicate()
    if child.returncode != 0:
        raise CommandFailed("mover copy", child.returncode or 0, complaints.decode()[-500:])


def _held(caches: Path) -> dict[str, list[bytes]]:
    """The digests of each object on the nodes that hold it."""
    held: dict[str, list[bytes]] = {}
    for node in NODES:
        tree = caches / node / "s3"
        for path in (path for path in tree.rglob("*") if path.is_file()):
            digest = hashlib.blake2b(path.read_bytes()).digest()
            held.setdefault(str(path.relative_to(tree)), []).append(digest)
    return held


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _of_limit(rate: float) -> str:
    return f"{rate / LIMIT_BYTES_PER_S:.3f}"


def _mark(*, is_met: bool) -> str:
    return "reached" if is_met else "missed"

"""Two regions on one machine: a store and a worker in each, and a line between them that is counted.

Each worker reaches its own store directly and the other one over the line; so does who submits a
job, near the source.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.children import GuardedChild
from bench.link_proxy import Line, opened_line
from bench.processes import CommandFailed
from bench.redis_process import RedisProcess
from bench.stores import SeaweedServer
from bench.tools import executable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE_POOL, TARGET_POOL = "us", "eu"
BUCKET = "models"
BASE_PREFIX = "base/"
"""Where the source's region keeps old versions, below the same names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What bringing the target up to date took.

    ``wire_bytes`` crossed the line, both ways; ``written_bytes``, where they are counted, came to the
    target's store from its own region: what of the object is not among them the store copied by itself.
    """

    seconds: float
    wire_bytes: int
    written_bytes: int | None
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Regions:
    """Both regions; made by ``opened_regions``."""

    root: Path
    line: Line
    source: SeaweedServer
    target: SeaweedServer
    near_target: Line | None
    redis: RedisProcess
    ports: dict[str, int]
    _workers: list[GuardedChild] = field(default_factory=list)

    def environment(self, source_port: int, target_port: int) -> dict[str, str]:
        """What a process needs that reaches the stores by these ports."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.root),
            "PYTHONPATH": str(REPOSITORY),
            "MOVER_STATE": str(self.root / "state"),
            "MOVER_SOURCE_AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{source_port}",
            "MOVER_TARGET_AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{target_port}",
            "AWS_REGION": self.source.region,
            "AWS_ACCESS_KEY_ID": self.source.access_key,
            "AWS_SECRET_ACCESS_KEY": self.source.secret_key,
        }

    @property
    def direct(self) -> dict[str, str]:
        """The environment of who sets a scene: both stores without the line."""
        return self.environment(self.ports["source"], self.ports["target"])

    @property
    def at_source(self) -> dict[str, str]:
        return self.environment(self.ports["source"], self.ports["target over the line"])

    @property
    def at_target(self) -> dict[str, str]:
        near = self.ports.get("target, counted", self.ports["target"])
        return self.environment(self.ports["source over the line"], near)

    def start_workers(self) -> None:
        """A worker of each region, as a pod would be."""
        sides = ((SOURCE_POOL, self.at_source), (TARGET_POOL, self.at_target))
        for pool, environment in sides:
            argv = [sys.executable, "-m", "mover", "worker", "--queue", self.redis.url]
            self._workers.append(
                GuardedChild(
                    [*argv, "--pool", f"{pool},any" if pool == SOURCE_POOL else pool],
                    directory=REPOSITORY,
                    log=self.root / f"worker-{pool}.log",
                    environment=environment,
                )
            )

    def end_workers(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    async def mover(self, *arguments: str, environment: Mapping[str, str]) -> dict[str, Any]:
        """Run a command of the mover and return its report. Raises ``CommandFailed``."""
        said = await run([sys.executable, "-m", "mover", *arguments, "--json"], environment)
        report: dict[str, Any] = json.loads(said)
        return report

    async def put(self, path: Path, side: str, key: str, *options: str) -> None:
        """Bring a file into one region's bucket, past the line."""
        other = self.environment(self.ports[side], self.ports[side])
        await self.mover("copy", str(path), f"s3://{BUCKET}/{key}", *options, environment=other)

    async def rsync(self, *arguments: str) -> Sent:
        """Make the target equal by differences."""
        fleet = ("--source-pool", SOURCE_POOL, "--target-pool", TARGET_POOL)
        return await self._sent(
            self.mover(
                *("rsync", f"s3://{BUCKET}/tree/", f"s3://{BUCKET}/tree/", *fleet),
                *("--queue", self.redis.url, *arguments),
                environment=self.at_source,
            )
        )

    async def copy(self) -> Sent:
        """Send everything that differs as a whole, from the source's region."""
        return await self._sent(
            self.mover(
                "copy", f"s3://{BUCKET}/tree/", f"s3://{BUCKET}/tree/", environment=self.at_source
            )
        )

    async def rclone(self) -> Sent:
        """The same with rclone."""
        return await self._sent(self._rclone())

    async def _rclone(self) -> dict[str, Any]:
        ports = {"near": self.ports["source"], "far": self.ports["target over the line"]}
        environment = {"PATH": os.environ.get("PATH", os.defpath), "RCLONE_CONFIG": "/dev/null"}
        for remote, port in ports.items():
            head = f"RCLONE_CONFIG_{remote.upper()}_"
            environment |= {
                f"{head}TYPE": "s3",
                f"{head}PROVIDER": "Other",
                f"{head}ENDPOINT": f"http://127.0.0.1:{port}",
                f"{head}ACCESS_KEY_ID": self.source.access_key,
                f"{head}SECRET_ACCESS_KEY": self.source.secret_key,
            }
        program = str(executable("rclone", "pip install 'fluid-mover[bench]'"))
        argv = [program, "copy", f"near:{BUCKET}/tree", f"far:{BUCKET}/tree"]
        await run([*argv, "--s3-no-check-bucket", "--ignore-times", "--quiet"], environment)
        return {}

    async def _sent(self, work: Awaitable[dict[str, Any]]) -> Sent:
        wire, written = self.line.total_bytes, self._written_bytes()
        began_s = time.monotonic()
        report = await work
        return Sent(
            seconds=time.monotonic() - began_s,
            wire_bytes=self.line.total_bytes - wire,
            written_bytes=self._written_bytes() - written if self.near_target else None,
            report=report,
        )

    def _written_bytes(self) -> int:
        return self.near_target.there.total_bytes if self.near_target else 0

    async def check(self) -> None:
        """Raise ``CommandFailed`` unless both trees are equal, by the checksums of all bytes."""
        tree = f"s3://{BUCKET}/tree/"
        await self.mover("check", tree, tree, "--compare=checksum", environment=self.direct)


async def run(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command to its end and return what it said. Raises ``CommandFailed``."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(environment),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        detail = (complained or said).decode(errors="replace")[-500:]
        raise CommandFailed(" ".join(argv[:5]), process.returncode, detail)
    return said.decode()


def _port(server: SeaweedServer) -> int:
    return int(server.endpoint_url.rpartition(":")[2])


@asynccontextmanager
async def opened_regions(
    root: Path, line: Line, *, counts_near: bool = False
) -> AsyncGenerator[Regions, None]:
    """Start both stores, the queue and the line; all of it ends with the block.

    ``counts_near`` leads the target's worker to its store over a line of its own, which costs half a core.
    """
    with ExitStack() as servers:
        names = ("source", "target")
        stores = [servers.enter_context(SeaweedServer(root / name)) for name in names]
        redis = servers.enter_context(RedisProcess())
        for store in stores:
            store.create_bucket(BUCKET)
        ports = dict(zip(names, map(_port, stores), strict=True))
        near = Line.of() if counts_near else None
        async with AsyncExitStack() as lines:
            ways = {
                "target over the line": opened_line(line, ports["target"]),
                "source over the line": opened_line(line, ports["source"], turned=True),
            }
            if near:
                ways["target, counted"] = opened_line(near, ports["target"])
            for name, way in ways.items():
                ports[name] = await lines.enter_async_context(way)
            regions = Regions(
                root=root,
                line=line,
                source=stores[0],
                target=stores[1],
                near_target=near,
                redis=redis,
                ports=ports,
            )
            try:
                yield regions
            finally:
                regions.end_workers()

"""A fleet to measure: Redis, a latent store, and worker processes that are warm before the clock runs.

A worker that starts imports a client for the stores, and that takes it longer than a measured second of
work. So every worker is given one object of its own to copy first, by a pool that only it has
joined; then all of them wait for work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.children import GuardedChild
from bench.processes import CommandFailed, script_server
from bench.redis_process import RedisProcess
from bench.workspace import RAM_DISK
from mover.jobs import job_id
from mover.model import CopySpec, SmallShard
from mover.payloads import encode_payload, encode_spec
from scheduler.model import ANY_POOL, NewTask, TaskState
from scheduler.redis_board import RedisBoard
from scheduler.redis_notes import job_key
from scheduler.redis_server import RedisServer
from scheduler.redis_store import RedisTaskStore
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL_BYTES = 16 * 1024
WARM_S_MAX = 60.0
LOOK_EVERY_S = 0.02
"""How often the end of a job is looked for, and who has work: so much is every time uncertain."""

IDLE_S = 1.0
"""So long the warm workers are left alone: the last of them has closed its ends by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A fleet and its store. ``options`` are arguments of every worker."""

    workers: int
    keys: int
    key_bytes: int = SMALL_BYTES
    latency_ms: float = 20.0
    durable_queue: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured job. Times are seconds, CPU is of all processes of a kind together.

    ``wall_s`` is from the first request that reached the store to the end of the last task,
    ``pickup_s`` from the submit to that request, ``tail_s`` from when the first worker had its last
    task until the end. ``store`` is what the store has counted.
    """

    wall_s: float
    pickup_s: float
    tail_s: float
    workers_cpu_s: float
    redis_cpu_s: float
    store_cpu_s: float
    rss_peak_bytes: int
    store: dict[str, Any]
    marks: dict[str, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        return self.workers_cpu_s + self.redis_cpu_s + self.store_cpu_s


class Rig:
    """Everything that runs; made by ``opened_rig``."""

    def __init__(
        self, shape: Shape, redis: RedisProcess, server: RedisServer, port: int, root: Path
    ) -> None:
        self._shape = shape
        self._redis = redis
        self._server = server
        self._port = port
        self._root = root
        self._board = RedisBoard(server)
        self._workers: list[GuardedChild] = []
        self._leaving: list[GuardedChild] = []

    def start_worker(self) -> None:
        """Start one more worker, with a pool of its own for what warms it up."""
        number = len(self._workers) + len(self._leaving)
        pools = f"{self._pool_option()},warm-{number}"
        options = [each for each in self._shape.options if not each.startswith("--pool=")]
        argv = [sys.executable, "-m", "mover", "worker", "--queue", self._redis.url]
        self._workers.append(
            GuardedChild(
                [*argv, "--pool", pools, *options],
                directory=REPOSITORY,
                log=self._root / f"worker-{number}.log",
                environment=self._environment(),
            )
        )

    def dismiss_worker(self) -> None:
        """Ask the worker that is here longest to leave (SIGTERM); it drains by itself."""
        worker = self._workers.pop(0)
        os.kill(worker.pid, signal.SIGTERM)
        self._leaving.append(worker)

    def restart_queue(self) -> None:
        """Kill the queue's server, as a crash would, and start it again with what it had written."""
        self._redis.stop()
        self._redis.start()

    async def submit(self, spec: CopySpec, first: NewTask) -> None:
        """Put a job on the board."""
        await self._board.submit(job_id(spec), encode_spec(spec), [first], now_s=time.time())

    def _pool_option(self) -> str:
        chosen = [each for each in self._shape.options if each.startswith("--pool=")]
        return chosen[0].removeprefix("--pool=") if chosen else "any"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._root),
            "PYTHONPATH": str(REPOSITORY),
            "MOVER_STATE": str(self._root / "state"),
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self._port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "latent",
            "AWS_SECRET_ACCESS_KEY": "latent",
        }

    async def warm_up(self) -> None:
        """Let every worker copy one object, and then rest. Raises ``CommandFailed``."""
        spec = CopySpec(source="s3://source/", target="s3://warm/", server_copy=False)
        tasks = [
            NewTask(payload=encode_payload(_one_object(self.key_bytes)), pool=f"warm-{number}")
            for number in range(len(self._workers))
        ]
        await self._board.submit(job_id(spec), encode_spec(spec), tasks, now_s=time.time())
        deadline_s = time.monotonic() + WARM_S_MAX
        while await self._board.active():
            self._check_workers()
            if time.monotonic() > deadline_s:
                raise CommandFailed("mover worker", 0, "a worker did not warm up")
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.sleep(IDLE_S)

    @property
    def directory(self) -> Path:
        """A directory of this rig, on the RAM disk where there is one; removed with it."""
        return self._root

    @property
    def key_bytes(self) -> int:
        return self._shape.key_bytes

    def _check_workers(self) -> None:
        for number, worker in enumerate(self._workers):
            if worker.status is not None:
                log = (self._root / f"worker-{number}.log").read_text(errors="replace")
                raise CommandFailed("mover worker", worker.status, log[-500:])

    async def measure(self, spec: CopySpec, first: NewTask, *, pools: Sequence[str]) -> Run:
        """Submit a job and measure it to its end.

        ``pools`` are those whose tasks count: the end is when none of these is left. With ``any``
        among them it is the job's end, and ``CommandFailed`` is raised where it was no success.
        """
        before, store_before_s = self._cpu(), float(self.counts()["cpu_s"])
        watch = _Watch(self._server, job_id(spec), pools)
        submitted_s = time.monotonic()
        await self.submit(spec, first)
        while not await watch.is_over():
            self._check_workers()
            await asyncio.sleep(LOOK_EVERY_S)
        counted = self.counts()
        spent = [late - early for late, early in zip(self._cpu(), before, strict=True)]
        if ANY_POOL in pools:
            await self._require_success(spec)
        began_s = min(counted["first_s"].values())
        return Run(
            wall_s=watch.over_s - began_s,
            pickup_s=began_s - submitted_s,
            tail_s=watch.tail_s,
            workers_cpu_s=spent[0],
            redis_cpu_s=spent[1],
            store_cpu_s=counted["cpu_s"] - store_before_s,
            rss_peak_bytes=max(_rss_peak_bytes(worker.pid) for worker in self._workers),
            store=counted,
            marks={kind: at_s - began_s for kind, at_s in counted["first_s"].items()},
        )

    async def _require_success(self, spec: CopySpec) -> None:
        stats = await RedisTaskStore(self._server, job_id(spec)).stats()
        failed = {state: n for state, n in stats.tasks.items() if n and state != TaskState.DONE}
        if failed:
            raise CommandFailed("mover worker", 1, f"the job left tasks: {failed}")

    def counts(self) -> dict[str, Any]:
        """What the store has counted since it was last asked."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/counts") as answer:
            counted: dict[str, Any] = json.load(answer)
        return counted

    def _cpu(self) -> tuple[float, float]:
        return sum(_cpu_s(worker.pid) for worker in self._workers), _cpu_s(self._redis.pid)

    async def close(self) -> None:
        for worker in (*self._workers, *self._leaving):
            worker.end()
        await self._server.aclose()


class _Watch:
    """Sees a job end, and who ran out of work when."""

    def __init__(self, server: RedisServer, job: str, pools: Sequence[str]) -> None:
        self._server = server
        self._store = RedisTaskStore(server, job)
        self._streams = [job_key(job, f"queue:{pool}") for pool in pools]
        self._all_tasks = ANY_POOL in pools
        self._had_work_s: dict[str, float] = {}
        self.over_s = 0.0

    async def is_over(self) -> bool:
        at_s = time.monotonic()
        left = 0
        for stream in self._streams:
            if await self._server.do("EXISTS", stream):
                left += int(await self._server.do("XLEN", stream))
                pending = await self._server.do("XPENDING", stream, "crew")
                for consumer in _consumers(pending):
                    self._had_work_s[consumer.partition("/")[0]] = at_s
        self.over_s = at_s
        if self._all_tasks:
            return await self._store.is_drained()
        return left == 0 and bool(self._had_work_s)

    @property
    def tail_s(self) -> float:
        return self.over_s - min(self._had_work_s.values(), default=self.over_s)


def _consumers(pending: Any) -> Iterator[str]:
    """Who holds entries, from an answer of XPENDING in either of redis-py's forms."""
    rows = pending["consumers"] if isinstance(pending, dict) else pending[3] or ()
    for row in rows:
        name = row["name"] if isinstance(row, dict) else row[0]
        yield name.decode()


def _one_object(size_bytes: int) -> SmallShard:
    return SmallShard(copies=[Entry("object-000000000.bin", size_bytes, 0)], probes=[])


@contextlib.asynccontextmanager
async def opened_rig(shape: Shape) -> AsyncGenerator[Rig, None]:
    """Start everything, and end it. The workers are warm when the body begins."""
    root = Path(
        tempfile.mkdtemp(prefix="mover-fleet-", dir=RAM_DISK if RAM_DISK.is_dir() else None)
    )
    arguments = (str(shape.keys), str(shape.key_bytes), str(shape.latency_ms))
    try:
        durable = shape.durable_queue
        with (
            RedisProcess(durable=durable) as redis,
            script_server("latent_store.py", *arguments) as port,
        ):
            rig = Rig(shape, redis, await RedisServer.open(redis.url), port, root)
            try:
                for _ in range(shape.workers):
                    rig.start_worker()
                await rig.warm_up()
                yield rig
            finally:
                await rig.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0

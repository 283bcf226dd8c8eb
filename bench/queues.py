"""What a queue costs: CPU of the worker and of the server for each task, on every task store.

    python -m bench.queues [--repeats 5] [--scale 1.0] [--work shards,chunks] [--stores ...]

One process plays planner and worker in turn: it enqueues in batches, claims as many tasks as a
worker has slots, reads each payload, and finishes each task with a result. Nothing is moved. A
shard is a task of 1,000 small objects; a chunk is a part of a large object. The server's CPU is
Redis' own account of it (INFO cpu), the worker's is this process's, threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import uvloop

from bench.redis_process import RedisProcess, installed_servers
from mover.model import Chunk, SmallShard, Tally, TaskResult
from mover.payloads import decode_payload, encode_payload, encode_result
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import Done, NewTask
from scheduler.redis_server import RedisServer
from scheduler.redis_store import RedisTaskStore
from scheduler.sqlite_store import SqliteTaskStore
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from scheduler.model import Lease
    from scheduler.store import TaskStore

SLOTS: Final = 4
LEASE_S: Final = 60.0
SHARD_OBJECTS: Final = 1000


class Work(NamedTuple):
    """A kind of task: its payload, how many of them in a repeat, and how many in a batch."""

    payload: bytes
    tasks: int
    batch: int
    objects: int


def shard_payload(objects: int = SHARD_OBJECTS) -> bytes:
    """A task of small objects with names, times and ETags such as stores have."""
    copies = [
        Entry(
            key=f"dataset/part-{number // 500:05d}/object-{number:09d}.bin",
            size=16_384 + number,
            mtime_ns=1_700_000_000_000_000_000 + number,
            etag=f"{number:032x}",
        )
        for number in range(objects)
    ]
    return encode_payload(SmallShard(copies=copies, probes=[]))


def chunk_payload() -> bytes:
    """A task of a few parts of one large object."""
    entry = Entry(key="dataset/large.bin", size=2**30, mtime_ns=1_700_000_000_000_000_000)
    return encode_payload(
        Chunk(entry=entry, upload_id=uuid.uuid4().hex, part_bytes=8 * 2**20, first=1, last=8)
    )


def works() -> dict[str, Work]:
    """Every kind of task by name."""
    return {
        "shards": Work(shard_payload(), tasks=200, batch=8, objects=SHARD_OBJECTS),
        "chunks": Work(chunk_payload(), tasks=5_000, batch=100, objects=1),
    }


class Cost(NamedTuple):
    """Microseconds for each task: of this process, of the server, of the clock on the wall."""

    worker_us: float
    server_us: float
    wall_us: float


class Meter:
    """Reads the clocks of this process and of the server before and after a phase."""

    def __init__(self, server: RedisServer | None) -> None:
        self._server = server

    async def read(self) -> tuple[float, float, float]:
        served_s = 0.0
        if self._server is not None:
            info = await self._server.info("cpu")
            served_s = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return time.process_time(), served_s, time.perf_counter()

    async def cost(self, before: tuple[float, float, float], tasks: int) -> Cost:
        after = await self.read()
        return Cost(
            *(1e6 * (end - begin) / tasks for begin, end in zip(before, after, strict=True))
        )


async def measure(store: TaskStore, meter: Meter, work: Work, tasks: int) -> tuple[Cost, Cost]:
    """What enqueueing costs for each task, and what claiming and finishing does."""
    before = await meter.read()
    for first in range(0, tasks, work.batch):
        count = min(work.batch, tasks - first)
        batch = [NewTask(payload=work.payload, weight=work.objects) for _ in range(count)]
        await store.enqueue(batch, checkpoint=b"%d" % first)
    enqueued = await meter.cost(before, tasks)
    before = await meter.read()
    while leases := await store.claim("bench", limit=SLOTS, lease_s=LEASE_S, now_s=time.time()):
        async with asyncio.TaskGroup() as crew:
            for lease in leases:
                crew.create_task(_finish(store, lease, work), name=f"finish-{lease.task_id}")
    return enqueued, await meter.cost(before, tasks)


async def _finish(store: TaskStore, lease: Lease, work: Work) -> None:
    decode_payload(lease.payload)
    tally = Tally(copied_objects=work.objects, copied_bytes=work.objects * 16_384)
    result = encode_result(TaskResult(tally=tally))
    await store.finish(lease, Done(), result=result, now_s=time.time())


@contextlib.asynccontextmanager
async def _memory() -> AsyncGenerator[tuple[TaskStore, Meter], None]:
    async with MemoryTaskStore() as store:
        yield store, Meter(None)


@contextlib.asynccontextmanager
async def _sqlite() -> AsyncGenerator[tuple[TaskStore, Meter], None]:
    with tempfile.TemporaryDirectory(prefix="fluid-mover-queue-") as directory:
        async with await SqliteTaskStore.open(Path(directory) / "queue.sqlite") as store:
            yield store, Meter(None)


@contextlib.asynccontextmanager
async def _redis(process: RedisProcess) -> AsyncGenerator[tuple[TaskStore, Meter], None]:
    server = await RedisServer.open(process.url)
    try:
        await server.do("FLUSHALL")
        yield RedisTaskStore(server, uuid.uuid4().hex), Meter(server)
    finally:
        await server.aclose()


Opener: TypeAlias = "Callable[[], AbstractAsyncContextManager[tuple[TaskStore, Meter]]]"


@contextlib.contextmanager
def open_stores(names: Sequence[str]) -> Iterator[dict[str, Opener]]:
    """The stores by name, each ready to be opened again for every repeat."""
    openers: dict[str, Opener] = {"memory": _memory, "sqlite": _sqlite}
    with contextlib.ExitStack() as stack:
        for name, program in installed_servers().items():
            for suffix, durable in (("", False), ("+aof", True)):
                if f"{name}{suffix}" in names or not names:
                    process = stack.enter_context(RedisProcess(program=program, durable=durable))
                    openers[f"{name}{suffix}"] = functools.partial(_redis, process)
        yield {name: opener for name, opener in openers.items() if name in names or not names}


async def _once(opener: Opener, work: Work, tasks: int) -> tuple[Cost, Cost]:
    async with opener() as (store, meter):
        await measure(store, meter, work, min(tasks, 2 * work.batch))  # connect, send scripts
        return await measure(store, meter, work, tasks)


def run(
    openers: dict[str, Opener], works: dict[str, Work], repeats: int, scale: float
) -> list[str]:
    """Measure in turns, so that whatever else the machine does falls on all alike; the report."""
    lines = []
    for work_name, work in works.items():
        tasks = max(int(work.tasks * scale), 1)
        costs: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in openers}
        for _ in range(repeats):
            for name, opener in openers.items():
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    costs[name].append(runner.run(_once(opener, work, tasks)))
        for name, found in costs.items():
            lines.append(_line(work_name, "enqueue", name, work, [pair[0] for pair in found]))
            lines.append(_line(work_name, "claim+finish", name, work, [pair[1] for pair in found]))
    return lines


def _line(kind: str, phase: str, store: str, work: Work, costs: Sequence[Cost]) -> str:
    worker, server, wall = (
        statistics.median(cost[index] for cost in costs) for index in range(len(Cost._fields))
    )
    return (
        f"{kind:<7} {phase:<13} {store:<18} {1e6 / wall:>8.0f} {worker:>9.0f} {server:>9.0f}"
        f" {worker / work.objects:>10.2f} {server / work.objects:>10.2f}"
    )


HEAD: Final = (
    "tasks   phase         store               tasks/s worker us server us worker/obj server/obj\n"
)


def main() -> int:
    """Measure with the arguments of the command line, and write the table."""
    known = works()
    parser = argparse.ArgumentParser(prog="python -m bench.queues", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of tasks")
    parser.add_argument("--work", default=",".join(known), help=f"of {', '.join(known)}")
    parser.add_argument("--stores", default="", help="memory, sqlite, bundled, bundled+aof, ...")
    given = parser.parse_args()
    wanted = given.work.split(",")
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"unknown work: {', '.join(unknown)}; known: {', '.join(known)}")
    names = [name for name in given.stores.split(",") if name]
    sys.stdout.write(HEAD)
    with open_stores(names) as openers:
        chosen = {name: known[name] for name in wanted}
        for line in run(openers, chosen, given.repeats, given.scale):
            sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Worker processes on one queue, some killed without warning, for tests of any store.

Run as ``python -m tests.servers.crews ROLE ADDRESS`` this is one of those processes. An address is
the path of an embedded queue, or the URL of a Redis, whose job is then ``JOB``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.model import (
    FINAL_STATES,
    Done,
    FinishedTask,
    Lease,
    NewGroup,
    NewTask,
    Outcome,
    TaskState,
)
from scheduler.redis_store import RedisTaskStore
from scheduler.sqlite_store import SqliteTaskStore
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy
from tests.servers.ready import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scheduler.store import TaskStore
    from tests.servers.ready import Process

ROOT = Path(__file__).parents[2]
JOB = "crew"
TASKS = 1200
GROUP_SIZE = 10
GROUPS = TASKS // GROUP_SIZE // 2
PROCESSES = 4
KILLS = 6
SEED = 20_250_131
ATTEMPTS_MAX = 1000
LEASE_S = 1.5
STANDARD_ERROR = 2


async def open_queue(address: str) -> TaskStore:
    """The queue behind an address."""
    if "://" in address:
        return await RedisTaskStore.open(address, JOB, attempts_max=ATTEMPTS_MAX)
    return await SqliteTaskStore.open(Path(address), attempts_max=ATTEMPTS_MAX)


class Crew:
    """Child processes that are always as many as wanted, until the block ends."""

    def __init__(self, role: str, address: str, processes: int) -> None:
        self._arguments = [role, address]
        self._wanted = processes
        self._children: list[Process] = []
        self.killed = 0
        self.refill()

    def ids(self) -> set[str]:
        return {f"w{child.pid}" for child in self._children}

    def signal_all(self, number: int) -> None:
        for child in self._children:
            child.send_signal(number)

    def refill(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]
        while len(self._children) < self._wanted:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            child = start(
                self._arguments,
                program="tests.servers.crews",
                environment=environment,
                output=STANDARD_ERROR,
            )
            self._children.append(child)

    def kill_one(self, chance: random.Random, *, refill: bool = True) -> None:
        child = chance.choice(self._children)
        child.kill()
        child.wait(10)
        self.killed += 1
        if refill:
            self.refill()

    def end(self) -> None:
        for child in self._children:
            child.kill()
            child.wait(10)


@contextlib.contextmanager
def open_crew(role: str, address: str, processes: int = PROCESSES) -> Iterator[Crew]:
    """A crew that is gone when the block ends."""
    crew = Crew(role, address, processes)
    try:
        yield crew
    finally:
        crew.end()


async def kill_and_check(
    store: TaskStore, address: str, *, half_way: Callable[[], None] = lambda: None
) -> None:
    """Feed a crew and kill its members: nothing may be lost, and nothing doubled."""
    chance = random.Random(SEED)
    with open_crew("work", address) as crew:
        for number in range(KILLS):
            await working(store, crew)
            first = number * TASKS // KILLS
            await _enqueue(store, first, first + TASKS // KILLS)
            await asyncio.sleep(chance.uniform(0.01, 0.15))
            crew.kill_one(chance)
            if number == KILLS // 2:
                half_way()
                await asyncio.sleep(0.1)  # the loop must see which connections that has ended
        await store.close_intake()
        await _drained(store, crew)
    finished = await everything(store)
    stats = await store.stats()
    assert crew.killed == KILLS
    # Every task, and every group's waiting task, has followed up in the step that finished it;
    # follow-ups have no keys, so a step that landed twice would show as two.
    followers = TASKS + GROUPS
    assert stats.tasks[TaskState.DONE] == 2 * followers == len(finished)
    counts = Counter(task.result for task in finished)
    assert set(counts.values()) == {1}
    assert {b"task-%d" % number for number in range(TASKS)} <= counts.keys()
    assert {b"followed task-%d" % number for number in range(TASKS)} <= counts.keys()
    assert {b"followed then-g%d" % number for number in range(GROUPS)} <= counts.keys()
    # The kills did hit work: some attempts were counted.
    assert sum(task.attempts for task in finished) > 0


async def _enqueue(store: TaskStore, first: int, end: int) -> None:
    """Every second batch of tasks is a group, the others stand alone."""
    for begin in range(first, end, GROUP_SIZE):
        number, is_alone = divmod(begin // GROUP_SIZE, 2)
        name = None if is_alone else f"g{number}"
        tasks = [
            NewTask(payload=b"task-%d" % task, weight=1, group=name)
            for task in range(begin, begin + GROUP_SIZE)
        ]
        then = NewTask(payload=b"then-g%d" % number)
        groups = [NewGroup(name=name, size=GROUP_SIZE, then=then)] if name else []
        await store.enqueue(tasks, groups=groups)


async def working(store: TaskStore, crew: Crew) -> None:
    """Wait until the children are up, or the kills would hit nothing but imports."""
    async with asyncio.timeout(60):
        while True:
            beats = await store.workers(now_s=time.time(), within_s=60)
            if crew.ids() <= {beat.worker_id for beat in beats}:
                return
            await asyncio.sleep(0.02)


async def _drained(store: TaskStore, crew: Crew) -> None:
    async with asyncio.timeout(90):
        while not await store.is_drained():
            crew.refill()
            await asyncio.sleep(0.1)


async def everything(store: TaskStore) -> list[FinishedTask]:
    """All finished tasks."""
    finished: list[FinishedTask] = []
    while page := await store.results(
        FINAL_STATES, after_task_id=finished[-1].task_id if finished else 0
    ):
        finished += page
    return finished


async def _work(address: str) -> None:
    async def run_task(lease: Lease) -> Outcome:
        await asyncio.sleep(0.5 if lease.payload.startswith(b"slow") else 0.005)
        follow_ups = [NewTask(payload=b"followed " + lease.payload)]
        return Outcome(
            disposition=Done(),
            result=lease.payload,
            follow_ups=[] if lease.payload.startswith(b"followed") else follow_ups,
        )

    policy = WorkerPolicy(slots=4, lease_s=LEASE_S, beat_every_s=0.2)
    async with await open_queue(address) as store:
        worker = Worker(
            store,
            run_task,
            worker_id=f"w{os.getpid()}",
            policy=policy,
            note=lambda: b"%d lost" % worker.tally.lost,
        )
        await worker.run()


async def _plan(address: str) -> None:
    async with await open_queue(address) as store:
        first = int(await store.load_checkpoint() or b"0")
        while first < TASKS:
            batch = [NewTask(payload=b"%d" % number) for number in range(first, first + 5)]
            first += 5
            await store.enqueue(batch, checkpoint=b"%d" % first)
            await asyncio.sleep(0.004)
        await store.close_intake()


if __name__ == "__main__":
    asyncio.run({"work": _work, "plan": _plan}[sys.argv[1]](sys.argv[2]))

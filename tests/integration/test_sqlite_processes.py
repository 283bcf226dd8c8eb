"""Many processes on one SQLite file, some killed without warning: nothing lost, nothing doubled.

Run as a script, this file is one of those processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
from scheduler.sqlite_store import SqliteTaskStore
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TASKS = 2000
GROUP_SIZE = 10
GROUPS = TASKS // GROUP_SIZE // 2
PROCESSES = 4
KILLS = 10
SEED = 20_250_131
ATTEMPTS_MAX = 1000


@pytest.mark.slow
async def test_killed_workers_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    chance = random.Random(SEED)
    async with await SqliteTaskStore.open(path, attempts_max=ATTEMPTS_MAX) as store:
        with _crew("work", path) as crew:
            for first in range(0, TASKS, TASKS // KILLS):
                await _working(store, crew)
                await _enqueue(store, first, first + TASKS // KILLS)
                await asyncio.sleep(chance.uniform(0.01, 0.15))
                crew.kill_one(chance)
            await store.close_intake()
            await _drained(store, crew)
        finished = await _everything(store)
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


async def _enqueue(store: SqliteTaskStore, first: int, end: int) -> None:
    """Every second batch of tasks is a group, the others stand alone."""
    for start in range(first, end, GROUP_SIZE):
        number, is_alone = divmod(start // GROUP_SIZE, 2)
        name = None if is_alone else f"g{number}"
        tasks = [
            NewTask(payload=b"task-%d" % task, weight=1, group=name)
            for task in range(start, start + GROUP_SIZE)
        ]
        then = NewTask(payload=b"then-g%d" % number)
        groups = [NewGroup(name=name, size=GROUP_SIZE, then=then)] if name else []
        await store.enqueue(tasks, groups=groups)


async def _working(store: SqliteTaskStore, crew: Crew) -> None:
    """Wait until the children are up, or the kills would hit nothing but imports."""
    async with asyncio.timeout(60):
        while True:
            beats = await store.workers(now_s=time.time(), within_s=60)
            if crew.ids() <= {beat.worker_id for beat in beats}:
                return
            await asyncio.sleep(0.02)


async def _drained(store: SqliteTaskStore, crew: Crew) -> None:
    async with asyncio.timeout(90):
        while not await store.is_drained():
            crew.refill()
            await asyncio.sleep(0.1)


async def _everything(store: SqliteTaskStore) -> list[FinishedTask]:
    finished: list[FinishedTask] = []
    while page := await store.results(
        FINAL_STATES, after_task_id=finished[-1].task_id if finished else 0
    ):
        finished += page
    return finished


@pytest.mark.slow
async def test_a_killed_planner_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    chance = random.Random(SEED)
    async with await SqliteTaskStore.open(path) as store:
        for _ in range(6):
            with _crew("plan", path, processes=1) as crew:
                await asyncio.sleep(chance.uniform(0.3, 0.7))
                crew.kill_one(chance, refill=False)
        with _crew("plan", path, processes=1) as crew:
            async with asyncio.timeout(60):
                while not await store.is_drained():
                    leases = await store.claim("w", limit=500, lease_s=60, now_s=time.time())
                    for lease in leases:
                        await store.finish(lease, Done(), result=lease.payload, now_s=time.time())
                    if not leases:
                        await asyncio.sleep(0.05)
        results = [int(task.result) for task in await _everything(store)]
    assert results == list(range(TASKS))


class Crew:
    """Child processes that are always as many as wanted, until the block ends."""

    def __init__(self, role: str, path: Path, processes: int) -> None:
        self._command = [sys.executable, __file__, role, str(path)]
        self._wanted = processes
        self._children: list[subprocess.Popen[bytes]] = []
        self.killed = 0
        self.refill()

    def ids(self) -> set[str]:
        return {f"w{child.pid}" for child in self._children}

    def refill(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]
        while len(self._children) < self._wanted:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._children.append(subprocess.Popen(self._command, env=environment))

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
def _crew(role: str, path: Path, processes: int = PROCESSES) -> Iterator[Crew]:
    crew = Crew(role, path, processes)
    try:
        yield crew
    finally:
        crew.end()


async def _work(path: Path) -> None:
    async def run_task(lease: Lease) -> Outcome:
        await asyncio.sleep(0.005)
        follow_ups = [NewTask(payload=b"followed " + lease.payload)]
        return Outcome(
            disposition=Done(),
            result=lease.payload,
            follow_ups=[] if lease.payload.startswith(b"followed") else follow_ups,
        )

    policy = WorkerPolicy(slots=4, lease_s=1.5)
    async with await SqliteTaskStore.open(path, attempts_max=ATTEMPTS_MAX) as store:
        await Worker(store, run_task, worker_id=f"w{os.getpid()}", policy=policy).run()


async def _plan(path: Path) -> None:
    async with await SqliteTaskStore.open(path) as store:
        first = int(await store.load_checkpoint() or b"0")
        while first < TASKS:
            batch = [NewTask(payload=b"%d" % number) for number in range(first, first + 5)]
            first += 5
            await store.enqueue(batch, checkpoint=b"%d" % first)
            await asyncio.sleep(0.004)
        await store.close_intake()


if __name__ == "__main__":
    asyncio.run({"work": _work, "plan": _plan}[sys.argv[1]](Path(sys.argv[2])))

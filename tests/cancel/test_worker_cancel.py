"""A cancel, or a drain, at every moment of a worker's life: nothing is left leased or running."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Literal

import pytest

from scheduler.memory_store import MemoryTaskStore
from scheduler.model import ANY_POOL, Done, Lease, NewTask, Outcome, Retry, TaskState
from scheduler.testing import run_virtually
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.model import Disposition, NewGroup

TASKS = 5
LATENCY_S = 0.004


class DistantStore(MemoryTaskStore):
    """Every verb travels there and back; a cancel on the way back comes after the deed."""

    async def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        now_s: float,
        pools: Sequence[str] = (ANY_POOL,),
    ) -> list[Lease]:
        await asyncio.sleep(LATENCY_S)
        leases = await super().claim(
            worker_id, limit=limit, lease_s=lease_s, now_s=now_s, pools=pools
        )
        await asyncio.sleep(LATENCY_S)
        return leases

    async def finish(
        self,
        lease: Lease,
        disposition: Disposition,
        *,
        result: bytes = b"",
        follow_ups: object = (),
        groups: object = (),
        now_s: float,
    ) -> None:
        no_tasks: tuple[NewTask, ...] = ()
        no_groups: tuple[NewGroup, ...] = ()
        await asyncio.sleep(LATENCY_S)
        await super().finish(
            lease,
            disposition,
            result=result,
            follow_ups=no_tasks,
            groups=no_groups,
            now_s=now_s,
        )
        await asyncio.sleep(LATENCY_S)

    async def is_drained(self) -> bool:
        await asyncio.sleep(LATENCY_S)
        return await super().is_drained()


MOMENTS_S = [number * 0.0015 for number in range(120)]
"""Dense against the latency, over more than the whole run."""


@pytest.mark.parametrize("how", ["cancel", "drain", "stop"])
def test_at_every_moment(how: Literal["cancel", "drain", "stop"]) -> None:
    unfinished = 0
    for moment_s in MOMENTS_S:
        stats = run_virtually(functools.partial(_leave, how, moment_s))
        assert stats[TaskState.LEASED] == 0, moment_s
        assert stats[TaskState.DISCARDED] == 0, moment_s
        unfinished += stats[TaskState.DONE] < TASKS
    assert 20 < unfinished < len(MOMENTS_S)  # else the moments miss the run


async def _leave(how: str, moment_s: float) -> dict[TaskState, int]:
    """Run a worker, make it leave at the moment, and count what it left in the store."""
    store = DistantStore(attempts_max=3)
    await store.enqueue([NewTask(payload=b"%d" % number) for number in range(TASKS)])
    await store.close_intake()
    loop = asyncio.get_running_loop()
    running: set[int] = set()

    async def run_task(lease: Lease) -> Outcome:
        running.add(lease.task_id)
        try:
            await asyncio.sleep(0.01)
        finally:
            running.discard(lease.task_id)
        is_first = lease.payload == b"0" and lease.attempt == 1
        return Outcome(disposition=Retry() if is_first else Done())

    worker = Worker(
        store,
        run_task,
        worker_id="w",
        policy=WorkerPolicy(slots=2, grace_s=0.005),
        clock=loop.time,
        rng=lambda: 0.05,
    )
    async with asyncio.TaskGroup() as crew:
        work = crew.create_task(worker.run(), name="worker")
        await asyncio.sleep(moment_s)
        if how == "cancel":
            work.cancel()
        elif how == "drain":
            worker.drain()
        else:
            worker.stop()
    assert not running
    stats = await store.stats()
    left = await store.claim("x", limit=TASKS, lease_s=1, now_s=loop.time() + 100)
    # Only the one that failed by itself has an attempt less; leaving counts for nothing.
    assert all(lease.attempt == 1 or lease.payload == b"0" for lease in left)
    assert all(lease.attempt <= 2 for lease in left)
    return dict(stats.tasks)

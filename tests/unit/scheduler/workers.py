"""A store that can fail, and workers in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scheduler.memory_store import MemoryTaskStore
from scheduler.model import (
    ANY_POOL,
    Done,
    Lease,
    NewTask,
    Outcome,
)
from scheduler.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from scheduler.errors import StoreUnavailable
    from scheduler.model import Reaped
    from scheduler.store import TaskStore
    from scheduler.worker_policy import WorkerPolicy

WALL_S = 1_700_000_000.0
DONE = Outcome(disposition=Done())


class FlakyStore(MemoryTaskStore):
    """Counts calls by verb, can be away (for good, too), and can lose single leases."""

    def __init__(self, *, attempts_max: int = 3) -> None:
        super().__init__(attempts_max=attempts_max)
        self.calls: list[str] = []
        self.away: StoreUnavailable | None = None
        self.unextended: set[bytes] = set()

    def _call(self, verb: str) -> None:
        self.calls.append(verb)
        if self.away is not None:
            raise self.away

    async def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        now_s: float,
        pools: Sequence[str] = (ANY_POOL,),
    ) -> list[Lease]:
        self._call("claim")
        await asyncio.sleep(0.001)
        return await super().claim(
            worker_id, limit=limit, lease_s=lease_s, now_s=now_s, pools=pools
        )

    async def extend(self, leases: Sequence[Lease], *, lease_s: float, now_s: float) -> list[Lease]:
        self._call(f"extend {len(leases)}")
        kept = [lease for lease in leases if lease.payload not in self.unextended]
        return await super().extend(kept, lease_s=lease_s, now_s=now_s)

    async def is_drained(self) -> bool:
        self._call("is_drained")
        return await super().is_drained()

    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        self._call("reap")
        return await super().reap(now_s=now_s, dead=dead)

    def count(self, verb: str) -> int:
        return sum(call.startswith(verb) for call in self.calls)


def wall() -> float:
    return WALL_S + asyncio.get_running_loop().time()


def make_worker(
    store: TaskStore,
    run_task: Callable[[Lease], Awaitable[Outcome]],
    *,
    worker_id: str = "w",
    policy: WorkerPolicy | None = None,
) -> Worker:
    return Worker(store, run_task, worker_id=worker_id, policy=policy, clock=wall, rng=lambda: 0.5)


async def fill(store: TaskStore, count: int, *, close: bool = True) -> None:
    await store.enqueue([NewTask(payload=b"%d" % number) for number in range(count)])
    if close:
        await store.close_intake()

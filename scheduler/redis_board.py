"""The board of a fleet in Redis: an index of jobs, and a few fields in each job's ``meta`` hash.

The index (``mover:jobs``, ``mover:active``) and a job live in different slots of a cluster, so a
job is put into the index first: a name without a record is passed over by everybody, and the next
submit repairs it.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from scheduler.board import FleetBoard, JobRecord
from scheduler.redis_notes import job_key
from scheduler.redis_store import RedisTaskStore, intake_values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from scheduler.model import NewTask
    from scheduler.rates import RateStore
    from scheduler.redis_server import RedisServer
    from scheduler.store import TaskStore

JOBS = "mover:jobs"
ACTIVE = "mover:active"

SHARED = "shared"
"""The name under which rates are kept that all jobs share; no job's, since those are 16 digits."""


class RedisBoard(FleetBoard):
    """All jobs of one server."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def jobs(self) -> list[JobRecord]:
        names = await self._server.do("ZREVRANGE", JOBS, 0, -1)
        found = []
        for name in names:
            record = await self.find(name.decode())
            if record is None:  # its time to live is over
                await self._server.do("ZREM", JOBS, name)
            else:
                found.append(record)
        return found

    async def find(self, job: str) -> JobRecord | None:
        key = job_key(job, "meta")
        description, at_s = await self._server.do("HMGET", key, "description", "submitted_at_s")
        if description is None or at_s is None:
            return None
        return JobRecord(job=job, description=description, submitted_at_s=float(at_s))

    @asynccontextmanager
    async def opened(self, job: str, *, attempts_max: int) -> AsyncGenerator[TaskStore, None]:
        yield RedisTaskStore(self._server, job, attempts_max=attempts_max)

    @asynccontextmanager
    async def rates(self) -> AsyncGenerator[RateStore, None]:
        yield RedisTaskStore(self._server, SHARED)

    async def submit(
        self, job: str, description: bytes, first: Sequence[NewTask], *, now_s: float
    ) -> bool:
        await self._server.do("ZADD", JOBS, repr(now_s), job)
        await self._server.do("SADD", ACTIVE, job)
        answer = await self._server.run(
            "names+intake+submit",
            job_key(job, "meta"),
            description,
            repr(now_s),
            *intake_values(first, ()),
        )
        await self.reopen(job)  # a worker may just have retired the job's last run
        return bool(answer)

    async def active(self) -> list[str]:
        names = await self._server.do("SMEMBERS", ACTIVE)
        return sorted(name.decode() for name in names)

    async def retire(self, job: str, *, ttl_s: float) -> None:
        store = RedisTaskStore(self._server, job)
        if await store.expire(ttl_s, if_drained=True):
            await self._server.do("SREM", ACTIVE, job)
            if not await store.is_drained():  # it was submitted anew in between
                await self.reopen(job)

    async def reopen(self, job: str) -> None:
        await RedisTaskStore(self._server, job).expire(None)
        await self._server.do("ZADD", JOBS, "NX", repr(time.time()), job)
        await self._server.do("SADD", ACTIVE, job)

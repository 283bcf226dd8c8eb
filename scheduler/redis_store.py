"""The queue of a fleet: one job's tasks in Redis (6.2 or newer) or Valkey.

Every verb is one Lua script, and so one atomic step; what the scripts share is ``lua/common.lua``.
``reap``, ``requeue`` and ``forget_finished`` are one step for each page of tasks, because a server
does nothing else while a script runs.
A pool's queue is a stream with one consumer group. A lease is an entry of the group's pending
list: ``claim`` reads it (XREADGROUP), ``extend`` sets its delivery time anew (XCLAIM), and ``reap``
finds by its idle time (XAUTOCLAIM) that it has run out. A stream checks neither owner nor
generation, has no delayed delivery, and gives an entry that is put back a new id: so the task's
record keeps the generation that every script compares, a sorted set keeps delayed tasks, and
attempts are counted in the record and not by deliveries. ``docs/formats.md`` lists the keys.

What a crash of the server loses is what its append-only file had not kept (``appendfsync everysec``:
the last second): claims and finishes of that second, so work is done again, and enqueued tasks of
that second. Those are lost with the step that enqueued them, so whoever did that does it again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.errors import GroupMisused, IntakeClosed, LeaseLost
from scheduler.model import (
    ANY_POOL,
    Advanced,
    Discard,
    Done,
    FinishedTask,
    Lease,
    Reaped,
    Release,
    Retry,
    StoreStats,
    TaskId,
    TaskState,
)
from scheduler.redis_notes import RedisNotes
from scheduler.redis_server import RedisServer, Value
from scheduler.store import LEASE_MAX_S, check_final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scheduler.model import Disposition, NewGroup, NewTask


_TASKS_IN = {state: f"tasks:{state}".encode() for state in TaskState}
_WEIGHT_IN = {state: f"weight:{state}".encode() for state in TaskState}


class RedisTaskStore(RedisNotes):
    """The tasks of one job. The server is the caller's to close, unless ``open`` made it."""

    def __init__(self, server: RedisServer, job: str, *, attempts_max: int = 5) -> None:
        super().__init__(server, job)
        self._attempts_max = attempts_max
        self._owns_server = False

    @classmethod
    async def open(
        cls, url: str, job: str, *, attempts_max: int = 5, password: str | None = None
    ) -> RedisTaskStore:
        """Connect to a server for this one job; raises as ``RedisServer.open``."""
        server = await RedisServer.open(url, password=password)
        store = cls(server, job, attempts_max=attempts_max)
        store._owns_server = True
        return store

    async def aclose(self) -> None:
        if self._owns_server:
            await self._server.aclose()

    async def _run(self, script: str, *arguments: Value) -> Any:
        return await self._server.run(script, self._meta, *arguments)

    # --- Intake ---

    async def enqueue(
        self,
        tasks: Sequence[NewTask],
        *,
        groups: Sequence[NewGroup] = (),
        checkpoint: bytes | None = None,
    ) -> int:
        given = (0, b"") if checkpoint is None else (1, checkpoint)
        answer = await self._run("intake+enqueue", *given, *intake_values(tasks, groups))
        if answer[0] == b"closed":
            raise IntakeClosed(tasks=answer[1])
        _check_groups(answer)
        return int(answer[1])

    async def load_checkpoint(self) -> bytes | None:
        checkpoint: bytes | None = await self._server.do("HGET", self._meta, "checkpoint")
        return checkpoint

    async def close_intake(self) -> None:
        await self._run("tell", "meta", "intake_closed", 1, 1)

    async def is_drained(self) -> bool:
        return (await self.stats()).is_drained

    # --- Leases ---

    async def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        now_s: float,
        pools: Sequence[str] = (ANY_POOL,),
    ) -> list[Lease]:
        if limit < 1:
            return []
        expires_at_s = now_s + _checked(lease_s)
        rows = await self._run(
            "claim", worker_id, limit, repr(expires_at_s), repr(now_s), *dict.fromkeys(pools)
        )
        return [
            Lease(
                task_id=TaskId(task_id),
                generation=generation,
                attempt=attempt,
                payload=payload,
                weight=weight,
                group=group.decode() or None,
                worker_id=worker_id,
                expires_at_s=expires_at_s,
                step=step,
                token=entry.decode(),
            )
            for task_id, generation, attempt, payload, weight, group, step, entry in rows
        ]

    async def extend(self, leases: Sequence[Lease], *, lease_s: float, now_s: float) -> list[Lease]:
        if not leases:
            return []
        expires_at_s = now_s + _checked(lease_s)
        held = [value for lease in leases for value in _held(lease)]
        extended = await self._run("extend", repr(expires_at_s), *held)
        return [replace(leases[place - 1], expires_at_s=expires_at_s) for place in extended]

    async def advance(
        self,
        lease: Lease,
        payload: bytes,
        *,
        follow_ups: Sequence[NewTask] = (),
        groups: Sequence[NewGroup] = (),
    ) -> Advanced:
        answer = await self._run(
            "intake+advance", *_held(lease), lease.step, payload, *intake_values(follow_ups, groups)
        )
        _check_held(answer, lease)
        _check_groups(answer)
        further = replace(lease, payload=payload, step=answer[1])
        return Advanced(further, _stats(*answer[2:]))

    async def finish(
        self,
        lease: Lease,
        disposition: Disposition,
        *,
        result: bytes = b"",
        follow_ups: Sequence[NewTask] = (),
        groups: Sequence[NewGroup] = (),
        now_s: float,
    ) -> None:
        has_more = bool(follow_ups or groups)
        answer = await self._run(
            "intake+finish" if has_more else "finish",
            *_held(lease),
            *_wish(disposition),
            self._attempts_max,
            repr(float(now_s)),
            result,
            *(intake_values(follow_ups, groups) if has_more else ()),
        )
        _check_held(answer, lease)
        _check_groups(answer)

    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        reclaimed = discarded = 0
        is_more = 1
        while is_more:
            page = await self._run("reap", repr(float(now_s)), self._attempts_max, *dead)
            reclaimed, discarded, is_more = reclaimed + page[0], discarded + page[1], page[2]
        return Reaped(reclaimed=reclaimed, discarded=discarded)

    # --- What became of it ---

    async def stats(self) -> StoreStats:
        return _stats(*await self._run("stats"))

    async def results(
        self, states: Collection[TaskState], *, after_task_id: int = 0, limit: int = 1000
    ) -> list[FinishedTask]:
        check_final(states)
        return _finished(await self._run("results", after_task_id, limit, *sorted(set(states))))

    async def group_outcomes(self, group: str) -> list[FinishedTask]:
        return _finished(await self._run("group_outcomes", group))

    async def requeue(self) -> int:
        return await self._paged("requeue")

    async def forget_finished(self) -> int:
        forgotten = 0
        for state in (TaskState.DONE, TaskState.DISCARDED):
            forgotten += await self._paged("forget_finished", state)
        cursor = await self._run("forget_groups", 0)
        while cursor != b"0":
            cursor = await self._run("forget_groups", cursor)
        return forgotten

    async def _paged(self, script: str, *arguments: Value) -> int:
        """Run a script over all finished tasks of this moment, page by page; how many it changed."""
        changed = after = last = 0
        while after >= 0:
            page, after, last = await self._run(script, after, last, *arguments)
            changed += page
        return changed

    async def clear(self) -> None:
        await self._run("names+clear")

    async def expire(self, ttl_s: float | None, *, if_drained: bool = False) -> bool:
        """Let the whole job go ``ttl_s`` seconds from now; None keeps it for good again.

        Only the keys that are there now; for jobs that are over, because a verb may make new ones.
        With ``if_drained`` a job that has tasks to run is left alone, and False comes back.
        """
        ttl_ms = -1 if ttl_s is None else max(1, round(ttl_s * 1000))
        return bool(await self._run("names+expire", ttl_ms, int(if_drained)))


def intake_values(tasks: Sequence[NewTask], groups: Sequence[NewGroup]) -> list[Value]:
    """Tasks and groups as ``read_intake`` of ``common.lua`` reads them."""
    values: list[Value] = [len(tasks), len(groups)]
    for task in tasks:
        values += _task_values(task)
    for group in groups:
        values += [group.name, group.size, *_task_values(group.then)]
    return values


def _task_values(task: NewTask) -> list[Value]:
    return [
        task.payload,
        task.weight,
        task.group or "",
        task.key or "",
        task.pool,
        task.discarded,
        task.result,
    ]


def _wish(disposition: Disposition) -> tuple[str, str, str]:
    """A disposition as ``finish.lua`` reads it: what, after_s, reason."""
    match disposition:
        case Done():
            return "done", "0", ""
        case Discard(reason=reason):
            return "discard", "0", reason
        case Release(after_s=after_s):
            return "release", repr(float(after_s)), ""
        case Retry(after_s=after_s, reason=reason):
            return "retry", repr(float(after_s)), reason


def _stats(fields: list[bytes], is_closed: int) -> StoreStats:
    """The tally's hash, as a flat list of fields and values, as counts."""
    tally = dict(zip(fields[::2], fields[1::2], strict=True))
    return StoreStats(
        tasks={state: int(tally.get(name, 0)) for state, name in _TASKS_IN.items()},
        weight={state: int(tally.get(name, 0)) for state, name in _WEIGHT_IN.items()},
        intake_closed=bool(is_closed),
    )


def _finished(rows: list[list[Any]]) -> list[FinishedTask]:
    return [
        FinishedTask(
            task_id=TaskId(task_id),
            state=TaskState(state.decode()),
            result=result,
            reason=reason.decode(),
            attempts=attempts,
            weight=weight,
            payload=payload,
        )
        for task_id, state, result, reason, attempts, weight, payload in rows
    ]


def _held(lease: Lease) -> tuple[int, int, str]:
    """A lease as the scripts' ``holds`` reads it."""
    return lease.task_id, lease.generation, lease.token


def _checked(lease_s: float) -> float:
    if not 0 < lease_s <= LEASE_MAX_S:
        raise ValueError(f"A lease lasts up to {LEASE_MAX_S:.0f} s, not {lease_s}")
    return lease_s


def _check_held(answer: list[Any], lease: Lease) -> None:
    if answer[0] == b"lost":
        raise LeaseLost(task_id=lease.task_id, generation=lease.generation, detail="it was reaped")


def _check_groups(answer: list[Any]) -> None:
    if answer[0] == b"misused":
        raise GroupMisused(group=answer[1].decode(), detail=answer[2].decode())

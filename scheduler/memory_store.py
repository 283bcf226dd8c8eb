"""The reference store: plain dictionaries in one process. What the contract means, spelled out.

Nothing in a verb waits, so every verb is atomic. It keeps all it is given until it is forgotten,
so it is for tests and for jobs that fit in memory.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scheduler import states
from scheduler.errors import GroupMisused, IntakeClosed, LeaseLost
from scheduler.memory_notes import MemoryNotes
from scheduler.model import (
    ANY_POOL,
    FINAL_STATES,
    Advanced,
    FinishedTask,
    Lease,
    Reaped,
    StoreStats,
    TaskId,
    TaskState,
)
from scheduler.states import Standing
from scheduler.store import check_final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scheduler.model import Disposition, NewGroup, NewTask


@dataclass(slots=True, kw_only=True)
class _Task:
    task_id: TaskId
    payload: bytes
    weight: int
    group: str | None
    key: str | None
    pool: str
    standing: Standing
    result: bytes = b""


@dataclass(slots=True, kw_only=True)
class _Group:
    size: int
    then_id: TaskId = TaskId(0)
    settled: int = 0
    member_ids: list[TaskId] = field(default_factory=list)


class MemoryTaskStore(MemoryNotes):
    """Tasks in dictionaries; ``attempts_max`` is when it gives up on one."""

    def __init__(self, *, attempts_max: int = 5) -> None:
        self._attempts_max = attempts_max
        self._last_id = 0
        self._empty()

    def _empty(self) -> None:
        self._tasks: dict[TaskId, _Task] = {}
        self._keys: dict[str, TaskId] = {}
        self._groups: dict[str, _Group] = {}
        # By pool: ids that were pending when pushed; what is not so any more is skipped when popped.
        self._pending: dict[str, list[TaskId]] = {}
        self._counts: Counter[TaskState] = Counter()
        self._weights: Counter[TaskState] = Counter()
        self._checkpoint: bytes | None = None
        self._intake_closed = False
        self._empty_notes()

    # --- Intake ---

    async def enqueue(
        self,
        tasks: Sequence[NewTask],
        *,
        groups: Sequence[NewGroup] = (),
        checkpoint: bytes | None = None,
    ) -> int:
        if self._intake_closed and tasks:
            raise IntakeClosed(tasks=len(tasks))
        added = self._admit(tasks, groups)
        if checkpoint is not None:
            self._checkpoint = checkpoint
        return added

    def _admit(self, tasks: Sequence[NewTask], groups: Sequence[NewGroup]) -> int:
        new_groups = {group.name: group for group in groups if group.name not in self._groups}
        new_tasks: list[NewTask] = []
        seen: set[str] = set()
        for task in tasks:
            if task.key is not None:
                if task.key in self._keys or task.key in seen:
                    continue
                seen.add(task.key)
            new_tasks.append(task)
        # All is checked before anything is touched, or a refusal would leave half a call behind.
        thens = [group.then for group in new_groups.values()]
        self._check_groups([*thens, *new_tasks], new_groups)
        for group in new_groups.values():
            self._groups[group.name] = _Group(size=group.size)
        for group in new_groups.values():
            waiting = Standing(state=TaskState.WAITING)
            self._groups[group.name].then_id = self._add(group.then, waiting)
        for task in new_tasks:
            self._add(task, states.admit(task))
        return len(new_tasks)

    def _check_groups(self, tasks: Sequence[NewTask], new_groups: dict[str, NewGroup]) -> None:
        joining = Counter(task.group for task in tasks if task.group is not None)
        for name, members in joining.items():
            known = self._groups.get(name)
            if known is None and name not in new_groups:
                raise GroupMisused(group=name, detail="it was never opened")
            size = new_groups[name].size if known is None else known.size
            there = 0 if known is None else len(known.member_ids)
            if there + members > size:
                raise GroupMisused(
                    group=name, detail=f"{there + members} members for a size of {size}"
                )

    def _add(self, task: NewTask, standing: Standing) -> TaskId:
        self._last_id += 1
        task_id = TaskId(self._last_id)
        kept = _Task(
            task_id=task_id,
            payload=task.payload,
            weight=task.weight,
            group=task.group,
            key=task.key,
            pool=task.pool,
            standing=standing,
            result=task.result if task.discarded else b"",
        )
        self._tasks[task_id] = kept
        self._counts[standing.state] += 1
        self._weights[standing.state] += task.weight
        if task.key is not None:
            self._keys[task.key] = task_id
        if task.group is not None:
            self._groups[task.group].member_ids.append(task_id)
        if standing.state is TaskState.PENDING:
            self._push_pending(kept)
        return task_id

    def _push_pending(self, task: _Task) -> None:
        heapq.heappush(self._pending.setdefault(task.pool, []), task.task_id)

    async def load_checkpoint(self) -> bytes | None:
        return self._checkpoint

    async def close_intake(self) -> None:
        self._intake_closed = True

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
        due = [
            task.task_id
            for task in self._in_state(TaskState.DELAYED)
            if task.standing.not_before_s <= now_s and task.pool in pools
        ]
        pending = [self._pop_pending(pool, limit) for pool in dict.fromkeys(pools)]
        candidates = list(heapq.merge(*pending, sorted(due)))
        leases: list[Lease] = []
        for task_id in candidates:
            task = self._tasks[task_id]
            if len(leases) == limit:
                if task.standing.state is TaskState.PENDING:
                    self._push_pending(task)
                continue
            standing = states.claim(
                task.standing, worker_id=worker_id, lease_s=lease_s, now_s=now_s
            )
            if standing is not None:
                self._move(task, standing)
                leases.append(self._lease(task))
        return leases

    def _pop_pending(self, pool: str, limit: int) -> list[TaskId]:
        """Up to ``limit`` pending tasks of a pool, oldest first, taken off its heap."""
        popped: list[TaskId] = []
        heap = self._pending.get(pool, [])
        while heap and len(popped) < limit:
            task_id = heapq.heappop(heap)
            task = self._tasks.get(task_id)
            if task is not None and task.standing.state is TaskState.PENDING:
                popped.append(task_id)
        return popped

    def _in_state(self, state: TaskState) -> list[_Task]:
        if not self._counts[state]:
            return []
        return [task for task in self._tasks.values() if task.standing.state is state]

    async def extend(self, leases: Sequence[Lease], *, lease_s: float, now_s: float) -> list[Lease]:
        extended = []
        for lease in leases:
            task = self._tasks.get(lease.task_id)
            if task is None:
                continue
            standing = states.extend(
                task.standing, generation=lease.generation, lease_s=lease_s, now_s=now_s
            )
            if standing is not None:
                self._move(task, standing)
                extended.append(replace(lease, expires_at_s=standing.expires_at_s))
        return extended

    async def advance(
        self,
        lease: Lease,
        payload: bytes,
        *,
        follow_ups: Sequence[NewTask] = (),
        groups: Sequence[NewGroup] = (),
    ) -> Advanced:
        task = self._tasks.get(lease.task_id)
        standing = None
        if task is not None:
            standing = states.advance(task.standing, generation=lease.generation, step=lease.step)
        if task is None or standing is None:
            raise LeaseLost(
                task_id=lease.task_id, generation=lease.generation, detail="it was reaped"
            )
        if standing is not task.standing:
            self._admit(follow_ups, groups)
            task.standing = standing
            task.payload = payload
        further = replace(lease, payload=payload, step=standing.step)
        return Advanced(further, await self.stats())

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
        task = self._tasks.get(lease.task_id)
        standing = None
        if task is not None:
            standing = states.finish(
                task.standing,
                generation=lease.generation,
                disposition=disposition,
                attempts_max=self._attempts_max,
                now_s=now_s,
            )
        if task is None or standing is None:
            raise LeaseLost(
                task_id=lease.task_id, generation=lease.generation, detail="it was reaped"
            )
        if standing is not task.standing:
            self._admit(follow_ups, groups)
            self._move(task, standing, result=result)

    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        reclaimed = discarded = 0
        for task in self._in_state(TaskState.LEASED):
            standing = states.reap(
                task.standing, attempts_max=self._attempts_max, now_s=now_s, dead=dead
            )
            if standing is None:
                continue
            self._move(task, standing)
            if standing.state is TaskState.DISCARDED:
                discarded += 1
            else:
                reclaimed += 1
        return Reaped(reclaimed=reclaimed, discarded=discarded)

    def _move(self, task: _Task, standing: Standing, *, result: bytes = b"") -> None:
        """Give a task its new standing, with all that follows from it."""
        self._counts[task.standing.state] -= 1
        self._weights[task.standing.state] -= task.weight
        self._counts[standing.state] += 1
        self._weights[standing.state] += task.weight
        task.standing = standing
        if standing.state is TaskState.PENDING:
            self._push_pending(task)
        if standing.state not in FINAL_STATES:
            return
        task.result = result
        if standing.state is TaskState.DONE:
            task.payload = b""
        if task.group is not None:
            self._settle_member(self._groups[task.group])

    def _settle_member(self, group: _Group) -> None:
        group.settled += 1
        if group.settled < group.size:
            return
        then = self._tasks[group.then_id]
        opened = states.settle(then.standing)
        if opened is not None:
            self._move(then, opened)

    def _lease(self, task: _Task) -> Lease:
        return states.lease_of(
            task.task_id,
            task.standing,
            payload=task.payload,
            weight=task.weight,
            group=task.group,
        )

    # --- What became of it ---

    async def stats(self) -> StoreStats:
        return StoreStats(
            tasks={state: self._counts[state] for state in TaskState},
            weight={state: self._weights[state] for state in TaskState},
            intake_closed=self._intake_closed,
        )

    async def results(
        self, states: Collection[TaskState], *, after_task_id: int = 0, limit: int = 1000
    ) -> list[FinishedTask]:
        check_final(states)
        page: list[FinishedTask] = []
        for task_id, task in self._tasks.items():
            if len(page) == limit:
                break
            if task_id > after_task_id and task.standing.state in states:
                page.append(_finished(task))
        return page

    async def group_outcomes(self, group: str) -> list[FinishedTask]:
        known = self._groups.get(group)
        members = [self._tasks[task_id] for task_id in known.member_ids] if known else []
        return [_finished(task) for task in members if task.standing.state in FINAL_STATES]

    async def requeue(self) -> int:
        discarded = [task for task in self._in_state(TaskState.DISCARDED) if task.group is None]
        for task in discarded:
            if standing := states.requeue(task.standing):
                task.result = b""
                self._move(task, standing)
        return len(discarded)

    async def forget_finished(self) -> int:
        finished = [task for task in self._tasks.values() if task.standing.state in FINAL_STATES]
        still_needed = {
            name
            for name, group in self._groups.items()
            if self._tasks[group.then_id].standing.state not in FINAL_STATES
        }
        forgotten = [task for task in finished if task.group not in still_needed]
        for name in self._groups.keys() - still_needed:
            del self._groups[name]
        for task in forgotten:
            del self._tasks[task.task_id]
            self._counts[task.standing.state] -= 1
            self._weights[task.standing.state] -= task.weight
            if task.key is not None:
                del self._keys[task.key]
        return len(forgotten)

    async def clear(self) -> None:
        self._empty()

    # --- Closing ---

    async def aclose(self) -> None:
        """Keeps everything: whoever has the store can open a new worker on it."""


def _finished(task: _Task) -> FinishedTask:
    return FinishedTask(
        task_id=task.task_id,
        state=task.standing.state,
        result=task.result,
        reason=task.standing.reason,
        attempts=task.standing.attempts,
        weight=task.weight,
        payload=task.payload,
    )

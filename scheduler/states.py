"""The life of a task as pure functions; ``docs/state-machine.md`` draws the same edges.

Everything that changes the standing of a task is in this file, and it knows no clock, no store
and no payload. A store loads a ``Standing``, asks the verb, and saves what comes back, inside one
transaction. ``None`` means that the verb does not apply: not claimable, not expired, or lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, assert_never

from scheduler.model import Discard, Disposition, Done, Lease, Release, Retry, TaskState

if TYPE_CHECKING:
    from collections.abc import Collection

    from scheduler.model import NewTask, TaskId


class Edge(NamedTuple):
    """One arrow of the drawing; ``None`` is the outside (not yet, or no longer, in the store)."""

    source: TaskState | None
    verb: str
    target: TaskState | None


EDGES = frozenset(
    {
        Edge(None, "enqueue", TaskState.PENDING),
        Edge(None, "enqueue", TaskState.WAITING),
        Edge(None, "enqueue", TaskState.DISCARDED),
        Edge(TaskState.PENDING, "claim", TaskState.LEASED),
        Edge(TaskState.DELAYED, "claim", TaskState.LEASED),
        Edge(TaskState.LEASED, "extend", TaskState.LEASED),
        Edge(TaskState.LEASED, "advance", TaskState.LEASED),
        Edge(TaskState.LEASED, "finish", TaskState.DONE),
        Edge(TaskState.LEASED, "finish", TaskState.DELAYED),
        Edge(TaskState.LEASED, "finish", TaskState.DISCARDED),
        Edge(TaskState.LEASED, "release", TaskState.PENDING),
        Edge(TaskState.LEASED, "reap", TaskState.PENDING),
        Edge(TaskState.LEASED, "reap", TaskState.DISCARDED),
        Edge(TaskState.WAITING, "settle", TaskState.PENDING),
        Edge(TaskState.DISCARDED, "requeue", TaskState.PENDING),
        Edge(TaskState.DONE, "forget_finished", None),
        Edge(TaskState.DISCARDED, "forget_finished", None),
    }
)
"""Every change there is, but for ``clear``, which empties the store whatever is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a task stands. ``attempts`` counts the failed ones; times are wall clock seconds.

    ``step`` is how often the task has advanced under any of its leases.
    """

    state: TaskState
    generation: int = 0
    attempts: int = 0
    not_before_s: float = 0.0
    expires_at_s: float = 0.0
    worker_id: str = ""
    reason: str = ""
    step: int = 0


def admit(task: NewTask) -> Standing:
    """Where a task that comes in stands."""
    if task.discarded:
        return Standing(state=TaskState.DISCARDED, attempts=1, reason=task.discarded)
    return Standing(state=TaskState.PENDING)


def claim(standing: Standing, *, worker_id: str, lease_s: float, now_s: float) -> Standing | None:
    """Lease a claimable task under a new generation."""
    due = standing.state is TaskState.DELAYED and standing.not_before_s <= now_s
    if not due and standing.state is not TaskState.PENDING:
        return None
    return replace(
        standing,
        state=TaskState.LEASED,
        generation=standing.generation + 1,
        worker_id=worker_id,
        expires_at_s=now_s + lease_s,
    )


def extend(standing: Standing, *, generation: int, lease_s: float, now_s: float) -> Standing | None:
    """Prolong a lease that is still held; ``None`` if it is not.

    A lease past its time that nobody has reaped is still held: the work in it is not wasted.
    """
    if standing.generation != generation or standing.state is not TaskState.LEASED:
        return None
    return replace(standing, expires_at_s=now_s + lease_s)


def advance(standing: Standing, *, generation: int, step: int) -> Standing | None:
    """Note a step of work that goes on under its lease; ``None`` if the lease is not held.

    The same object comes back when this very step has landed before (its answer got lost). What
    moves has all its attempts again: a listing of a day may meet more hiccups than one of a minute.
    """
    if standing.generation != generation or standing.state is not TaskState.LEASED:
        return None
    if standing.step == step + 1:
        return standing
    return replace(standing, step=step + 1, attempts=0) if standing.step == step else None


def finish(
    standing: Standing,
    *,
    generation: int,
    disposition: Disposition,
    attempts_max: int,
    now_s: float,
) -> Standing | None:
    """Settle a held lease; ``None`` if it is lost.

    The same object comes back when this very lease has settled the task before: a repeated finish
    (after an answer that got lost) changes nothing. That is sound because claim and reap each
    raise the generation, so an equal generation on a task that is not leased can only be ours.
    """
    if standing.generation != generation:
        return None
    if standing.state is not TaskState.LEASED:
        return standing
    free = replace(standing, worker_id="", expires_at_s=0.0)
    match disposition:
        case Done():
            return replace(free, state=TaskState.DONE, reason="")
        case Discard(reason=reason):
            return replace(
                free, state=TaskState.DISCARDED, attempts=standing.attempts + 1, reason=reason
            )
        case Release(after_s=0):
            return replace(free, state=TaskState.PENDING)
        case Release(after_s=after_s):
            return replace(free, state=TaskState.DELAYED, not_before_s=now_s + after_s)
        case Retry(after_s=after_s, reason=reason):
            again = replace(
                free, state=TaskState.DELAYED, not_before_s=now_s + after_s, reason=reason
            )
            return _count_attempt(again, attempts_max=attempts_max)
        case _ as unreachable:
            assert_never(unreachable)


def reap(
    standing: Standing, *, attempts_max: int, now_s: float, dead: Collection[str] = ()
) -> Standing | None:
    """Take a task back from an expired lease, or from a worker known to be dead."""
    if standing.state is not TaskState.LEASED:
        return None
    if standing.expires_at_s > now_s and standing.worker_id not in dead:
        return None
    reclaimed = replace(
        standing,
        state=TaskState.PENDING,
        generation=standing.generation + 1,
        worker_id="",
        expires_at_s=0.0,
        reason=f"Lease of worker {standing.worker_id} ran out",
    )
    return _count_attempt(reclaimed, attempts_max=attempts_max)


def requeue(standing: Standing) -> Standing | None:
    """Give a discarded task all its attempts again; whoever held it before has lost it for good."""
    if standing.state is not TaskState.DISCARDED:
        return None
    return replace(
        standing,
        state=TaskState.PENDING,
        generation=standing.generation + 1,
        attempts=0,
        not_before_s=0.0,
        reason="",
    )


def settle(standing: Standing) -> Standing | None:
    """Open the gate of a task whose group has settled."""
    if standing.state is not TaskState.WAITING:
        return None
    return replace(standing, state=TaskState.PENDING)


def lease_of(
    task_id: TaskId, standing: Standing, *, payload: bytes, weight: int, group: str | None
) -> Lease:
    """The lease on a task in a leased standing; its attempt is the one that now begins."""
    return Lease(
        task_id=task_id,
        generation=standing.generation,
        attempt=standing.attempts + 1,
        payload=payload,
        weight=weight,
        group=group,
        worker_id=standing.worker_id,
        expires_at_s=standing.expires_at_s,
        step=standing.step,
    )


def _count_attempt(standing: Standing, *, attempts_max: int) -> Standing:
    attempts = standing.attempts + 1
    if attempts < attempts_max:
        return replace(standing, attempts=attempts)
    reason = f"Gave up after {attempts} attempts: {standing.reason or 'no reason given'}"
    return replace(
        standing, state=TaskState.DISCARDED, attempts=attempts, not_before_s=0.0, reason=reason
    )

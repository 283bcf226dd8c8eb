"""The values of work in time. Frozen, pure; payloads, results and notes are opaque bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NewType, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TaskId = NewType("TaskId", int)
"""Given by the store in the order of enqueueing; never used twice, also not after ``clear``."""


def plain_text(text: str) -> str:
    """Text as every store can keep it: bytes of a file's name that are no Unicode are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


class TaskState(StrEnum):
    """Where a task stands. The values are persisted; their order means nothing."""

    PENDING = "pending"
    """Claimable now."""
    LEASED = "leased"
    """A worker has the right to work on it, until a time."""
    DELAYED = "delayed"
    """Claimable from its not-before time on."""
    WAITING = "waiting"
    """Gated: released when its group has settled."""
    DONE = "done"
    DISCARDED = "discarded"
    """Given up, with a reason."""


OPEN_STATES = frozenset({TaskState.PENDING, TaskState.LEASED, TaskState.DELAYED})
"""A store with a closed intake and no task in these is drained."""

FINAL_STATES = frozenset({TaskState.DONE, TaskState.DISCARDED})


class JobState(StrEnum):
    """The wish of whoever operates the job; kept under ``JOB_STATE`` with ``set_control``."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


ANY_POOL = "any"
"""The pool of tasks that every worker may take, and that every worker joins unless it is told not to."""

HEARD_S = 10.0
"""A worker that has said nothing for so many seconds does not count as one that is here."""

JOB_STATE = "state"
"""Name of the control value that workers obey: a ``JobState``; absent means running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to enqueue.

    ``weight`` is for progress (bytes, say), never negative. ``key`` makes enqueueing idempotent:
    a second task with the key of one that the store still holds is left out. ``group`` makes the
    task a member of a group that is open. ``pool`` says whose it is: only workers that claim from
    that pool get it.

    With ``discarded`` (a reason) it is born given up, with ``result`` as its result: work that
    failed inside a task that is otherwise done, kept where ``requeue`` finds it.
    """

    payload: bytes
    weight: int = 0
    group: str | None = None
    key: str | None = None
    pool: str = ANY_POOL
    discarded: str = ""
    result: bytes = b""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"Weight of a task is negative: {self.weight}")
        if self.discarded and self.group is not None:
            raise ValueError(f"Group {self.group!r}: a member cannot be given up from the start")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup:
    """A group of exactly ``size`` members, and the task that waits for all of them.

    ``then`` becomes claimable, once, when the last member is done or discarded. Its identity is
    the group's name, so it has no key. A group that the store knows already is left as it is.
    """

    name: str
    size: int
    then: NewTask

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Group {self.name!r} has no members: size {self.size}")
        if self.then.key is not None:
            raise ValueError(f"Group {self.name!r}: the task that waits needs no key of its own")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on a task until ``expires_at_s`` (wall clock).

    ``generation`` is the fencing token: every claim has its own. ``attempt`` counts from 1.
    ``step`` counts the advances that the task has made, whoever made them. ``token`` is the store's
    own: it tells leases apart whose ids and generations a store that lost its last writes gave twice.
    """

    task_id: TaskId
    generation: int
    attempt: int
    payload: bytes = field(repr=False)
    weight: int
    group: str | None
    worker_id: str
    expires_at_s: float
    step: int = 0
    token: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The work is finished and visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The attempt failed and counts; not again before ``after_s`` seconds from now."""

    after_s: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.after_s >= 0:
            raise ValueError(f"Retry.after_s must not be negative: {self.after_s}")
        object.__setattr__(self, "reason", plain_text(self.reason))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Given back unfinished (a worker leaves, or waits for others); no attempt is counted.

    Not claimable again before ``after_s`` seconds from now.
    """

    after_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.after_s >= 0:
            raise ValueError(f"Release.after_s must not be negative: {self.after_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Trying again is useless."""

    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", plain_text(self.reason))


Disposition: TypeAlias = Done | Retry | Release | Discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of a task came to; everything in it lands in one transaction.

    ``result`` is kept for Done and Discard. ``follow_ups`` and ``groups`` are enqueued whatever
    the disposition, so with Retry they need keys.
    """

    disposition: Disposition
    result: bytes = b""
    follow_ups: Sequence[NewTask] = ()
    groups: Sequence[NewGroup] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTask:
    """A task that is done or discarded. A discarded one still has its payload, a done one not."""

    task_id: TaskId
    state: TaskState
    result: bytes
    reason: str
    attempts: int
    weight: int
    payload: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """How many tasks stand in each state, and their summed weight; every state is present."""

    tasks: Mapping[TaskState, int]
    weight: Mapping[TaskState, int]
    intake_closed: bool

    @property
    def open_tasks(self) -> int:
        """Tasks that a worker holds or may come to hold without anyone's help."""
        return sum(self.tasks[state] for state in OPEN_STATES)

    @property
    def is_drained(self) -> bool:
        """No more tasks will come, and none is left to run."""
        return self.intake_closed and self.open_tasks == 0


class Advanced(NamedTuple):
    """The lease that stands for an advanced task from now on, and how the store stands with it."""

    lease: Lease
    stats: StoreStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What a reap found: tasks made claimable again, and tasks that had no attempt left."""

    reclaimed: int = 0
    discarded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to the job and that its operator may want to read."""

    event_id: int
    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBeat:
    """The last sign of life of a worker, with its opaque note (its counters, say)."""

    worker_id: str
    note: bytes
    at_s: float

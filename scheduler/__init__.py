"""Work in time: who may do what, and until when.

Belongs here: tasks, leases, retries, quotas, the worker loop and the stores that keep them.
A task is an envelope (an id, an opaque payload, an attempt); this package never sees a byte of
data, a URL or a secret, and never imports ``transports`` or ``mover``.
What a payload means is decided in ``mover``; how bytes are kept is decided in ``transports``.

The stores and the worker are imported from their own modules (``scheduler.sqlite_store`` and so
on); here are the port and the values that everyone needs.
"""

from scheduler.errors import (
    GroupMisused,
    IntakeClosed,
    LeaseLost,
    SchedulerError,
    StoreUnavailable,
)
from scheduler.model import (
    FINAL_STATES,
    JOB_STATE,
    OPEN_STATES,
    Discard,
    Disposition,
    Done,
    FinishedTask,
    JobState,
    Lease,
    NewGroup,
    NewTask,
    Outcome,
    Reaped,
    Release,
    Retry,
    StoreStats,
    TaskId,
    TaskState,
    WorkerBeat,
)
from scheduler.store import TaskStore

__all__ = [
    "FINAL_STATES",
    "JOB_STATE",
    "OPEN_STATES",
    "Discard",
    "Disposition",
    "Done",
    "FinishedTask",
    "GroupMisused",
    "IntakeClosed",
    "JobState",
    "Lease",
    "LeaseLost",
    "NewGroup",
    "NewTask",
    "Outcome",
    "Reaped",
    "Release",
    "Retry",
    "SchedulerError",
    "StoreStats",
    "StoreUnavailable",
    "TaskId",
    "TaskState",
    "TaskStore",
    "WorkerBeat",
]

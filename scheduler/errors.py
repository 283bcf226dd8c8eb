"""What can go wrong with work in time. The leaf class decides what a caller does next."""

from __future__ import annotations


class SchedulerError(Exception):
    """Root of everything this package raises on purpose."""


class StoreUnavailable(SchedulerError):
    """The task store does not answer: away, locked, full, or not a task store at all.

    ``permanent`` says that waiting cannot help (a foreign, corrupt or newer file); every other
    case is worth another try, while the clock of the leases runs on.
    """

    def __init__(self, *, location: str, detail: str, permanent: bool = False) -> None:
        self.location = location
        self.detail = detail
        self.permanent = permanent
        super().__init__(f"Task store {location} is unavailable: {detail}")


class LeaseLost(SchedulerError):
    """The task is no longer this worker's: stop touching the target, say nothing about the task."""

    def __init__(self, *, task_id: int, generation: int, detail: str) -> None:
        self.task_id = task_id
        self.generation = generation
        self.detail = detail
        super().__init__(f"Lease on task {task_id}, generation {generation}, is lost: {detail}")


class IntakeClosed(SchedulerError):
    """Tasks were offered after ``close_intake``: workers may have left, nobody would run them."""

    def __init__(self, *, tasks: int) -> None:
        self.tasks = tasks
        super().__init__(f"Intake is closed: {tasks} more tasks refused")


class GroupMisused(SchedulerError):
    """A task names a group that was never opened, or that has all its members already."""

    def __init__(self, *, group: str, detail: str) -> None:
        self.group = group
        self.detail = detail
        super().__init__(f"Group {group!r}: {detail}")

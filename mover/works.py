"""What a process does for one job, whatever kind of job it is: the port between workers and flows.

A worker knows leases and signs of life; what a task means is its ``Work``'s. A copy's is in
``copy_work``, a prewarm's in ``prewarm_work``.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mover.payloads import Spec
from scheduler.model import Lease, Outcome
from scheduler.store import TaskStore


class Runner(Protocol):
    """Runs the tasks of one job in one process."""

    async def run(self, lease: Lease) -> Outcome:
        """Run a leased task. What a cancel leaves behind is safe to run again."""

    async def give_up(self, lease: Lease) -> Outcome:
        """Settle a task of a cancelled job: nothing is moved, and what it left open is dropped."""

    async def disown(self, outcome: Outcome) -> None:
        """Drop what an outcome made that came too late to be known to anybody."""


class Work(Protocol):
    """One job, opened in one process with this process's credentials."""

    @property
    def title(self) -> str:
        """What the job moves, for people."""

    @property
    def pools(self) -> tuple[str, ...]:
        """Pools of the job's own that this process takes tasks from, beside those that it joined."""

    async def pools_left(self, store: TaskStore) -> tuple[str, ...]:
        """Pools in which tasks of a cancelled job may be left that nobody else takes."""

    def runner(
        self,
        store: TaskStore,
        *,
        shares: bool = False,
        fleet_size: Callable[[], int] = lambda: 1,
        notify: Callable[[], None] = lambda: None,
    ) -> Runner:
        """What runs its tasks. See ``Executor`` for the arguments."""

    def beat(self) -> bytes:
        """The note that a worker leaves with its sign of life."""

    async def begin(self, worker_id: str) -> None:
        """Called once, before the first task. Raises ``TransportError``."""

    async def clean_up(self) -> None:
        """Remove what the job left hidden; it has ended. Raises ``TransportError``."""


OpenWork = Callable[[Spec, str, TaskStore], AbstractAsyncContextManager[Work]]
"""Opens a job by its specification, its name and its queue. Raises ``MoverError``."""

"""The port of the boards: which jobs there are, and the task store of each.

A board keeps for every job what it is about (an opaque description) and since when; all else of a
job is in its task store. ``StoreUnavailable`` may come out of every verb.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from scheduler.model import NewTask
    from scheduler.rates import RateStore
    from scheduler.store import TaskStore


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job on a board: its name, what it is about, and when it was submitted (wall clock)."""

    job: str
    description: bytes = field(repr=False)
    submitted_at_s: float


class JobBoard(ABC):
    """Names jobs and opens their task stores; what operates jobs needs no more."""

    @abstractmethod
    async def jobs(self) -> list[JobRecord]:
        """Every job that is known, the newest first."""

    @abstractmethod
    async def find(self, job: str) -> JobRecord | None:
        """The job of exactly this name."""

    @abstractmethod
    def opened(self, job: str, *, attempts_max: int) -> AbstractAsyncContextManager[TaskStore]:
        """The task store of a job, open inside the block. A job that is not known has an empty one."""

    @abstractmethod
    def rates(self) -> AbstractAsyncContextManager[RateStore]:
        """Rates that outlive jobs and are shared by all of the board, open inside the block."""


class FleetBoard(JobBoard):
    """A board that workers on other hosts see: what is submitted is taken up by them."""

    @abstractmethod
    async def submit(
        self, job: str, description: bytes, first: Sequence[NewTask], *, now_s: float
    ) -> bool:
        """Put a job up, in one step: its description, its first tasks, and a closed intake.

        False when the job is there and not drained: then nothing changes, and the caller has
        joined it. A drained job of this name is cleared first. May be repeated.
        """

    @abstractmethod
    async def active(self) -> list[str]:
        """The jobs that workers have to look at: submitted or reopened, and not yet retired."""

    @abstractmethod
    async def retire(self, job: str, *, ttl_s: float) -> None:
        """Take a drained job out of the active ones; it is kept for ``ttl_s`` seconds.

        A job that has tasks to run, because somebody submitted it anew, stays active.
        """

    @abstractmethod
    async def reopen(self, job: str) -> None:
        """Make a retired job active again, after a ``requeue``; its time is no longer counted."""

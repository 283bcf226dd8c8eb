"""The port of the task stores: what every queue promises, whatever it is made of.

Rules that hold for every verb:

- It is one atomic step. If it raises, or the caller is cancelled, it has happened wholly or not
  at all; after a cancel the caller cannot know which. (A cancelled ``claim`` may leave leases
  that nobody works on; they come back when they expire.) A server that others share may do the
  verbs over many tasks (``reap``, ``requeue``, ``forget_finished``) in several steps; what is
  left after an error is done by the next call.
- It may be repeated. ``enqueue`` does so by keys, ``finish`` and ``release`` by the generation.
- ``StoreUnavailable`` may come out of every verb and is not listed again below.
- ``now_s`` is the wall clock in seconds, read by the caller; leases are compared across hosts,
  whose clocks must agree to well within a lease.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from scheduler.model import ANY_POOL, FINAL_STATES, Release, TaskState
from scheduler.rates import RateStore

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import TracebackType
    from typing import Self

    from scheduler.model import (
        Advanced,
        Disposition,
        Event,
        FinishedTask,
        Lease,
        NewGroup,
        NewTask,
        Reaped,
        StoreStats,
        WorkerBeat,
    )


LEASE_MAX_S = 3600.0
"""The longest lease there is; a store may keep time relative to it."""

EVENTS_KEPT = 1000
"""Events that a store remembers at least; older ones go first."""


class TaskStore(RateStore):
    """A durable queue of opaque tasks, with leases and groups; controls and rates are in ``rates``.

    The store counts attempts and gives up on a task after a number fixed when it was opened.
    Close it with ``aclose`` or ``async with``; it closes nothing that it did not open.
    """

    # --- Intake ---

    @abstractmethod
    async def enqueue(
        self,
        tasks: Sequence[NewTask],
        *,
        groups: Sequence[NewGroup] = (),
        checkpoint: bytes | None = None,
    ) -> int:
        """Add tasks and open groups, and replace the planner's checkpoint; return tasks added.

        A task whose key the store holds is left out; so is a group that is known, with its
        ``then``. Members may come in this call or in later ones, up to the size of the group.

        Raises ``IntakeClosed`` after ``close_intake``, ``GroupMisused`` for a group that is not
        open or is full; nothing of the call is kept then.
        """

    @abstractmethod
    async def load_checkpoint(self) -> bytes | None:
        """The checkpoint of the last ``enqueue`` that had one."""

    @abstractmethod
    async def close_intake(self) -> None:
        """Say that no more tasks come from outside. Follow-ups of running tasks still may."""

    @abstractmethod
    async def is_drained(self) -> bool:
        """Whether the intake is closed and no task is pending, leased or delayed.

        A task may still be waiting then: its group was promised members that never came.
        """

    # --- Leases ---

    @abstractmethod
    async def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        now_s: float,
        pools: Sequence[str] = (ANY_POOL,),
    ) -> list[Lease]:
        """Lease up to ``limit`` tasks that are pending, or delayed and due, to this worker.

        Only tasks of the ``pools`` named; those of one pool come in the order of enqueueing. Where
        one comes back in that order (after a retry, a release, a reap or a requeue) is the store's
        choice, and so is the order between pools. Nothing claimable is an empty list, at once.
        ``lease_s`` is at most ``LEASE_MAX_S``.
        """

    @abstractmethod
    async def extend(self, leases: Sequence[Lease], *, lease_s: float, now_s: float) -> list[Lease]:
        """Prolong leases to ``now_s + lease_s``; return the prolonged ones, in order.

        One that is missing in the answer is lost. All leases of a worker go in one call.
        """

    @abstractmethod
    async def advance(
        self,
        lease: Lease,
        payload: bytes,
        *,
        follow_ups: Sequence[NewTask] = (),
        groups: Sequence[NewGroup] = (),
    ) -> Advanced:
        """Replace a task's payload and enqueue what it has found so far, in one step.

        For a task that goes on for long: whoever gets it next goes on from the new payload. The
        lease that is returned stands for it from now on. Repeated with the same lease it changes
        nothing (also if the arguments differ), and returns the same lease. The counts are those
        of ``stats`` right after the step, so that who enqueues page by page need not ask.

        Raises ``LeaseLost`` if the task is not held any more, and then nothing is kept;
        ``GroupMisused`` as in ``enqueue``.
        """

    @abstractmethod
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
        """Settle a task, enqueue its follow-ups and account for its group, in one step.

        Retry and Discard count the attempt; a Retry without attempts left becomes discarded. The
        last member of a group to be done or discarded makes the group's ``then`` claimable.
        Repeated by the same lease it changes nothing (also if the arguments differ).

        Raises ``LeaseLost`` if the task was reaped meanwhile, and then nothing is kept;
        ``GroupMisused`` as in ``enqueue``.
        """

    async def release(self, lease: Lease) -> None:
        """Give a task back unfinished: claimable at once, no attempt counted.

        Does nothing if this lease has settled the task. Raises ``LeaseLost`` if it was reaped.
        """
        await self.finish(lease, Release(), now_s=0.0)  # a release leaves no time behind

    @abstractmethod
    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        """Take back the tasks whose lease ran out, and those of workers known to be ``dead``.

        The attempt counts: a task that kills its workers must not be tried for ever. One without
        attempts left is discarded, which may settle its group.
        """

    # --- What became of it ---

    @abstractmethod
    async def stats(self) -> StoreStats:
        """Counts and weights by state. Its cost does not grow with the number of tasks."""

    @abstractmethod
    async def results(
        self, states: Collection[TaskState], *, after_task_id: int = 0, limit: int = 1000
    ) -> list[FinishedTask]:
        """A page of finished tasks in the order of their ids, after the id given.

        It has up to ``limit`` tasks; only an empty one says that no more follow.
        Complete only when the store is drained: until then a task of a smaller id may finish
        later. Raises ``ValueError`` for a state that is not final.
        """

    @abstractmethod
    async def group_outcomes(self, group: str) -> list[FinishedTask]:
        """The members of a group that are finished, in the order of enqueueing.

        Kept until the group's ``then`` has finished and ``forget_finished`` was called.
        """

    async def group_results(self, group: str) -> list[bytes]:
        """The results of the members that are done, in the order of enqueueing."""
        members = await self.group_outcomes(group)
        return [member.result for member in members if member.state is TaskState.DONE]

    async def group_failures(self, group: str) -> list[FinishedTask]:
        """The members that were discarded; empty if the group is whole."""
        members = await self.group_outcomes(group)
        return [member for member in members if member.state is TaskState.DISCARDED]

    @abstractmethod
    async def requeue(self) -> int:
        """Make discarded tasks claimable again, with all their attempts; return how many.

        Their results and reasons go. Members of a group stay discarded: their group has settled.
        Works on a drained store too, which is then not drained any more.
        """

    @abstractmethod
    async def forget_finished(self) -> int:
        """Drop finished tasks with their keys and results; return how many.

        Members of a group stay as long as its ``then`` is not finished.
        """

    @abstractmethod
    async def clear(self) -> None:
        """Empty the store for a fresh run: tasks, groups, checkpoint, controls, beats, budgets, events.

        The intake opens again. Leases that are out are lost. Ids are not used again.
        """

    # --- Between workers ---

    @abstractmethod
    async def beat(self, worker_id: str, note: bytes, *, now_s: float) -> int:
        """Leave a sign of life with a small note; it replaces the worker's last one.

        Returns how many workers, this one included, were heard of within ``HEARD_S``.
        """

    @abstractmethod
    async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
        """The workers heard of within the last ``within_s`` seconds, by worker id."""

    @abstractmethod
    async def record(self, text: str, *, now_s: float) -> None:
        """Note an event for the job's operator; the last ``EVENTS_KEPT`` stay."""

    @abstractmethod
    async def events(self, *, after_event_id: int = 0, limit: int = 100) -> list[Event]:
        """The newest ``limit`` events after the id given, oldest first."""

    # --- Closing ---

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of files, threads and connections; leases stay. A second call does nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def check_final(states: Collection[TaskState]) -> None:
    """Refuse to page over states that tasks leave again."""
    if passing := sorted(set(states) - FINAL_STATES):
        raise ValueError(f"Only finished tasks have results, not {', '.join(passing)} ones")

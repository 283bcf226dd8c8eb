"""The worker loop: claim, run, finish, until there is nothing left or somebody says stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Literal, NoReturn

from scheduler.errors import LeaseLost, StoreUnavailable
from scheduler.lanes import Lane
from scheduler.leases import LeaseKeeper, run_under_lease
from scheduler.model import (
    JOB_STATE,
    Discard,
    Done,
    JobState,
    Lease,
    Outcome,
    Release,
    Retry,
)
from scheduler.patience import patiently
from scheduler.reaper import reap_forever
from scheduler.worker_policy import WorkerPolicy, WorkerTally, reap_pause_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scheduler.leases import Hold
    from scheduler.store import TaskStore

_log = logging.getLogger(__name__)

GIVE_BACK_MAX_S = 5.0
"""How long a worker that leaves may spend on giving one lease back before it lets it expire."""

REASON_CHARS_MAX = 500


class Worker:
    """Runs tasks of one store in this process. Not thread-safe: call it from its loop only.

    ``run_task`` gets a lease and returns an outcome. It may be called twice for one task, here or
    elsewhere, at any time. An exception it did not turn into an outcome is a Retry. It is
    cancelled when the lease is lost or the worker leaves, and must end soon after.

    ``note`` gives the bytes of the worker's sign of life. ``disown`` gets an outcome that came too
    late: the lease was lost, so nothing of it is known to anybody else, and what it made and nobody
    will use can be removed. The store stays the caller's to close.
    """

    def __init__(
        self,
        store: TaskStore,
        run_task: Callable[[Lease], Awaitable[Outcome]],
        *,
        worker_id: str,
        policy: WorkerPolicy | None = None,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        note: Callable[[], bytes] = bytes,
        disown: Callable[[Outcome], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._run_task = run_task
        self._worker_id = worker_id
        self._policy = policy or WorkerPolicy()
        self._clock = clock
        self._rng = rng
        self._note = note
        self._disown = disown
        self._keeper = LeaseKeeper(store, lease_s=self._policy.lease_s, clock=clock)
        self._lanes = [Lane(lane) for lane in self._policy.lanes]
        self._fleet_size = 1
        self._draining = asyncio.Event()
        self._is_over = False
        self._is_stopping = False
        self._is_paused = False
        self._ended: Counter[str] = Counter()

    @property
    def tally(self) -> WorkerTally:
        """How the leases ended so far."""
        return WorkerTally(**self._ended)

    @property
    def is_busy(self) -> bool:
        """Whether a task is running."""
        return any(lane.running for lane in self._lanes)

    @property
    def is_paused(self) -> bool:
        """Whether the job's state is paused: running tasks go on, no new ones begin."""
        return self._is_paused

    @property
    def fleet_size(self) -> int:
        """How many workers, this one included, work on the store, as its last sign of life told."""
        return self._fleet_size

    def notify(self) -> None:
        """Say that tasks were enqueued in this process: an idle worker looks at once."""
        for lane in self._lanes:
            lane.wake()

    def drain(self) -> None:
        """Leave: claim no more, let running tasks end within the grace, give the rest back."""
        self._draining.set()
        self.notify()

    def stop(self) -> None:
        """Leave now: as ``drain``, without the grace."""
        self._is_stopping = True
        self.drain()

    async def run(self, until: Literal["drained", "stopped"] = "drained") -> WorkerTally:
        """Work until the store is drained (or for ever: ``stopped``), or ``drain`` was called.

        When it returns, nothing is running and nothing is leased. A cancel is a ``stop`` that
        raises ``CancelledError`` at the end. ``StoreUnavailable`` comes out if the store stays
        away for longer than the policy's patience, or can never work; leases then run out.
        """
        try:
            async with asyncio.TaskGroup() as crew:
                await self._look_around()
                chores = self._start_chores(crew)
                try:
                    await self._claim_on_all_lanes(crew, until)
                    await self._wind_down()
                    await self._look_around()
                finally:
                    for chore in chores:
                        chore.cancel()
        except BaseExceptionGroup as group:
            # Several children may see the same store go away; the caller needs to hear it once.
            away, rest = group.split(StoreUnavailable)
            if away is None or rest is not None:
                raise
            raise _first_leaf(away) from group
        return self.tally

    # --- Claiming ---

    async def _claim_on_all_lanes(self, crew: asyncio.TaskGroup, until: str) -> None:
        async with asyncio.TaskGroup() as lanes:
            for lane in self._lanes:
                lanes.create_task(self._claim_until_over(crew, lane, until), name="lane")

    async def _claim_until_over(self, crew: asyncio.TaskGroup, lane: Lane, until: str) -> None:
        while not (self._draining.is_set() or self._is_over):
            free = 0 if self._is_paused else lane.free
            leases = await self._claim(crew, lane, free) if free else []
            for lease in leases:
                # A drain that came during the claim: a task cancelled before its first step
                # would never get to give its lease back.
                if self._draining.is_set():
                    await self._give_back(lease)
                else:
                    self._start(crew, lane, lease)
            if leases:
                lane.found()
            elif until == "drained" and not lane.running and await self._sees_the_end(lane):
                return
            else:
                polls = free > 0 or self._is_paused
                await lane.rest(polls=polls, workers=self._fleet_size)

    async def _sees_the_end(self, lane: Lane) -> bool:
        """Whether the store is drained. One lane asks, and tells the others."""
        if lane is self._lanes[0] and await self._is_drained():
            self._is_over = True
            self.notify()
        return self._is_over

    def _start(self, crew: asyncio.TaskGroup, lane: Lane, lease: Lease) -> None:
        task = crew.create_task(self._run_one(lease), name=f"task-{lease.task_id}")
        lane.running[lease.task_id, lease.generation] = task
        task.add_done_callback(lambda _: self._ended_one(lane, lease))

    def _ended_one(self, lane: Lane, lease: Lease) -> None:
        del lane.running[lease.task_id, lease.generation]
        lane.wake()
        if not lane.running:
            self._lanes[0].wake()  # it sees the end, if this was the last task of all

    async def _claim(self, crew: asyncio.TaskGroup, lane: Lane, limit: int) -> list[Lease]:
        """Claim up to ``limit`` tasks; a cancel gives back what the claim under way brings."""
        claiming = crew.create_task(self._claim_or_error(lane, limit), name="claim")
        try:
            claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GIVE_BACK_MAX_S):
                    claimed = await asyncio.shield(claiming)
                    for lease in claimed if isinstance(claimed, list) else ():
                        await self._give_back(lease)
            raise
        if isinstance(claimed, StoreUnavailable):
            raise claimed
        return claimed

    async def _claim_or_error(self, lane: Lane, limit: int) -> list[Lease] | StoreUnavailable:
        """As a value, because an error raised here would end the crew before its time."""
        try:
            return await patiently(
                lambda: self._store.claim(
                    self._worker_id,
                    limit=limit,
                    lease_s=self._policy.lease_s,
                    now_s=self._clock(),
                    pools=lane.policy.pools,
                ),
                patience_s=self._policy.patience_s,
                rng=self._rng,
                interrupted_by=self._draining,
            )
        except StoreUnavailable as error:
            # Whoever is leaving has no use for the tasks that it could not get.
            return [] if self._draining.is_set() and not error.permanent else error

    async def _is_drained(self) -> bool:
        try:
            return await patiently(
                self._store.is_drained,
                patience_s=self._policy.patience_s,
                rng=self._rng,
                interrupted_by=self._draining,
            )
        except StoreUnavailable as error:
            if self._draining.is_set() and not error.permanent:
                return False
            raise

    async def _wind_down(self) -> None:
        """See the running tasks out: by themselves within the grace, then by cancelling."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._policy.grace_s
        for lane in self._lanes:
            while lane.running and not self._is_stopping and loop.time() < deadline_s:
                await lane.news_within(deadline_s - loop.time())
        for lane in self._lanes:
            for task in lane.running.values():
                task.cancel()
        for lane in self._lanes:
            while lane.running:
                if not await lane.news_within(self._policy.lease_s):
                    _log.warning(
                        "action=wait worker=%s stuck=%s", self._worker_id, sorted(lane.running)
                    )

    # --- One task ---

    async def _run_one(self, lease: Lease) -> None:
        try:
            with self._keeper.holding(lease) as hold:
                outcome = await self._outcome(lease, hold)
                await self._finish_or_disown(lease, outcome)
        except LeaseLost as lost:
            self._ended["lost"] += 1
            _log.warning("action=lose task=%d: %s", lease.task_id, lost)
        except asyncio.CancelledError:
            await self._give_back(lease)
            raise

    async def _outcome(self, lease: Lease, hold: Hold) -> Outcome:
        """Run the task; raises ``LeaseLost`` and ``CancelledError``, and no other error."""
        try:
            return await run_under_lease(lambda: self._run(lease), hold.lost)
        except Exception as error:  # any failure of a task is an outcome
            if hold.is_lost:
                raise hold.error() from error
            if _is_being_cancelled():
                # The work failed while it was being cancelled; until Python 3.13 a task group
                # reports that failure in place of the cancel. It is no verdict on the task.
                raise asyncio.CancelledError from error
            _log.warning("action=retry task=%d attempt=%d", lease.task_id, lease.attempt)
            return Outcome(disposition=Retry(reason=_reason(error)))

    async def _run(self, lease: Lease) -> Outcome:
        return await self._run_task(lease)

    async def _finish_or_disown(self, lease: Lease, outcome: Outcome) -> None:
        try:
            await self._finish(lease, outcome)
        except LeaseLost:
            if self._disown is not None:
                await self._disown(outcome)
            raise

    async def _finish(self, lease: Lease, outcome: Outcome) -> None:
        """Settle the task, however long the store is away; the keeper renews meanwhile."""
        disposition = self._policy.retries.decide(
            outcome.disposition, attempt=lease.attempt, rng=self._rng
        )
        await patiently(
            lambda: self._store.finish(
                lease,
                disposition,
                result=outcome.result,
                follow_ups=outcome.follow_ups,
                groups=outcome.groups,
                now_s=self._clock(),
            ),
            patience_s=self._policy.patience_s,
            rng=self._rng,
        )
        match disposition:
            case Done():
                self._ended["done"] += 1
            case Retry():
                self._ended["retried"] += 1
            case Release():
                self._ended["released"] += 1
            case Discard():
                self._ended["discarded"] += 1

    async def _give_back(self, lease: Lease) -> None:
        """Release a lease, not for long. If a finish has landed, this changes nothing."""
        try:
            async with asyncio.timeout(GIVE_BACK_MAX_S):
                await self._store.release(lease)
        except (LeaseLost, StoreUnavailable, TimeoutError) as error:
            _log.warning("action=release task=%d failed: %s", lease.task_id, error)
        else:
            self._ended["released"] += 1

    # --- Chores ---

    def _start_chores(self, crew: asyncio.TaskGroup) -> list[asyncio.Task[NoReturn]]:
        reaping = reap_forever(
            self._store,
            turn_s=reap_pause_s(self._policy.lease_s, 1),
            pause_s=lambda: reap_pause_s(self._policy.lease_s, self._fleet_size),
            clock=self._clock,
            rng=self._rng,
            on_reaped=lambda _: self.notify(),
        )
        return [
            crew.create_task(self._keeper.keep(), name="lease-keeper"),
            crew.create_task(reaping, name="reaper"),
            crew.create_task(self._beat_forever(), name="beat"),
        ]

    async def _beat_forever(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._policy.beat_every_s)
            await self._look_around()

    async def _look_around(self) -> None:
        """Leave a sign of life, and obey the job's state. A store that is away is let be."""
        try:
            async with asyncio.timeout(self._policy.lease_s):
                self._fleet_size = await self._store.beat(
                    self._worker_id, self._note(), now_s=self._clock()
                )
                wish = await self._store.get_control(JOB_STATE)
        except (StoreUnavailable, TimeoutError):
            return
        if not self._policy.obeys_job_state:
            return
        try:
            state = JobState.RUNNING if wish is None else JobState(wish.decode("utf-8", "replace"))
        except ValueError:
            _log.warning("action=obey: the job's state %r is unknown and ignored", wish)
            return
        if state is JobState.CANCELLED:
            self.stop()
        if self._is_paused != (state is JobState.PAUSED):
            self._is_paused = not self._is_paused
            self.notify()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _reason(error: BaseException) -> str:
    leaf = _first_leaf(error)
    return f"{type(leaf).__name__}: {leaf}"[:REASON_CHARS_MAX]


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

"""A worker of a fleet: it takes up every job on the board that its pools let it work on.

One process, one loop. For each job it opens both ends with its own credentials, and works on two
lanes: tasks that move, and listing tasks, so that neither waits for the other. It leaves when it is
told to (tasks in progress are given back), or when there has been nothing to do for a while.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mover.errors import MoverError, Rejected
from mover.letters import CANCELLED
from mover.payloads import Spec, decode_spec
from mover.pools import listing_pool
from mover.settings import ATTEMPTS_MAX, JOB_TTL_S, listing_lane
from mover.stopping import Stop
from mover.works import OpenWork, Work
from scheduler.board import FleetBoard
from scheduler.errors import StoreUnavailable
from scheduler.model import (
    JOB_STATE,
    Discard,
    Disposition,
    JobState,
    Lease,
    Outcome,
    Release,
    Retry,
)
from scheduler.patience import patiently
from scheduler.store import TaskStore
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy
from transports.errors import TransportError

LOOK_EVERY_S = 0.25
"""How often a worker looks for new jobs, unless so many others do too that it should wait longer."""

LOOKS_PER_S_MAX = 1000.0
"""How often all workers of a fleet together look for new jobs."""

REST_S = 4.0
"""How long a job rests on a worker that could not open its ends: another may take it up."""

REFUSALS_MAX = 3
"""A job that has not begun, and whose ends this many tries could not open, is given up."""

ENDED = "ended"
"""Control of a job whose last task has ended and whose leavings were removed."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class FleetWorker:
    """Works for a board until it is stopped; ``run`` does it.

    ``exit_when_idle_s`` is the time without any task after which it leaves; None: never.
    """

    board: FleetBoard
    worker_id: str
    policy: WorkerPolicy
    open_work: OpenWork
    note: Callable[[str], None]
    stop: Stop
    exit_when_idle_s: float | None = None
    clock: Callable[[], float] = time.time
    rng: Callable[[], float] = field(default=lambda: 0.5)
    _serving: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _opening: set[str] = field(default_factory=set)
    _workers: dict[str, Worker] = field(default_factory=dict)
    _resting: dict[str, float] = field(default_factory=dict)
    _busy_at_s: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """Serve until stopped, or idle for too long.

        Raises ``StoreUnavailable`` when the board stays away for longer than the policy's patience,
        or can never work.
        """
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch_stop(), name="stop-watch")
            while not (self.stop.drain.is_set() or self._is_idle()):
                active = await self._active()
                self._leave_lost(active)
                for job in active:
                    if job not in self._serving and not self._rests(job):
                        self._opening.add(job)
                        task = group.create_task(self._serve(job), name=f"job-{job}")
                        self._serving[job] = task
                        # Not in the task itself: one that is cancelled before its first step ends
                        # without a word.
                        task.add_done_callback(functools.partial(self._ended, job))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_pause_s):
                        await self.stop.drain.wait()
            self._leave()
            while self._serving:  # noqa: ASYNC110 - the group's own end waits for them too
                await asyncio.sleep(0.05)
            watch.cancel()

    @property
    def _look_pause_s(self) -> float:
        fleet = max((worker.fleet_size for worker in self._workers.values()), default=1)
        return look_pause_s(fleet)

    def _leave(self) -> None:
        """Drain every job's worker; where the ends are still being opened, there is nothing to drain."""
        for worker in self._workers.values():
            worker.drain()
        for job in self._opening:
            self._serving[job].cancel()

    def _ended(self, job: str, _: "asyncio.Task[None]") -> None:
        del self._serving[job]
        self._opening.discard(job)

    def _leave_lost(self, active: list[str]) -> None:
        """Leave jobs that the board does not have any more: it was restarted without its data."""
        for job, worker in self._workers.items():
            if job not in active:
                worker.drain()

    @property
    def _listing_pools(self) -> tuple[str, ...]:
        return tuple(listing_pool(pool) for pool in self.policy.pools)

    async def _active(self) -> list[str]:
        return await patiently(
            self.board.active,
            patience_s=self.policy.patience_s,
            rng=self.rng,
            interrupted_by=self.stop.drain,
        )

    def _is_idle(self) -> bool:
        if any(worker.is_busy for worker in self._workers.values()):
            self._busy_at_s = time.monotonic()
        limit_s = self.exit_when_idle_s
        return limit_s is not None and time.monotonic() - self._busy_at_s >= limit_s

    def _rests(self, job: str) -> bool:
        return self._resting.get(job, 0.0) > time.monotonic()

    async def _watch_stop(self) -> None:
        await self.stop.drain.wait()
        self._leave()
        await self.stop.at_once.wait()
        for worker in self._workers.values():
            worker.stop()

    async def _serve(self, job: str) -> None:
        try:
            record = await self.board.find(job)
            if record is None:
                self._rest(job, "")
                return
            async with self.board.opened(job, attempts_max=ATTEMPTS_MAX) as store:
                spec = decode_spec(record.description)
                if not spec.pools.isdisjoint(self.policy.pools):
                    await self._serve_in(job, spec, store)
                else:
                    self._rest(job, "")
        except MoverError as error:
            # One job that is not for this worker must not end the others.
            self._rest(job, str(error))
        except StoreUnavailable as error:
            if error.permanent:
                raise
            # What was held comes back to others; whether the queue comes back, the board will tell.
            self._rest(job, f"{error}; trying again")

    def _rest(self, job: str, why: str) -> None:
        self._resting[job] = time.monotonic() + REST_S
        if why:
            self.note(f"job {job}: {why}")

    async def _serve_in(self, job: str, spec: Spec, store: TaskStore) -> None:
        try:
            async with self.open_work(spec, job, store) as work:
                self.note(f"job {job}: {work.title}")
                await work.begin(self.worker_id)
                await store.record(f"{self.worker_id} joined", now_s=self.clock())
                await self._work(job, work, store)
                if await store.is_drained():
                    await self._close(job, work, store)
        except MoverError as error:
            self._rest(job, str(error))
            await store.record(f"{self.worker_id} cannot work: {error}", now_s=self.clock())
            await self._refuse(job, store, error)

    async def _refuse(self, job: str, store: TaskStore, error: MoverError) -> None:
        """Leave a job to others whose ends this worker cannot open; they may have what it lacks.

        A job that has not begun, and of which only the first task is there, is given up with the
        reason after a few tries; a cancelled one is settled without its ends.
        """
        if await store.get_control(JOB_STATE) == JobState.CANCELLED.encode():
            await self._work_with(job, self._sweeper(_settle_blindly, store))
        elif isinstance(error, Rejected):
            await self._refuse_first(store, str(error))
        if await store.is_drained():
            await self.board.retire(job, ttl_s=JOB_TTL_S)

    async def _refuse_first(self, store: TaskStore, reason: str) -> None:
        stats = await store.stats()
        if stats.open_tasks != 1 or sum(stats.tasks.values()) != 1:
            return
        leases = await store.claim(
            self.worker_id,
            limit=1,
            lease_s=self.policy.lease_s,
            now_s=self.clock(),
            pools=self._listing_pools,
        )
        for lease in leases:
            wish: Disposition = Retry(after_s=REST_S / 2, reason=reason)
            if lease.step > 0:
                wish = Release(after_s=REST_S / 2)
            elif lease.attempt >= REFUSALS_MAX:
                wish = Discard(reason=reason)
            await store.finish(lease, wish, now_s=self.clock())

    async def _work(self, job: str, work: Work, store: TaskStore) -> None:
        runner = work.runner(
            store,
            shares=True,
            fleet_size=lambda: worker.fleet_size,
            notify=lambda: worker.notify(),
        )
        listing = listing_lane(self.policy, self._listing_pools)
        pools = (*self.policy.pools, *work.pools)
        worker = Worker(
            store,
            runner.run,
            worker_id=self.worker_id,
            policy=replace(self.policy, pools=pools, beside=(listing,)),
            note=work.beat,
            disown=runner.disown,
        )
        await self._work_with(job, worker)
        if await store.get_control(JOB_STATE) == JobState.CANCELLED.encode():
            await self._work_with(
                job, self._sweeper(runner.give_up, store, await work.pools_left(store))
            )

    def _sweeper(
        self,
        give_up: Callable[[Lease], Awaitable[Outcome]],
        store: TaskStore,
        pools: tuple[str, ...] = (),
    ) -> Worker:
        """Gives up what is left of a cancelled job, so that no upload stays open."""
        policy = replace(
            self.policy,
            pools=(*self.policy.pools, *pools, *self._listing_pools),
            obeys_job_state=False,
        )
        return Worker(store, give_up, worker_id=self.worker_id, policy=policy)

    async def _work_with(self, job: str, worker: Worker) -> None:
        """Run a worker of a job to its end; raises what it raises."""
        self._opening.discard(job)
        self._workers[job] = worker
        if self.stop.drain.is_set():
            worker.drain()
        try:
            await worker.run(until="drained")
        finally:
            del self._workers[job]

    async def _close(self, job: str, work: Work, store: TaskStore) -> None:
        """Clean up behind a job that has ended. Every worker of it does; once more does no harm."""
        try:
            await work.clean_up()
        except TransportError as error:
            self.note(f"job {job}: what it left unfinished could not be removed: {error}")
        if await store.get_control(ENDED) is None:
            await store.set_control(ENDED, b"1")
            await store.record("the job has ended", now_s=self.clock())
        await self.board.retire(job, ttl_s=JOB_TTL_S)
        self.note(f"job {job}: ended")


def look_pause_s(workers: int) -> float:
    """The pause between two looks for new jobs of one worker among so many, in seconds."""
    return max(LOOK_EVERY_S, workers / LOOKS_PER_S_MAX)


async def _settle_blindly(lease: Lease) -> Outcome:
    """Give up a task of a cancelled job whose ends cannot be opened; uploads it has open stay."""
    return Outcome(disposition=Discard(reason=CANCELLED))

"""Lead a copy: plan, work, keep the crew alive, show progress, and report.

One process leads. It plans into the queue, runs a worker of its own, and starts ``workers - 1``
more processes on the same queue; any of them may die at any line. Stopping is two-step: the first
request drains (tasks in progress are given back), the second ends at once; the same command line
goes on from there.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mover.crew import Crew, beat
from mover.delta_parcels import clean_up
from mover.ends import Ends
from mover.executing import Executor
from mover.feeding import Checkpoint, Feeder, load_checkpoint
from mover.gathering import gather_results, tally_so_far
from mover.jobs import JobDirectory
from mover.model import Report, State, Tally
from mover.pacing import RateMeter
from mover.progress import Monitor, Progress, WorkerProgress
from mover.settings import WORKER_POLICY
from mover.stopping import Stop
from scheduler.model import JOB_STATE, JobState
from scheduler.store import TaskStore
from scheduler.worker import Worker

TICK_S = 0.5
"""How often progress is told and worker processes leave a sign of life."""


@dataclass(slots=True, kw_only=True)
class Leader:
    """Everything that one run of a job needs; ``run`` does it."""

    directory: JobDirectory
    ends: Ends
    store: TaskStore
    worker_id: str
    crew: Crew
    monitor: Monitor
    stop: Stop
    clock: Callable[[], float] = time.time
    _started_s: float = field(default_factory=time.monotonic)
    _before: Tally = field(default_factory=Tally)
    _meter: RateMeter = field(default_factory=RateMeter)

    async def run(self) -> Report:
        """Run the job to its end, or to where it was asked to stop. Never raises for an object."""
        earlier = await self._take_up()
        checkpoint = earlier or Checkpoint(now_s=self.clock())
        self.monitor.begin(self.directory.job, resumed=earlier is not None)
        if await self.store.get_control(JOB_STATE) == JobState.PAUSED.encode():
            self.monitor.note(f"the job is paused; mover resume {self.directory.job} lets it go on")
        executor = Executor(self.ends, self.store)
        worker = Worker(
            self.store,
            executor.run,
            worker_id=self.worker_id,
            policy=WORKER_POLICY,
            note=self._beat,
            disown=executor.disown,
        )
        feeder = Feeder(self.ends, self.store, checkpoint, worker.notify)
        try:
            async with asyncio.TaskGroup() as group:
                planning = group.create_task(feeder.run(), name="planner")
                crew = group.create_task(self.crew.run(), name="crew")
                watchers = (
                    group.create_task(self._tick(feeder), name="progress"),
                    group.create_task(self._watch_stop(worker, planning), name="stop-watch"),
                )
                await worker.run(until="drained")
                planning.cancel()  # it has ended, or the job was cancelled or stopped
                await crew
                for watcher in watchers:
                    watcher.cancel()
        finally:
            await self.crew.end()
        if await self._is_cancelled():
            await self._give_up(executor)
        return await self._report(feeder)

    async def _is_cancelled(self) -> bool:
        return await self.store.get_control(JOB_STATE) == JobState.CANCELLED.encode()

    async def _give_up(self, executor: Executor) -> None:
        """Settle what is left of a cancelled job, so that no upload stays open."""
        await self.store.close_intake()
        await self.store.reap(now_s=self.clock() + WORKER_POLICY.lease_s * 1000)
        policy = replace(WORKER_POLICY, obeys_job_state=False)
        sweeper = Worker(self.store, executor.give_up, worker_id=self.worker_id, policy=policy)
        await sweeper.run(until="drained")

    async def _take_up(self) -> Checkpoint | None:
        """Clear the queue of a finished run; take back what a dead run had leased."""
        if await self.store.is_drained():
            await self.store.clear()
            return None
        # This process leads the directory and its old crew is gone: every lease is a dead one's.
        await self.store.reap(now_s=self.clock() + WORKER_POLICY.lease_s * 1000)
        self._before = await tally_so_far(self.store)
        return await load_checkpoint(self.store)

    async def _watch_stop(self, worker: Worker, planning: "asyncio.Task[None]") -> None:
        await self.stop.drain.wait()
        planning.cancel()
        self.crew.drain()
        worker.drain()
        await self.stop.at_once.wait()
        self.crew.kill()
        worker.stop()

    def _beat(self) -> bytes:
        return beat(self.ends.live, meter=self._meter)

    async def _tick(self, feeder: Feeder) -> None:
        while True:
            self.monitor.update(await self._progress(feeder))
            await asyncio.sleep(TICK_S)

    async def _progress(self, feeder: Feeder) -> Progress:
        live, before, plan = self.ends.live, self._before, feeder.checkpoint
        workers = await self.crew.progress(self.clock(), without=self.worker_id)
        here = WorkerProgress(self.worker_id, live.copied_objects, live.copied_bytes)
        return Progress(
            job=self.directory.job,
            seconds=time.monotonic() - self._started_s,
            planned_objects=plan.tally.planned_objects,
            planned_bytes=plan.tally.planned_bytes,
            planned_all=plan.done,
            copied_objects=before.copied_objects
            + live.copied_objects
            + sum(w.objects for w in workers),
            copied_bytes=before.copied_bytes + live.copied_bytes + sum(w.bytes for w in workers),
            skipped_objects=plan.tally.skipped_objects
            + before.skipped_objects
            + live.skipped_objects,
            failed_objects=before.failed_objects + live.failed_objects,
            before_bytes=before.copied_bytes,
            workers=(here, *workers) if workers else (),
        )

    async def _report(self, feeder: Feeder) -> Report:
        finished = await self.store.is_drained()
        gathered = await gather_results(self.store, self.directory.retry_path)
        gathered.tally.add(feeder.checkpoint.tally)
        if finished:
            await clean_up(self.ends)
        self.monitor.update(await self._progress(feeder))
        state = None if finished else State.INTERRUPTED
        if finished and await self._is_cancelled():
            state = State.CANCELLED
        seconds = time.monotonic() - self._started_s
        report = gathered.report(self.directory.job, seconds=seconds, state=state)
        self.monitor.end(report)
        return report

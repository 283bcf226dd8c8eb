"""Lead a prewarm of this host: put up its first round, work, keep the crew alive, and watch to the end."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mover.crew import Crew
from mover.model import Report
from mover.pools import listing_pool
from mover.prewarm.model import Round
from mover.prewarm_nodes import NODES, round_task
from mover.prewarm_work import WarmWork
from mover.settings import WORKER_POLICY, listing_lane
from mover.stopping import Stop
from mover.watching import Watcher
from scheduler.model import ANY_POOL, JOB_STATE, JobState
from scheduler.store import TaskStore
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy


def local_policy(pools: tuple[str, ...]) -> WorkerPolicy:
    """How a process of a prewarm of this host works: tasks of its node, and rounds beside them."""
    lane = listing_lane(WORKER_POLICY, (listing_pool(ANY_POOL),))
    return replace(WORKER_POLICY, pools=(ANY_POOL, *pools), beside=(lane,))


@dataclass(slots=True, kw_only=True)
class WarmLeader:
    """Everything that one run of a prewarm needs; ``run`` does it."""

    work: WarmWork
    store: TaskStore
    worker_id: str
    crew: Crew
    watcher: Watcher
    stop: Stop
    clock: Callable[[], float] = time.time

    async def run(self) -> Report:
        """Run the job to its end, or to where it was asked to stop. Never raises for a file."""
        resumed = await self._take_up()
        runner = self.work.runner(self.store, notify=lambda: worker.notify())
        worker = Worker(
            self.store,
            runner.run,
            worker_id=self.worker_id,
            policy=local_policy(self.work.pools),
            note=self.work.beat,
            disown=runner.disown,
        )
        try:
            async with asyncio.TaskGroup() as group:
                crew = group.create_task(self.crew.run(), name="crew")
                watching = group.create_task(self.watcher.run(resumed=resumed), name="watcher")
                stopping = group.create_task(self._watch_stop(worker), name="stop-watch")
                await worker.run(until="drained")
                await crew
                stopping.cancel()
                if await self.store.get_control(JOB_STATE) == JobState.CANCELLED.encode():
                    await self._give_up()
                self.watcher.hurry.set()
                report = await watching
        finally:
            await self.crew.end()
        return report

    async def _take_up(self) -> bool:
        """Begin anew what has ended, go on with what has not; whether it does the latter."""
        if await self.store.is_drained():
            await self.store.clear()
        # What was never begun is not cleared: it may have been cancelled since it can be seen.
        is_new = not sum((await self.store.stats()).tasks.values())
        if is_new:
            await self.store.set_control(NODES, json.dumps([self.work.ground.node]).encode())
            first = Round(number=0, now_s=self.clock())
            await self.store.enqueue([round_task(first, ANY_POOL)])
        await self.store.close_intake()  # an earlier run may have died before it did
        # This process leads the directory and its old crew is gone: every lease is a dead one's.
        await self.store.reap(now_s=self.clock() + WORKER_POLICY.lease_s * 1000)
        return not is_new

    async def _give_up(self) -> None:
        """Settle what is left of a cancelled job."""
        runner = self.work.runner(self.store)
        policy = replace(
            local_policy(self.work.pools),
            pools=(ANY_POOL, *self.work.pools, listing_pool(ANY_POOL)),
            beside=(),
            obeys_job_state=False,
        )
        sweeper = Worker(self.store, runner.give_up, worker_id=self.worker_id, policy=policy)
        await sweeper.run(until="drained")

    async def _watch_stop(self, worker: Worker) -> None:
        await self.stop.drain.wait()
        self.crew.drain()
        worker.drain()
        await self.stop.at_once.wait()
        self.crew.kill()
        worker.stop()

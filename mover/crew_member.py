"""A worker process of a job on this host.

``python -m mover.crew_member DIRECTORY WORKER_ID LEADER_PID CONCURRENCY`` (0: find it out)
Started by the leader (``mover.crew``), never by a person. It ends when the queue is drained, when
it is told to (SIGTERM: drain; again: at once), and soon after its leader has died.
"""

import asyncio
import os
import sys
from pathlib import Path

from mover.jobs import JobDirectory
from mover.prewarm.model import WarmSpec
from mover.prewarm_running import local_policy
from mover.settings import WORKER_POLICY
from mover.wiring_base import open_queue, open_resources, run_loop
from mover.wiring_works import open_work
from scheduler.signals import draining_on_signals
from scheduler.worker import Worker

LEADER_POLL_S = 0.5
"""How often a worker looks whether its leader still lives."""


async def serve(
    directory: JobDirectory, worker_id: str, leader_pid: int, concurrency: int | None
) -> None:
    """Work on the job's queue until it is drained or the leader is gone.

    The leader says who it is: asked only now, the kernel would name whoever took over its
    children, had it died while this process was starting, and the worker would stay for good.
    """
    spec = directory.join()
    async with (
        open_queue(directory.queue_path) as store,
        open_resources(spec, directory, worker_id, concurrency) as resources,
        open_work(
            spec,
            directory.job,
            store,
            dict(os.environ),
            resources=resources,
            record_in=directory.manifest_path,
        ) as work,
    ):
        runner = work.runner(store)
        worker = Worker(
            store,
            runner.run,
            worker_id=worker_id,
            policy=local_policy(work.pools) if isinstance(spec, WarmSpec) else WORKER_POLICY,
            note=work.beat,
            disown=runner.disown,
        )

        async def watch_leader() -> None:
            while os.getppid() == leader_pid:  # noqa: ASYNC110 - the kernel sends no event
                await asyncio.sleep(LEADER_POLL_S)
            worker.stop()

        with draining_on_signals(drain=worker.drain, stop=worker.stop):
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(watch_leader(), name="leader-watch")
                await worker.run(until="drained")
                watch.cancel()


def main() -> None:
    """Read the four arguments and serve."""
    directory, worker_id, leader_pid, concurrency = sys.argv[1:5]
    pinned = int(concurrency) or None
    run_loop(serve(JobDirectory(Path(directory)), worker_id, int(leader_pid), pinned))


if __name__ == "__main__":
    main()

"""The verbs of a fleet in Python: work, submit, list, show, watch, steer, retry.

Part of ``mover.api``, which is where to import them from. ``queue`` is what ``--queue`` takes; see
``mover.queues``.
"""

import os
from collections.abc import Callable, Mapping, Sequence

from mover.depots import KeepWish
from mover.errors import Rejected
from mover.model import Report
from mover.operating import JobDetails, JobSummary
from mover.payloads import Spec
from mover.progress import Monitor, Silent
from mover.queues import is_fleet
from mover.stopping import Stop
from scheduler.model import JobState

_WISHES = {
    "pause": JobState.PAUSED,
    "resume": JobState.RUNNING,
    "cancel": JobState.CANCELLED,
}


async def work(
    queue: str,
    *,
    pools: tuple[str, ...] = ("any",),
    slots: int | None = None,
    concurrency: int | None = None,
    memory_bytes: int | None = None,
    lease_s: float | None = None,
    exit_when_idle_s: float | None = None,
    parcels: KeepWish | None = None,
    node: str = "",
    note: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
    stop: Stop | None = None,
) -> None:
    """Join a fleet and work until stopped, or idle for ``exit_when_idle_s`` seconds.

    ``node`` names this host where data is placed on nodes, "" for the host's own name.
    With ``parcels`` the worker keeps parcels for others, under the secret of the environment.
    """
    if not is_fleet(queue):
        raise Rejected(
            f"--queue {queue}: a worker joins a server, as in redis://HOST:PORT/0;"
            " on one host use --workers N of the command itself"
        )
    from mover.wiring_fleet import run_worker

    await run_worker(
        queue=queue,
        pools=pools,
        slots=slots,
        concurrency=concurrency,
        memory_bytes=memory_bytes,
        lease_s=lease_s,
        exit_when_idle_s=exit_when_idle_s,
        parcels=parcels,
        node=node,
        environment=_environment(environment),
        note=note,
        stop=stop or Stop(),
    )


async def serve(
    queue: str = "",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    links: Sequence[str] = (),
    note: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
    stop: Stop | None = None,
) -> None:
    """Serve the limiter of a queue's links over HTTP until stopped; ``links`` are ``NAME=RATE``."""
    from mover.wiring_fleet import run_server

    await run_server(
        queue=queue,
        host=host,
        port=port,
        links=tuple(links),
        environment=_environment(environment),
        note=note,
        stop=stop or Stop(),
    )


async def submit_spec(
    spec: Spec, *, queue: str, environment: Mapping[str, str] | None = None
) -> str:
    """Put a job on a fleet's board and return its name."""
    if not is_fleet(queue):
        raise Rejected(
            "--detach needs a fleet that does the work: give --queue redis://HOST:PORT/0"
        )
    from mover.wiring_fleet import submit_to_fleet

    return await submit_to_fleet(spec, queue=queue, environment=_environment(environment))


async def jobs(
    queue: str = "", *, environment: Mapping[str, str] | None = None
) -> list[JobSummary]:
    """The jobs of a queue, the newest first."""
    from mover.operating import list_jobs
    from mover.queues import open_board

    async with open_board(queue, _environment(environment)) as board:
        return await list_jobs(board)


async def show(queue: str, job: str, *, environment: Mapping[str, str] | None = None) -> JobDetails:
    """Everything about one job. Raises ``Rejected`` when there is none."""
    from mover.operating import show_job
    from mover.queues import open_board

    async with open_board(queue, _environment(environment)) as board:
        return await show_job(board, job)


async def watch(
    queue: str,
    job: str,
    *,
    monitor: Monitor | None = None,
    environment: Mapping[str, str] | None = None,
    stop: Stop | None = None,
) -> Report:
    """Follow a job to its end; stopping the watch does not stop the job."""
    from mover.wiring_fleet import watch_job

    return await watch_job(
        job,
        queue=queue,
        monitor=monitor or Silent(),
        environment=_environment(environment),
        stop=stop or Stop(),
    )


async def steer(
    queue: str, job: str, verb: str, *, environment: Mapping[str, str] | None = None
) -> str:
    """``pause``, ``resume`` or ``cancel`` a job; returns its full name."""
    from mover.operating import set_state
    from mover.queues import open_board

    async with open_board(queue, _environment(environment)) as board:
        return await set_state(board, job, _WISHES[verb])


async def limit(
    queue: str, job: str, rate: str, *, environment: Mapping[str, str] | None = None
) -> str:
    """Change the byte rate of a job while it runs (``off``: none); returns its full name."""
    from mover.operating import set_limit
    from mover.queues import open_board

    async with open_board(queue, _environment(environment)) as board:
        return await set_limit(board, job, rate)


async def retry(
    queue: str,
    job: str,
    *,
    detach: bool = False,
    monitor: Monitor | None = None,
    environment: Mapping[str, str] | None = None,
    stop: Stop | None = None,
) -> Report | int:
    """Try a job's failed tasks again, and see it through; with ``detach`` say how many there are.

    A fleet's job is watched; one of this host runs here.
    """
    from mover.wiring_fleet import retry_in_queue

    return await retry_in_queue(
        job,
        queue=queue,
        detach=detach,
        monitor=monitor or Silent(),
        environment=_environment(environment),
        stop=stop or Stop(),
    )


def _environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if given is None else given

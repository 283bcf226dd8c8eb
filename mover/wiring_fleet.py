"""Puts a fleet together: submits and watches jobs, and runs workers. See ``wiring`` for the rest."""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import replace

from mover.budget import ByteBudget
from mover.depots import KeepWish
from mover.dressing import Resources
from mover.errors import Rejected
from mover.fleet import FleetWorker
from mover.jobs import JobDirectory, job_id
from mover.links import links_of, parse_links
from mover.model import CopySpec, Report
from mover.operating import find_job, retry_job
from mover.payloads import Spec, decode_spec, encode_spec
from mover.prewarm.model import Round, WarmSpec
from mover.prewarm_nodes import round_task
from mover.prewarm_report import conclude_warm
from mover.progress import Monitor
from mover.queues import (
    is_fleet,
    jobs_directory,
    open_board,
    open_fleet_board,
    shown,
    worker_id,
)
from mover.ranging import first_listing
from mover.resolving import open_base
from mover.settings import ATTEMPTS_MAX, BUDGET_BYTES, FLEET_POLICY
from mover.stopping import Stop
from mover.units import Malformed, Timetable, parse_request_rate
from mover.watching import Watcher, conclude_copy
from mover.wiring import run_copy
from mover.wiring_base import flat
from mover.wiring_peers import open_peers
from mover.wiring_works import open_work
from mover.works import Work
from scheduler.board import FleetBoard, JobBoard
from scheduler.model import JOB_STATE, JobState, NewTask
from scheduler.store import TaskStore
from transports.errors import TransportError
from transports.location import parse_location

CANCELLED_WAIT_S = 30.0
"""How long a new submit of a cancelled job waits for workers to settle what is left of it."""

BASE_LOOK_S = 10.0
"""How long a submit tries to see the base of a job: this host need not reach it."""

SHARED_SCHEMES_REFUSED = frozenset({"memory"})


async def run_by_fleet(
    spec: Spec,
    *,
    queue: str,
    monitor: Monitor,
    environment: Mapping[str, str],
    stop: Stop,
) -> Report:
    """Put a job on a fleet's board, and watch it."""
    async with open_fleet_board(queue, environment) as board:
        job, is_new = await _submit(board, spec, environment)
        return await _watch(board, job, spec, queue, monitor, environment, stop, resumed=not is_new)


async def submit_to_fleet(spec: Spec, *, queue: str, environment: Mapping[str, str]) -> str:
    """Put a job on a fleet's board and return its name."""
    async with open_fleet_board(queue, environment) as board:
        job, _ = await _submit(board, spec, environment)
        return job


async def _submit(
    board: FleetBoard, spec: Spec, environment: Mapping[str, str]
) -> tuple[str, bool]:
    _refuse_nonsense(spec)
    job, now_s = job_id(spec), time.time()
    if isinstance(spec, CopySpec):
        await _refuse_missing_base(spec, job, environment)
    await _wait_for_cancelled(board, job)
    async with board.rates() as shared:
        for link in links_of(parse_links(spec.rate_links)):
            await shared.set_rate(link.bucket, link.text)
    is_new = await flat(
        board.submit(job, encode_spec(spec), [_first_task(spec, now_s)], now_s=now_s)
    )
    return job, is_new


def _first_task(spec: Spec, now_s: float) -> NewTask:
    if isinstance(spec, WarmSpec):
        return round_task(Round(number=0, now_s=now_s), spec.pool)
    return first_listing(now_s, spec.pool)


async def _wait_for_cancelled(board: FleetBoard, job: str) -> None:
    """Wait until an earlier run that was cancelled is settled: joining it would do nothing."""
    deadline_s = time.monotonic() + CANCELLED_WAIT_S
    async with board.opened(job, attempts_max=ATTEMPTS_MAX) as store:
        while await store.get_control(JOB_STATE) == JobState.CANCELLED.encode():
            if (await store.stats()).is_drained:
                return
            if time.monotonic() > deadline_s:
                raise Rejected(
                    f"job {job} was cancelled and is not settled yet: a worker of the fleet must do"
                    " that before it can begin anew"
                )
            await asyncio.sleep(0.2)


async def retry_in_queue(
    name: str,
    *,
    queue: str,
    detach: bool,
    monitor: Monitor,
    environment: Mapping[str, str],
    stop: Stop,
) -> Report | int:
    """Make a job's dead letters claimable again; watch a fleet's job, run one of this host here."""
    async with open_board(queue, environment) as board:
        record, requeued = await retry_job(board, name)
        if not requeued or (detach and isinstance(board, FleetBoard)):
            return requeued
        if isinstance(board, FleetBoard):
            spec = decode_spec(record.description)
            return await _watch(
                board, record.job, spec, queue, monitor, environment, stop, resumed=True
            )
    spec = decode_spec(record.description)
    assert isinstance(spec, CopySpec)  # noqa: S101 - prewarms have no dead letters to retry
    return await run_copy(
        spec,
        given=(spec.source, spec.target),
        workers="auto",
        dry_run=False,
        on_action=None,
        monitor=monitor,
        environment=environment,
        stop=stop,
        directory=JobDirectory(jobs_directory(queue, environment) / record.job),
    )


async def watch_job(
    name: str, *, queue: str, monitor: Monitor, environment: Mapping[str, str], stop: Stop
) -> Report:
    """Watch a job of any queue to its end."""
    async with open_board(queue, environment) as board:
        record = await find_job(board, name)
        spec = decode_spec(record.description)
        return await _watch(
            board, record.job, spec, queue, monitor, environment, stop, resumed=True
        )


async def _watch(
    board: JobBoard,
    job: str,
    spec: Spec,
    queue: str,
    monitor: Monitor,
    environment: Mapping[str, str],
    stop: Stop,
    *,
    resumed: bool,
) -> Report:
    directory = JobDirectory.named(job, environment)
    async with board.opened(job, attempts_max=ATTEMPTS_MAX) as store:
        watcher = Watcher(
            job=job,
            store=store,
            monitor=monitor,
            stop=stop,
            retry_path=directory.retry_path,
            worker_hint=(
                f"start a worker: mover worker --queue {shown(queue)}"
                if is_fleet(queue)
                else "run its command again, which goes on from where it was"
            ),
            is_fleet=is_fleet(queue),
            conclude=(
                functools.partial(conclude_warm, spec)
                if isinstance(spec, WarmSpec)
                else conclude_copy
            ),
        )
        return await flat(watcher.run(resumed=resumed))


async def run_worker(
    *,
    queue: str,
    pools: tuple[str, ...],
    slots: int | None,
    concurrency: int | None,
    memory_bytes: int | None,
    lease_s: float | None,
    exit_when_idle_s: float | None,
    parcels: KeepWish | None,
    node: str,
    environment: Mapping[str, str],
    note: Callable[[str], None],
    stop: Stop,
) -> None:
    """Join a fleet and work until stopped, or idle for ``exit_when_idle_s``."""
    name = worker_id()
    budget = ByteBudget(memory_bytes or BUDGET_BYTES)
    async with (
        open_peers(parcels, environment, note) as peering,
        open_fleet_board(queue, environment) as board,
        board.rates() as shared,
    ):
        resources = Resources(
            budget=budget,
            concurrency=concurrency,
            shared_rates=shared,
            worker_id=name,
            pools=pools,
            peering=peering,
            node=node,
        )

        def opens(spec: Spec, job: str, store: TaskStore) -> AbstractAsyncContextManager[Work]:
            place = JobDirectory.named(job, environment).manifest_path
            return open_work(
                spec, job, store, environment, resources=resources, record_in=place, note=note
            )

        note(f"worker {name} joins pools {', '.join(pools)}")
        policy = replace(
            FLEET_POLICY,
            pools=pools,
            slots=slots or FLEET_POLICY.slots,
            lease_s=lease_s or FLEET_POLICY.lease_s,
        )
        worker = FleetWorker(
            board=board,
            worker_id=name,
            policy=policy,
            open_work=opens,
            note=note,
            stop=stop,
            exit_when_idle_s=exit_when_idle_s,
        )
        await flat(worker.run())


async def run_server(
    *,
    queue: str,
    host: str,
    port: int,
    links: tuple[str, ...],
    environment: Mapping[str, str],
    note: Callable[[str], None],
    stop: Stop,
) -> None:
    """Serve the limiter over HTTP until stopped. Raises ``Rejected`` for an address that is taken."""
    from mover.limiter import Limiter, serve_limiter  # aiohttp's server half

    try:
        served = links_of(parse_links(links))
    except Malformed as error:
        raise Rejected(str(error)) from error
    async with open_board(queue, environment) as board, board.rates() as shared:
        try:
            async with serve_limiter(Limiter(shared, served), host=host, port=port) as bound:
                note(f"limiter: POST http://{host}:{bound}/limit/NAME")
                await stop.drain.wait()
        except OSError as error:
            raise Rejected(f"--listen {host}:{port}: {error.strerror}") from error


def _refuse_nonsense(spec: Spec) -> None:
    """What can be known without opening a store: workers, not this host, must reach the stores."""
    try:
        for text in filter(None, _locations(spec)):
            if (scheme := parse_location(text).scheme) in SHARED_SCHEMES_REFUSED:
                raise Rejected(
                    f"{text}: a {scheme} store is in one process and no fleet can share it"
                )
        if spec.limit:
            Timetable.parse(spec.limit, what="--limit")
        if spec.limit_requests:
            parse_request_rate(spec.limit_requests, what="--limit-requests")
    except ValueError as error:
        raise Rejected(str(error)) from error


def _locations(spec: Spec) -> tuple[str, ...]:
    if isinstance(spec, WarmSpec):
        return spec.targets
    return (spec.source, spec.target, spec.base)


async def _refuse_missing_base(spec: CopySpec, job: str, environment: Mapping[str, str]) -> None:
    """Raise ``Rejected`` for a base in a store that has nothing there.

    What is on disks of workers, or in a store that this host cannot reach, they will see for themselves.
    """
    if not spec.base or parse_location(spec.base).scheme == "file":
        return
    with suppress(TransportError, ValueError, TimeoutError):
        async with asyncio.timeout(BASE_LOOK_S), AsyncExitStack() as stack:
            await open_base(spec, job, environment, stack)

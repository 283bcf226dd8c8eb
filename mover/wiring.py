"""The one module that knows every concrete class: it opens the ends and the queue, and starts flows.

What a command needs is put together here and handed down; nothing below asks for it by itself.
"""

import datetime
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from mover.budget import ByteBudget
from mover.checking import DifferenceSink, check_ends
from mover.crew import Crew
from mover.ends import Ends
from mover.errors import Incomplete, MoverError, Rejected
from mover.feeding import pair_pages
from mover.jobs import JobDirectory
from mover.model import Action, CopySpec, Report, State, Tally
from mover.planning import Planner, Policy, count_action
from mover.progress import Monitor
from mover.rechecking import recheck
from mover.resolving import End, open_manifest, resolve, resolve_recorded
from mover.running import Leader
from mover.settings import ATTEMPTS_MAX, BUDGET_BYTES
from mover.stopping import Stop
from mover.units import Timetable, parse_request_rate
from mover.workers import choose_workers
from scheduler.errors import StoreUnavailable
from scheduler.quota import Quota
from scheduler.sqlite_store import SqliteTaskStore
from scheduler.store import TaskStore
from transports.base import Transport
from transports.errors import Transient, TransportError
from transports.limit import LimitPolicy
from transports.opening import TransportPolicy, decorate
from transports.throttle import slice_bytes_for, slice_requests_for

T = TypeVar("T")

ActionSink = Callable[[Action], None]
"""Receives the actions of a plan, in the order of their keys."""

RATE_UNIT_BYTES = 16 * 1024
"""The least that is worth a booking of the byte budget."""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    import uvloop

    return uvloop.run(main)


@asynccontextmanager
async def open_queue(path: Path) -> AsyncGenerator[TaskStore, None]:
    """Open a job's queue. Raises ``Rejected`` for a file that is no queue of this version."""
    try:
        store = await SqliteTaskStore.open(path, attempts_max=ATTEMPTS_MAX)
    except StoreUnavailable as error:
        raise Rejected(f"{path}: {error}") from error
    async with store:
        yield store


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a process spends on its jobs, together: payload bytes in memory, requests in flight.

    ``concurrency`` pins the requests in flight per store; None lets each find its own number.
    """

    budget: ByteBudget
    concurrency: int | None = None


@asynccontextmanager
async def open_job_ends(
    spec: CopySpec,
    job: str,
    store: TaskStore | None,
    environment: Mapping[str, str],
    given: tuple[End, End] | None = None,
    *,
    resources: Resources | None = None,
    record_in: Path | None = None,
    recorded: bool = False,
) -> AsyncGenerator[Ends, None]:
    """Open and decorate both ends of a job; with ``store``, its rates are shared through it.

    With ``record_in`` the job is recorded, there unless the specification names another place. With
    ``recorded`` the source is the manifest of an earlier job.
    Raises ``Rejected`` for ends that make no sense and ``Incomplete`` for a store out of reach.
    """
    async with AsyncExitStack() as stack:
        try:
            opening = resolve_recorded if recorded else resolve
            source, target, single = await opening(spec, job, environment, given, stack)
            manifest = None
            if record_in is not None:
                manifest = await open_manifest(spec, record_in, job, environment, stack)
        except Transient as error:
            raise Incomplete(str(error)) from error
        except (TransportError, ValueError) as error:
            raise Rejected(str(error)) from error
        live = Tally()
        resources = resources or Resources(budget=ByteBudget(BUDGET_BYTES))
        both_local = source.capabilities.local and target.capabilities.local
        yield Ends(
            spec=spec,
            source=_dressed(source, spec, store, live, "read", resources, throttled=both_local),
            target=_dressed(target, spec, store, live, "write", resources, throttled=False),
            token=job,
            budget=resources.budget,
            live=live,
            single=single,
            manifest=manifest,
        )


def _dressed(
    transport: Transport,
    spec: CopySpec,
    store: TaskStore | None,
    live: Tally,
    direction: Literal["read", "write"],
    resources: Resources,
    *,
    throttled: bool,
) -> Transport:
    """Retry, limit and rates around one end; a local end has rates only if both are local."""

    def on_retry(verb: str, error: TransportError, wait_s: float) -> None:
        live.retries += 1

    pinned = None if resources.concurrency is None else LimitPolicy.fixed(resources.concurrency)
    policy = TransportPolicy(on_retry=on_retry, limit=pinned)
    if store is not None and (throttled or not transport.capabilities.local):
        policy = _with_rates(policy, spec, store, direction)
    return decorate(transport, policy)


def _with_rates(
    policy: TransportPolicy, spec: CopySpec, store: TaskStore, direction: str
) -> TransportPolicy:
    """Budgets that all processes of the job share, one for each direction."""
    if spec.limit:
        timetable = Timetable.parse(spec.limit, what="--limit")

        def rate_now() -> float | None:
            return timetable.rate_at(datetime.datetime.now().astimezone())

        quota = Quota(store, f"bytes-{direction}", rate_per_s=rate_now, unit=RATE_UNIT_BYTES)
        policy = replace(
            policy,
            take_bytes=quota.take,
            slice_bytes=lambda: slice_bytes_for(rate_now() or BUDGET_BYTES),
        )
    if spec.limit_requests:
        per_s = parse_request_rate(spec.limit_requests, what="--limit-requests")
        quota = Quota(store, f"requests-{direction}", rate_per_s=lambda: per_s, unit=1)
        policy = replace(
            policy, take_requests=quota.take, slice_requests=lambda: slice_requests_for(per_s)
        )
    return policy


async def run_copy(
    spec: CopySpec,
    *,
    given: tuple[End, End],
    workers: int | Literal["auto"],
    dry_run: bool,
    on_action: ActionSink | None,
    monitor: Monitor,
    environment: Mapping[str, str],
    stop: Stop,
    directory: JobDirectory | None = None,
) -> Report:
    """Copy, or with ``dry_run`` plan; see ``mover.api.copy``."""
    directory = directory or JobDirectory.of(spec, environment)
    if dry_run:
        async with open_job_ends(spec, directory.job, None, environment, given) as ends:
            return await _plan_only(ends, directory.job, on_action or (lambda action: None))
    directory.lead(spec)
    worker_id = f"{socket.gethostname()}-{os.getpid()}"
    place = directory.manifest_path
    try:
        async with (
            open_queue(directory.queue_path) as store,
            open_job_ends(spec, directory.job, store, environment, given, record_in=place) as ends,
        ):
            size = choose_workers(workers, ends, given)
            if ends.manifest is not None:
                await ends.manifest.begin(worker_id)
            leader = Leader(
                directory=directory,
                ends=ends,
                store=store,
                worker_id=worker_id,
                crew=Crew(directory.path, store, size=size - 1, note=monitor.note),
                monitor=monitor,
                stop=stop,
            )
            return await flat(leader.run())
    finally:
        directory.leave()


async def run_check(
    spec: CopySpec,
    *,
    given: tuple[End, End],
    on_difference: DifferenceSink,
    monitor: Monitor,
    environment: Mapping[str, str],
) -> Report:
    """Compare, and write nothing but the list of what differs; see ``mover.api.check``."""
    directory = JobDirectory.of(spec, environment)
    async with open_job_ends(spec, directory.job, None, environment, given) as ends:
        return await flat(check_ends(ends, directory, on_difference, monitor))


async def run_manifest_check(
    spec: CopySpec,
    *,
    on_difference: DifferenceSink,
    monitor: Monitor,
    environment: Mapping[str, str],
) -> Report:
    """Verify a target from a manifest, ``spec.source``; see ``mover.api.check_manifest``."""
    directory = JobDirectory.of(spec, environment)
    async with open_job_ends(spec, directory.job, None, environment, recorded=True) as ends:
        return await flat(recheck(ends, directory, on_difference, monitor))


async def _plan_only(ends: Ends, job: str, on_action: ActionSink) -> Report:
    started_s = time.monotonic()
    policy = Policy.of(ends.spec, ends.source.capabilities, ends.target.capabilities, time.time())
    planner = Planner(policy)
    tally = Tally()
    async for page in pair_pages(ends, prefix=policy.selector.literal_prefix):
        for action in planner.actions(page):
            count_action(tally, action)
            if action is not None:
                on_action(action)
    seconds = time.monotonic() - started_s
    return Report(job=job, state=State.PLANNED, tally=tally, seconds=seconds, failures=[])


async def flat(flow: Coroutine[Any, Any, T]) -> T:
    """The seam where exception groups end: the first failure of the request speaks for all."""
    try:
        return await flow
    except BaseExceptionGroup as group:
        raise _as_mover_error(group) from group
    except (TransportError, StoreUnavailable) as error:
        raise _as_mover_error(error) from error


def _as_mover_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MoverError):
        return error
    if isinstance(error, Transient | StoreUnavailable):
        return Incomplete(str(error))
    if isinstance(error, TransportError):
        return Rejected(str(error))
    return error

"""The one module that knows every concrete class: it opens the ends and the queue, and starts flows.

What a command needs is put together here and handed down; nothing below asks for it by itself.
"""

import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

from mover.actions import Action
from mover.budget import ByteBudget
from mover.checking import DifferenceSink, check_ends
from mover.crew import Crew
from mover.deleting import Survey
from mover.depots import no_keepers
from mover.dressing import Resources, Wardrobe, agreement
from mover.ends import Ends, nothing_measured
from mover.errors import Incomplete, Rejected
from mover.feeding import pair_pages
from mover.jobs import JobDirectory
from mover.measuring import Gauge
from mover.model import CopySpec, Report, State, Tally
from mover.planning import Planner, Policy, count_action
from mover.progress import Monitor
from mover.rating import open_rates
from mover.rechecking import recheck
from mover.resolving import End, Once, base_of, open_manifest, resolve, resolve_recorded
from mover.running import Leader
from mover.settings import BUDGET_BYTES
from mover.stopping import Stop
from mover.sweeping import survey
from mover.wiring_base import flat, open_queue, open_resources
from mover.workers import choose_workers
from scheduler.store import TaskStore
from transports.errors import Transient, TransportError

T = TypeVar("T")

ActionSink = Callable[[Action], None]
"""Receives the actions of a plan, in the order of their keys."""


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
            base = await base_of(spec, job, environment, stack, target, at_once=given is not None)
            if record_in is not None:
                manifest = await open_manifest(spec, record_in, job, environment, stack)
        except Transient as error:
            raise Incomplete(str(error)) from error
        except (TransportError, ValueError) as error:
            raise Rejected(str(error)) from error
        live = Tally()
        resources = resources or Resources(budget=ByteBudget(BUDGET_BYTES))
        rates = None
        shared = resources.shared_rates or store
        if store is not None and shared is not None:
            rates = await stack.enter_async_context(
                open_rates(spec, store, shared, sets_links=resources.leads)
            )
        gauge = Gauge(time.monotonic) if spec.has_sides and store is not None else None
        wardrobe = Wardrobe(spec=spec, live=live, resources=resources, rates=rates, gauge=gauge)
        agreed = agreement(store, rates)
        dressed = await wardrobe.dress(source, target, shared, stack)
        if resources.peering is not None:
            stack.enter_context(resources.peering.holding(job))
        yield Ends(
            spec=spec,
            source=dressed.source,
            target=dressed.target,
            unmetered_source=dressed.unmetered_source,
            unmetered_target=dressed.unmetered_target,
            rates=nothing_measured if agreed is None else agreed.rates,
            gauge=gauge,
            peers=dressed.peers,
            unmetered_peers=dressed.unmetered_peers,
            keepers=no_keepers if agreed is None else agreed.keepers,
            base=base and Once(lambda: dressed.put_on_base(base)),
            token=job,
            budget=resources.budget,
            live=live,
            single=single,
            manifest=manifest,
        )


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
    concurrency: int | None = None,
) -> Report:
    """Copy, or with ``dry_run`` plan; see ``mover.api.copy``."""
    directory = directory or JobDirectory.of(spec, environment)
    if dry_run:
        async with open_job_ends(spec, directory.job, None, environment, given) as ends:
            return await _plan_only(ends, directory.job, on_action or (lambda action: None))
    directory.lead(spec)
    worker_id = f"{socket.gethostname()}-{os.getpid()}"
    try:
        async with (
            open_queue(directory.queue_path) as store,
            open_resources(spec, directory, worker_id, concurrency, leads=True) as resources,
            open_job_ends(
                spec,
                directory.job,
                store,
                environment,
                given,
                resources=resources,
                record_in=directory.manifest_path,
            ) as ends,
        ):
            size = choose_workers(workers, ends, given)
            if ends.manifest is not None:
                await ends.manifest.begin(worker_id)
            leader = Leader(
                directory=directory,
                ends=ends,
                store=store,
                worker_id=worker_id,
                crew=Crew(
                    directory.path,
                    store,
                    size=size - 1,
                    note=monitor.note,
                    concurrency=concurrency,
                ),
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


async def run_survey(
    spec: CopySpec, *, counting: bool, given: tuple[End, End], environment: Mapping[str, str]
) -> Survey:
    """Look at what a deletion would remove; see ``mover.api.survey``."""
    directory = JobDirectory.of(spec, environment)
    async with open_job_ends(spec, directory.job, None, environment, given) as ends:
        source, target = ends.source.capabilities, ends.target.capabilities
        policy = Policy.of(spec, source, target, time.time(), delete=True)
        return await flat(survey(ends, policy, counting=counting))


async def _plan_only(ends: Ends, job: str, on_action: ActionSink) -> Report:
    started_s = time.monotonic()
    spec, source, target = ends.spec, ends.source.capabilities, ends.target.capabilities
    policy = Policy.of(spec, source, target, time.time(), delete=spec.delete)
    planner = Planner(policy)
    tally = Tally()
    async for page in pair_pages(ends, prefix=policy.selector.literal_prefix, extras=spec.delete):
        for action in planner.actions(page):
            count_action(tally, action)
            if action is not None:
                on_action(action)
    seconds = time.monotonic() - started_s
    return Report(job=job, state=State.PLANNED, tally=tally, seconds=seconds, failures=[])

"""Puts a prewarm together: opens its places and its queue, and starts it. See ``wiring`` for the rest."""

import functools
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mover.budget import ByteBudget
from mover.crew import Crew
from mover.dressing import Resources, dress_source
from mover.errors import Incomplete, Rejected
from mover.jobs import JobDirectory, job_id
from mover.model import Report, State, Tally
from mover.prewarm.model import WarmSpec
from mover.prewarm_evicting import Evictor
from mover.prewarm_ground import WarmGround, shared_token
from mover.prewarm_places import Ground, Place
from mover.prewarm_report import WarmReport, conclude_warm
from mover.prewarm_running import WarmLeader
from mover.prewarm_work import WarmWork
from mover.progress import Monitor
from mover.rating import Rates, open_rates
from mover.settings import BUDGET_BYTES
from mover.stopping import Stop
from mover.watching import Watcher
from mover.wiring_base import flat, open_queue, open_resources
from mover.wiring_records import Records
from mover.workers import AUTO_MAX
from scheduler.memory_store import MemoryTaskStore
from scheduler.store import TaskStore
from transports.base import Transport
from transports.errors import Transient, TransportError
from transports.location import parse_location
from transports.opening import open_transport


def node_name(given: str = "") -> str:
    """The name of this host in jobs that place data on nodes: as given, or the host's."""
    return given or socket.gethostname()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Opens the stores of one prewarm in one process; what it opens is closed with the stack."""

    job: str
    environment: Mapping[str, str]
    resources: Resources
    live: Tally
    rates: Rates | None
    store: TaskStore
    stack: AsyncExitStack

    async def source(self, location: str) -> Transport:
        """A store at a root, dressed in retries, limits and the job's rates."""
        bare = await open_transport(
            parse_location(location).as_tree(),
            side="source",
            token=self.job,
            environment=self.environment,
        )
        self.stack.push_async_callback(bare.close)
        shared = self.resources.shared_rates or self.store
        return await dress_source(bare, self.resources, self.live, self.rates, shared, self.stack)

    async def take(self, size: int) -> None:
        """Wait until so many bytes may come from an origin."""
        if self.rates is not None and self.limited():
            await self.rates.bytes_by_direction["read"](size)

    def limited(self) -> bool:
        return self.rates is not None and self.rates.is_limited


async def open_place(location: str, ground: Ground, budget: ByteBudget) -> Place:
    """The place that a target is: a cache directory of ours, a mount, or a gateway.

    ``budget`` bounds the payload bytes in memory of all places of the process together.
    """
    if ground.spec.into:
        from mover.prewarm_caches import open_cache

        return await open_cache(location, ground, budget=budget)
    if parse_location(location).scheme == "file":
        from mover.prewarm_mounts import open_mount

        return await open_mount(location, ground)
    from mover.prewarm_gateways import open_gateway

    return await open_gateway(location, ground)


@asynccontextmanager
async def open_warm_work(
    spec: WarmSpec,
    job: str,
    store: TaskStore,
    environment: Mapping[str, str],
    *,
    resources: Resources,
    record_in: Path,
    note: Callable[[str], None] = lambda line: None,
) -> AsyncGenerator[WarmWork, None]:
    """Open a prewarm in this process; ``record_in`` is where it is recorded if its specification names no place.

    Raises ``Rejected`` and ``Incomplete`` as ``open_job_ends`` does.
    """
    async with AsyncExitStack() as stack:
        shared = resources.shared_rates or store
        rates = await stack.enter_async_context(
            open_rates(spec, store, shared, sets_links=resources.leads)
        )
        live = Tally()
        opener = Opener(
            job=job,
            environment=environment,
            resources=resources,
            live=live,
            rates=rates,
            store=store,
            stack=stack,
        )
        base = Ground(
            spec=spec,
            job=job,
            node=resources.node,
            environment=environment,
            take=opener.take,
            limited=opener.limited,
            open_source=opener.source,
            token=lambda: shared_token(store),
            note=note,
        )
        records = Records(
            spec=spec, job=job, node=resources.node, environment=environment, stack=stack
        )
        ground = WarmGround(
            spec=spec,
            node=resources.node,
            live=live,
            opens=lambda location: _opened(base, location, resources.budget),
            record=await records.recorder(record_in, note),
            former=await records.former(record_in),
        )
        stack.push_async_callback(ground.close)
        yield WarmWork(ground=ground, store=store)


async def _opened(ground: Ground, location: str, budget: ByteBudget) -> Place:
    try:
        return await open_place(location, ground, budget)
    except ValueError as error:
        raise Rejected(str(error)) from error


async def run_prewarm(
    spec: WarmSpec,
    *,
    workers: int | Literal["auto"],
    monitor: Monitor,
    environment: Mapping[str, str],
    stop: Stop,
    directory: JobDirectory | None = None,
    concurrency: int | None = None,
) -> Report:
    """Prewarm, evict or look on this host; see ``mover.api.prewarm``."""
    directory = directory or JobDirectory.of(spec, environment)
    directory.lead(spec)
    worker_id = f"{socket.gethostname()}-{os.getpid()}"
    try:
        async with (
            open_queue(directory.queue_path) as store,
            open_resources(spec, directory, worker_id, concurrency, leads=True) as resources,
            open_warm_work(
                spec,
                directory.job,
                store,
                environment,
                resources=replace(resources, node=node_name()),
                record_in=directory.manifest_path,
                note=monitor.note,
            ) as work,
        ):
            await _open_all(work.ground)
            await work.begin(worker_id)
            watcher = Watcher(
                job=directory.job,
                store=store,
                monitor=monitor,
                stop=stop,
                retry_path=directory.retry_path,
                is_fleet=False,
                conclude=functools.partial(conclude_warm, spec),
            )
            crew = Crew(
                directory.path,
                store,
                size=_processes(workers) - 1,
                note=monitor.note,
                concurrency=concurrency,
            )
            leader = WarmLeader(
                work=work, store=store, worker_id=worker_id, crew=crew, watcher=watcher, stop=stop
            )
            return await flat(leader.run())
    finally:
        directory.leave()


async def run_plan(
    spec: WarmSpec,
    *,
    on_file: Callable[[str], None] | None,
    environment: Mapping[str, str],
    note: Callable[[str], None],
    directory: JobDirectory | None = None,
) -> Report:
    """Look at what an eviction would free; see ``mover.api.plan_eviction``."""
    began_s = time.monotonic()
    job = job_id(spec)
    record_in = (directory or JobDirectory.of(spec, environment)).manifest_path
    resources = Resources(budget=ByteBudget(BUDGET_BYTES), node=node_name())
    async with (
        MemoryTaskStore(attempts_max=1) as store,
        open_warm_work(
            spec, job, store, environment, resources=resources, record_in=record_in
        ) as work,
    ):
        await _open_all(work.ground)
        evictor = Evictor(ground=work.ground, note=note)
        tally = await flat(evictor.plan(on_file or (lambda line: None)))
    seconds = time.monotonic() - began_s
    return WarmReport(
        job=job, state=State.PLANNED, tally=tally, seconds=seconds, failures=[], spec=spec
    )


async def _open_all(ground: WarmGround) -> None:
    """Open every target before the job begins, so that a mistyped one is said at once."""
    try:
        for number in range(len(ground.spec.targets)):
            await ground.place(number)
    except Transient as error:
        raise Incomplete(str(error)) from error
    except TransportError as error:
        raise Rejected(str(error)) from error


def _processes(wish: int | Literal["auto"]) -> int:
    """How many processes; ``auto`` is one for every two cores."""
    if wish == "auto":
        return max(1, min(len(os.sched_getaffinity(0)) // 2, AUTO_MAX))
    if wish < 1:
        raise Rejected(f"--workers {wish}: a job needs at least one worker")
    return wish

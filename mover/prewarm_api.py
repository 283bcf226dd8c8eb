"""``mover.api.prewarm`` and its kin; import them from there."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from mover.errors import Rejected
from mover.filtering import Selection
from mover.jobs import JobDirectory
from mover.model import Report
from mover.payloads import decode_spec
from mover.prewarm.model import EVERY_NODE, Judge, Metadata, Oversize, WarmSpec, Wish
from mover.progress import Monitor, Silent
from mover.queues import is_fleet, jobs_directory, open_board
from mover.stopping import Stop
from scheduler.model import ANY_POOL
from transports.location import parse_location


def warm_specification(
    targets: Sequence[str],
    *,
    wish: Wish | str = Wish.WARM,
    into: str = "",
    capacity_bytes: int = 0,
    oversize: Oversize | str = Oversize.REFUSE,
    selection: Selection | None = None,
    metadata: Metadata | str = Metadata.NO,
    replicas: int = 1,
    nodes: Sequence[str] = (),
    nodes_min: int = 1,
    judge: Judge | str = Judge.AUTO,
    hit_header: str = "",
    attempts: int = 3,
    min_percent: float = 100.0,
    keep_page_cache: bool = False,
    yield_factor: float = 0.0,
    limit: str = "",
    limit_requests: str = "",
    rate_links: Sequence[str] = (),
    pool: str = ANY_POOL,
    manifest: str = "",
    evicts: str = "",
    dry_run: bool = False,
) -> WarmSpec:
    """Make the specification of a prewarm. Raises ``Rejected`` for values that make no sense.

    The arguments are those of ``WarmSpec``, which says what they mean.
    """
    if not targets or not all(targets):
        raise Rejected("a prewarm needs a target that is not empty: a path, or s3://bucket/prefix/")
    if capacity_bytes and not into:
        raise Rejected("--capacity is for a cache directory of ours: give --into DIRECTORY too")
    _refuse_numbers(attempts, min_percent, yield_factor)
    if manifest and Wish(wish) is not Wish.WARM and not evicts:
        raise Rejected("--manifest is for what is warmed; to evict by a manifest, name the job")
    if replicas < EVERY_NODE:
        raise Rejected(f"--replicas {replicas}: write 1 or more")
    try:
        return WarmSpec(
            targets=tuple(_absolute(target) for target in targets),
            wish=Wish(wish),
            into=_absolute(into) if into else "",
            capacity_bytes=capacity_bytes,
            oversize=Oversize(oversize),
            selection=selection or Selection(),
            metadata=Metadata(metadata),
            replicas=replicas,
            nodes=tuple(sorted(set(nodes))),
            nodes_min=nodes_min,
            judge=Judge(judge),
            hit_header=hit_header,
            attempts=attempts,
            min_percent=min_percent,
            keep_page_cache=keep_page_cache,
            yield_factor=yield_factor,
            limit=limit,
            limit_requests=limit_requests,
            rate_links=tuple(sorted(rate_links)),
            pool=pool,
            manifest=_absolute(manifest) if manifest else "",
            evicts=evicts,
            dry_run=dry_run,
        )
    except ValueError as error:
        raise Rejected(str(error)) from error


def _refuse_numbers(attempts: int, min_percent: float, yield_factor: float) -> None:
    if attempts < 1:
        raise Rejected(f"--attempts {attempts}: it takes one at least")
    if not 0 <= min_percent <= 100:
        raise Rejected(f"--min-percent {min_percent}: write a number from 0 to 100")
    if yield_factor and yield_factor <= 1:
        raise Rejected(f"--yield {yield_factor}: write how many times slower, above 1, as in 1.5")


async def prewarm(
    targets: Sequence[str],
    *,
    workers: int | Literal["auto"] = "auto",
    queue: str = "",
    concurrency: int | None = None,
    monitor: Monitor | None = None,
    environment: Mapping[str, str] | None = None,
    stop: Stop | None = None,
    **wishes: Any,
) -> Report:
    """Fill caches by reading through them, and prove that they are full; or evict, or look.

    ``wishes`` are the keyword arguments of ``warm_specification``. With a fleet's ``queue`` its workers do it,
    on the nodes that they are on. A cancelled or stopped call leaves a job that the same call resumes.
    """
    spec = warm_specification(targets, **wishes)
    environment = os.environ if environment is None else environment
    monitor, stop = monitor or Silent(), stop or Stop()
    if is_fleet(queue):
        from mover.wiring_fleet import run_by_fleet

        return await run_by_fleet(
            spec, queue=queue, monitor=monitor, environment=environment, stop=stop
        )
    _refuse_fleet_wishes(spec)
    from mover.wiring_prewarm import run_prewarm

    return await run_prewarm(
        spec,
        workers=workers,
        monitor=monitor,
        environment=environment,
        stop=stop,
        directory=JobDirectory.of(spec, environment, jobs_directory(queue, environment)),
        concurrency=concurrency,
    )


async def plan_eviction(
    targets: Sequence[str],
    *,
    queue: str = "",
    on_file: Callable[[str], None] | None = None,
    note: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
    **wishes: Any,
) -> Report:
    """Count what an eviction on this host would free, and free nothing; ``on_file`` gets a line for each file.

    ``queue`` is where a former job that is named (``evicts``) was kept; ``note`` hears lines for a person.
    """
    from mover.wiring_prewarm import run_plan

    spec = warm_specification(targets, **{**wishes, "wish": Wish.EVICT})
    environment = os.environ if environment is None else environment
    return await run_plan(
        spec,
        on_file=on_file,
        note=note,
        environment=environment,
        directory=JobDirectory.of(spec, environment, jobs_directory(queue, environment)),
    )


async def submit_prewarm(
    targets: Sequence[str],
    *,
    queue: str,
    environment: Mapping[str, str] | None = None,
    **wishes: Any,
) -> str:
    """Put a prewarm on a fleet's board and return the job's name; ``wishes`` as for ``prewarm``."""
    from mover.fleet_api import submit_spec

    spec = warm_specification(targets, **wishes)
    return await submit_spec(spec, queue=queue, environment=environment)


async def former_prewarm(
    name: str, *, queue: str = "", environment: Mapping[str, str] | None = None
) -> WarmSpec | None:
    """What a job of this name was asked to warm; None where there is no such job.

    Raises ``Rejected`` for the name of a job that is no prewarm.
    """
    environment = os.environ if environment is None else environment
    async with open_board(queue, environment) as board:
        record = await board.find(name)
    if record is None:
        return None
    spec = decode_spec(record.description)
    if not isinstance(spec, WarmSpec):
        raise Rejected(f"job {name} is no prewarm: it copies {spec.source} to {spec.target}")
    return replace(spec, wish=Wish.WARM)


def _refuse_fleet_wishes(spec: WarmSpec) -> None:
    """Raise ``Rejected`` for what one host cannot do."""
    told = "this host is one node; for more give --queue redis://HOST:PORT/0"
    if spec.replicas > 1 or spec.nodes or spec.nodes_min > 1:
        raise Rejected(f"--replicas, --nodes: {told}")
    if spec.pool != ANY_POOL:
        raise Rejected(f"pool {spec.pool}: pools are of a fleet; give --queue redis://HOST:PORT/0")


def _absolute(location: str) -> str:
    """A job is known by this text: from another directory a relative path is another job's."""
    is_relative = parse_location(location).scheme == "file" and not location.startswith(
        ("/", "file:")
    )
    return os.path.join(os.getcwd(), location) if is_relative else location

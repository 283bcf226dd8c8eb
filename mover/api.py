"""The same verbs in Python: ``await mover.api.copy(source, target)``; the command line uses these.

A source or target is a location as text, or ``(fsspec filesystem, path)``. Nothing is printed; give
a ``Monitor`` to watch. A request that makes no sense raises ``Rejected``; a failure of single
objects is in the report, whose ``exit_code`` is what the command line would return.

    report = mover.api.run(mover.api.copy("s3://bucket/data/", "data/", limit="50MiB/s"))
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from mover.actions import Action
from mover.checking import Difference
from mover.deleting import Survey
from mover.delta.optimising import Optimise
from mover.depots import KeepWish
from mover.errors import Rejected
from mover.filtering import Selection
from mover.fleet_api import jobs, limit, retry, serve, show, steer, submit_spec, watch, work
from mover.jobs import JobDirectory
from mover.model import Compare, CopySpec, Delta, Links, Report, Verify
from mover.prewarm_api import (
    former_prewarm,
    plan_eviction,
    prewarm,
    submit_prewarm,
    warm_specification,
)
from mover.progress import Monitor, Silent
from mover.queues import is_fleet, jobs_directory
from mover.stopping import Stop
from scheduler.model import ANY_POOL
from transports.location import parse_location

__all__ = [
    "KeepWish",
    "check",
    "copy",
    "former_prewarm",
    "jobs",
    "limit",
    "plan_eviction",
    "prewarm",
    "retry",
    "run",
    "serve",
    "show",
    "specification",
    "steer",
    "submit",
    "submit_prewarm",
    "survey",
    "warm_specification",
    "watch",
    "work",
]

End = str | tuple[Any, str]
"""A location, or an fsspec filesystem and a path in it."""

T = TypeVar("T")


def specification(
    source: End,
    target: End,
    *,
    selection: Selection | None = None,
    compare: Compare | str = Compare.MTIME,
    links: Links | str = Links.SKIP,
    verify: Verify | str = Verify.STREAM,
    limit: str = "",
    limit_requests: str = "",
    part_bytes: int = 0,
    server_copy: bool = True,
    ignore_existing: bool = False,
    sign_on_write: bool = False,
    manifest: str = "",
    rate_links: Sequence[str] = (),
    pool: str = ANY_POOL,
    delete: bool = False,
    max_delete: int | None = None,
    allow_empty_source: bool = False,
    delta: Delta | str = Delta.NEVER,
    optimise: Optimise | str = Optimise.TIME,
    fuzzy: bool = False,
    source_pool: str = "",
    target_pool: str = "",
    base: str = "",
    base_versions: bool = False,
) -> CopySpec:
    """Make the specification of a copy. Raises ``Rejected`` for values that make no sense.

    ``delete`` removes, once all else is done, what only the target has: never anything behind a failure,
    never more than ``max_delete`` objects, and never all because the source is empty, unless
    ``allow_empty_source``; what is withheld so is told in the report. ``sign_on_write`` leaves signatures of
    large objects at the target, for later differences. ``delta`` other than ``never`` sends changed large
    objects as differences where that pays (``auto``) or wherever it can be done (``always``), and ``fuzzy``
    makes new ones of like ones that have other names. ``source_pool`` and ``target_pool`` are workers near
    each end; give both, and ``pool`` is the source's unless it is given. ``base`` is an older copy of the
    source near it, ``base_versions`` says that its bucket keeps some; both are for differences.
    """
    try:
        _check_base(source, base, delta, versions=base_versions)
        return CopySpec(
            source=_text(source),
            target=_text(target),
            selection=selection or Selection(),
            compare=Compare(compare),
            links=Links(links),
            verify=Verify(verify),
            limit=limit,
            limit_requests=limit_requests,
            part_bytes=part_bytes,
            server_copy=server_copy,
            ignore_existing=ignore_existing,
            sign_on_write=sign_on_write,
            manifest=_text(manifest) if manifest else "",
            rate_links=tuple(sorted(rate_links)),
            pool=_check_sides(pool, source_pool, target_pool),
            delete=delete,
            max_delete=max_delete,
            allow_empty_source=allow_empty_source,
            delta=Delta(delta),
            optimise=Optimise(optimise),
            fuzzy=fuzzy,
            source_pool=source_pool,
            target_pool=target_pool,
            base=_text(base) if base else "",
            base_versions=base_versions,
        )
    except ValueError as error:
        raise Rejected(str(error)) from error


def _check_sides(pool: str, source_pool: str, target_pool: str) -> str:
    """The pool of what is done at no side in particular. Raises ``Rejected`` for half of a link."""
    if bool(source_pool) != bool(target_pool):
        raise Rejected(
            "the two sides of a link are named together: give both --source-pool and --target-pool"
        )
    if ANY_POOL in (source_pool, target_pool):
        raise Rejected(
            f"{ANY_POOL} is every worker's pool and near nothing: name a pool for each side"
        )
    return source_pool if source_pool and pool == ANY_POOL else pool


def _check_base(source: End, base: str, delta: Delta | str, *, versions: bool) -> None:
    if (base or versions) and delta == Delta.NEVER:
        raise Rejected(
            "a base is for differences: leave out --base and --base-versions, or --delta"
        )
    if not versions:
        return
    location = parse_location(source) if isinstance(source, str) else None
    if location is None or location.scheme != "s3" or location.options.get("engine"):
        raise Rejected(
            "--base-versions is for a SOURCE in S3, whose bucket keeps versions: give an older copy"
            " with --base"
        )


async def copy(
    source: End,
    target: End,
    *,
    workers: int | Literal["auto"] = "auto",
    dry_run: bool = False,
    on_action: Callable[[Action], None] | None = None,
    queue: str = "",
    concurrency: int | None = None,
    monitor: Monitor | None = None,
    environment: Mapping[str, str] | None = None,
    stop: Stop | None = None,
    **wishes: Any,
) -> Report:
    """Copy an object or a tree; ``wishes`` are the keyword arguments of ``specification``.

    With a ``queue`` that is a fleet's (``redis://…``) the job is submitted and watched, and the
    workers of the fleet do it; see ``mover.queues`` for what a queue may be. ``concurrency`` pins
    the requests in flight per store and process.

    ``dry_run`` only plans, and ``on_action`` receives each action. ``stop`` lets a caller drain the
    job. A cancelled or stopped call leaves a job that the same call resumes.
    """
    from mover.wiring import run_copy  # the stores' libraries are heavy

    spec = specification(source, target, **wishes)
    environment = os.environ if environment is None else environment
    if queue and is_fleet(queue) and not dry_run:
        _refuse_filesystems(source, target)
        from mover.wiring_fleet import run_by_fleet

        return await run_by_fleet(
            spec,
            queue=queue,
            monitor=monitor or Silent(),
            environment=environment,
            stop=stop or Stop(),
        )
    if named := sorted(spec.pools - {ANY_POOL}) if not dry_run else []:
        raise Rejected(
            f"pool {', '.join(named)}: pools are of a fleet; give --queue redis://HOST:PORT/0"
        )
    jobs = None if is_fleet(queue) else jobs_directory(queue, environment)
    return await run_copy(
        spec,
        given=(source, target),
        workers=workers,
        dry_run=dry_run,
        on_action=on_action,
        monitor=monitor or Silent(),
        environment=environment,
        stop=stop or Stop(),
        directory=JobDirectory.of(spec, environment, jobs),
        concurrency=concurrency,
    )


def _refuse_filesystems(*ends: End) -> None:
    if any(isinstance(end, tuple) for end in ends):
        raise Rejected(
            "a filesystem of this process cannot be shared with a fleet: give a location"
        )


async def check(
    source: End,
    target: End,
    *,
    on_difference: Callable[[Difference], None] | None = None,
    monitor: Monitor | None = None,
    environment: Mapping[str, str] | None = None,
    **wishes: Any,
) -> Report:
    """Compare two objects or trees and write nothing; the report's failures are the differences."""
    from mover.wiring import run_check

    return await run_check(
        specification(source, target, **wishes),
        given=(source, target),
        on_difference=on_difference or _ignore,
        monitor=monitor or Silent(),
        environment=os.environ if environment is None else environment,
    )


async def survey(
    source: End,
    target: End,
    *,
    counting: bool = True,
    environment: Mapping[str, str] | None = None,
    **wishes: Any,
) -> Survey:
    """Count what ``copy`` with ``delete=True`` would remove, and change nothing.

    Without ``counting`` it looks only until the source has something; ``wishes`` as for ``copy``.
    Raises ``Rejected`` for ends that make no sense, ``Incomplete`` when a store is out of reach.
    """
    from mover.wiring import run_survey

    return await run_survey(
        specification(source, target, **wishes),
        counting=counting,
        given=(source, target),
        environment=os.environ if environment is None else environment,
    )


async def submit(
    source: End,
    target: End,
    *,
    queue: str,
    environment: Mapping[str, str] | None = None,
    **wishes: Any,
) -> str:
    """Put a copy on a fleet's board and return the job's name; ``wishes`` as for ``copy``."""
    _refuse_filesystems(source, target)
    return await submit_spec(
        specification(source, target, **wishes), queue=queue, environment=environment
    )


async def check_manifest(
    manifest: str,
    target: str,
    *,
    selection: Selection | None = None,
    compare: Compare | str = Compare.MTIME,
    on_difference: Callable[[Difference], None] | None = None,
    monitor: Monitor | None = None,
    environment: Mapping[str, str] | None = None,
) -> Report:
    """Verify a target from the manifest that a copy left, without the source; writes nothing.

    ``compare="checksum"`` reads the target; else what the store tells is compared.
    """
    from mover.wiring import run_manifest_check

    return await run_manifest_check(
        specification(manifest, target, selection=selection, compare=compare, links=Links.PRESERVE),
        on_difference=on_difference or _ignore,
        monitor=monitor or Silent(),
        environment=os.environ if environment is None else environment,
    )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one of the verbs to its end, from a script or a notebook.

    Where a loop runs already in this thread (a notebook), the verb gets a thread of its own.
    """
    from mover.wiring_base import run_loop

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_loop(work)
    with ThreadPoolExecutor(1, thread_name_prefix="mover") as thread:
        return thread.submit(run_loop, work).result()


def _ignore(difference: Difference) -> None:
    """Differences are in the report all the same."""


def _text(end: End) -> str:
    if isinstance(end, str):
        # A job is known by this text: from another directory a relative path is another job's.
        is_relative = parse_location(end).scheme == "file" and not end.startswith(("/", "file:"))
        return os.path.join(os.getcwd(), end) if is_relative else end
    filesystem, path = end
    return f"{type(filesystem).__module__}.{type(filesystem).__name__}:{path}"

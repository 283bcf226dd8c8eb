"""Opens a job in a process, whatever kind of job it is."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from mover.copy_work import CopyWork
from mover.dressing import Resources
from mover.payloads import Spec
from mover.prewarm.model import WarmSpec
from mover.wiring import open_job_ends
from mover.wiring_prewarm import node_name, open_warm_work
from mover.works import Work
from scheduler.store import TaskStore


@asynccontextmanager
async def open_work(
    spec: Spec,
    job: str,
    store: TaskStore,
    environment: Mapping[str, str],
    *,
    resources: Resources,
    record_in: Path,
    note: Callable[[str], None] = lambda line: None,
) -> AsyncGenerator[Work, None]:
    """Open a job with this process's credentials and resources; it is recorded in ``record_in``.

    Raises as ``open_job_ends``.
    """
    if isinstance(spec, WarmSpec):
        named = replace(resources, node=node_name(resources.node))
        async with open_warm_work(
            spec, job, store, environment, resources=named, record_in=record_in, note=note
        ) as work:
            yield work
        return
    async with open_job_ends(
        spec, job, store, environment, resources=resources, record_in=record_in
    ) as ends:
        yield CopyWork(ends=ends)

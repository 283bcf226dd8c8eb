"""A prewarm of one host is led from its queue: what stands there before it begins is minded."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from mover.crew import Crew
from mover.model import State
from mover.prewarm.model import WarmSpec
from mover.prewarm_report import conclude_warm
from mover.prewarm_running import WarmLeader
from mover.progress import Silent
from mover.stopping import Stop
from mover.watching import Watcher
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import JOB_STATE, JobState
from tests.unit.mover.prewarm_scene import CacheInMemory, work_on

if TYPE_CHECKING:
    from pathlib import Path

    from mover.model import Report

SPEC = WarmSpec(targets=("memory",))


async def led(store: MemoryTaskStore, cache: CacheInMemory, directory: Path) -> Report:
    stop = Stop()
    leader = WarmLeader(
        work=work_on(SPEC, cache),
        store=store,
        worker_id="w",
        crew=Crew(directory, store, size=0, note=lambda line: None),
        watcher=Watcher(
            job="job",
            store=store,
            monitor=Silent(),
            stop=stop,
            retry_path=directory / "retry.txt",
            is_fleet=False,
            conclude=functools.partial(conclude_warm, SPEC),
        ),
        stop=stop,
    )
    return await leader.run()


async def test_a_cancel_that_comes_before_the_first_task_counts(tmp_path: Path) -> None:
    store, cache = MemoryTaskStore(attempts_max=50), CacheInMemory({"a": 10})
    await store.set_control(JOB_STATE, JobState.CANCELLED.encode())
    report = await led(store, cache, tmp_path)
    assert (report.state, cache.reads) == (State.CANCELLED, [])


async def test_the_same_command_again_begins_anew_after_a_cancel(tmp_path: Path) -> None:
    store, cache = MemoryTaskStore(attempts_max=50), CacheInMemory({"a": 10})
    await store.set_control(JOB_STATE, JobState.CANCELLED.encode())
    await led(store, cache, tmp_path)
    report = await led(store, cache, tmp_path)
    assert (report.state, cache.reads) == (State.DONE, ["a"])

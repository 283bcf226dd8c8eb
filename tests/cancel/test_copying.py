"""A copy that is cancelled at any await leaves nothing half-visible, and its re-run completes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import TYPE_CHECKING

from scheduler.memory_store import MemoryTaskStore
from tests.e2e.support import copy_here, environment_for, leftovers, read_tree
from tests.unit.mover.engine import fill, make_ends, run_engine, stored
from transports.memory import MemoryTransport
from transports.memory_store import named_store

if TYPE_CHECKING:
    from pathlib import Path

    from mover.ends import Ends
    from mover.model import Report

OBJECTS = {f"small/{number}": b"s" * number for number in range(12)} | {
    "large/one": b"1" * 1000,
    "large/two": b"2" * 700,
}


async def _cancelled_after(
    ends: Ends, directory: Path, store: MemoryTaskStore, steps: int
) -> Report | None:
    """Run the engine, cancel it after some steps of the loop; None when the cancel came in time."""
    run = asyncio.get_running_loop().create_task(run_engine(ends, directory, store), name="run")
    for _ in range(steps):
        await asyncio.sleep(0)
        if run.done():
            break
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await run
    return None


async def test_a_cancel_at_any_step_leaves_whole_objects_and_a_job_that_goes_on(
    tmp_path: Path,
) -> None:
    source = MemoryTransport()
    await fill(source, OBJECTS)
    cancelled = 0
    steps = 0
    while True:
        steps += 1 if steps < 60 else 3
        target, store = MemoryTransport(), MemoryTaskStore(attempts_max=50)
        report = await _cancelled_after(make_ends(source, target), tmp_path, store, steps)
        left = stored(target)
        assert left == {key: OBJECTS[key] for key in left}, steps
        if report is not None:
            break
        cancelled += 1
        again = await run_engine(make_ends(source, target), tmp_path, store)
        assert (again.exit_code, again.failures) == (0, []), steps
        assert stored(target) == OBJECTS, steps
        assert target.store.uploads == {}, steps
    assert report.exit_code == 0
    assert cancelled > 50, "the copy has too few awaits to be a test"


async def test_a_cancel_twice_in_a_row_is_no_worse(tmp_path: Path) -> None:
    source = MemoryTransport()
    await fill(source, OBJECTS)
    rng = random.Random(4)
    for number in range(30):
        target, store = MemoryTransport(), MemoryTaskStore(attempts_max=50)
        for _ in range(3):
            steps = rng.randrange(1, 150)
            await _cancelled_after(make_ends(source, target), tmp_path, store, steps)
        report = await run_engine(make_ends(source, target), tmp_path, store)
        assert (report.exit_code, report.failures) == (0, []), number
        assert stored(target) == OBJECTS, number
        assert target.store.uploads == {}, number


async def test_a_cancelled_call_on_a_disk_is_resumed_by_the_same_call(tmp_path: Path) -> None:
    """Here threads write files: where a cancel strikes is chance, so many strike."""
    objects = {f"d{number % 5}/{number}": os.urandom(number * 30) for number in range(300)}
    source = MemoryTransport(named_store("cancelled-call"))
    await fill(source, objects)
    environment = environment_for(tmp_path / "state")
    target = tmp_path / "target"

    async def attempt(within_s: float | None) -> Report | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await copy_here(
                    "memory://cancelled-call/", f"{target}/", environment=environment
                )
        return None

    struck = 0
    for number in range(40):
        struck += await attempt(0.002 * number) is None
        found = {key: data for key, data in read_tree(target).items() if ".mover" not in key}
        assert found == {key: objects[key] for key in found}
    report = await attempt(None)
    assert report is not None
    assert (report.exit_code, report.failures) == (0, [])
    assert read_tree(target) == objects
    assert leftovers(target) == []
    assert struck > 5

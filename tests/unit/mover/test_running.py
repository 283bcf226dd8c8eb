"""Leading a job: taking up what a dead run left, stopping in two steps, reporting."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from mover.feeding import Checkpoint, Feeder
from mover.model import State
from mover.stopping import Stop
from scheduler.memory_store import MemoryTaskStore
from tests.unit.mover.engine import fill, make_ends, run_engine, stored
from transports import memory
from transports.errors import Denied, Unavailable
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.record import Record

if TYPE_CHECKING:
    from pathlib import Path

OBJECTS = {f"{number:03d}": b"x" * number for number in range(200)} | {"big": b"B" * 5000}


async def filled() -> MemoryTransport:
    source = MemoryTransport()
    await fill(source, OBJECTS)
    return source


async def test_a_job_runs_to_its_end_and_reports(tmp_path: Path) -> None:
    source, target = await filled(), MemoryTransport()
    report = await run_engine(make_ends(source, target), tmp_path, MemoryTaskStore())
    assert (report.state, report.exit_code, report.failures) == (State.DONE, 0, [])
    assert (report.tally.planned_objects, report.tally.copied_objects) == (201, 201)
    assert (
        report.tally.planned_bytes == report.tally.copied_bytes == sum(map(len, OBJECTS.values()))
    )
    assert stored(target) == OBJECTS


async def test_a_job_that_has_ended_starts_anew_and_finds_nothing_to_do(tmp_path: Path) -> None:
    source, target, store = await filled(), Record(MemoryTransport()), MemoryTaskStore()
    await run_engine(make_ends(source, target), tmp_path, store)
    target.log.take()
    report = await run_engine(make_ends(source, target), tmp_path, store)
    assert (report.tally.copied_objects, report.tally.skipped_objects) == (0, 201)
    assert set(target.log.counts) <= {"list", "clean"}


async def test_failures_make_an_incomplete_job_with_a_file_to_retry(tmp_path: Path) -> None:
    source, target = await filled(), MemoryTransport()
    faults = Faults(
        source,
        [
            Fault(verb="read_small", key="007", times=9, error=Denied("007")),
            Fault(verb="read_into", key="big", times=99, error=Denied("big")),
        ],
    )
    report = await run_engine(make_ends(faults, target), tmp_path, MemoryTaskStore())
    assert (report.state, report.exit_code) == (State.INCOMPLETE, 1)
    assert sorted((each.key, each.error) for each in report.failures) == [
        ("007", "Denied"),
        ("big", "Denied"),
    ]
    assert report.tally.failed_objects == 2
    names = (tmp_path / "retry.txt").read_text().splitlines()
    assert sorted(names[1:]) == ["007", "big"]
    # The next run mends it, and the file goes.
    report = await run_engine(make_ends(source, target), tmp_path, MemoryTaskStore())
    assert report.exit_code == 0
    assert not (tmp_path / "retry.txt").exists()
    assert stored(target) == OBJECTS


@pytest.mark.parametrize("requests", [1, 2], ids=["drain", "at-once"])
async def test_a_stopped_job_is_interrupted_and_goes_on(
    requests: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PAGE_ENTRIES", 20)
    source, target, store = await filled(), MemoryTransport(), MemoryTaskStore()
    slow = Faults(source, [Fault(verb="read_small", times=10_000, delay_s=0.01)])
    stop = Stop()
    async with asyncio.TaskGroup() as group:
        run = group.create_task(
            run_engine(make_ends(slow, target), tmp_path, store, stop=stop), name="run"
        )
        while len(stored(target)) < 20:  # noqa: ASYNC110 - a store in memory sends no event
            await asyncio.sleep(0.001)
        for _ in range(requests):
            stop.request(15)
    report = run.result()
    assert (report.state, report.exit_code) == (State.INTERRUPTED, 130)
    assert len(stored(target)) < len(OBJECTS)
    report = await run_engine(make_ends(source, target), tmp_path, store)
    assert (report.state, report.tally.copied_objects) == (State.DONE, 201)
    assert stored(target) == OBJECTS
    assert target.store.uploads == {}


async def test_a_listing_that_fails_ends_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    source, target, store = await filled(), MemoryTransport(), MemoryTaskStore()
    broken = Faults(source, [Fault(verb="list", times=1, error=Unavailable("memory://"))])
    with pytest.raises(ExceptionGroup) as caught:
        await run_engine(make_ends(broken, target), tmp_path, store)
    assert caught.group_contains(Unavailable)
    report = await run_engine(make_ends(source, target), tmp_path, store)
    assert (report.exit_code, stored(target)) == (0, OBJECTS)


async def test_leases_of_a_dead_run_are_taken_back_at_once(tmp_path: Path) -> None:
    source, target, store = await filled(), MemoryTransport(), MemoryTaskStore()
    ends = make_ends(source, target)
    await Feeder(ends, store, Checkpoint(now_s=0.0), lambda: None).run()
    # What kill -9 leaves: leases that nobody gives back, and that have an hour to go.
    assert await store.claim("dead", limit=100, lease_s=3600.0, now_s=time.time())
    assert not await store.claim("w", limit=100, lease_s=3600.0, now_s=time.time())
    async with asyncio.timeout(5):
        report = await run_engine(ends, tmp_path, store)
    assert (report.exit_code, stored(target)) == (0, OBJECTS)
    assert report.tally.planned_objects == report.tally.copied_objects == 201

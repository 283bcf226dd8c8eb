"""Planning into a queue: page by page, with a checkpoint that neither loses nor doubles a key."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mover import feeding
from mover.feeding import Checkpoint, Feeder, load_checkpoint, pair_pages
from mover.model import LargeObject, SmallShard, Tally
from mover.payloads import decode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import Done, TaskState
from tests.unit.mover.engine import fill, make_ends, stored
from transports import memory
from transports.errors import Unavailable
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mover.ends import Ends
    from transports.model import Entry


def notify() -> None:
    """Nobody waits here."""


async def planned_keys(store: MemoryTaskStore) -> list[str]:
    """The keys of every task that waits, in the order of the tasks."""
    keys = []
    for lease in await store.claim("w", limit=10_000, lease_s=60.0, now_s=0.0):
        task = decode_payload(lease.payload)
        if isinstance(task, SmallShard):
            keys += [entry.key for entry in task.copies]
            keys += [pair[0].key for pair in task.probes]
        else:
            assert isinstance(task, LargeObject)
            keys.append(task.entry.key)
    return keys


async def feed(ends: Ends, store: MemoryTaskStore) -> Checkpoint:
    checkpoint = await load_checkpoint(store) or Checkpoint(now_s=0.0)
    feeder = Feeder(ends, store, checkpoint, notify)
    await feeder.run()
    return feeder.checkpoint


async def test_everything_is_planned_once_and_the_intake_closed() -> None:
    source, store = MemoryTransport(), MemoryTaskStore()
    objects = {f"{number:04d}": b"x" * (number % 400) for number in range(2500)}
    await fill(source, objects)
    checkpoint = await feed(make_ends(source, MemoryTransport()), store)
    assert sorted(await planned_keys(store)) == sorted(objects)
    assert checkpoint.done
    assert checkpoint.tally.planned_objects == 2500
    assert checkpoint.tally.planned_bytes == sum(map(len, objects.values()))
    assert (await store.stats()).intake_closed


async def test_what_is_there_already_makes_no_task() -> None:
    source, target, store = MemoryTransport(), MemoryTransport(), MemoryTaskStore()
    await fill(source, {"a": b"1", "b": b"2", "c": b"3"})
    await fill(target, {"a": b"1", "b": b"other", "x": b"extra"})
    checkpoint = await feed(make_ends(source, target), store)
    assert await planned_keys(store) == ["b", "c"]
    assert (checkpoint.tally.skipped_objects, checkpoint.tally.planned_objects) == (1, 2)


class DiesAfter(MemoryTransport):
    """A source whose listing breaks after some pages, as a process that is killed would see it."""

    def __init__(self, inner: MemoryTransport, pages: int) -> None:
        super().__init__(inner.store)
        self._pages = pages

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        left = self._pages
        async for page in super().list(prefix, start_after=start_after, stop_at=stop_at):
            if not left:
                raise Unavailable("memory://")
            left -= 1
            yield page


@settings(max_examples=30)
@given(
    keys=st.sets(st.text("abc/", min_size=1, max_size=5), max_size=60),
    there=st.sets(st.text("abc/", min_size=1, max_size=5), max_size=60),
    seed=st.integers(0, 100),
)
def test_a_planner_that_dies_again_and_again_plans_each_key_once(
    keys: set[str], there: set[str], seed: int
) -> None:
    asyncio.run(_dies_again_and_again(keys, there, random.Random(seed)))


async def _dies_again_and_again(keys: set[str], there: set[str], rng: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "PAGE_ENTRIES", 3)
        source, target, store = MemoryTransport(), MemoryTransport(), MemoryTaskStore()
        await fill(source, {key: key.encode() for key in keys})
        await fill(target, {key: key.encode() for key in there})
        for lives in range(1, 40):
            # A checkpoint is saved with tasks: to pass pages that need none takes a longer life.
            broken = DiesAfter(source, rng.randrange(1, 3 + lives))
            try:
                checkpoint = await feed(make_ends(broken, target), store)
            except Unavailable:
                continue
            break
        assert sorted(await planned_keys(store)) == sorted(keys - there)
        tally: Tally = checkpoint.tally
        assert (tally.planned_objects, tally.skipped_objects) == (
            len(keys - there),
            len(keys & there),
        )


async def test_a_listing_that_fails_closes_no_intake() -> None:
    source, store = MemoryTransport(), MemoryTaskStore()
    await fill(source, {"a": b"1"})
    broken = Faults(source, [Fault(verb="list", times=10, error=Unavailable("memory://"))])
    with pytest.raises(Unavailable):
        await feed(make_ends(broken, MemoryTransport()), store)
    assert not (await store.stats()).intake_closed
    assert not await store.is_drained()


async def test_a_planner_that_is_far_ahead_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "TASKS_AHEAD", 2)
    monkeypatch.setattr(feeding, "AHEAD_POLL_S", 0.001)
    monkeypatch.setattr(memory, "PAGE_ENTRIES", 10)
    source, store = MemoryTransport(), MemoryTaskStore()
    await fill(source, {f"{number:03d}": b"" for number in range(100)})
    most = 0

    async def work() -> None:
        nonlocal most
        while not await store.is_drained():
            most = max(most, (await store.stats()).open_tasks)
            await asyncio.sleep(0.005)
            for lease in await store.claim("w", limit=1, lease_s=60.0, now_s=0.0):
                await store.finish(lease, Done(), now_s=0.0)

    async with asyncio.TaskGroup() as group:
        group.create_task(feed(make_ends(source, MemoryTransport()), store), name="planner")
        group.create_task(work(), name="worker")
    assert 2 <= most <= 3  # a page is enqueued whole, so the limit may be passed by one page
    assert len(await store.results((TaskState.DONE,))) == 10


async def test_names_with_stray_bytes_survive_a_checkpoint() -> None:
    stray = Checkpoint(now_s=1.0, last_name=b"bad\xff", tally=Tally(planned_objects=3))
    assert stray.last_key == "bad\udcff"


async def test_pages_pair_what_both_sides_have() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"1", "c": b"3"})
    await fill(target, {"b": b"2", "c": b"3"})
    pairs = [
        (ours.key, theirs is not None)
        async for page in pair_pages(make_ends(source, target))
        for ours, theirs in page.pairs
    ]
    assert pairs == [("a", False), ("c", True)]
    assert stored(target).keys() == {"b", "c"}

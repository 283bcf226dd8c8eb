"""A shard under way is shared with idle workers, and every object is copied by exactly one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mover import sharding, sharing
from mover.executing import Executor
from mover.model import SmallShard
from mover.payloads import decode_payload, decode_result, encode_payload
from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import FINAL_STATES, Advanced, Done, Lease, NewTask, StoreStats, TaskState
from tests.unit.mover.engine import entries_of, fill, make_ends, stored
from transports.faults import Fault, Faults
from transports.limit import Limit
from transports.limit_policy import LimitPolicy
from transports.memory import MemoryTransport

if TYPE_CHECKING:
    from mover.ends import Ends

OBJECTS = {f"{number:03d}": b"x" * number for number in range(200)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(sharding, "PIECE_S", 0.03)


async def slow_job() -> tuple[Ends, MemoryTransport, MemoryTaskStore]:
    """One shard, from a store that takes ten milliseconds for each read."""
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, OBJECTS)
    store = MemoryTaskStore(attempts_max=50)
    shard = SmallShard(copies=list((await entries_of(source)).values()), probes=[])
    await store.enqueue([NewTask(payload=encode_payload(shard), weight=100)])
    await store.close_intake()
    slow = Faults(source, [Fault(verb="read_small", delay_s=0.01, times=1000)])
    # One request at each store makes two lanes, so that most of the shard is not begun for a while.
    pinned = LimitPolicy.fixed(1)
    return make_ends(Limit(slow, pinned), Limit(target, pinned)), target, store


async def claim(store: MemoryTaskStore) -> Lease:
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    return lease


async def run(ends: Ends, store: MemoryTaskStore, lease: Lease) -> int:
    """Run a task to its end, and return how many objects it has copied."""
    outcome = await Executor(ends, store, shares=True).run(lease)
    assert isinstance(outcome.disposition, Done)
    await store.finish(lease, outcome.disposition, result=outcome.result, now_s=0.0)
    return decode_result(outcome.result).tally.copied_objects


async def test_what_is_not_begun_goes_to_others() -> None:
    ends, target, store = await slow_job()
    copied = [await run(ends, store, await claim(store))]
    assert 0 < copied[0] < len(OBJECTS)
    assert (await store.stats()).tasks[TaskState.PENDING] > 1
    while not await store.is_drained():
        copied.append(await run(ends, store, await claim(store)))
    assert sum(copied) == len(OBJECTS)
    assert stored(target) == OBJECTS
    # The bytes stay in the weight of the shard that was cut.
    assert (await store.stats()).weight[TaskState.DONE] == 100
    assert len(await store.results(FINAL_STATES)) == len(copied)


async def test_nothing_is_given_away_while_others_have_work() -> None:
    ends, target, store = await slow_job()
    lease = await claim(store)
    waiting = MemoryTaskStore()
    await waiting.enqueue([NewTask(payload=b"")])
    stats = await waiting.stats()

    async def busy() -> object:
        return stats

    store.stats = busy  # type: ignore[method-assign, assignment]
    assert await run(ends, store, lease) == len(OBJECTS)
    assert stored(target) == OBJECTS


async def test_a_successor_finds_the_shard_without_what_was_given_away() -> None:
    ends, target, store = await slow_job()
    lease = await claim(store)
    await Executor(ends, store, shares=True).run(lease)  # and it dies before it has said so
    pieces = (await store.stats()).tasks[TaskState.PENDING]
    await store.reap(now_s=100.0)
    keys: list[str] = []
    for again in await store.claim("v", limit=100, lease_s=60.0, now_s=100.0):
        shard = decode_payload(again.payload)
        assert isinstance(shard, SmallShard)
        keys += [entry.key for entry in shard.copies]
        await run(ends, store, again)
    while not await store.is_drained():  # what these have given away in their turn
        await run(ends, store, await claim(store))
    assert pieces
    assert sorted(keys) == sorted(OBJECTS)
    assert stored(target) == OBJECTS


async def test_a_queue_that_is_away_for_a_moment_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scheduler.patience.PAUSES", _NoPause())
    ends, target, store = await slow_job()
    lease = await claim(store)
    advance, answers = store.advance, iter(["lost on its way", "landed, but not answered"])

    async def unsure(*given: object, **named: object) -> Advanced:
        trouble = next(answers, "")
        if trouble != "lost on its way":
            advanced = await advance(*given, **named)  # type: ignore[arg-type]
        if trouble:
            raise StoreUnavailable(location="memory", detail=trouble)
        return advanced

    store.advance = unsure  # type: ignore[method-assign]
    copied = await run(ends, store, lease)
    while not await store.is_drained():
        copied += await run(ends, store, await claim(store))
    assert copied == len(OBJECTS)
    assert stored(target) == OBJECTS


class _NoPause:
    def backoff_max_s(self, attempt: int) -> float:
        return 0.0


async def test_all_shards_of_a_process_look_with_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOOK_EVERY_S", 600.0)
    store = _Counted()
    lookout = sharing.Lookout(store, lambda: 1)
    assert [await lookout.nothing_waits() for _ in range(5)] == [True] * 5
    assert store.looks == 1
    lookout.shared()
    assert not await lookout.nothing_waits()


@pytest.mark.parametrize(("workers", "pause_s"), [(1, 0.25), (250, 0.25), (1000, 1.0)])
def test_a_large_fleet_looks_less_often(
    monkeypatch: pytest.MonkeyPatch, workers: int, pause_s: float
) -> None:
    monkeypatch.setattr(sharing, "LOOK_EVERY_S", 0.25)
    assert sharing.Lookout(MemoryTaskStore(), lambda: workers).pause_s == pause_s


class _Counted(MemoryTaskStore):
    looks = 0

    async def stats(self) -> StoreStats:
        self.looks += 1
        return await super().stats()

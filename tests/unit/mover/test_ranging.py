"""Listing tasks plan a job without a leader: every object once, whatever dies and however it is cut."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from mover import ranging, splitting
from mover.model import Listing, SmallShard, TaskResult
from mover.payloads import decode_payload, decode_result
from mover.pools import LISTING
from mover.ranging import first_listing
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import FINAL_STATES, Advanced, StoreStats, TaskState
from tests.unit.mover.engine import fill, make_ends, make_executor
from transports import memory
from transports.errors import Denied, Unavailable
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport

if TYPE_CHECKING:
    from mover.ends import Ends
    from mover.sharding import KeyRange
    from scheduler.model import Lease

NOW_S = 1_700_000_000.0


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut, and when, is counted in pages: with short ones a tenth of the keys shows it."""
    monkeypatch.setattr(memory, "PAGE_ENTRIES", 100)


class Died(BaseException):
    """A worker's sudden end."""


async def list_all(
    ends: Ends, store: MemoryTaskStore, *, die: random.Random | None = None
) -> list[TaskResult]:
    """Run listing tasks until none is left; with ``die``, workers end at random between two pages."""
    executor = make_executor(ends, store)
    now_s = NOW_S
    while True:
        now_s += 100.0
        await store.reap(now_s=now_s)
        leases = await store.claim("w", limit=1, lease_s=30.0, now_s=now_s, pools=(LISTING,))
        if not leases:
            break
        try:
            outcome = await executor.run(leases[0])
        except Died:
            continue
        await store.finish(
            leases[0],
            outcome.disposition,
            result=outcome.result,
            follow_ups=outcome.follow_ups,
            now_s=now_s,
        )
        if die is not None:
            now_s += 1000.0
    done = await store.results(FINAL_STATES)
    return [decode_result(task.result) for task in done if task.state is TaskState.DONE]


async def planned_keys(store: MemoryTaskStore) -> list[str]:
    leases: list[Lease] = await store.claim("w", limit=10_000, lease_s=60.0, now_s=NOW_S * 2)
    shards = [decode_payload(lease.payload) for lease in leases]
    return [
        entry.key for shard in shards if isinstance(shard, SmallShard) for entry in shard.copies
    ]


async def submitted(source: MemoryTransport, count: int) -> tuple[MemoryTaskStore, list[str]]:
    keys = [f"d/{number:06d}" for number in range(count)]
    await fill(source, dict.fromkeys(keys, b"x"))
    store = MemoryTaskStore(attempts_max=50)
    await store.enqueue([first_listing(NOW_S)])
    await store.close_intake()
    return store, keys


async def test_a_short_listing_is_one_task() -> None:
    source = MemoryTransport()
    store, keys = await submitted(source, 70)
    results = await list_all(make_ends(source, MemoryTransport()), store)
    assert len(results) == 1
    assert results[0].tally.planned_objects == 70
    assert sorted(await planned_keys(store)) == keys


async def test_a_long_listing_is_cut_into_ranges() -> None:
    source = MemoryTransport()
    store, keys = await submitted(source, 1200)
    results = await list_all(make_ends(source, MemoryTransport()), store)
    assert len(results) == ranging.RANGES
    planned = [result.tally.planned_objects for result in results]
    assert sum(planned) == 1200
    assert max(planned) < 350
    assert sorted(await planned_keys(store)) == keys


async def test_idle_workers_get_half_of_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranging, "CUT_EVERY_PAGES", 2)
    source = MemoryTransport()
    store, keys = await submitted(source, 3000)
    idle = MemoryTaskStore(attempts_max=50)
    await idle.enqueue([first_listing(NOW_S)])
    await idle.close_intake()
    # Whoever looks finds nothing waiting, so every second page gives half of the rest away.
    nothing = await MemoryTaskStore().stats()
    advance = idle.advance

    async def nothing_waits(*given: Any, **named: Any) -> Advanced:
        return (await advance(*given, **named))._replace(stats=nothing)

    monkeypatch.setattr(idle, "advance", nothing_waits)
    results = await list_all(make_ends(source, MemoryTransport()), idle)
    assert len(results) > ranging.RANGES
    assert sorted(await planned_keys(idle)) == keys


async def test_a_range_is_not_cut_while_its_shards_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranging, "CUT_EVERY_PAGES", 2)
    source = MemoryTransport()
    store, keys = await submitted(source, 3000)
    results = await list_all(make_ends(source, MemoryTransport()), store)
    assert len(results) == ranging.RANGES
    assert sorted(await planned_keys(store)) == keys


@pytest.mark.parametrize(("workers", "packed"), [(8, False), (100, True)])
async def test_a_large_fleet_packs_its_shards(workers: int, packed: bool) -> None:
    source = MemoryTransport()
    store, keys = await submitted(source, 3000)
    for number in range(workers):
        await store.beat(f"w{number}", b"note", now_s=time.time())
    await list_all(make_ends(source, MemoryTransport()), store)
    leases = await store.claim("w", limit=1000, lease_s=60.0, now_s=NOW_S * 2)
    assert any(b"packed-1" in lease.payload for lease in leases) is packed
    assert sum(len(shard_of(lease).copies) for lease in leases) == len(keys)


def shard_of(lease: Lease) -> SmallShard:
    shard = decode_payload(lease.payload)
    assert isinstance(shard, SmallShard)
    return shard


class CountingStore(MemoryTaskStore):
    """Counts who asks how it stands."""

    asked = 0

    async def stats(self) -> StoreStats:
        self.asked += 1
        return await super().stats()

    async def advance(self, *given: Any, **named: Any) -> Advanced:
        asked = self.asked
        advanced = await super().advance(*given, **named)
        self.asked = asked
        return advanced


async def test_a_page_asks_for_no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first page of a listing does; for the others ``advance`` has told them."""
    monkeypatch.setattr(ranging, "AHEAD_POLL_S", 60.0)
    store = CountingStore(attempts_max=50)
    source = MemoryTransport()
    _, keys = await submitted(source, 3000)
    await store.enqueue([first_listing(NOW_S)])
    results = await list_all(make_ends(source, MemoryTransport()), store)
    assert sum(result.tally.planned_objects for result in results) == len(keys)
    assert store.asked == len(results)


@pytest.mark.parametrize("seed", range(6))
async def test_a_listing_goes_on_from_the_page_where_a_worker_died(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemoryTransport()
    store, keys = await submitted(source, 900)
    rng = random.Random(seed)
    advance = store.advance

    async def advance_or_die(*arguments: object, **named: object) -> object:
        moment = rng.random()
        if moment < 0.15:
            raise Died
        advanced = await advance(*arguments, **named)  # type: ignore[arg-type]
        if moment > 0.85:
            raise Died
        return advanced

    monkeypatch.setattr(store, "advance", advance_or_die)
    results = await list_all(make_ends(source, MemoryTransport()), store, die=rng)
    assert sum(result.tally.planned_objects for result in results) == 900
    assert sorted(await planned_keys(store)) == keys


async def test_what_the_target_has_is_skipped_and_counted() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    store, keys = await submitted(source, 300)
    await fill(target, dict.fromkeys(keys[:200], b"x"))
    results = await list_all(make_ends(source, target), store)
    assert sum(result.tally.skipped_objects for result in results) == 200
    assert sorted(await planned_keys(store)) == keys[200:]


async def test_a_denied_listing_is_given_up_with_the_reason() -> None:
    source = MemoryTransport()
    store, _ = await submitted(source, 10)
    faults = Faults(source, [Fault(verb="list", nth=1, times=99, error=Denied("source"))])
    await list_all(make_ends(faults, MemoryTransport()), store)
    (letter,) = await store.results({TaskState.DISCARDED})
    assert "Denied" in letter.reason
    assert isinstance(decode_payload(letter.payload), Listing)


async def test_a_listing_that_breaks_off_is_an_error_of_the_task() -> None:
    source = MemoryTransport()
    store, _ = await submitted(source, 10)
    faults = Faults(source, [Fault(verb="list", nth=1, times=99, error=Unavailable("source"))])
    with pytest.raises(Unavailable):
        await list_all(make_ends(faults, MemoryTransport()), store)


async def test_a_listing_that_is_not_to_be_cut_stays_one_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranging, "CUT_EVERY_PAGES", 2)
    source = MemoryTransport()
    keys = [f"{number:06d}" for number in range(1200)]
    await fill(source, dict.fromkeys(keys, b"x"))
    store = MemoryTaskStore(attempts_max=50)
    await store.enqueue([first_listing(NOW_S, ranges=0)])
    await store.close_intake()
    results = await list_all(make_ends(source, MemoryTransport()), store)
    assert len(results) == 1
    assert sorted(await planned_keys(store)) == keys


async def test_there_is_work_before_the_store_is_asked_where_to_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = MemoryTransport()
    store, _ = await submitted(source, 300)
    waiting: list[int] = []
    split_range = splitting.split_range

    async def watched(*given: Any, **named: Any) -> list[KeyRange]:
        waiting.append((await store.stats()).tasks[TaskState.PENDING])
        return await split_range(*given, **named)

    monkeypatch.setattr(ranging, "split_range", watched)
    await list_all(make_ends(source, MemoryTransport()), store)
    assert waiting
    assert waiting[0] > 0

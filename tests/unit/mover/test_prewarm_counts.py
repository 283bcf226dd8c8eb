"""Progress of a prewarm: bytes count as they come, once, and never more than was planned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from mover.crew import RUN_S_MAX, Beat, beat, bytes_come, read_beats, residency_of
from mover.model import Report, Tally
from mover.pools import listing_pool
from mover.prewarm.model import Piece, Residence, WarmShard, WarmSpec, Wish
from mover.prewarm_counts import WarmCounts
from mover.prewarm_ground import WarmGround
from mover.prewarm_work import WarmWork
from mover.progress import Progress, Silent
from mover.stopping import Stop
from mover.watching import Watcher
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import ANY_POOL, HEARD_S
from scheduler.worker import Worker
from scheduler.worker_policy import LanePolicy, WorkerPolicy
from tests.unit.mover.prewarm_scene import CacheInMemory, PlaceInMemory, put_up, work_on, worker_on
from transports.errors import Unavailable
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mover.prewarm.model import Warmed
    from mover.prewarm_places import Place, Told

SPEC = WarmSpec(targets=("memory",))


def shard(size: int, round_: int = 0) -> WarmShard:
    return WarmShard(target=0, round=round_, pieces=[Piece(Entry("k", size, 0), 0, size)])


# -- counting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("round_", "told", "come"),
    [(0, [30, 20], 50), (0, [90, 90], 100), (0, [], 0), (1, [30], 0)],
)
def test_a_shard_counts_no_more_than_it_has(round_: int, told: list[int], come: int) -> None:
    counts = WarmCounts()
    with counts.underway(shard(100, round_)) as underway:
        for size in told:
            underway.told(size)
        assert counts.moving_bytes == come
    assert counts.moving_bytes == 0


def test_shards_count_together_and_one_that_fails_takes_its_bytes_back() -> None:
    counts = WarmCounts()
    with counts.underway(shard(100)) as one:
        one.told(10)
        with pytest.raises(ValueError), counts.underway(shard(100)) as other:  # noqa: PT011, PT012
            other.told(7)
            assert counts.moving_bytes == 17
            raise ValueError
        assert counts.moving_bytes == 10


def row(node: str = "n", resident: int = 0, **changes: Any) -> Residence:
    return Residence(node=node, files=1, bytes=100, resident_bytes=resident, **changes)


def test_what_was_seen_is_of_the_round_that_began_last() -> None:
    counts = WarmCounts()
    counts.saw(0, row(resident=40, before_bytes=40, read_bytes=60), reads=True)
    counts.saw(1, row(resident=99), reads=False)
    counts.saw(0, row(resident=40, before_bytes=40, read_bytes=60), reads=True)  # a late one
    (seen,) = counts.seen
    assert (counts.round, counts.skipped_bytes) == (1, 80)
    assert (seen.bytes, seen.resident_bytes, seen.read_bytes, seen.before_bytes) == (
        100,
        99,
        120,
        80,
    )


def test_what_is_only_looked_at_is_done_when_it_was() -> None:
    counts = WarmCounts()
    counts.saw(0, row(resident=40, before_bytes=40), reads=False)
    assert counts.skipped_bytes == 100


# -- what workers say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notes", "come"),
    [
        ([], 0),
        ([Beat(1, 50, 9, 100)], 50),
        ([Beat(1, 50, 9, 100, moving_bytes=30)], 80),
        ([Beat(1, 50, 9, 100, moving_bytes=30), Beat(1, 10, moving_bytes=30)], 100),
        ([Beat(1, 50, 9, 100, moving_bytes=30, skipped_bytes=40)], 60),
        ([Beat(1, 120, 9, 100, moving_bytes=30)], 120),
    ],
)
def test_what_is_under_way_does_not_exceed_the_plan(notes: list[Beat], come: int) -> None:
    assert bytes_come(notes) == come


def test_nodes_are_told_of_the_latest_round_that_any_has_begun() -> None:
    notes = [
        Beat(0, 0, round=1, residency=[row("a", 90)]),
        Beat(0, 0, round=1, residency=[row("a", 10)]),
        Beat(0, 0, round=0, residency=[row("b", 50, origin_bytes=5)]),
    ]
    a, b = residency_of(notes)
    assert (a.node, a.bytes, a.resident_bytes) == ("a", 200, 100)
    assert (b.node, b.bytes, b.resident_bytes, b.origin_bytes) == ("b", 0, 0, 5)


async def test_of_a_silent_worker_nothing_is_under_way() -> None:
    store = MemoryTaskStore(attempts_max=1)
    live = Tally(copied_bytes=50)
    await store.beat("silent", beat(live, moving_bytes=7), now_s=100.0)
    await store.beat("here", beat(live, moving_bytes=7), now_s=100.0 + HEARD_S)
    notes = await read_beats(store, now_s=101.0 + HEARD_S, within_s=RUN_S_MAX)
    assert {name: note.bytes_come for name, note in notes.items()} == {"silent": 50, "here": 57}


def test_a_note_of_an_older_worker_is_read() -> None:
    old = msgspec.msgpack.encode([1, 2, 3, 4, 5, [], None, "n"])
    note = msgspec.msgpack.decode(old, type=Beat)
    assert (note.bytes_come, note.node, note.round, note.residency) == (2, "n", 0, [])


# -- a run -----------------------------------------------------------------------------------------


class SlowPlace(PlaceInMemory):
    """Tells half of what it reads, and then waits; the first time it fails."""

    def __init__(self, cache: CacheInMemory) -> None:
        super().__init__(cache)
        self.half, self.go_on = asyncio.Event(), asyncio.Event()
        self.fails = True

    async def warm(
        self,
        pieces: Sequence[Piece],
        *,
        holders: Sequence[str] = (),
        again: bool = False,
        told: Told = lambda size: None,
    ) -> Warmed:
        told(sum(piece.size for piece in pieces) // 2)
        self.half.set()
        await self.go_on.wait()
        self.go_on.clear()
        self.half.clear()
        if self.fails:
            self.fails = False
            raise Unavailable("memory", "for now")
        return await super().warm(pieces, holders=holders, again=again)


def slow_work(place: Place) -> WarmWork:
    async def opens(location: str) -> Place:
        return place

    return WarmWork(ground=WarmGround(spec=SPEC, node="a", live=Tally(), opens=opens))


def said(work: WarmWork) -> Beat:
    return msgspec.msgpack.decode(work.beat(), type=Beat)


async def test_a_shard_that_fails_and_runs_again_counts_once() -> None:
    store = MemoryTaskStore(attempts_max=50)
    place = SlowPlace(CacheInMemory({"a": 1000}))
    work = slow_work(place)
    await put_up(store, SPEC)
    runner = work.runner(store, notify=lambda: worker.notify())
    lane = LanePolicy(slots=2, pools=(listing_pool(ANY_POOL),))
    policy = WorkerPolicy(pools=(ANY_POOL, *work.pools), beside=(lane,), beat_every_s=0.1)
    worker = Worker(store, runner.run, worker_id="w", policy=policy, note=work.beat)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(worker.run(until="drained"))
        for _ in range(2):
            await place.half.wait()
            assert (said(work).bytes, said(work).moving_bytes, said(work).planned_bytes) == (
                0, 500, 1000,
            )  # fmt: skip
            place.half.clear()
            place.go_on.set()
    ended = said(work)
    assert (ended.bytes, ended.moving_bytes, ended.objects) == (1000, 0, 1)
    assert (ended.round, ended.residency[0].resident_bytes) == (1, 1000)


class Keeping(Silent):
    def __init__(self) -> None:
        self.seen: list[Progress] = []
        self.report: Report | None = None

    def update(self, progress: Progress) -> None:
        self.seen.append(progress)


@pytest.mark.parametrize(
    ("before", "skipped", "wish"),
    [(0, 0, Wish.WARM), (3, 300, Wish.WARM), (10, 1000, Wish.WARM), (3, 1000, Wish.STATUS)],
)
async def test_what_was_resident_is_done(
    before: int, skipped: int, wish: Wish, tmp_path: Path
) -> None:
    store, monitor = MemoryTaskStore(attempts_max=50), Keeping()
    cache = CacheInMemory({f"{number}": 100 for number in range(10)})
    cache.resident = {(f"{number}", 0): 100 for number in range(before)}
    spec = WarmSpec(targets=("memory",), wish=wish)
    await put_up(store, spec)
    await worker_on(store, work_on(spec, cache), "w").run(until="drained")
    watcher = Watcher(
        job="j", store=store, monitor=monitor, stop=Stop(), retry_path=tmp_path / "r", is_fleet=False
    )  # fmt: skip
    await watcher.run(resumed=False)
    last = monitor.seen[-1]
    assert (last.planned_bytes, last.skipped_bytes) == (1000, skipped)
    assert last.copied_bytes == (0 if wish is Wish.STATUS else 1000 - skipped)
    assert [each.node for each in last.workers] == ["a"]
    seen = sum(each.resident_bytes for each in last.residency)
    assert seen == (300 if wish is Wish.STATUS else 1000)


async def test_progress_waits_and_does_not_go_back(tmp_path: Path) -> None:
    store, monitor = MemoryTaskStore(attempts_max=1), Keeping()
    watcher = Watcher(
        job="j", store=store, monitor=monitor, stop=Stop(), retry_path=tmp_path / "r", is_fleet=False
    )  # fmt: skip
    stats = await store.stats()
    come = []
    for moving in (10, 60, 0, 30, 70):
        note = Beat(0, 0, 1, 100, moving_bytes=moving)
        come.append(watcher._progress(stats, {"w": note}, is_planned=True).copied_bytes)
    assert come == [10, 60, 60, 60, 70]

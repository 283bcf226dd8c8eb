"""A prewarm reads what lacks, looks again after it, and never calls a cache full that is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mover import prewarm_nodes, prewarm_rounds, prewarm_whole
from mover.filtering import Rule, Selection
from mover.model import State
from mover.payloads import decode_payload
from mover.prewarm import sharding
from mover.prewarm.model import (
    EVERY_NODE,
    Judge,
    Metadata,
    Oversize,
    Round,
    WarmShard,
    WarmSpec,
    Wish,
)
from mover.prewarm_nodes import Nodes, TooFewNodes, round_task
from mover.prewarm_rooms import say_rooms
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import TaskState
from tests.unit.mover.prewarm_scene import (
    CacheInMemory,
    PlaceInMemory,
    put_up,
    reported,
    warmed,
    work_on,
    worker_on,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mover.prewarm.model import Piece, Warmed
    from scheduler.model import Advanced, Lease, NewTask, WorkerBeat

FILES = {f"d{number % 3}/{number:03d}": 10 * number for number in range(60)}
TOTAL = sum(FILES.values())


@pytest.fixture
def store() -> MemoryTaskStore:
    return MemoryTaskStore(attempts_max=50)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "SHARD_FILES", 8)
    monkeypatch.setattr(prewarm_rounds, "WAIT_S", 0.01)


def spec(**wishes: Any) -> WarmSpec:
    return WarmSpec(targets=("memory",), **wishes)


async def test_what_is_read_is_proven_by_a_second_look(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    cache = CacheInMemory(FILES)
    report = await warmed(store, spec(), cache, tmp_path)
    assert (report.state, report.rounds, report.fullness.percent()) == (State.DONE, 1, 100.0)
    assert report.tally.planned_objects == report.tally.copied_objects == 60
    assert report.tally.copied_bytes == report.tally.planned_bytes == cache.origin_bytes == TOTAL
    assert sorted(cache.reads) == sorted(FILES)


async def test_a_second_run_reads_nothing(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES)
    await warmed(store, spec(), cache, tmp_path)
    cache.reads.clear()
    await store.clear()
    report = await warmed(store, spec(), cache, tmp_path)
    assert not cache.reads
    assert (report.state, report.rounds, report.tally.skipped_objects) == (State.DONE, 0, 60)


async def test_a_target_is_loaded_in_one_go(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES, whole=True)
    report = await warmed(store, spec(), cache, tmp_path)
    assert (report.state, report.rounds, report.fullness.percent()) == (State.DONE, 1, 100.0)
    assert report.tally.copied_objects == len(cache.reads) == 60
    await store.clear()
    again = await warmed(store, spec(), cache, tmp_path)
    assert (again.rounds, again.tally.skipped_objects, len(cache.reads)) == (0, 60, 60)


async def test_what_is_still_being_written_is_not_read_again(
    store: MemoryTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_whole, "BEHIND_S", 0.001)
    cache = CacheInMemory(FILES, whole=True, behind=3)
    report = await warmed(store, spec(), cache, tmp_path)
    assert (report.state, report.rounds, len(cache.reads)) == (State.DONE, 1, 60)


async def test_what_one_go_leaves_out_is_read_by_shards(
    store: MemoryTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_whole, "BEHIND_S", 0.001)
    cache = CacheInMemory(FILES, whole=True, lies=frozenset({"d0/030"}))
    report = await warmed(store, spec(attempts=2), cache, tmp_path)
    assert [each.key for each in report.failures] == ["d0/030"]
    assert cache.reads.count("d0/030") == 2


async def test_a_cache_that_lies_is_never_called_full(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    cache = CacheInMemory(FILES, lies=frozenset({"d0/030"}))
    report = await warmed(store, spec(attempts=2), cache, tmp_path)
    assert report.state is State.INCOMPLETE
    assert report.exit_code == 1
    assert report.fullness.percent() == pytest.approx(98.30, abs=0.01)
    assert [(each.key, each.error) for each in report.failures] == [("d0/030", "NotResident")]
    assert cache.reads.count("d0/030") == 2
    assert (tmp_path / "retry.txt").read_text().splitlines()[-1] == "d0/030"


async def test_a_judge_of_totals_still_names_what_is_missing(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    cache = CacheInMemory(FILES, lies=frozenset({"d0/030", "d1/001"}), coarse=True)
    report = await warmed(store, spec(attempts=1), cache, tmp_path)
    assert sorted(each.key for each in report.failures) == ["d0/030", "d1/001"]
    assert report.fullness.total.resident_files == 58


async def test_a_cache_that_evicts_at_once(store: MemoryTaskStore, tmp_path: Path) -> None:
    report = await warmed(store, spec(), CacheInMemory(FILES, keeps=20), tmp_path)
    assert report.state is State.INCOMPLETE
    percent = report.fullness.percent()
    assert percent is not None
    assert percent < 100
    assert report.rounds == 3


@pytest.mark.parametrize(("min_percent", "state"), [(98.0, State.DONE), (99.0, State.INCOMPLETE)])
async def test_less_may_be_enough(
    store: MemoryTaskStore, tmp_path: Path, min_percent: float, state: State
) -> None:
    cache = CacheInMemory(FILES, lies=frozenset({"d0/030"}))
    report = await warmed(store, spec(min_percent=min_percent), cache, tmp_path)
    assert report.state is state


async def test_why_a_file_cannot_be_read_is_told(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES, broken=frozenset({"d0/003"}))
    report = await warmed(store, spec(attempts=2), cache, tmp_path)
    assert report.state is State.INCOMPLETE
    (failure,) = report.failures
    assert failure.error == "Denied"
    assert failure.detail == "d0/003: permission denied; not in the cache after 2 attempts"
    assert report.tally.failed_objects == 1


async def test_what_nobody_can_tell_is_read_once_and_not_called_resident(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    cache = CacheInMemory(FILES, judge=Judge.NONE)
    report = await warmed(store, spec(), cache, tmp_path)
    assert (report.state, report.rounds, report.fullness.percent()) == (State.DONE, 0, None)
    assert len(cache.reads) == 60
    assert report.to_json()["residency"]["certainty"] == "unknown"  # type: ignore[index]


async def test_a_mount_that_comes_back_is_read_on(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES, away=3)
    report = await warmed(store, spec(), cache, tmp_path)
    assert report.state is State.DONE
    assert report.fullness.percent() == 100.0


async def test_filters_choose(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES)
    only = Selection(rules=(Rule(verdict="exclude", pattern="d0/"),))
    await warmed(store, spec(selection=only), cache, tmp_path)
    assert {key[:2] for key in cache.reads} == {"d1", "d2"}


async def test_large_files_are_read_in_pieces(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory({"big": 1000, "small": 10}, cut_bytes=300)
    report = await warmed(store, spec(), cache, tmp_path)
    assert sorted(cache.resident) == [
        ("big", 0),
        ("big", 300),
        ("big", 600),
        ("big", 900),
        ("small", 0),
    ]
    assert report.fullness.percent() == 100.0


async def test_a_look_reads_nothing(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES)
    cache.resident["d0/003", 0] = 30
    report = await warmed(store, spec(wish=Wish.STATUS), cache, tmp_path)
    assert not cache.reads
    assert (report.state, report.fullness.total.resident_files) == (State.INCOMPLETE, 1)


async def test_an_eviction_frees_what_is_there(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES)
    cache.resident["d0/003", 0] = 30
    report = await warmed(store, spec(wish=Wish.EVICT), cache, tmp_path)
    assert not cache.resident
    assert (report.state, report.tally.copied_bytes) == (State.DONE, 30)


@pytest.mark.parametrize("held", [0, 1_000_000])
async def test_what_does_not_fit_is_said_before_anything_is_read(
    store: MemoryTaskStore, tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_rounds, "HELD_FILES", held)
    monkeypatch.setattr(prewarm_whole, "HELD_FILES", held)
    cache = CacheInMemory(FILES, capacity_bytes=TOTAL // 2)
    report = await warmed(store, spec(), cache, tmp_path)
    assert not cache.reads
    assert report.state is State.INCOMPLETE
    assert "17.3 KiB" in report.withheld
    assert "8.6 KiB" in report.withheld
    assert "nothing was read" in report.withheld
    assert report.fullness.percent() == 0.0


async def test_what_fits_is_read_where_that_is_wished(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    cache = CacheInMemory(FILES, capacity_bytes=TOTAL // 2)
    wished = spec(oversize=Oversize.FIT, min_percent=25.0)
    report = await warmed(store, wished, cache, tmp_path)
    assert report.state is State.DONE
    assert report.rounds == 1  # what does not fit is not waited for
    assert 0.25 * TOTAL < sum(cache.resident.values()) <= 0.6 * TOTAL
    assert report.fullness.total.bytes == TOTAL
    assert report.fullness.total.resident_bytes == sum(cache.resident.values())


async def test_attributes_first_or_only(store: MemoryTaskStore, tmp_path: Path) -> None:
    cache = CacheInMemory(FILES)
    report = await warmed(store, spec(metadata=Metadata.ONLY), cache, tmp_path)
    assert (report.state, cache.looked_for_names, cache.reads) == (State.DONE, 60, [])
    await store.clear()
    await warmed(store, spec(metadata=Metadata.FIRST), cache, tmp_path)
    assert (cache.looked_for_names, len(cache.reads)) == (120, 60)


async def test_a_walk_that_begins_again_enqueues_nothing_twice(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    cache = CacheInMemory(FILES)
    wished = spec()
    await put_up(store, wished)
    runner = work_on(wished, cache).runner(store)
    (lease,) = await store.claim("dead", limit=1, lease_s=1, now_s=0.0, pools=("listing",))
    await runner.run(lease)  # whose outcome is lost with its worker
    await store.reap(now_s=100.0)
    await worker_on(store, work_on(wished, cache), "w").run(until="drained")
    assert sorted(cache.reads) == sorted(FILES)


async def test_a_round_that_lists_less_than_the_first_says_so(
    store: MemoryTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CacheInMemory(dict(FILES))
    real = PlaceInMemory.warm

    async def warm(self: PlaceInMemory, pieces: Sequence[Piece], **wishes: Any) -> Warmed:
        cache.files.pop("d0/003", None)
        return await real(self, pieces, **wishes)

    monkeypatch.setattr(PlaceInMemory, "warm", warm)
    report = await warmed(store, spec(), cache, tmp_path)
    assert report.fullness.total.files == 59
    assert [event.text for event in await store.events()] == [
        "round 1 lists 1 fewer files than the first"
    ]


# --- Several nodes ---


async def on_nodes(
    store: MemoryTaskStore, wished: WarmSpec, caches: dict[str, CacheInMemory], directory: Path
) -> Any:
    await put_up(store, wished, nodes=sorted(caches))
    async with asyncio.TaskGroup() as group:
        for node, cache in caches.items():
            worker = worker_on(store, work_on(wished, cache, node), f"w-{node}")
            group.create_task(worker.run(until="drained"))
    return await reported(store, wished, directory)


async def test_spread_reads_each_byte_on_one_node(store: MemoryTaskStore, tmp_path: Path) -> None:
    caches = {node: CacheInMemory(FILES) for node in "abc"}
    report = await on_nodes(store, spec(), caches, tmp_path)
    assert sum(cache.origin_bytes for cache in caches.values()) == TOTAL
    assert all(cache.reads for cache in caches.values())
    assert report.fullness.percent() == 100.0
    assert [row.node for row in report.fullness.nodes] == ["a", "b", "c"]


async def test_every_node_takes_from_the_first(store: MemoryTaskStore, tmp_path: Path) -> None:
    caches = {node: CacheInMemory(FILES, shares=True, address=f"http://{node}") for node in "abcd"}
    report = await on_nodes(store, spec(replicas=EVERY_NODE), caches, tmp_path)
    assert all(sum(cache.resident.values()) == TOTAL for cache in caches.values())
    assert sum(cache.origin_bytes for cache in caches.values()) == TOTAL
    assert sum(cache.peer_bytes for cache in caches.values()) == 3 * TOTAL
    assert report.fullness.total.bytes == 4 * TOTAL
    assert report.state is State.DONE


async def test_every_node_asks_for_attributes_and_evicts_by_itself(
    store: MemoryTaskStore, tmp_path: Path
) -> None:
    caches = {node: CacheInMemory(FILES) for node in "abc"}
    await on_nodes(store, spec(metadata=Metadata.FIRST), caches, tmp_path)
    assert [cache.looked_for_names for cache in caches.values()] == [60, 60, 60]
    await store.clear()
    report = await on_nodes(store, spec(wish=Wish.EVICT), caches, tmp_path)
    assert not any(cache.resident for cache in caches.values())
    assert (report.state, report.tally.copied_objects) == (State.DONE, 60)


@pytest.mark.parametrize("silent", [frozenset[str](), frozenset({"a", "b"})])
async def test_what_fits_is_each_nodes_own(
    store: MemoryTaskStore, tmp_path: Path, silent: frozenset[str]
) -> None:
    room = {"a": TOTAL // 2, "b": 2 * TOTAL}
    caches = {node: CacheInMemory(FILES, capacity_bytes=room[node]) for node in "ab"}
    wished = spec(replicas=EVERY_NODE, oversize=Oversize.FIT, min_percent=0.0)
    for node in set("ab") - silent:
        await say_rooms(work_on(wished, caches[node], node).ground, store)
    report = await on_nodes(store, wished, caches, tmp_path)
    held = {node: sum(cache.resident.values()) for node, cache in caches.items()}
    if silent:  # whoever walks takes the others for its like
        assert held["a"] == held["b"]
        return
    assert 0.25 * TOTAL < held["a"] <= 0.6 * TOTAL
    assert held["b"] == TOTAL
    assert "on node a" in report.withheld


async def test_replicas_are_on_so_many_nodes(store: MemoryTaskStore, tmp_path: Path) -> None:
    caches = {node: CacheInMemory(FILES) for node in "abc"}
    await on_nodes(store, spec(replicas=2), caches, tmp_path)
    for key in FILES:
        assert sum((key, 0) in cache.resident for cache in caches.values()) == 2


async def test_the_tasks_of_a_node_that_left_go_to_others(
    store: MemoryTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_nodes, "LOST_S", 0.3)
    wished, cache = spec(), CacheInMemory(FILES)
    await put_up(store, wished, nodes=["a", "gone"])
    await worker_on(store, work_on(wished, cache, "a"), "w").run(until="drained")
    report = await reported(store, wished, tmp_path)
    assert sorted(set(cache.reads)) == sorted(FILES)
    assert report.tally.failed_objects == 0


async def test_a_node_that_left_lacks_what_each_should_have(
    store: MemoryTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_nodes, "LOST_S", 0.3)
    wished, cache = spec(replicas=EVERY_NODE, attempts=1), CacheInMemory(FILES)
    await put_up(store, wished, nodes=["a", "gone"])
    await worker_on(store, work_on(wished, cache, "a"), "w").run(until="drained")
    report = await reported(store, wished, tmp_path)
    assert report.state is State.INCOMPLETE
    assert report.fullness.percent() == 50.0
    assert "gone has left" in report.failures[0].detail


class Forgetful(MemoryTaskStore):
    """A queue that loses the shards of some rounds, and whose workers say nothing if they are ``mute``."""

    def __init__(self, *, loses: frozenset[int] = frozenset(), mute: bool = False) -> None:
        super().__init__(attempts_max=50)
        self.loses = loses
        self.mute = mute
        self.lost_pieces = 0

    async def advance(
        self, lease: Lease, payload: bytes, *, follow_ups: Sequence[NewTask] = (), **others: Any
    ) -> Advanced:
        kept = list(follow_ups)
        for task in follow_ups:
            shard = decode_payload(task.payload)
            if isinstance(shard, WarmShard) and shard.round in self.loses:
                self.loses -= {shard.round}
                self.lost_pieces += len(shard.pieces)
                kept.remove(task)
        return await super().advance(lease, payload, follow_ups=kept, **others)

    async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
        return [] if self.mute else await super().workers(now_s=now_s, within_s=within_s)


@pytest.mark.parametrize("judge", [Judge.NONE, Judge.CACHE])
async def test_a_node_does_not_hand_over_its_own_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: Judge
) -> None:
    monkeypatch.setattr(prewarm_nodes, "LOST_S", 0.0)
    store, cache = Forgetful(mute=True), CacheInMemory(FILES, judge=judge)
    report = await warmed(store, spec(), cache, tmp_path)
    assert (report.state, report.tally.copied_objects) == (State.DONE, 60)
    assert sorted(cache.reads) == sorted(FILES)
    assert not await store.events()


@pytest.mark.parametrize("judge", [Judge.NONE, Judge.CACHE])
async def test_a_dataset_all_of_whose_nodes_left_is_not_called_warm(
    store: MemoryTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: Judge
) -> None:
    monkeypatch.setattr(prewarm_nodes, "LOST_S", 0.1)
    wished, cache = spec(attempts=1), CacheInMemory(FILES, judge=judge)
    await put_up(store, wished, nodes=["gone", "too"])
    await worker_on(store, work_on(wished, cache, "elsewhere"), "w").run(until="drained")
    report = await reported(store, wished, tmp_path)
    assert (report.state, report.exit_code) == (State.INCOMPLETE, 1)
    assert report.tally.failed_objects == 60
    assert "has left" in report.failures[0].detail


async def test_a_shard_that_the_queue_lost_is_looked_for_again(tmp_path: Path) -> None:
    store, cache = Forgetful(loses=frozenset({0})), CacheInMemory(FILES)
    report = await warmed(store, spec(), cache, tmp_path)
    assert store.lost_pieces
    assert sorted(cache.reads) == sorted(FILES)
    assert (report.state, report.fullness.total.resident_files) == (State.DONE, 60)


@pytest.mark.parametrize(
    ("judge", "loses"),
    [(Judge.CACHE, {1}), (Judge.NONE, {0})],
    ids=["in the last round", "where a later round cannot tell"],
)
async def test_what_was_never_looked_at_fails_the_job(
    tmp_path: Path, judge: Judge, loses: set[int]
) -> None:
    store, cache = Forgetful(loses=frozenset(loses)), CacheInMemory(FILES, judge=judge)
    report = await warmed(store, spec(attempts=1), cache, tmp_path)
    assert (report.state, report.exit_code) == (State.INCOMPLETE, 1)
    said = f"{store.lost_pieces} of what was listed was never looked at; run the command again"
    assert said in [failure.detail for failure in report.failures]


async def test_what_failed_stays_failed_where_nobody_can_tell(tmp_path: Path) -> None:
    # The lost shard brings a second round, which looks at everything and can tell nothing.
    store = Forgetful(loses=frozenset({0}))
    cache = CacheInMemory(FILES, judge=Judge.NONE, broken=frozenset({"d2/059"}))
    report = await warmed(store, spec(), cache, tmp_path)
    assert report.rounds == 1
    assert "d2/059" in [failure.key for failure in report.failures]
    assert report.tally.failed_objects == 2  # and what was never looked at


async def test_the_first_round_waits_for_nodes(
    store: MemoryTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_nodes, "NODES_WAIT_S", 0.0)
    with pytest.raises(TooFewNodes, match="0 of 2 nodes are there"):
        await Nodes(spec=spec(nodes_min=2), store=store).gather()


async def test_two_submitters_make_one_round(store: MemoryTaskStore) -> None:
    task = round_task(Round(number=0, now_s=0.0), "any")
    assert [await store.enqueue([task]), await store.enqueue([task])] == [1, 0]
    assert (await store.stats()).tasks[TaskState.PENDING] == 1

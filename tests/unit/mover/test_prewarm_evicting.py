"""A prewarm puts down what it did, file by file; an eviction of the job frees that and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mover import prewarm_recording, prewarm_rounds
from mover.errors import Damaged, Rejected
from mover.manifest import Deed, Row, Segment, decode_segment
from mover.model import State
from mover.prewarm import sharding
from mover.prewarm.model import Judge, WarmSpec, Wish
from mover.prewarm_evicting import Evictor
from mover.prewarm_recalling import FormerJob
from mover.prewarm_recording import WarmRecorder
from scheduler.memory_store import MemoryTaskStore
from tests.unit.mover.prewarm_scene import CacheInMemory, reported, warmed, work_on
from transports.errors import Denied
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport

if TYPE_CHECKING:
    from pathlib import Path

    from mover.prewarm_report import WarmReport
    from transports.base import Transport

FILES = {f"d{number % 3}/{number:03d}": 10 * number + 1 for number in range(30)}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "SHARD_FILES", 8)
    monkeypatch.setattr(prewarm_rounds, "WAIT_S", 0.01)


class Scene:
    """One node's cache and the place of its manifests."""

    def __init__(self, directory: Path, **cache: Any) -> None:
        self.directory = directory
        self.cache = CacheInMemory(dict(FILES), **cache)
        self.manifest = MemoryTransport()

    def recorder(self, job: str = "job", node: str = "a") -> WarmRecorder:
        return WarmRecorder(
            transport=self.manifest, job=job, node=node, source="memory", target="warm"
        )

    def former(self, job: str = "job", node: str = "a") -> FormerJob:
        return FormerJob(job=job, node=node, transport=self.manifest)

    async def warm(self, job: str = "job", **wishes: Any) -> WarmReport:
        spec = WarmSpec(targets=("memory",), **wishes)
        return await warmed(
            MemoryTaskStore(attempts_max=50), spec, self.cache, self.directory, self.recorder(job)
        )

    async def evict(
        self, job: str = "job", node: str = "a", **wishes: Any
    ) -> tuple[WarmReport, list[str]]:
        """Evict a job; the report, and what was said in the queue."""
        spec = WarmSpec(targets=("memory",), wish=Wish.EVICT, evicts=job, **wishes)
        store = MemoryTaskStore(attempts_max=50)
        report = await warmed(
            store,
            spec,
            self.cache,
            self.directory,
            self.recorder(job, node),
            self.former(job, node),
        )
        return report, [event.text for event in await store.events()]

    def segments(self, job: str = "job") -> list[Segment]:
        found = sorted(self.manifest.store.objects.items())
        return [decode_segment(each.data) for key, each in found if key.startswith(job)]

    def rows(self, job: str = "job") -> list[Row]:
        return [row for segment in self.segments(job) for row in segment.rows]

    def resident(self) -> set[str]:
        return {key for key, _ in self.cache.resident}


@pytest.mark.parametrize("whole", [False, True])
async def test_each_file_has_a_row_by_the_node_that_did_it(tmp_path: Path, whole: bool) -> None:
    scene = Scene(tmp_path, whole=whole)
    await scene.warm()
    begun, *segments = scene.segments()
    assert (begun.header.task, begun.rows, begun.header.node) == (0, [], "a")
    assert {(each.header.node, each.header.judge, each.header.job) for each in segments} == {
        ("a", "cache", "job")
    }
    assert {each.header.source for each in segments} == {"memory"}
    assert sorted((row.key, row.size, row.action) for row in scene.rows()) == sorted(
        (key, size, Deed.WARMED) for key, size in FILES.items()
    )


async def test_a_large_target_in_one_go_has_several_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarm_recording, "SEGMENT_ROWS", 8)
    scene = Scene(tmp_path, whole=True)
    await scene.warm()
    assert len(scene.segments()) > 3
    assert sorted(row.key for row in scene.rows()) == sorted(FILES)


async def test_what_was_there_before_and_what_failed_is_told_apart(tmp_path: Path) -> None:
    scene = Scene(tmp_path, broken=frozenset({"d0/003"}), lies=frozenset({"d1/001"}))
    scene.cache.resident["d2/002", 0] = FILES["d2/002"]
    await scene.warm(attempts=1)
    actions: dict[str, set[Deed]] = {}
    for row in scene.rows():
        actions.setdefault(row.key, set()).add(row.action)
    assert actions.pop("d0/003") == {Deed.FAILED}
    assert actions.pop("d1/001") == {Deed.WARMED, Deed.FAILED}
    assert actions.pop("d2/002") == {Deed.RESIDENT}
    assert set(map(frozenset, actions.values())) == {frozenset({Deed.WARMED})}


async def test_a_job_frees_what_it_has_warmed_and_nothing_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    before = {"d0/003", "d0/006", "d1/001"}
    scene.cache.resident.update({(key, 0): FILES[key] for key in before})
    scene.cache.brought = {"d1/001", "d2/002"}
    await scene.warm()
    await scene.warm()  # the same command again finds all of it, and takes nothing for another's
    scene.cache.files["d2/005"] += 1  # changed since
    report, said = await scene.evict()
    assert scene.resident() == before - {"d1/001"} | {"d2/005"}
    assert (report.state, report.tally.copied_objects, said) == (State.DONE, len(FILES) - 3, [])
    # What has been freed is the job's no more: somebody else warmed it since.
    scene.cache.resident.update({(key, 0): size for key, size in FILES.items()})
    report, _ = await scene.evict()
    assert report.tally.copied_objects == 0


async def test_another_job_is_not_touched(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.warm("one")
    await scene.warm("two")
    report, _ = await scene.evict("two")
    assert report.tally.copied_objects == 0
    assert scene.resident() == set(FILES)


async def test_what_would_go_is_what_goes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.cache.resident["d0/003", 0] = FILES["d0/003"]
    await scene.warm()
    report, _ = await scene.evict(dry_run=True)
    assert (report.tally.planned_objects, report.fullness.total.files) == (29, 29)
    lines: list[str] = []
    spec = WarmSpec(targets=("memory",), wish=Wish.EVICT, evicts="job")
    work = work_on(spec, scene.cache, former=scene.former())
    tally = await Evictor(ground=work.ground, note=lines.append).plan(lines.append)
    assert lines == [
        f"evict {key} ({FILES[key]} bytes)" for key in sorted(FILES) if key != "d0/003"
    ]
    assert (tally.planned_objects, scene.resident()) == (29, set(FILES))
    assert (await scene.evict())[0].tally.copied_objects == 29


async def test_a_node_without_the_manifest_goes_by_the_specification(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.warm()
    report, said = await scene.evict(node="b")
    assert report.tally.copied_objects == len(FILES)
    assert said == ["node b has no manifest of job job: its specification says what goes there"]
    assert not [row for row in scene.rows() if row.action is Deed.EVICTED]


async def test_a_manifest_with_a_gap_frees_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.warm()
    key, stored = max(scene.manifest.store.objects.items())
    scene.manifest.store.objects[key] = replace(stored, data=stored.data[:-3])
    spec = WarmSpec(targets=("memory",), wish=Wish.EVICT, evicts="job")
    work = work_on(spec, scene.cache, former=scene.former())
    with pytest.raises(Damaged, match="segment"):
        await Evictor(ground=work.ground, note=lambda line: None).plan(lambda line: None)
    assert scene.resident() == set(FILES)


@pytest.mark.parametrize("is_asked_for", [False, True])
async def test_a_place_that_cannot_be_written(tmp_path: Path, is_asked_for: bool) -> None:
    scene = Scene(tmp_path)
    notes: list[str] = []
    refusing: Transport = Faults(
        scene.manifest, [Fault(verb="write_small", error=Denied("memory"))]
    )
    record = WarmRecorder(
        transport=refusing, job="job", node="a", is_asked_for=is_asked_for, note=notes.append
    )
    store = MemoryTaskStore(attempts_max=50)
    spec = WarmSpec(targets=("memory",))
    if is_asked_for:
        with pytest.raises(Rejected, match="manifest"):
            await warmed(store, spec, scene.cache, tmp_path, record)
        return
    report = await warmed(store, spec, scene.cache, tmp_path, record)
    assert (report.state, len(notes), scene.segments()) == (State.DONE, 1, [])


async def test_a_look_puts_nothing_down(tmp_path: Path) -> None:
    scene = Scene(tmp_path, judge=Judge.CACHE)
    spec = WarmSpec(targets=("memory",), wish=Wish.STATUS)
    store = MemoryTaskStore(attempts_max=50)
    await warmed(store, spec, scene.cache, tmp_path, WarmRecorder())
    assert (await reported(store, spec, tmp_path)).fullness.percent() == 0
    assert not scene.manifest.store.objects

"""A deletion goes last, only behind a job without failures, and may be interrupted anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from mover import listing, sweeping
from mover.feeding import Checkpoint
from mover.filtering import Rule, Selection
from mover.manifest import Deed
from mover.model import Delta, State, Sweep, Tally
from mover.payloads import encode_payload
from mover.planning import Planner, Policy
from mover.recalling import Recall, RowSpill
from mover.recording import ManifestWriter
from mover.removing import directories_above
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask, TaskState
from tests.unit.mover.engine import fill, make_ends, run_engine, stored
from transports import memory
from transports.errors import Denied, Unavailable
from transports.faults import Fault, Faults
from transports.local import open_local
from transports.memory import MemoryTransport
from transports.model import Entry, Kind
from transports.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from mover.model import Report
    from transports.base import Transport

OBJECTS = {f"a/{number:03d}": b"x" * number for number in range(60)} | {"big": b"B" * 5000}
EXTRAS = {f"{number:03d}": b"old" for number in range(25)} | {"a/0300": b"", "zz/z": b"old"}


async def both() -> tuple[MemoryTransport, MemoryTransport]:
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, OBJECTS)
    await fill(target, EXTRAS)
    return source, target


async def rsync(
    source: Transport, target: Transport, directory: Path, store: MemoryTaskStore, **wishes: Any
) -> Report:
    ends = make_ends(source, target, **{"delete": True, **wishes})
    return await run_engine(ends, directory, store)


@pytest.fixture(autouse=True)
def small_removals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "REMOVAL_OBJECTS", 10)


async def test_extras_go_after_everything_was_copied(tmp_path: Path) -> None:
    source, target = await both()
    record = Record(target)
    report = await rsync(source, record, tmp_path, MemoryTaskStore())
    assert (report.state, report.withheld) == (State.DONE, "")
    assert stored(target) == OBJECTS
    tally = report.tally
    assert (tally.copied_objects, tally.deleted_objects) == (len(OBJECTS), len(EXTRAS))
    assert (tally.planned_objects, tally.planned_deletes) == (
        len(OBJECTS) + len(EXTRAS),
        len(EXTRAS),
    )
    assert record.log.counts["delete"] == 4  # of two pages: ten, ten and six; one
    verbs = [call.verb for call in record.log.calls]
    assert "write_small" not in verbs[verbs.index("delete") :]
    assert "finish_upload" not in verbs[verbs.index("delete") :]


async def test_a_long_deletion_waits_for_its_removals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "REMOVALS_AHEAD", 1)
    monkeypatch.setattr(sweeping, "REMOVAL_OBJECTS", 2)
    monkeypatch.setattr(sweeping, "pause_s", lambda open_tasks: 0.01)
    monkeypatch.setattr(listing, "WAITING_ENTRIES_MAX", 5)
    monkeypatch.setattr(memory, "PAGE_ENTRIES", 3)
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, OBJECTS)
    await fill(target, EXTRAS)
    report = await rsync(source, target, tmp_path, MemoryTaskStore())
    assert (report.state, report.tally.deleted_objects) == (State.DONE, len(EXTRAS))
    assert report.tally.planned_deletes == len(EXTRAS)
    assert stored(target) == OBJECTS


async def test_without_the_wish_nothing_is_deleted(tmp_path: Path) -> None:
    source, target = await both()
    report = await rsync(source, target, tmp_path, MemoryTaskStore(), delete=False)
    assert stored(target) == OBJECTS | EXTRAS
    assert report.tally.deleted_objects == 0


@pytest.mark.parametrize("key", ["a/007", "big"])
async def test_a_failure_deletes_nothing_and_its_retry_deletes(tmp_path: Path, key: str) -> None:
    source, target = await both()
    store = MemoryTaskStore()
    faults = Faults(
        source,
        [
            Fault(verb=verb, key=key, times=1, error=Denied(key))
            for verb in ("read_small", "read_into")
        ],
    )
    report = await rsync(faults, target, tmp_path, store)
    assert (report.state, report.exit_code) == (State.INCOMPLETE, 1)
    assert report.withheld == "nothing was deleted, because 1 task failed"
    assert stored(target).keys() == (OBJECTS.keys() - {key}) | EXTRAS.keys()
    assert report.tally.failed_objects == 1
    assert await store.requeue() == 2  # the object, and the deletion that waits for it
    report = await rsync(source, target, tmp_path, store)
    assert (report.state, report.withheld) == (State.DONE, "")
    assert stored(target) == OBJECTS


@pytest.mark.parametrize("end", ["source", "target"])
async def test_a_listing_that_fails_deletes_nothing(tmp_path: Path, end: str) -> None:
    source, target = await both()
    store = MemoryTaskStore()
    # The first listing is the planner's; the sweep's own fails, at its survey or after it.
    faults = [Fault(verb="list", nth=2, times=99, error=Denied("no"))]
    failing = {
        "source": (Faults(source, faults), target),
        "target": (source, Faults(target, faults)),
    }
    report = await rsync(*failing[end], tmp_path, store)
    assert report.state is State.INCOMPLETE
    assert report.withheld.startswith("nothing was deleted: Denied")
    assert stored(target) == OBJECTS | EXTRAS


@pytest.mark.parametrize(
    ("wishes", "says"),
    [({"max_delete": 26}, "--max-delete 26"), ({"max_delete": 27}, "")],
)
async def test_the_limit_is_kept_at_the_moment_of_deleting(
    tmp_path: Path, wishes: dict[str, Any], says: str
) -> None:
    source, target = await both()
    report = await rsync(source, target, tmp_path, MemoryTaskStore(), **wishes)
    assert says in report.withheld
    assert report.state is (State.INCOMPLETE if says else State.DONE)
    assert (stored(target) == OBJECTS) is not bool(says)


async def test_a_source_that_became_empty_deletes_nothing(tmp_path: Path) -> None:
    target = MemoryTransport()
    await fill(target, EXTRAS)
    report = await rsync(MemoryTransport(), target, tmp_path, MemoryTaskStore())
    assert "--allow-empty-source" in report.withheld
    assert report.exit_code == 1
    assert stored(target) == EXTRAS
    report = await rsync(
        MemoryTransport(), target, tmp_path, MemoryTaskStore(), allow_empty_source=True
    )
    assert (report.exit_code, stored(target)) == (0, {})


async def test_an_object_that_cannot_be_deleted_is_a_failure_with_a_letter(tmp_path: Path) -> None:
    source, target = await both()
    store = MemoryTaskStore()
    faults = Faults(target, [Fault(verb="delete", key="003", times=1, error=Denied("003"))])
    report = await rsync(source, faults, tmp_path, store)
    assert report.state is State.INCOMPLETE
    assert [failure.key for failure in report.failures] == ["003"]
    assert stored(target) == OBJECTS | {"003": b"old"}
    assert report.tally.deleted_objects == len(EXTRAS) - 1
    assert await store.requeue() == 1
    report = await rsync(source, target, tmp_path, store)
    assert (report.state, report.tally.deleted_objects) == (State.DONE, len(EXTRAS))
    assert stored(target) == OBJECTS


async def test_what_came_back_to_the_source_is_not_deleted_by_a_retry(tmp_path: Path) -> None:
    source, target = await both()
    store = MemoryTaskStore()
    faults = Faults(target, [Fault(verb="delete", key="003", times=1, error=Denied("003"))])
    await rsync(source, faults, tmp_path, store)
    await fill(source, {"003": b"old"})
    assert await store.requeue() == 1
    report = await rsync(source, target, tmp_path, store)
    assert (report.state, report.tally.deleted_objects) == (State.DONE, len(EXTRAS) - 1)
    assert stored(target) == OBJECTS | {"003": b"old"}


async def test_a_source_that_is_gone_when_a_deletion_goes_on(tmp_path: Path) -> None:
    target, store = MemoryTransport(), MemoryTaskStore()
    await fill(target, EXTRAS)
    sweep = Sweep(now_s=0.0, after="010", begun=True, tally=Tally(planned_deletes=11))
    await store.enqueue(
        [NewTask(payload=encode_payload(sweep))],
        checkpoint=msgspec.msgpack.encode(Checkpoint(now_s=0.0, done=True)),
    )
    report = await rsync(MemoryTransport(), target, tmp_path, store, max_delete=1)
    assert "--allow-empty-source" in report.withheld
    assert report.tally.planned_deletes == 11
    assert stored(target) == EXTRAS


async def test_a_delete_that_fails_for_now_comes_again(tmp_path: Path) -> None:
    source, target = await both()
    error = Unavailable("003")
    faults = Faults(target, [Fault(verb="delete", key="003", times=2, error=error)])
    report = await rsync(source, faults, tmp_path, MemoryTaskStore())
    assert (report.state, report.tally.deleted_objects) == (State.DONE, len(EXTRAS))
    assert stored(target) == OBJECTS


async def test_what_is_deleted_is_recorded(tmp_path: Path) -> None:
    source, target = await both()
    records = MemoryTransport()
    manifest = ManifestWriter(records, job="j", source="s", target="t")
    ends = make_ends(source, target, manifest=manifest, delete=True)
    await run_engine(ends, tmp_path, MemoryTaskStore())
    with RowSpill() as spill:
        await Recall(records, spill).run()
        rows = {row.key: row.action for page in spill.pages() for row in page}
    assert {key for key, deed in rows.items() if deed is Deed.DELETED} == EXTRAS.keys()
    assert {key for key, deed in rows.items() if deed is Deed.COPIED} == OBJECTS.keys()


async def test_directories_go_with_their_content_unless_the_source_has_them(
    tmp_path: Path,
) -> None:
    root = tmp_path / "target"
    for name in ("gone/deep/er/x", "gone/y", "both/x", "kept/a.tmp", "kept/sub/b"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "hollow/deeper").mkdir(parents=True)
    source, target = MemoryTransport(), open_local(f"{root}", token="0123456789abcdef")
    await fill(source, {"both/only.tmp": b"", "new": b""})
    ends = make_ends(source, target, delete=True)
    report = await run_engine(ends, tmp_path / "job", MemoryTaskStore())
    await target.close()
    assert report.state is State.DONE
    left = sorted(f"{path.relative_to(root)}" for path in root.rglob("*"))
    assert left == ["both", "both/only.tmp", "new"]
    assert report.tally.deleted_objects == 6


@pytest.mark.parametrize(
    ("keys", "above"),
    [
        ([], []),
        (["a"], []),
        (["a/b/c"], ["a/", "a/b/"]),
        (["a/b/"], ["a/", "a/b/"]),
        (["x/1", "x/2", "w/x/1"], ["w/", "w/x/", "x/"]),
    ],
)
def test_directories_above(keys: list[str], above: list[str]) -> None:
    assert directories_above(keys) == above


# --- The older version of a large object that changed ---


@pytest.mark.parametrize(
    ("wishes", "theirs", "has_basis"),
    [
        ({}, Entry("big", 4000, 1), False),
        ({"delta": Delta.AUTO}, Entry("big", 4000, 1), True),
        ({"delta": Delta.ALWAYS}, Entry("big", 1, 1), True),
        ({"delta": Delta.AUTO}, Entry("big", 0, 1), False),
        ({"delta": Delta.AUTO}, Entry("big", 4000, 1, kind=Kind.SYMLINK), False),
        ({"delta": Delta.AUTO}, None, False),
    ],
)
def test_the_task_of_a_large_object_knows_its_older_version(
    wishes: dict[str, Any], theirs: Entry | None, has_basis: bool
) -> None:
    from mover.listing import PairPage

    ends = make_ends(MemoryTransport(), MemoryTransport(), **wishes)
    policy = Policy.of(ends.spec, ends.source.capabilities, ends.target.capabilities, 0.0)
    ours = Entry("big", 5000, 10**18)
    (large,) = Planner(policy).feed(PairPage([ours], [theirs], [], "big")).large
    assert large.entry == ours
    assert large.basis == (theirs if has_basis else None)


def test_a_small_object_needs_no_older_version() -> None:
    from mover.listing import PairPage

    ends = make_ends(MemoryTransport(), MemoryTransport(), delta=Delta.ALWAYS)
    policy = Policy.of(ends.spec, ends.source.capabilities, ends.target.capabilities, 0.0)
    pair = PairPage([Entry("small", 5, 10**18)], [Entry("small", 4, 1)], [], "small")
    planned = Planner(policy).feed(pair)
    assert (planned.large, len(planned.small)) == ([], 1)


async def test_a_sweep_is_one_task_whoever_asks_for_it() -> None:
    from mover.feeding import sweep_task

    store = MemoryTaskStore()
    assert await store.enqueue([sweep_task(1.0), sweep_task(1.0)]) == 1
    assert (await store.stats()).tasks[TaskState.PENDING] == 1


# --- What stands in the way ---

IN_THE_WAY = {
    "a/file": b"where a directory is needed",
    "d": b"the same, of a large object",
    "small/x": b"where a file should be",
    "big/x/y": b"where a large one should be",
    "extra": b"",
}
OBSTRUCTED = {
    "a/file/below": b"1",
    "d/large": b"L" * 5000,
    "small": b"2",
    "big": b"B" * 5000,
    "free": b"3",
}


def tree_of(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


async def obstructed(
    tmp_path: Path, there: dict[str, bytes] = IN_THE_WAY, **wishes: Any
) -> tuple[Report, dict[str, bytes]]:
    """A job whose target has things of another kind in the way, and what it has afterwards."""
    source = MemoryTransport()
    await fill(source, OBSTRUCTED)
    target = open_local(tmp_path / "out", token="0123456789abcdef", create=True)
    await fill(target, there)
    report = await rsync(source, target, tmp_path / "job", MemoryTaskStore(), **wishes)
    await target.close()
    return report, tree_of(tmp_path / "out")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "pause_s", lambda open_tasks: 0.01)


@pytest.mark.usefixtures("impatient")
async def test_what_is_in_the_way_goes_and_what_it_obstructed_comes(tmp_path: Path) -> None:
    report, left = await obstructed(tmp_path)
    assert (report.state, report.failures, report.withheld) == (State.DONE, [], "")
    assert left == OBSTRUCTED
    tally = report.tally
    assert (tally.copied_objects, tally.deleted_objects, tally.failed_objects) == (5, 5, 0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "wishes",
    [
        {"delete": False},
        {"max_delete": 4},
        {"selection": Selection(rules=(Rule(verdict="exclude", pattern="*"),))},
    ],
    ids=["no deletion", "too many", "excluded"],
)
async def test_what_may_not_go_stays(tmp_path: Path, wishes: dict[str, Any]) -> None:
    report, left = await obstructed(tmp_path, **wishes)
    assert left.items() >= IN_THE_WAY.items()
    assert report.tally.deleted_objects == 0
    assert {failure.error for failure in report.failures} <= {"Obstructed"}


@pytest.mark.usefixtures("impatient")
async def test_what_is_left_out_still_stands_in_the_way(tmp_path: Path) -> None:
    """As with rsync: the directory cannot go, and the object that needs its name is named."""
    there = IN_THE_WAY | {"small/kept.tmp": b"kept"}
    rules = Selection(rules=(Rule(verdict="exclude", pattern="*.tmp"),))
    report, left = await obstructed(tmp_path, there, selection=rules)
    (failure,) = report.failures
    assert (failure.key, failure.error, report.state) == ("small", "Obstructed", State.INCOMPLETE)
    del (wanted := dict(OBSTRUCTED))["small"]
    assert left == wanted | {"small/kept.tmp": b"kept"}


@pytest.mark.usefixtures("impatient")
async def test_behind_any_other_failure_what_is_in_the_way_stays(tmp_path: Path) -> None:
    source = MemoryTransport()
    await fill(source, OBSTRUCTED | {"denied": b"4"})
    target = open_local(tmp_path / "out", token="0123456789abcdef", create=True)
    await fill(target, IN_THE_WAY)
    faults = Faults(
        source, [Fault(verb="read_small", key="denied", times=9, error=Denied("denied"))]
    )
    report = await rsync(faults, target, tmp_path / "job", MemoryTaskStore())
    await target.close()
    assert report.tally.deleted_objects == 0
    assert "nothing was deleted" in report.withheld
    assert tree_of(tmp_path / "out").items() >= IN_THE_WAY.items()

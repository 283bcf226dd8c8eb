"""What the executor records: a row for each object, before its task counts as done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mover.ends import Single
from mover.errors import Damaged, Incomplete, Rejected
from mover.manifest import Deed, Row, Segment, decode_segment
from mover.model import Compare, Failure, LargeObject, SmallShard, Verify
from mover.payloads import encode_payload
from mover.recalling import Recall, RowSpill
from mover.recording import ManifestWriter
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask, TaskState
from tests.unit.mover.engine import entries_of, fill, make_ends, make_executor
from transports.errors import Denied, NoSpace, NotFound, TransportError, Unavailable
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.model import Proof

if TYPE_CHECKING:
    from mover.ends import Ends
    from mover.payloads import Payload
    from transports.base import Transport

BIG = b"0123456789abcdef" * 64


def writer(place: Transport, job: str = "job", target: str = "memory://target/") -> ManifestWriter:
    ticks = iter(range(1, 1_000_000))
    return ManifestWriter(
        place, job=job, source="memory://source/", target=target, clock=lambda: float(next(ticks))
    )


def segments(place: MemoryTransport) -> list[Segment]:
    return [decode_segment(each.data) for _, each in sorted(place.store.objects.items())]


async def work(ends: Ends, *tasks: Payload) -> MemoryTaskStore:
    """Run tasks and what follows them; each must be recorded before it is finished."""
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(task)) for task in tasks])
    executor = make_executor(ends, store)
    while leases := await store.claim("worker-1", limit=1, lease_s=60.0, now_s=0.0):
        outcome = await executor.run(leases[0])
        await store.finish(
            leases[0],
            outcome.disposition,
            result=outcome.result,
            follow_ups=outcome.follow_ups,
            groups=outcome.groups,
            now_s=0.0,
        )
    return store


async def rows_after(ends: Ends, place: MemoryTransport, *tasks: Payload) -> dict[str, Row]:
    await work(ends, *tasks)
    rows = [row for segment in segments(place) for row in segment.rows]
    assert len({row.key for row in rows}) == len(rows)
    return {row.key: row for row in rows}


async def test_a_shard_is_one_segment_with_a_row_for_each_object() -> None:
    source, target, place = MemoryTransport(), MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"data", "b": b"more", "gone": b"", "same": b"1", "other": b"2"})
    await fill(target, {"same": b"1", "other": b"3"})
    ours, theirs = await entries_of(source), await entries_of(target)
    del source.store.objects["gone"]
    shard = SmallShard(
        copies=[ours["a"], ours["b"], ours["gone"]],
        probes=[(ours[key], theirs[key]) for key in ("same", "other")],
        refused=[Failure("../x", "Refused", "dots")],
    )
    ends = make_ends(source, target, manifest=writer(place), compare=Compare.CHECKSUM)
    rows = await rows_after(ends, place, shard)
    assert {key: row.action.value for key, row in rows.items()} == {
        "a": "copied", "b": "copied", "other": "copied", "same": "skipped",
        "gone": "failed", "../x": "refused",
    }  # fmt: skip
    there = await entries_of(target)
    for key in ("a", "b", "other", "same"):
        assert rows[key].target_etag == there[key].etag
        assert rows[key].source_etag == ours[key].etag
        assert rows[key].size == there[key].size
    assert rows["a"].checksum is not None
    assert rows["a"].mtime_ns == 10**18
    assert (rows["gone"].error, rows["gone"].source_etag) == ("NotFound", ours["gone"].etag)
    (segment,) = segments(place)
    header = segment.header
    assert (header.job, header.task, header.generation) == ("job", 1, 1)
    assert (header.worker, header.rows) == ("worker-1", 6)
    assert (header.source, header.target) == ("memory://source/", "memory://target/")


@pytest.mark.parametrize("verify", list(Verify))
@pytest.mark.parametrize("server_copy", [True, False])
async def test_a_large_object_is_one_row_of_its_last_task(
    server_copy: bool, verify: Verify
) -> None:
    source, target, place = MemoryTransport(), MemoryTransport(), MemoryTransport()
    await fill(source, {"big": BIG})
    entry = (await entries_of(source))["big"]
    ends = make_ends(source, target, manifest=writer(place), server_copy=server_copy, verify=verify)
    rows = await rows_after(ends, place, LargeObject(entry=entry))
    (row,) = rows.values()
    assert (row.key, row.size, row.action) == ("big", len(BIG), Deed.COPIED)
    assert row.target_etag == (await entries_of(target))["big"].etag
    if verify is Verify.FULL:
        assert row.verified is Proof.STRONG
    if not server_copy or verify is Verify.FULL:
        assert row.checksum is not None
        assert row.checksum.algorithm == "crc64nvme"


async def test_a_large_object_that_fails_has_a_row() -> None:
    source, target, place = MemoryTransport(), MemoryTransport(), MemoryTransport()
    await fill(source, {"big": BIG})
    entry = (await entries_of(source))["big"]
    fault = Fault(verb="write_part", nth=1, times=1000, error=NoSpace("big"))
    ends = make_ends(source, Faults(target, [fault]), manifest=writer(place))
    (row,) = (await rows_after(ends, place, LargeObject(entry=entry))).values()
    assert (row.action, row.error, row.size) == (Deed.FAILED, "NoSpace", len(BIG))


async def test_a_single_object_is_recorded_under_both_names() -> None:
    source, target, place = MemoryTransport(), MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"data"})
    shard = SmallShard(copies=[(await entries_of(source))["a"]], probes=[])
    single = Single(source_key="a", target_key="b")
    ends = make_ends(source, target, single=single, manifest=writer(place))
    (row,) = (await rows_after(ends, place, shard)).values()
    assert (row.key, row.source_key) == ("b", "a")


async def test_a_task_whose_record_is_lost_is_not_done_and_its_next_run_records_all() -> None:
    source, target, place = MemoryTransport(), MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"data"})
    shard = SmallShard(copies=[(await entries_of(source))["a"]], probes=[])
    full = Faults(place, [Fault(verb="write_small", nth=1, times=1, error=NoSpace("place"))])
    ends = make_ends(source, target, manifest=writer(full))
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(shard))])
    (lease,) = await store.claim("w", limit=1, lease_s=1.0, now_s=0.0)
    with pytest.raises(NoSpace):
        await make_executor(ends, store).run(lease)
    await store.release(lease)
    (again,) = await store.claim("w", limit=1, lease_s=1.0, now_s=0.0)
    await make_executor(ends, store).run(again)
    (segment,) = segments(place)
    assert [(row.key, row.action) for row in segment.rows] == [("a", Deed.FOUND)]
    assert segment.header.generation == 2


async def test_without_a_manifest_nothing_is_kept() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"data"})
    shard = SmallShard(copies=[(await entries_of(source))["a"]], probes=[])
    store = await work(make_ends(source, target), shard)
    assert len(await store.results((TaskState.DONE,))) == 1


@pytest.mark.parametrize(
    ("error", "raised"), [(Denied("p", "no"), Rejected), (Unavailable("p"), Incomplete)]
)
async def test_a_place_that_cannot_be_written_is_refused_at_the_start(
    error: TransportError, raised: type[Exception]
) -> None:
    place = Faults(MemoryTransport(), [Fault(verb="write_small", nth=1, times=9, error=error)])
    with pytest.raises(raised, match="the manifest cannot be written: p"):
        await writer(place).begin("w")


# --- Reading back ---


def row(key: str, at_ms: int, deed: Deed = Deed.COPIED) -> Row:
    return Row(key, 1, deed, at_ms)


async def recalled(place: Transport) -> dict[str, Row]:
    with RowSpill() as spill:
        await Recall(place, spill).run()
        return {row.key: row for page in spill.pages() for row in page}


async def test_all_segments_of_all_runs_are_merged() -> None:
    place = MemoryTransport()
    first, second = writer(place, "job1"), writer(place, "job2")
    await first.write([row("a", 1), row("b", 5)], task=1, generation=1, worker="w")
    await second.write([row("a", 3, Deed.FAILED), row("c", 1)], task=1, generation=1, worker="w")
    await first.write([row("b", 4, Deed.FAILED)], task=1, generation=2, worker="w")
    rows = await recalled(place)
    assert {key: (each.at_ms, each.action.value) for key, each in rows.items()} == {
        "a": (3, "failed"), "b": (5, "copied"), "c": (1, "copied"),
    }  # fmt: skip


async def test_records_of_several_targets_are_not_mixed() -> None:
    place = MemoryTransport()
    await writer(place, "job1", "/one/").begin("w")
    await writer(place, "job2", "/two/").begin("w")
    mixed = pytest.RaisesExc(Rejected, match="several targets, /one/ and /two/")
    with pytest.RaisesGroup(mixed):
        await recalled(place)


async def test_no_manifest_and_a_damaged_one_are_named() -> None:
    place = MemoryTransport()
    await fill(place, {"notes.txt": b"no segment"})
    with pytest.raises(Rejected, match="there is no manifest at"):
        await recalled(place)
    await fill(place, {"job/1-1-1-w.jsonl.zst": b"\x28\xb5\x2f\xfd broken"})
    with pytest.RaisesGroup(pytest.RaisesExc(Damaged, match=r"job/1-1-1-w.jsonl.zst is damaged")):
        await recalled(place)


async def test_a_segment_that_cannot_be_read_is_no_gap() -> None:
    place = MemoryTransport()
    await writer(place).begin("w")
    fault = Fault(verb="read_small", times=9, error=NotFound("segment"))
    with pytest.RaisesGroup(NotFound):
        await recalled(Faults(place, [fault]))

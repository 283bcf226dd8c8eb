"""Shards of small objects: what is copied, counted, tried again and named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mover.copying import ShardCopier
from mover.ends import Single
from mover.model import Compare, Failure, SmallShard, TaskResult, Verify
from tests.unit.mover.engine import entries_of, fill, make_ends, stored
from transports.errors import Changed, Corrupt, Denied, NotFound
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.record import Record

if TYPE_CHECKING:
    from transports.base import Transport
    from transports.model import Entry, ObjectInfo

OBJECTS = {f"k{number:02d}": bytes([number]) * number for number in range(40)}


async def shard_of(source: Transport, keys: list[str] | None = None) -> SmallShard:
    entries = await entries_of(source)
    return SmallShard(copies=[entries[key] for key in keys or sorted(entries)], probes=[])


async def filled(objects: dict[str, bytes] = OBJECTS) -> MemoryTransport:
    source = MemoryTransport()
    await fill(source, objects)
    return source


async def test_a_shard_is_copied_and_counted() -> None:
    source, target = await filled(), MemoryTransport()
    ends = make_ends(source, target)
    result = await ShardCopier(ends).run(await shard_of(source), repeated=False)
    assert stored(target) == OBJECTS
    tally = result.tally
    size = sum(map(len, OBJECTS.values()))
    assert (tally.copied_objects, tally.copied_bytes, tally.wire_bytes) == (40, size, size)
    assert tally.verified_strong + tally.verified_weak + tally.verified_none == 40
    assert (ends.live.copied_objects, ends.live.copied_bytes) == (40, size)
    assert ends.budget.reserved_bytes == 0


@pytest.mark.parametrize(
    ("fault", "error", "corrupt"),
    [
        (Fault(verb="read_small", key="k07", error=NotFound("k07")), "NotFound", 0),
        (Fault(verb="read_small", key="k07", error=Denied("k07")), "Denied", 0),
        (
            Fault(
                verb="read_small",
                key="k07",
                error=Corrupt("k07", algorithm="md5", expected="a", actual="b"),
            ),
            "Corrupt",
            1,
        ),
        (Fault(verb="write_small", key="k07", error=Denied("k07")), "Denied", 0),
    ],
)
async def test_one_object_that_fails_is_named_and_stops_nothing(
    fault: Fault, error: str, corrupt: int
) -> None:
    inner, target = await filled(), MemoryTransport()
    reads = fault.verb == "read_small"
    source: Transport = Faults(inner, [fault]) if reads else inner
    ends = make_ends(source, target if reads else Faults(target, [fault]))
    result = await ShardCopier(ends).run(await shard_of(inner), repeated=False)
    assert [(each.key, each.error) for each in result.failures] == [("k07", error)]
    assert (result.tally.failed_objects, result.tally.corrupt_objects) == (1, corrupt)
    assert result.tally.copied_objects == 39
    assert stored(target) == {key: data for key, data in OBJECTS.items() if key != "k07"}


@pytest.mark.parametrize(("times", "copied"), [(1, 40), (2, 39)])
async def test_an_object_that_changed_is_planned_once_more(times: int, copied: int) -> None:
    inner, target = await filled(), MemoryTransport()
    fault = Fault(verb="read_small", key="k07", times=times, error=Changed("k07"))
    ends = make_ends(Faults(inner, [fault]), target)
    result = await ShardCopier(ends).run(await shard_of(inner), repeated=False)
    assert result.tally.copied_objects == copied
    assert [each.error for each in result.failures] == ["Changed"] * (40 - copied)


async def test_an_object_that_changed_and_vanished_is_not_found() -> None:
    source, target = await filled(), MemoryTransport()
    shard = await shard_of(source)
    del source.store.objects["k07"]
    result = await ShardCopier(make_ends(source, target)).run(shard, repeated=False)
    assert [(each.key, each.error) for each in result.failures] == [("k07", "NotFound")]


async def test_the_new_version_of_an_object_that_changed_arrives() -> None:
    source, target = await filled(), MemoryTransport()
    shard = await shard_of(source)
    await fill(source, {"k07": b"a new version"})
    result = await ShardCopier(make_ends(source, target)).run(shard, repeated=False)
    assert result.failures == []
    assert stored(target) == OBJECTS | {"k07": b"a new version"}


async def test_a_repeated_shard_leaves_out_what_is_there_and_asks_by_listing() -> None:
    source, target = await filled(), Record(MemoryTransport())
    shard = await shard_of(source)
    ends = make_ends(source, target)
    half = SmallShard(copies=shard.copies[:20], probes=[])
    await ShardCopier(ends).run(half, repeated=False)
    target.log.take()
    result = await ShardCopier(ends).run(shard, repeated=True)
    assert (result.tally.copied_objects, result.tally.failed_objects) == (40, 0)
    written = [key for call in target.log.calls if call.verb == "write_small" for key in call.keys]
    assert sorted(written) == [entry.key for entry in shard.copies[20:]]
    assert target.log.counts["list"] == 1
    assert target.log.counts["head"] == 0


async def test_refused_names_are_failures_of_the_shard() -> None:
    source, target = await filled({}), MemoryTransport()
    refused = [Failure("../x", "Refused", "the name has a segment of dots only")]
    shard = SmallShard(copies=[], probes=[], refused=refused)
    result = await ShardCopier(make_ends(source, target)).run(shard, repeated=False)
    assert result.failures == refused
    assert result.tally.failed_objects == 1


async def test_undecided_pairs_are_asked_and_only_the_different_ones_copied() -> None:
    source, target = await filled({"a": b"same", "b": b"this"}), MemoryTransport()
    await fill(target, {"a": b"same", "b": b"that"})
    ours, theirs = await entries_of(source), await entries_of(target)
    probes = [(ours[key], theirs[key]) for key in ("a", "b")]
    ends = make_ends(source, target, compare=Compare.CHECKSUM)
    shard = SmallShard(copies=[], probes=probes)
    result = await ShardCopier(ends).run(shard, repeated=False)
    assert (result.tally.copied_objects, result.tally.skipped_objects) == (1, 1)
    assert stored(target) == {"a": b"same", "b": b"this"}


async def test_a_single_object_goes_to_its_own_name() -> None:
    source, target = await filled({"a": b"data"}), MemoryTransport()
    ends = make_ends(source, target, single=Single(source_key="a", target_key="b"))
    await ShardCopier(ends).run(await shard_of(source), repeated=True)
    assert stored(target) == {"b": b"data"}


async def test_the_store_copies_by_itself_where_it_can() -> None:
    source, target = await filled(), Record(MemoryTransport())
    ends = make_ends(source, target, server_copy=True)
    result = await ShardCopier(ends).run(await shard_of(source), repeated=False)
    assert result.tally.copied_objects == 40
    assert result.tally.wire_bytes == 0
    assert set(target.log.counts) == {"copy"}


class Damages(MemoryTransport):
    """A store that keeps other bytes than it was given, and does not notice."""

    async def head(self, key: str) -> ObjectInfo:
        self.store.objects[key] = replace(self.store.objects[key], data=b"damaged")
        return await super().head(key)


async def test_full_verification_reads_again_and_names_the_damage() -> None:
    source, target = await filled({"a": b"data"}), Damages()
    ends = make_ends(source, target, verify=Verify.FULL)
    result: TaskResult = await ShardCopier(ends).run(await shard_of(source), repeated=False)
    assert [(each.key, each.error) for each in result.failures] == [("a", "Corrupt")]
    assert result.tally.corrupt_objects == 1
    assert result.tally.copied_objects == 0


async def test_memory_holds_no_more_than_the_budget() -> None:
    objects = {f"{number}": b"x" * 2000 for number in range(200)}
    source, target = await filled(objects), MemoryTransport()
    ends = make_ends(source, target)
    ends.budget.limit_bytes = 20_000
    entries: list[Entry] = (await shard_of(source)).copies
    await ShardCopier(ends).run(SmallShard(copies=entries, probes=[]), repeated=False)
    assert stored(target) == objects
    assert 0 < ends.budget.peak_bytes <= 20_000

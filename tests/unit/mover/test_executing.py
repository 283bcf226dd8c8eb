"""Any payload becomes work, and any failure a disposition; driven as a worker would."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from mover.delta import kernel
from mover.delta_stored import stored_signature
from mover.model import LargeObject, SmallShard, Tally, TaskResult
from mover.naming import is_hidden
from mover.payloads import decode_result, encode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import FINAL_STATES, Discard, Done, NewTask
from tests.unit.mover.engine import entries_of, fill, make_ends, make_executor, stored
from transports.errors import Changed, Corrupt, Denied, NoSpace, NotFound, TransportError
from transports.faults import Fault, Faults
from transports.local import open_local
from transports.memory import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mover.ends import Ends
    from scheduler.model import Lease
    from transports.model import Entry

DATA = b"0123456789abcdef" * 64


async def run_all(ends: Ends, store: MemoryTaskStore) -> TaskResult:
    """Claim and run until nothing is left, one task at a time; the sum of the results."""
    executor = make_executor(ends, store)
    while leases := await store.claim("w", limit=1, lease_s=60.0, now_s=0.0):
        (lease,) = leases
        outcome = await executor.run(lease)
        await store.finish(
            lease,
            outcome.disposition,
            result=outcome.result,
            follow_ups=outcome.follow_ups,
            groups=outcome.groups,
            now_s=0.0,
        )
    total = TaskResult(tally=Tally())
    for task in await store.results(FINAL_STATES):
        if not task.result:  # a member of a group, whose failure is its assembly's to tell
            continue
        result = decode_result(task.result)
        total.tally.add(result.tally)
        total.failures.extend(result.failures)
    return total


async def large(source: MemoryTransport) -> tuple[Entry, MemoryTaskStore]:
    await fill(source, {"big": DATA})
    entry = (await entries_of(source))["big"]
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(LargeObject(entry=entry)))])
    return entry, store


@pytest.mark.parametrize("server_copy", [True, False])
async def test_a_large_object_goes_through_its_tasks(server_copy: bool) -> None:
    source, target = MemoryTransport(), MemoryTransport()
    _, store = await large(source)
    result = await run_all(make_ends(source, target, server_copy=server_copy), store)
    assert stored(target) == {"big": DATA}
    assert result.failures == []
    assert (result.tally.copied_objects, result.tally.copied_bytes) == (1, len(DATA))
    assert result.tally.wire_bytes == (0 if server_copy else len(DATA))
    assert target.store.uploads == {}


async def test_a_large_object_is_signed_while_it_is_written() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    data = random.Random(3).randbytes(70_000)
    await fill(source, {"big": data})
    entry = (await entries_of(source))["big"]
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(LargeObject(entry=entry)))])
    await run_all(make_ends(source, target, part_bytes=8192, sign_on_write=True), store)
    found = await stored_signature(target, (await entries_of(target))["big"])
    assert found is not None
    assert found.signature == kernel.sign(data, found.signature.head)
    assert len(stored(target)) == 2
    shown = [key for key in stored(target) if not is_hidden(key)]
    assert shown == ["big"]


async def test_a_task_whose_first_holder_died_before_it_made_the_target(tmp_path: Path) -> None:
    source, target = MemoryTransport(), open_local(f"{tmp_path}/none", token="t", create=True)
    _, store = await large(source)
    await store.claim("dead", limit=1, lease_s=60.0, now_s=0.0)
    await store.reap(now_s=0.0, dead=["dead"])
    result = await run_all(make_ends(source, target), store)
    await target.close()
    assert result.failures == []
    assert (tmp_path / "none" / "big").read_bytes() == DATA


def _corrupt() -> TransportError:
    return Corrupt("big", algorithm="md5", expected="a", actual="b")


@pytest.mark.parametrize(
    ("verb", "error", "name"),
    [
        ("head", lambda: NotFound("big"), "NotFound"),
        ("read_into", lambda: Denied("big"), "Denied"),
        ("read_into", _corrupt, "Corrupt"),
    ],
)
async def test_a_failure_of_the_source_is_named_once(
    verb: str, error: Callable[[], TransportError], name: str
) -> None:
    source, target = MemoryTransport(), MemoryTransport()
    _, store = await large(source)
    faults = Faults(source, [Fault(verb=verb, nth=1, times=1000, error=error())])
    result = await run_all(make_ends(faults, target), store)
    assert [(each.key, each.error) for each in result.failures] == [("big", name)]
    assert result.tally.failed_objects == 1
    assert result.tally.corrupt_objects == int(name == "Corrupt")
    assert stored(target) == {}
    assert target.store.uploads == {}


@pytest.mark.parametrize("verb", ["begin_upload", "write_part", "finish_upload"])
async def test_a_failure_of_the_target_is_named_once(verb: str) -> None:
    source, target = MemoryTransport(), MemoryTransport()
    _, store = await large(source)
    faults = Faults(target, [Fault(verb=verb, nth=1, times=1000, error=NoSpace("big"))])
    result = await run_all(make_ends(source, faults), store)
    assert [(each.key, each.error) for each in result.failures] == [("big", "NoSpace")]
    assert stored(target) == {}
    assert target.store.uploads == {}


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("head", lambda: Changed("big")),
        ("read_into", lambda: Changed("big")),
    ],
)
@pytest.mark.parametrize("times", [1, 1000])
async def test_a_change_is_planned_once_more_and_then_reported(
    verb: str, error: Callable[[], TransportError], times: int
) -> None:
    source, target = MemoryTransport(), MemoryTransport()
    _, store = await large(source)
    faults = Faults(source, [Fault(verb=verb, times=times, error=error())])
    result = await run_all(make_ends(faults, target), store)
    if times == 1:
        assert result.failures == []
        assert stored(target) == {"big": DATA}
    else:
        assert [each.error for each in result.failures] == ["Changed"]
        assert stored(target) == {}
    assert target.store.uploads == {}


async def test_damage_at_the_end_is_read_once_more() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    _, store = await large(source)
    faults = Faults(target, [Fault(verb="finish_upload", error=_corrupt())])
    result = await run_all(make_ends(source, faults), store)
    assert result.failures == []
    assert stored(target) == {"big": DATA}
    assert target.store.uploads == {}


async def test_a_chunk_that_was_given_up_fails_its_object() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    _, store = await large(source)
    ends = make_ends(source, target)
    executor = make_executor(ends, store)
    (opening,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    outcome = await executor.run(opening)
    await store.finish(
        opening,
        outcome.disposition,
        result=outcome.result,
        follow_ups=outcome.follow_ups,
        groups=outcome.groups,
        now_s=0.0,
    )
    (chunk,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    await store.finish(chunk, Discard(reason="fifty attempts"), now_s=0.0)
    result = await run_all(ends, store)
    assert [(each.key, each.error) for each in result.failures] == [("big", "Discarded")]
    assert target.store.uploads == {}


async def test_a_lease_that_comes_again_leaves_out_what_is_there() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    objects = {f"{number:03d}": b"x" * number for number in range(100)}
    await fill(source, objects)
    entries = list((await entries_of(source)).values())
    await fill(target, {entry.key: objects[entry.key] for entry in entries[:60]})
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(SmallShard(copies=entries, probes=[])))])
    await store.claim("dead", limit=1, lease_s=1.0, now_s=0.0)
    await store.reap(now_s=2.0)
    ends = make_ends(source, target)
    lease: Lease
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=2.0)
    outcome = await make_executor(ends, store).run(lease)
    assert isinstance(outcome.disposition, Done)
    result = decode_result(outcome.result)
    assert result.tally.copied_objects == 100
    assert ends.live.copied_objects == 100
    assert result.tally.wire_bytes == sum(len(objects[entry.key]) for entry in entries[60:])
    assert stored(target) == objects

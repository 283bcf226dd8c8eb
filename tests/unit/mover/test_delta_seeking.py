"""Large objects that the target has under another name: found, proved, killed, changed, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mover import delta_seeking
from mover.delta_tasks import Diff, Patch, Sample, Seek, Sign
from mover.model import Delta, LargeObject
from mover.payloads import encode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask
from tests.unit.mover.delta_pairs import (
    MIB,
    NEW,
    OLD,
    OTHER,
    SHORT_NEW,
    SHORT_OLD,
    Pair,
    Replacing,
    is_cleaned,
    killed_at_every_call,
)
from tests.unit.mover.engine import entries_of, fill, make_executor
from transports.errors import Denied, Unavailable, Unsupported
from transports.faults import Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Mapping


MOVED = "v1/big"


class Moved(Pair):
    """A target that has the object, or an old version of it, under other names only."""

    async def begin_with(self, there: Mapping[str, bytes], new: bytes = NEW) -> None:
        await fill(self.source, {"big": new})
        await fill(self.target, there)
        entry = (await entries_of(self.source))["big"]
        task = LargeObject(entry=entry, seeks=True)
        await self.store.enqueue([NewTask(payload=encode_payload(task))])


async def steps(pair: Moved, **ends: Any) -> list[type]:
    seen: list[type] = []
    await pair.run(pair.ends(**ends), lambda task: seen.append(type(task)))
    return seen


async def test_an_object_with_edits_is_made_of_one_with_another_name() -> None:
    pair = Moved()
    await pair.begin_with({MOVED: OLD})
    seen = await steps(pair)
    assert (seen[:5], seen[-1]) == ([LargeObject, Sample, Seek, Sign, Diff], Patch)
    result = await pair.result()
    tally = result.tally
    assert (pair.made == NEW, pair.is_clean(), result.failures) == (True, True, [])
    assert pair.target.store.objects[MOVED].data == OLD
    assert (tally.copied_objects, tally.patched_objects, tally.renamed_objects) == (1, 1, 1)
    assert tally.wire_bytes == tally.delta_wire_bytes < 60_000


@pytest.mark.parametrize(
    "wishes",
    [
        {"delta": Delta.NEVER},
        {"delta": Delta.AUTO},
        {"delta": Delta.ALWAYS},
        {"delta": Delta.AUTO, "source_pool": "a", "target_pool": "b"},
    ],
)
async def test_equal_bytes_never_cross(wishes: dict[str, Any]) -> None:
    pair = Moved(**wishes)
    await pair.begin_with({MOVED: NEW, "other": OTHER})
    await run_in_pools(pair)
    tally = (await pair.result()).tally
    assert (pair.made == NEW, pair.is_clean()) == (True, True)
    assert (tally.renamed_objects, tally.wire_bytes) == (1, 0)
    assert tally.matched_bytes == len(NEW)


async def test_one_process_signs_nothing_unless_somebody_insists() -> None:
    pair = Moved(delta=Delta.AUTO)
    await pair.begin_with({MOVED: OLD})
    assert Sign not in await steps(pair)
    tally = (await pair.result()).tally
    assert (pair.made == NEW, tally.renamed_objects) == (True, 0)


@pytest.mark.parametrize("delta", [Delta.NEVER, Delta.ALWAYS])
@pytest.mark.parametrize("key", ["v1/big", "big.old"])
async def test_a_decoy_of_the_same_size_goes_whole(delta: Delta, key: str) -> None:
    pair = Moved(delta=delta)
    await pair.begin_with({key: OTHER[:MIB] * 3}, new=OTHER[MIB:] + OTHER[:MIB][::-1])
    assert Patch not in await steps(pair)
    tally = (await pair.result()).tally
    assert (tally.copied_objects, tally.renamed_objects) == (1, 0)
    assert tally.wire_bytes <= 1.005 * 3 * MIB


async def test_a_target_that_does_not_exist_yet_has_no_candidates() -> None:
    pair = Moved()
    await pair.begin_with({})
    await steps(pair)
    assert pair.made == NEW


@pytest.mark.parametrize(
    ("there", "after"), [(SHORT_OLD, True), (SHORT_NEW, True), (SHORT_NEW, False)]
)
async def test_a_worker_may_be_killed_at_any_call(there: bytes, after: bool) -> None:
    async def begin() -> Moved:
        pair = Moved()
        await pair.begin_with({MOVED: there}, SHORT_NEW)
        return pair

    async for pair in killed_at_every_call(begin, after=after, least=10):
        result = await pair.result()
        assert (pair.made == SHORT_NEW, result.failures) == (True, [])
        assert pair.is_clean() or await is_cleaned(pair)
        assert (result.tally.copied_objects, result.tally.renamed_objects) == (1, 1)


@pytest.mark.parametrize("step", [Sample, Seek, Sign, Diff, Patch])
@pytest.mark.parametrize("how", ["replaced", "gone"])
@pytest.mark.parametrize("there", [OLD, NEW], ids=["edited", "equal"])
async def test_a_basis_that_changes_leaves_a_copy(step: type, how: str, there: bytes) -> None:
    pair = Moved()
    await pair.begin_with({MOVED: there})
    changing = Replacing(
        store=pair.target, step=step, those=[None if how == "gone" else OTHER], key=MOVED
    )
    await pair.run(pair.ends(), changing)
    result = await pair.result()
    assert (pair.made == NEW, result.failures, pair.is_clean()) == (True, [], True)
    # Of equal bytes nothing is signed, so only seeking and patching look at the basis.
    assert result.tally.renamed_objects == int(not changing.done)


@pytest.mark.parametrize("step", [Seek, Sign, Diff, Patch])
async def test_what_takes_the_name_meanwhile_is_replaced_as_any_other(step: type) -> None:
    """It is planned once more then, with a basis of its own name."""
    pair = Moved()
    await pair.begin_with({MOVED: OLD})
    await pair.run(pair.ends(), Replacing(store=pair.target, step=step, those=[OTHER]))
    result = await pair.result()
    assert (pair.made == NEW, result.failures, pair.is_clean()) == (True, [], True)
    assert result.tally.renamed_objects == 0


async def test_a_source_that_changes_is_planned_once_more() -> None:
    pair = Moved()
    await pair.begin_with({MOVED: OLD})
    later = NEW[:MIB] + b"later" + NEW[MIB:]
    await pair.run(pair.ends(), Replacing(store=pair.source, step=Seek, those=[later]))
    assert (pair.made == later, (await pair.result()).failures) == (True, [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(verb="head", error=Denied(MOVED)),
        Fault(verb="read_into", error=Denied(MOVED)),
        Fault(verb="list", error=Denied("")),
        Fault(verb="head", times=99, error=Unavailable(MOVED)),
    ],
    ids=lambda fault: f"{fault.verb}-{type(fault.error).__name__}",
)
async def test_what_hinders_the_seeking_does_not_hinder_the_copying(fault: Fault) -> None:
    pair = Moved()
    pair.store = MemoryTaskStore(attempts_max=50)
    await pair.begin_with({MOVED: OLD})
    await pair.run_patiently(pair.ends(target=Faults(pair.target, [fault])))
    assert (pair.made == NEW, (await pair.result()).failures) == (True, [])


@pytest.mark.parametrize("delta", [Delta.NEVER, Delta.ALWAYS])
async def test_a_store_that_copies_no_parts_is_no_place_for_clones(delta: Delta) -> None:
    pair = Moved(delta=delta)
    await pair.begin_with({MOVED: NEW})
    refusing = Faults(
        pair.target, [Fault(verb="copy_part", times=99, error=Unsupported("big", "501"))]
    )
    await steps(pair, target=refusing)
    assert (pair.made == NEW, pair.is_clean()) == (True, True)
    assert (await pair.result()).tally.renamed_objects == 0


async def test_the_target_is_listed_once() -> None:
    pair = Moved()
    await fill(pair.source, {f"n{number}": NEW for number in range(3)})
    await fill(pair.target, {MOVED: OLD})
    entries = (await entries_of(pair.source)).values()
    tasks = [LargeObject(entry=entry, seeks=True) for entry in entries]
    await pair.store.enqueue([NewTask(payload=encode_payload(task)) for task in tasks])
    # Of two listings the second would fail; those of hidden names are the clean-up's.
    once = Faults(pair.target, [Fault(verb="list", key="", nth=2, times=99, error=Denied(""))])
    await steps(pair, target=once)
    assert (await pair.result()).tally.renamed_objects == 3


async def test_what_lies_behind_the_last_key_that_is_listed_is_no_basis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delta_seeking, "LISTED_OBJECTS", 1)
    pair = Moved()
    await pair.begin_with({f"a{number:04d}": b"" for number in range(1500)} | {MOVED: OLD})
    await steps(pair)
    assert (pair.made == NEW, (await pair.result()).tally.renamed_objects) == (True, 0)


@pytest.mark.parametrize("step", [Sample, Seek, Sign, Patch])
async def test_a_cancelled_job_leaves_nothing(step: type) -> None:
    pair = Moved()
    await pair.begin_with({MOVED: OLD})
    await pair.run_cancelled(pair.ends(), step)
    assert (list(pair.target.store.objects), pair.is_clean()) == ([MOVED], True)


async def run_in_pools(pair: Moved) -> None:
    executor = make_executor(pair.ends(), pair.store)
    pools = ["any", "a", "b"]
    while leases := await pair.store.claim("w", limit=1, lease_s=60, now_s=0.0, pools=pools):
        await pair.finish(leases[0], await executor.run(leases[0]))

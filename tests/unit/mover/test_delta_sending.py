"""A large object as a difference through its tasks: killed, changed, refused, cancelled, damaged."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from mover import delta_signing
from mover.delta.part_signing import part_head
from mover.delta_keeping import Keeper
from mover.delta_stored import PartSigner, StoredParts
from mover.delta_tasks import Diff, Patch, Sign
from mover.model import Compare, Delta, LargeObject, SmallShard
from mover.naming import is_hidden
from mover.payloads import encode_payload
from scheduler.model import NewTask
from tests.unit.mover.delta_pairs import (
    CHANGES,
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
    slow_link,
)
from tests.unit.mover.engine import entries_of, fill, make_executor
from transports.errors import TransportError, Unavailable, Unsupported
from transports.faults import Fault, Faults
from transports.model import Proof, Receipt
from transports.throttle import Throttle

if TYPE_CHECKING:
    from mover.delta.model import Signature
    from mover.delta_inputs import Input
    from mover.payloads import Payload


async def test_only_the_difference_is_sent() -> None:
    pair = Pair()
    await pair.begin()
    seen: list[str] = []
    await pair.run(pair.ends(), lambda task: seen.append(type(task).__name__))
    assert (seen[:3], seen[-1]) == (["LargeObject", "Sign", "Diff"], "Patch")
    result = await pair.result()
    tally = result.tally
    assert pair.made == NEW
    assert pair.is_clean()
    assert result.failures == []
    assert (tally.copied_objects, tally.patched_objects, tally.copied_bytes) == (1, 1, len(NEW))
    assert tally.literal_bytes < 100_000
    assert tally.literal_bytes + tally.matched_bytes == len(NEW)
    assert tally.wire_bytes == tally.delta_wire_bytes < 60_000
    assert tally.delta_requests > 0


@pytest.mark.parametrize("is_current", [True, False])
async def test_a_signature_that_was_left_spares_the_reading(
    is_current: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair()
    await pair.begin()
    basis = (await entries_of(pair.target))["big"]
    head = part_head(basis.size, MIB, "upload")
    assert head is not None
    stored = StoredParts(pair.target, "big", "upload", head)
    signer = PartSigner(stored)
    for start in range(0, basis.size, MIB):
        await signer.sign(start, memoryview(OLD)[start : start + MIB])
    await signer.leave()
    etag = basis.etag if is_current else "another"
    assert await stored.finish(Receipt("big", basis.size, etag, Proof.STRONG))
    left = [key for key in pair.target.store.objects if is_hidden(key)]
    signed: list[object] = []

    async def sign(old: Input, *given: Any, **wishes: Any) -> Signature:
        signed.append(old)
        return await delta_signing.sign(old, *given, **wishes)

    monkeypatch.setattr("mover.delta_sending.sign", sign)
    await pair.run(pair.ends())
    assert bool(signed) is not is_current
    tally = (await pair.result()).tally
    assert (pair.made == NEW, tally.patched_objects) == (True, 1)
    assert [key for key in pair.target.store.objects if is_hidden(key)] == left


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first signature with blocks so large that a finer one pays, as objects of some GiB have."""
    monkeypatch.setattr("mover.delta_sending.first_bytes", lambda *_: MIB // 2)


@pytest.mark.usefixtures("coarse")
async def test_a_finer_signature_is_of_what_has_not_matched() -> None:
    pair = Pair()
    await pair.begin()
    seen: list[Payload] = []
    await pair.run(pair.ends(), seen.append)
    assert [type(task) for task in seen] == [LargeObject, Sign, Diff, Sign, Diff, Patch]
    tally = (await pair.result()).tally
    assert pair.made == NEW
    assert pair.is_clean()
    assert tally.literal_bytes < 10_000
    assert tally.wire_bytes == tally.delta_wire_bytes < 25_000


@pytest.mark.usefixtures("coarse")
async def test_edits_that_hide_from_large_blocks_are_found_by_smaller_ones() -> None:
    pair = Pair()
    new = bytearray(OLD)
    for at in range(0, len(new), 100_000):
        new[at : at + 4] = b"edit"
    await pair.begin(new=bytes(new))
    seen: list[Payload] = []
    await pair.run(pair.ends(), seen.append)
    assert Sign in [type(task) for task in seen[2:]]
    tally = (await pair.result()).tally
    assert (pair.made == new, tally.patched_objects) == (True, 1)
    assert tally.wire_bytes < 0.15 * len(new)


@pytest.mark.usefixtures("coarse")
async def test_what_matches_nothing_at_any_size_goes_whole() -> None:
    pair = Pair()
    await pair.begin(new=OTHER)
    await pair.run(pair.ends())
    tally = (await pair.result()).tally
    assert (pair.made == OTHER, tally.patched_objects) == (True, 0)
    assert pair.is_clean()
    assert tally.wire_bytes <= 1.005 * len(OTHER)


async def test_what_matches_nothing_goes_whole_at_the_price_of_its_signature() -> None:
    pair = Pair()
    await pair.begin(new=OTHER)
    await pair.run(pair.ends())
    tally = (await pair.result()).tally
    assert pair.made == OTHER
    assert pair.is_clean()
    assert (tally.copied_objects, tally.patched_objects) == (1, 0)
    assert len(OTHER) < tally.wire_bytes <= 1.005 * len(OTHER)


@pytest.mark.parametrize(
    ("wishes", "sides"),
    [
        ({"delta": Delta.NEVER}, 0),
        ({"delta": Delta.AUTO}, 0),  # nobody is near either end
        ({"delta": Delta.AUTO, "source_pool": "a", "target_pool": "b"}, 5),
    ],
)
async def test_who_does_what(wishes: dict[str, Any], sides: int) -> None:
    pair = Pair(**wishes)
    await pair.begin()
    ends = dataclasses.replace(pair.ends(), rates=slow_link)
    executor = make_executor(ends, pair.store)
    pools = []
    for pool in ("any", "a", "b", "b", "a", "b"):
        for lease in await pair.store.claim("w", limit=1, lease_s=60, now_s=0.0, pools=[pool]):
            pools.append(pool)
            await pair.finish(lease, await executor.run(lease))
    assert len([pool for pool in pools if pool != "any"]) == sides


@pytest.fixture(params=[False, True])
def noted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without parts noted as they land; else it is too quick for that."""
    if request.param:
        monkeypatch.setattr(Keeper, "every_s", 0.0)
        monkeypatch.setattr("mover.delta_keeping.NOTE_SHARE", 0.0)


@pytest.mark.usefixtures("coarse", "noted")
@pytest.mark.parametrize("after", [False, True])
async def test_a_worker_may_be_killed_at_any_call(after: bool) -> None:
    async def begin() -> Pair:
        pair = Pair()
        await pair.begin(SHORT_OLD, SHORT_NEW)
        return pair

    async for pair in killed_at_every_call(begin, after=after, least=25):
        result = await pair.result()
        assert (pair.made == SHORT_NEW, result.failures) == (True, [])
        assert pair.is_clean() or await is_cleaned(pair)
        assert (result.tally.copied_objects, result.tally.patched_objects) == (1, 1)


@pytest.mark.usefixtures("coarse")
async def test_each_task_may_run_twice() -> None:
    pair = Pair()
    await pair.begin()
    await pair.run_twice(pair.ends())
    result = await pair.result()
    assert pair.made == NEW
    assert (result.failures, result.tally.patched_objects) == ([], 1)
    assert pair.is_clean()


@pytest.mark.parametrize("step", [LargeObject, Sign, Diff, Patch])
@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("times", [1, 2])
async def test_what_is_replaced_is_planned_again_once(step: type, end: str, times: int) -> None:
    pair = Pair()
    await pair.begin()
    store = pair.source if end == "source" else pair.target
    replacing = Replacing(store=store, step=step, those=CHANGES[:times])
    await pair.run(pair.ends(), replacing)
    result = await pair.result()
    assert pair.is_clean()
    if times == 1:
        assert result.failures == []
        assert pair.made == (replacing.done[-1] if end == "source" else NEW)
    else:
        assert [failure.error for failure in result.failures] == ["Changed"]
        assert pair.made in (OLD, *CHANGES)


@pytest.mark.parametrize("step", [Sign, Diff, Patch])
async def test_a_basis_that_is_gone_leaves_a_copy(step: type) -> None:
    pair = Pair()
    await pair.begin()
    done: list[object] = []

    def before(task: Payload) -> None:
        if isinstance(task, step) and not done:
            done.append(pair.target.store.objects.pop("big"))

    await pair.run(pair.ends(), before)
    assert (await pair.result()).failures == []
    assert pair.made == NEW
    assert pair.is_clean()


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("step", [Sign, Diff, Patch])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
async def test_a_parcel_that_is_spoiled_costs_a_copy(step: type, how: str) -> None:
    pair = Pair()
    await pair.begin()
    objects = pair.target.store.objects
    spoiled: list[str] = []

    def before(task: Payload) -> None:
        if not isinstance(task, step):
            return
        for name in [name for name in objects if is_hidden(name)]:
            data = bytearray(objects[name].data)
            spoiled.append(name)
            if how == "gone":
                del objects[name]
                continue
            if how == "flip":
                data[len(data) // 2] ^= 1
            spoilt = bytes(data if how == "flip" else data[:-9])
            objects[name] = dataclasses.replace(objects[name], data=spoilt)

    await pair.run(pair.ends(), before)
    result = await pair.result()
    assert spoiled
    assert (result.failures, result.tally.patched_objects) == ([], 0)
    assert pair.made == NEW
    assert pair.is_clean()


async def test_a_store_that_copies_no_parts_gets_a_near_rewrite() -> None:
    pair = Pair()
    await pair.begin()
    refusing = Faults(
        pair.target, [Fault(verb="copy_part", times=99, error=Unsupported("big", "501"))]
    )
    await pair.run(pair.ends(target=refusing))
    tally = (await pair.result()).tally
    assert pair.made == NEW
    assert tally.patched_objects == 1
    assert tally.wire_bytes < 60_000
    assert pair.is_clean()


@pytest.mark.parametrize("delta", [Delta.NEVER, Delta.ALWAYS])
async def test_a_large_pair_that_had_to_be_asked_about_gets_a_task_of_its_own(
    delta: Delta,
) -> None:
    """In its shard it would be in memory as a whole."""
    pair = Pair(delta=delta, compare=Compare.CHECKSUM)
    objects = {"big": NEW, "same": OLD, "small": b"1"}
    await fill(pair.source, objects)
    await fill(pair.target, {"big": OLD, "same": OLD, "small": b"2"})
    sources, targets = await entries_of(pair.source), await entries_of(pair.target)
    shard = SmallShard(copies=[], probes=[(sources[key], targets[key]) for key in objects])
    await pair.store.enqueue([NewTask(payload=encode_payload(shard))])
    seen: list[Payload] = []
    await pair.run(pair.ends(), seen.append)
    tally = (await pair.result()).tally
    assert pair.made == NEW
    assert pair.target.store.objects["small"].data == b"1"
    assert LargeObject in [type(task) for task in seen]
    assert tally.patched_objects == int(delta is Delta.ALWAYS)
    assert (tally.copied_objects, tally.skipped_objects) == (2, 1)


async def test_parcels_that_are_larger_than_a_slice_of_the_rate_come_whole() -> None:
    pair = Pair()
    await pair.begin()
    taken: list[int] = []

    async def take(size: int) -> None:
        taken.append(size)

    metered = Throttle(pair.target, take_bytes=take, slice_bytes=lambda: 4096)
    ends = dataclasses.replace(pair.ends(target=metered), unmetered_target=pair.target)
    await pair.run(ends)
    tally = (await pair.result()).tally
    assert (pair.made == NEW, tally.patched_objects) == (True, 1)
    assert sum(taken) == tally.wire_bytes


@pytest.mark.parametrize("step", [Sign, Diff, Patch])
async def test_a_cancelled_job_leaves_nothing(step: type) -> None:
    pair = Pair()
    await pair.begin()
    await pair.run_cancelled(pair.ends(), step)
    assert pair.made == OLD
    assert pair.is_clean()


@pytest.mark.parametrize(
    ("verb", "step"), [("read_into", Sign), ("write_small", Sign), ("head", Diff)]
)
async def test_a_store_that_is_away_is_asked_again(verb: str, step: type) -> None:
    pair = Pair()
    await pair.begin()
    error: TransportError = Unavailable("big")
    source = Faults(pair.source, [Fault(verb=verb, nth=2, error=error)])
    target = Faults(pair.target, [Fault(verb=verb, error=error)] if step is Sign else [])
    await pair.run_patiently(pair.ends(source, target))
    assert pair.made == NEW
    assert (await pair.result()).failures == []
    assert pair.is_clean()

"""A large object as a difference from a base near its source: found, proven, lying, replaced, killed."""

from __future__ import annotations

import dataclasses
import functools
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest

from mover.delta_tasks import Diff, Direct, Patch, Prove, Sign
from mover.measuring import Measured
from mover.model import Delta, LargeObject
from mover.naming import is_hidden
from mover.payloads import decode_payload
from tests.unit.mover.delta_pairs import (
    CHANGES,
    MIB,
    NEW,
    OLD,
    OTHER,
    Pair,
    Replacing,
    is_cleaned,
    killed_at_every_call,
    replaced,
)
from tests.unit.mover.engine import fill, make_executor
from transports.decorator import Decorator
from transports.errors import Denied, TransportError, Unavailable, Unsupported
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mover.ends import Ends
    from mover.payloads import Payload
    from transports.base import Transport
    from transports.model import ObjectInfo


@functools.cache
def weights(size: int, *, changed: float = 0.0, seed: int = 1) -> bytes:
    """Numbers of two bytes as weights of a model are; every so many of them another."""
    source = random.Random(seed)
    block = struct.pack(
        "<2048H",
        *(
            struct.unpack("<I", struct.pack("<f", source.gauss(0, 0.02)))[0] >> 16
            for _ in range(2048)
        ),
    )
    data = bytearray(block * (size // len(block)))
    edits = random.Random(seed + 1)
    for at in edits.sample(range(0, len(data), 2), int(changed * len(data) / 2)):
        data[at] ^= edits.randrange(1, 8)
    return bytes(data)


class Silent(Decorator):
    """Tells no checksum: what it has must be read to be known."""

    async def head(self, key: str) -> ObjectInfo:
        return dataclasses.replace(await self.inner.head(key), checksums=())

    async def older_versions(self, key: str, size: int) -> list[ObjectInfo]:
        found = await self.inner.older_versions(key, size)
        return [dataclasses.replace(info, checksums=()) for info in found]


class Based(Pair):
    """A pair whose source may have an older copy near by; it tells checksums unless ``silent``."""

    def __init__(self, *, silent: bool = False, **wishes: Any) -> None:
        super().__init__(**({"base": "memory://base/"} | wishes))
        self.base = MemoryTransport()
        self._silent = silent

    async def begin(self, old: bytes = OLD, new: bytes = NEW, base: bytes | None = OLD) -> None:
        if base is not None:
            await fill(self.base, {"big": base})
        await super().begin(old, new)

    def wrapped(self, wrap: Callable[[Transport], Transport]) -> Ends:
        return self.based(wrap(self.base), wrap(self.source), wrap(self.target))

    def based(
        self,
        base: Transport | None = None,
        source: Transport | None = None,
        target: Transport | None = None,
    ) -> Ends:
        store = base or self.base
        store = Silent(store) if self._silent else store

        async def opened() -> Transport:
            return store

        return dataclasses.replace(self.ends(source, target), base=opened)


@pytest.mark.parametrize(
    ("silent", "steps"),
    [(False, [LargeObject, Direct, Patch]), (True, [LargeObject, Direct, Prove, Direct, Patch])],
)
async def test_no_signature_crosses(silent: bool, steps: list[type]) -> None:
    pair = Based(silent=silent)
    await pair.begin()
    seen: list[Payload] = []
    await pair.run(pair.based(), seen.append)
    assert [type(task) for task in seen] == steps
    result = await pair.result()
    assert (pair.made == NEW, result.failures) == (True, [])
    assert pair.is_clean()
    tally = result.tally
    assert (tally.copied_objects, tally.patched_objects, tally.direct_objects) == (1, 1, 1)
    assert tally.literal_bytes + tally.matched_bytes == len(NEW)
    assert tally.wire_bytes == tally.delta_wire_bytes < 10_000


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("copies", [True, False])
async def test_changed_elements_of_weights(silent: bool, copies: bool) -> None:
    old, new = weights(2 * MIB), weights(2 * MIB, changed=0.01)
    # What one store may copy by itself stands behind them, and moved by ten bytes.
    tail = random.Random(3).randbytes(3 * MIB)
    old, new = old + tail, new + b"0123456789" + tail
    pair = Based(silent=silent)
    await pair.begin(old, new, base=old)
    refusing = [] if copies else [Fault(verb="copy_part", times=99, error=Unsupported("big", ""))]
    await pair.run(pair.based(target=Faults(pair.target, refusing)))
    tally = (await pair.result()).tally
    assert (pair.made == new, tally.direct_objects) == (True, 1)
    assert 0 < tally.changed_bytes <= tally.matched_bytes
    assert tally.wire_bytes < 0.01 * len(new)
    assert pair.is_clean()


LIES = bytes([OLD[0] ^ 1]) + OLD[1:]


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(
    ("base", "says"),
    [
        (None, "no base of that name and size"),
        (OLD[:-1], "no base of that name and size"),
        (LIES, "checksum is another"),
    ],
)
async def test_what_is_no_base_costs_a_look(silent: bool, base: bytes | None, says: str) -> None:
    pair = Based(silent=silent)
    await pair.begin(base=base)
    seen: list[Payload] = []
    await pair.run(pair.based(), seen.append)
    result = await pair.result()
    assert (pair.made == NEW, result.failures) == (True, [])
    assert (result.tally.patched_objects, result.tally.direct_objects) == (1, 0)
    assert pair.is_clean()
    (last,) = [task for task in seen if isinstance(task, Patch)]
    assert (says if not (silent and base == LIES) else "bytes are others") in last.base
    assert len([task for task in seen if isinstance(task, Prove)]) == int(silent and base == LIES)


async def test_what_has_nothing_of_its_base_goes_whole() -> None:
    pair = Based()
    await pair.begin(new=OTHER)
    await pair.run(pair.based())
    tally = (await pair.result()).tally
    assert (pair.made == OTHER, tally.patched_objects) == (True, 0)
    assert tally.wire_bytes == len(OTHER)
    assert pair.is_clean()


class Counting(Decorator):
    """Counts the bytes that are read."""

    read_bytes = 0

    async def read_into(self, entry: Any, span: Any, buffer: memoryview) -> None:
        self.read_bytes += len(span)
        await super().read_into(entry, span, buffer)


@pytest.mark.parametrize("has_elements", [False, True])
async def test_a_scan_in_vain_goes_on_only_for_elements(
    has_elements: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mover.delta.costing.BAIL_OUT_BYTES", MIB)
    size = (32 if has_elements else 96) * MIB
    if has_elements:
        old, new = weights(size), weights(size, changed=0.01)
    else:
        old, new = (random.Random(seed).randbytes(size) for seed in (8, 9))
    pair = Based(part_bytes=8 * MIB, split_bytes=16 * MIB)
    await pair.begin(old, new, base=old)
    source = Counting(pair.source)
    reads: list[int] = []
    await pair.run(pair.based(source=source), lambda task: reads.append(source.read_bytes))
    tally = (await pair.result()).tally
    assert (pair.made == new, tally.direct_objects) == (True, int(has_elements))
    assert tally.wire_bytes <= (0.01 if has_elements else 1.005) * size
    assert has_elements or reads[2] < 0.8 * size  # by the direct step: it all goes whole then


@pytest.mark.parametrize("step", [Direct, Prove, Patch])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_base_that_is_replaced(step: type, silent: bool) -> None:
    pair = Based(silent=silent)
    await pair.begin()
    others = [random.Random(number).randbytes(len(OLD)) for number in range(9)]
    await pair.run(pair.based(), Replacing(store=pair.base, step=step, those=others))
    result = await pair.result()
    assert (pair.made == NEW, result.failures) == (True, [])
    assert result.tally.patched_objects == 1
    assert pair.is_clean()


class Vanishing(Decorator):
    """Replaces the base after so many reads of it."""

    def __init__(self, inner: MemoryTransport, reads: int) -> None:
        super().__init__(inner)
        self._store = inner
        self._left = reads

    async def read_into(self, entry: Any, span: Any, buffer: memoryview) -> None:
        self._left -= 1
        if self._left == 0:
            replaced(self._store, OTHER)
        await super().read_into(entry, span, buffer)


@pytest.mark.parametrize("reads", [1, 2, 3, 4, 5])
async def test_a_base_that_is_replaced_while_it_is_read(reads: int) -> None:
    old, new = weights(3 * MIB), weights(3 * MIB, changed=0.01)
    pair = Based()
    await pair.begin(old, new, base=old)
    seen: list[Payload] = []
    await pair.run(pair.based(Vanishing(pair.base, reads)), seen.append)
    result = await pair.result()
    assert (pair.made == new, result.failures) == (True, [])
    assert pair.is_clean()
    signed = [task for task in seen if isinstance(task, Sign)]
    assert signed == [] or "Changed" in signed[0].base


@pytest.mark.parametrize("verb", ["head", "read_into"])
@pytest.mark.parametrize("error", [Denied("base"), Unavailable("base")])
async def test_a_base_that_cannot_be_read(verb: str, error: TransportError) -> None:
    pair = Based()
    await pair.begin()
    seen: list[Payload] = []
    faulty = Faults(pair.base, [Fault(verb=verb, times=9, error=error)])
    await pair.run(pair.based(faulty), seen.append)
    result = await pair.result()
    assert (pair.made == NEW, result.failures) == (True, [])
    assert (result.tally.patched_objects, result.tally.direct_objects) == (1, 0)
    (last,) = [task for task in seen if isinstance(task, Patch)]
    assert str(error) in last.base


@pytest.mark.parametrize("step", [LargeObject, Direct, Prove, Patch])
@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("times", [1, 2])
async def test_what_is_replaced_is_planned_again_once(step: type, end: str, times: int) -> None:
    pair = Based(silent=True)
    await pair.begin()
    store = pair.source if end == "source" else pair.target
    replacing = Replacing(store=store, step=step, those=CHANGES[:times])
    await pair.run(pair.based(), replacing)
    result = await pair.result()
    assert pair.is_clean()
    if len(replacing.done) < 2:
        assert result.failures == []
        assert pair.made == ([NEW, *replacing.done][-1] if end == "source" else NEW)
    else:
        assert [failure.error for failure in result.failures] in (["Changed"], [])
        assert pair.made in (OLD, NEW, *CHANGES)


@pytest.mark.parametrize("after", [False, True])
async def test_a_worker_may_be_killed_at_any_call(after: bool) -> None:
    old, new = weights(MIB), weights(MIB, changed=0.01)

    async def begin() -> Based:
        pair = Based(silent=True)
        await pair.begin(old, new, base=old)
        return pair

    async for pair in killed_at_every_call(begin, after=after, least=25):
        result = await pair.result()
        assert (pair.made == new, result.failures) == (True, [])
        assert await is_cleaned(pair)
        assert (result.tally.copied_objects, result.tally.direct_objects) == (1, 1)


async def test_each_task_may_run_twice() -> None:
    pair = Based(silent=True)
    await pair.begin()
    await pair.run_twice(pair.based())
    result = await pair.result()
    assert pair.made == NEW
    assert (result.failures, result.tally.direct_objects) == ([], 1)
    assert pair.is_clean()


@pytest.mark.parametrize("how", ["flip", "gone"])
async def test_a_direct_delta_that_is_spoiled_costs_a_copy(how: str) -> None:
    old, new = weights(2 * MIB), weights(2 * MIB, changed=0.01)
    pair = Based()
    await pair.begin(old, new, base=old)
    objects = pair.target.store.objects

    def before(task: Payload) -> None:
        if not isinstance(task, Patch):
            return
        for name in [name for name in objects if is_hidden(name)]:
            data = bytearray(objects[name].data)
            data[len(data) // 2] ^= 1
            if how == "gone":
                del objects[name]
            else:
                objects[name] = dataclasses.replace(objects[name], data=bytes(data))

    await pair.run(pair.based(), before)
    result = await pair.result()
    assert (result.failures, result.tally.patched_objects) == ([], 0)
    assert (pair.made == new, pair.is_clean()) == (True, True)


@pytest.mark.parametrize("step", [Direct, Prove, Patch])
async def test_a_cancelled_job_leaves_nothing(step: type) -> None:
    pair = Based(silent=True)
    await pair.begin()
    await pair.run_cancelled(pair.based(), step)
    assert pair.made == OLD
    assert pair.is_clean()


@pytest.mark.parametrize(
    ("link", "silent", "steps"),
    [
        (1e6, True, [LargeObject, Direct, Prove, Direct, Patch]),
        (1e6, False, [LargeObject, Direct, Patch]),
        (1e10, False, [LargeObject]),
    ],
)
async def test_who_does_what_where_it_pays(
    link: float, silent: bool, steps: Sequence[type]
) -> None:
    pair = Based(silent=silent, delta=Delta.AUTO, source_pool="a", target_pool="b")
    await pair.begin()

    async def rates() -> Measured:
        return Measured(out=link)

    ends = dataclasses.replace(pair.based(), rates=rates)
    executor = make_executor(ends, pair.store)
    seen: list[tuple[str, type]] = []
    for pool in ["any", "a", "b", "a", "b"]:
        for lease in await pair.store.claim("w", limit=1, lease_s=60, now_s=0.0, pools=[pool]):
            seen.append((pool, type(decode_payload(lease.payload))))
            await pair.finish(lease, await executor.run(lease))
    assert [
        kind for _, kind in seen if kind in (LargeObject, Direct, Prove, Sign, Diff, Patch)
    ] == steps
    near = {Direct: "a", Prove: "b", Patch: "b"}
    assert all(pool == near.get(kind, pool) for pool, kind in seen)


class Liar(Decorator):
    """Tells the checksums that another store keeps of its object."""

    def __init__(self, inner: Transport, other: Transport) -> None:
        super().__init__(inner)
        self._other = other

    async def head(self, key: str) -> ObjectInfo:
        told = (await self._other.head(key)).checksums
        return dataclasses.replace(await self.inner.head(key), checksums=told)


@pytest.mark.parametrize("base", [LIES, OLD[:MIB] + OTHER[: 2 * MIB] + OLD[3 * MIB :], OLD[::-1]])
async def test_a_checksum_that_lies_is_found_by_the_patch(base: bytes) -> None:
    pair = Based()
    await pair.begin(base=base)
    await pair.run(pair.based(Liar(pair.base, pair.target)))
    result = await pair.result()
    assert (pair.made == NEW, result.failures, pair.is_clean()) == (True, [], True)


@pytest.mark.parametrize("silent", [False, True])
async def test_an_older_version_that_the_source_keeps(silent: bool) -> None:
    """Among versions of one size the one that the target has is found, by checksum or by digest."""
    pair = Based(base="", base_versions=True)
    store = MemoryStore(keeps_versions=True)
    pair.source = MemoryTransport(store)
    for data in (LIES, OLD, OLD[::-1], OLD[:-1]):
        await fill(pair.source, {"big": data})
    await pair.begin(base=None)
    seen: list[Payload] = []
    source = Silent(pair.source) if silent else pair.source
    ends = dataclasses.replace(pair.ends(source), base=None)
    await pair.run(ends, seen.append)
    result = await pair.result()
    assert (pair.made == NEW, result.failures, pair.is_clean()) == (True, [], True)
    assert result.tally.direct_objects == 1
    (last,) = [task for task in seen if isinstance(task, Patch)]
    assert last.base.endswith(f", version {store.older['big'][1].version}")


async def test_versions_that_are_all_others() -> None:
    pair = Based(base="", base_versions=True)
    pair.source = MemoryTransport(MemoryStore(keeps_versions=True))
    await fill(pair.source, {"big": LIES})
    await pair.begin(base=None)
    await pair.run(dataclasses.replace(pair.ends(), base=None))
    tally = (await pair.result()).tally
    assert (pair.made == NEW, tally.patched_objects, tally.direct_objects) == (True, 1, 0)

"""An object whose old version is looked at by samples before it is signed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from mover.delta_tasks import Diff, Patch, Sample, Seek, Sign
from mover.model import Chunk, Delta, LargeObject
from mover.payloads import decode_payload
from tests.unit.mover.delta_pairs import (
    MIB,
    NEW,
    OTHER,
    Pair,
    replaced,
    slow_link,
)
from tests.unit.mover.engine import make_executor
from transports.errors import Denied
from transports.faults import Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from mover.payloads import Payload

SIDES: dict[str, Any] = {"delta": Delta.AUTO, "source_pool": "a", "target_pool": "b"}


async def run(
    pair: Pair, after: Callable[[Payload], object] = lambda task: None, **ends: Any
) -> list[type]:
    """Run all tasks in the pools that they are for; ``after`` sees each. Their kinds."""
    made = dataclasses.replace(pair.ends(**ends), rates=slow_link)
    executor = make_executor(made, pair.store)
    seen: list[type] = []
    pools = ["any", "a", "b"]
    while leases := await pair.store.claim("w", limit=1, lease_s=60, now_s=0.0, pools=pools):
        await pair.finish(leases[0], await executor.run(leases[0]))
        task = decode_payload(leases[0].payload)
        seen.append(type(task))
        after(task)
    return seen


async def test_what_is_alike_is_signed() -> None:
    pair = Pair(**SIDES)
    await pair.begin()
    seen = await run(pair)
    assert (seen[:5], seen[-1]) == ([LargeObject, Sample, Seek, Sign, Diff], Patch)
    tally = (await pair.result()).tally
    assert (pair.made == NEW, pair.is_clean(), tally.patched_objects) == (True, True, 1)
    assert tally.renamed_objects == 0


@pytest.mark.parametrize("old", [OTHER, OTHER[:MIB]], ids=["same-size", "other-size"])
async def test_what_is_not_alike_is_never_signed(old: bytes) -> None:
    pair = Pair(**SIDES)
    await pair.begin(old=old)
    seen = await run(pair)
    assert seen[:4] == [LargeObject, Sample, Seek, LargeObject]
    assert not {Sign, Diff, Patch} & set(seen)
    assert Chunk in seen
    tally = (await pair.result()).tally
    assert (pair.made == NEW, pair.is_clean(), tally.wire_bytes) == (True, True, len(NEW))


async def test_samples_that_tell_nothing_decide_nothing() -> None:
    pair = Pair(**SIDES)
    sparse = bytes(64 * MIB)
    await pair.begin(old=sparse[: 32 * MIB] + b"1" + sparse[: 31 * MIB], new=sparse)
    assert Sign in await run(pair)
    assert pair.made == sparse


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("step", [LargeObject, Sample, Seek])
async def test_what_changes_meanwhile_arrives_as_it_is_then(side: str, step: type) -> None:
    pair = Pair(**SIDES)
    await pair.begin()
    done: list[object] = []

    def after(task: Payload) -> None:
        if isinstance(task, step) and not done:
            done.append(task)
            replaced(pair.source if side == "source" else pair.target, OTHER, "big")

    await run(pair, after)
    result = await pair.result()
    assert (pair.made, result.failures) == (OTHER if side == "source" else NEW, [])
    assert pair.is_clean()


async def test_a_basis_that_cannot_be_read_leaves_a_copy() -> None:
    pair = Pair(**SIDES)
    await pair.begin()
    refusing = Faults(pair.target, [Fault(verb="read_into", times=99, error=Denied("big"))])
    assert Sign not in await run(pair, target=refusing)
    assert pair.made == NEW

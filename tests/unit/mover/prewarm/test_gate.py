from __future__ import annotations

import asyncio
import contextlib

import pytest

from mover.prewarm.climbing import Climber
from mover.prewarm.yielding import IDLE_PROBES, Yielder
from mover.prewarm_gate import Gate


def gate(limit: int, *, yielder: Yielder | None = None) -> Gate:
    return Gate(Climber(start=limit, most=64), yielder, lambda: False)


class Holders:
    """Tasks that hold slots until they are let go."""

    def __init__(self, subject: Gate, group: asyncio.TaskGroup) -> None:
        self._subject = subject
        self._group: asyncio.TaskGroup = group
        self.inside: list[str] = []
        self.granted: dict[str, int] = {}
        self.leave: dict[str, asyncio.Event] = {}

    def enter(self, name: str, wanted: int = 1) -> asyncio.Task[None]:
        self.leave[name] = asyncio.Event()

        async def hold() -> None:
            async with self._subject.slots(wanted) as granted:
                self.inside.append(name)
                self.granted[name] = granted
                await self.leave[name].wait()
            self.inside.remove(name)

        return self._group.create_task(hold(), name=name)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_slots_are_taken_than_there_are_and_in_turn() -> None:
    subject = gate(2)
    async with asyncio.TaskGroup() as group:
        holders = Holders(subject, group)
        for name in "abcde":
            holders.enter(name)
        for leaves, inside in [("a", "bc"), ("b", "cd"), ("c", "de"), ("d", "e"), ("e", "")]:
            await settled()
            assert subject.taken <= 2
            holders.leave[leaves].set()
            await settled()
            assert "".join(sorted(holders.inside)) == inside


async def test_who_wants_many_gets_what_is_free() -> None:
    subject = gate(10)
    async with asyncio.TaskGroup() as group:
        holders = Holders(subject, group)
        for name, wanted in (("a", 7), ("b", 7), ("c", 7)):
            holders.enter(name, wanted)
        await settled()
        assert holders.granted == {"a": 7, "b": 3}
        holders.leave["a"].set()
        await settled()
        assert holders.granted["c"] == 7
        holders.leave["b"].set()
        holders.leave["c"].set()
    assert subject.taken == 0


@pytest.mark.parametrize("at", ["waiting", "woken", "inside"])
async def test_a_cancel_passes_the_turn_on(at: str) -> None:
    subject = gate(1)
    async with asyncio.TaskGroup() as group:
        holders = Holders(subject, group)
        holders.enter("a")
        second = holders.enter("b")
        holders.enter("c")
        await settled()
        if at == "waiting":
            second.cancel()
        holders.leave["a"].set()
        if at == "woken":
            # One step: the turn is given, and not taken yet.
            await asyncio.sleep(0)
            second.cancel()
        if at == "inside":
            await settled()
            assert holders.inside == ["b"]
            second.cancel()
        await settled()
        assert holders.inside[-1:] == ["c"]
        holders.leave["c"].set()
    assert subject.taken == 0


async def test_a_gate_that_grows_lets_more_in() -> None:
    subject = gate(2)
    async with asyncio.TaskGroup() as group:
        holders = Holders(subject, group)
        for name in "abcd":
            holders.enter(name)
        await settled()
        assert holders.inside == ["a", "b"]
        subject.measured(100.0)
        await settled()
        assert holders.inside == ["a", "b", "c"]
        for event in holders.leave.values():
            event.set()


async def test_a_ceiling_leaves_one_slot_at_least() -> None:
    yielder = Yielder(factor=1.5, most=64)
    for _ in range(IDLE_PROBES):
        yielder.probed_idle(0.001)
    subject = gate(8, yielder=yielder)
    for _ in range(400):
        yielder.probed(0.001, readers=8)
    assert subject.limit == 8
    for _ in range(40):
        yielder.probed(1.0, readers=8)
    assert subject.limit == 1


async def test_what_an_error_leaves_is_free() -> None:
    subject = gate(1)
    for _ in range(3):
        with contextlib.suppress(ZeroDivisionError):
            async with subject.slots():
                raise ZeroDivisionError
    assert subject.taken == 0

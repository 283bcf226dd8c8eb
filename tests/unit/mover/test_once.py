"""A store that is opened when it is first asked for."""

from __future__ import annotations

import asyncio

import pytest

from mover.errors import Rejected
from mover.resolving import Once
from transports.errors import Denied, Unavailable
from transports.memory import MemoryTransport


class Door:
    """Opens a store, after what it was told to raise."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def __call__(self) -> MemoryTransport:
        self.asked += 1
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return MemoryTransport()


async def test_it_is_opened_once_for_all_who_ask() -> None:
    door = Door()
    once = Once(door)
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(once()) for _ in range(5)]
    assert len({task.result() for task in asking}) == 1
    assert door.asked == 1


@pytest.mark.parametrize("error", [Denied("base"), Rejected("no"), ValueError("no")])
async def test_what_cannot_be_opened_is_not_tried_again(error: Exception) -> None:
    door = Door(error)
    once = Once(door)
    for _ in range(2):
        with pytest.raises(type(error)):
            await once()
    assert door.asked == 1


async def test_what_may_pass_is_tried_again() -> None:
    once = Once(Door(Unavailable("base")))
    with pytest.raises(Unavailable):
        await once()
    assert isinstance(await once(), MemoryTransport)

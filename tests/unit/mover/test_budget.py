"""Bytes in memory: bounded, fair, and given back whatever happens."""

import asyncio

import pytest

from mover.budget import ByteBudget


async def test_waits_until_there_is_room_and_serves_in_turn() -> None:
    budget = ByteBudget(10)
    order: list[str] = []

    async def use(name: str, size: int, leave: asyncio.Event) -> None:
        async with budget.reserve(size):
            order.append(name)
            await leave.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(use("holder", 8, first))
        await asyncio.sleep(0)
        group.create_task(use("large", 6, rest))
        await asyncio.sleep(0)
        group.create_task(use("small", 1, rest))  # would fit, but it is not its turn
        await asyncio.sleep(0)
        assert order == ["holder"]
        first.set()
    assert order == ["holder", "large", "small"]
    assert budget.reserved_bytes == 0
    assert budget.peak_bytes <= 10


async def test_larger_than_the_budget_goes_alone() -> None:
    budget = ByteBudget(10)
    async with budget.reserve(25):
        waiter = asyncio.ensure_future(budget.reserve(1).__aenter__())
        await asyncio.sleep(0)
        assert not waiter.done()
    await waiter
    assert budget.reserved_bytes == 1


async def test_a_cancelled_waiter_does_not_keep_others_waiting() -> None:
    budget = ByteBudget(10)
    async with budget.reserve(9):
        large = asyncio.ensure_future(budget.reserve(5).__aenter__())
        small = asyncio.ensure_future(budget.reserve(1).__aenter__())
        await asyncio.sleep(0)
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        await small
        assert budget.reserved_bytes == 10


async def test_cancelled_in_the_moment_of_the_grant_gives_back() -> None:
    budget = ByteBudget(10)
    holder = budget.reserve(10)
    await holder.__aenter__()
    waiter = asyncio.ensure_future(budget.reserve(4).__aenter__())
    await asyncio.sleep(0)
    await holder.__aexit__(None, None, None)  # grants
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert budget.reserved_bytes == 0


async def test_buffers_have_the_size_asked_for_and_are_used_again() -> None:
    budget = ByteBudget(100)
    async with budget.buffer(40) as first:
        assert len(first) == 40
        first[:] = b"x" * 40
    async with budget.buffer(40) as again:
        assert bytes(again) == b"x" * 40
    async with budget.buffer(7) as other:
        assert len(other) == 7
    assert budget.reserved_bytes == 0


async def test_a_waiter_is_cancelled_in_the_moment_in_which_the_holder_leaves() -> None:
    budget = ByteBudget(10)
    forever = asyncio.Event()

    async def hold() -> None:
        async with budget.reserve(8):
            await forever.wait()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()  # the first wakes the second, whose cancel it has not heard of yet
    assert all(task.cancelled() for task in tasks)
    assert budget.reserved_bytes == 0

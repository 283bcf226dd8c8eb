"""The loop in a thread of its own: results, errors, cancels, and its end."""

import asyncio
import threading

import pytest
import uvloop

from transports.side_loop import SideLoop


async def test_work_runs_in_one_other_thread() -> None:
    side = SideLoop()

    async def where() -> int:
        return threading.get_ident()

    thread = await side.run(where)
    assert thread != threading.get_ident()
    assert await side.run(where) == thread
    await side.close()
    await side.close()
    # By name too: a thread of a pool may have been given the number that is free again.
    alive = {(other.ident, other.name) for other in threading.enumerate()}
    assert (thread, "side-loop") not in alive


async def test_errors_come_back() -> None:
    side = SideLoop()

    async def fail() -> None:
        raise ValueError("there")

    with pytest.raises(ValueError, match="there"):
        await side.run(fail)
    await side.close()


async def test_a_cancel_is_raised_only_when_the_work_has_let_go() -> None:
    side = SideLoop()
    begun = threading.Event()
    states: list[str] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            states.append("let go")

    async with asyncio.TaskGroup() as crew:
        task = crew.create_task(side.run(work))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()  # a second one does not hurry it
    assert task.cancelled()
    assert states == ["let go"]
    await side.close()


async def test_it_may_be_closed_without_having_run() -> None:
    await SideLoop().close()


def test_the_loop_is_of_the_callers_implementation() -> None:
    async def kind() -> type:
        return type(asyncio.get_running_loop())

    async def main() -> tuple[type, type]:
        side = SideLoop()
        kinds = await kind(), await side.run(kind)
        await side.close()
        return kinds

    here, there = uvloop.run(main())
    assert here is there
    assert asyncio.run(main())[1] is not here

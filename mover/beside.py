"""Run helpers beside a block, in a task group that does not dress up the block's own errors."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def running_beside(*helpers: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    """Run coroutine functions while the block runs, and cancel them at its end.

    What the block raises comes out as it is; a group would wrap it. A helper that fails cancels
    the block, and its failure comes out as a group.
    """
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(helper), name="beside") for helper in helpers]
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again below, cancellation too
            failure = error
        finally:
            for task in tasks:
                task.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def running_to_end(helper: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    """Run a coroutine function while the block runs, and wait for it at the block's end.

    What either raises comes out as it is, and cancels the other.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_run(helper), name="beside")
            yield
    except ExceptionGroup as failures:
        raise first_leaf(failures) from failures


async def _run(helper: Callable[[], Awaitable[object]]) -> None:
    await helper()


def first_leaf(error: BaseException) -> BaseException:
    """The first single error in a group, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def alone(work: Awaitable[T]) -> T:
    """What ``work`` comes to; of a group of errors the first single one is raised."""
    try:
        return await work
    except ExceptionGroup as group:
        raise first_leaf(group) from group

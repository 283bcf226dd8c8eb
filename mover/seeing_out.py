"""Work in a thread that holds views of memory: it is seen out before the memory goes. Pure asyncio."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Run ``work`` in a thread, and return what it does.

    A thread cannot be cancelled: a cancelled call waits until the thread has let go of what it was
    given. A second cancel does not wait.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with suppress(Exception):
            await running
        raise

"""Time that tests control."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class ManualClock:
    """A wall clock that moves only when told; call it for the time in seconds."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> float:
        """Move the clock (backwards with a negative number); return the new time."""
        self.now_s += seconds
        return self.now_s


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing else can run.

    Hours pass in milliseconds, in the order in which they would. Only for code without threads,
    sockets or child processes: waiting for those takes no virtual time.
    """

    def __init__(self) -> None:
        self._virtual_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_s += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Every coroutine waits and no timer is set: a deadlock")
        self._loop.jump(max(timeout, 0.0))
        return super().select(0)


def run_virtually(main: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine function on a new ``VirtualTimeLoop``; nothing may be left running.

    For plain test functions; the loop never becomes the current one of the thread.
    """
    loop = VirtualTimeLoop()
    try:
        outcome = loop.run_until_complete(main())
        if left := asyncio.all_tasks(loop):
            raise RuntimeError(f"Left running: {sorted(task.get_name() for task in left)}")
        return outcome
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

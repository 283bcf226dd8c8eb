"""Threads for calls that block on a mount, and that may never come back.

A read of a FUSE mount whose daemon hangs cannot be cancelled by anybody but the daemon's end. So the
threads are daemon threads, for which no program waits at its end (those of an executor it would), and a
cancelled call waits for its thread a bounded time only. The kernel itself keeps a process whose thread
hangs in such a read until the daemon goes on or the mount is aborted.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

GRACE_S: Final = 5.0
"""A cancelled call waits this long for its thread to leave the files alone."""

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Threads:
    """Up to ``most`` threads, started as they are needed; for one event loop at a time."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._calls: queue.Queue[_Call | None] = queue.Queue(maxsize=most)
        self._most = most
        self._threads = 0
        self._busy = 0

    async def run(self, work: Callable[[Unpack[Arguments]], T], *arguments: *Arguments) -> T:
        """Call ``work`` in a thread. A cancel waits for it ``GRACE_S``, and then leaves it to itself."""
        return await self._run(lambda: work(*arguments), None)

    async def run_long(
        self,
        work: Callable[[Unpack[Arguments], threading.Event], T],
        *arguments: *Arguments,
    ) -> T:
        """The same for ``work`` that looks, at times, whether the event it gets last is set: a cancel does."""
        stop = threading.Event()
        return await self._run(lambda: work(*arguments, stop), stop)

    async def _run(self, work: Callable[[], T], stop: threading.Event | None) -> T:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(self._ended)
        self._busy += 1
        if self._threads < min(self._busy, self._most):
            self._threads += 1
            threading.Thread(target=self._serve, name="prewarm", daemon=True).start()
        self._calls.put_nowait((loop, future, work))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if stop is not None:
                stop.set()
            with contextlib.suppress(Exception):  # what came of it after a cancel, nobody waits for
                async with asyncio.timeout(GRACE_S):
                    await asyncio.shield(future)
            raise

    def close(self) -> None:
        """Let idle threads end; those that hang in a call end when it does."""
        threads, self._threads = self._threads, 0
        for _ in range(threads):
            with contextlib.suppress(queue.Full):
                self._calls.put_nowait(None)

    def _ended(self, future: "asyncio.Future[Any]") -> None:
        self._busy -= 1
        self._free.release()
        if not future.cancelled():
            future.exception()  # whoever waited may have gone

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, future, work = call
            try:
                result, error = work(), None
            except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
                result, error = None, raised
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, future, result, error)
            del call, work, result, error, future


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)

"""A server of our own on a private event loop in a thread, so that blocking tests can use it too."""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

T = TypeVar("T")
_PATIENCE_S = 20.0


class LoopThread(abc.ABC):
    """Runs ``serving`` from ``start`` to ``stop``; a failure to start is raised by ``start``."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @abc.abstractmethod
    def serving(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Listen on entry; on exit stop listening and end every connection."""

    def start(self) -> None:
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(ready)), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        ready.result(timeout=_PATIENCE_S)

    def stop(self) -> None:
        """End the server and its thread. Repeatable."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stop is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(timeout=_PATIENCE_S)
        assert not thread.is_alive(), f"{thread.name} does not end"

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop, from outside its thread, and return its result."""
        assert self._loop is not None, "not started"
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def _main(self, ready: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with self.serving():
                ready.set_result(None)
                await self._stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

"""What a store said to one worker is news for all: the request to slow down, shared.

A store that answers one worker with 429 or 503 will answer the others alike as soon as they knock.
Here they hear of it without knocking: who was asked writes a control, the others look at it once
a second. What slowing down means is not known here; a callback does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, NoReturn

from scheduler.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.rates import RateStore

EVERY_S: Final = 1.0
"""How often a worker looks, and the least time between two of its own reports."""

SETTLE_S: Final = 2.0
"""Reports this soon after one that was obeyed are about requests from before everybody had heard:
obeying those too would halve the fleet again and again for one event."""

STALE_S: Final = 10.0
"""A report older than this is history. The clocks of hosts must agree to within as much."""


class Slowdown:
    """Shares the requests of one store to slow down; ``scope`` names the store, without secrets.

    ``on_slow`` is called when another worker was asked to slow down. ``told`` says that this one
    was; it does not wait. ``follow`` must run beside: it carries both ways, and what was told
    while the task store was away is carried when it is back, unless it is stale by then.
    """

    def __init__(
        self,
        store: RateStore,
        scope: str,
        worker_id: str,
        *,
        on_slow: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._control = slow_control(scope)
        self._worker_id = worker_id
        self._on_slow = on_slow
        self._clock = clock
        self._told_at_s = 0.0  # 0: nothing to report
        self._seen: bytes | None = None
        self._obeyed_at_s = float("-inf")  # another worker's report
        self._slowed_at_s = float("-inf")  # that, or the store's own word to this worker
        self._news = asyncio.Event()

    def told(self) -> None:
        """The store asked this worker to slow down, just now."""
        self._told_at_s = self._slowed_at_s = self._clock()
        self._news.set()

    async def follow(self) -> NoReturn:
        """Carry reports both ways; ends by cancellation. A store that is away is passed over."""
        with contextlib.suppress(StoreUnavailable):
            self._seen = await self._store.get_control(self._control)
        is_rested = True
        while True:
            has_reported = False
            with contextlib.suppress(StoreUnavailable):
                # First listen: a report of our own would hide the one that stands there.
                self._hear(await self._store.get_control(self._control))
                has_reported = await self._report()
            is_rested = await self._pause(may_end_early=is_rested and not has_reported)

    async def _pause(self, *, may_end_early: bool) -> bool:
        """Wait for a second, or for news; return whether it was a second.

        News do not wait where nothing was said in the last second; in a storm they do.
        """
        if not may_end_early:
            await asyncio.sleep(EVERY_S)
            return True
        self._news.clear()
        try:
            async with asyncio.timeout(EVERY_S):
                await self._news.wait()
        except TimeoutError:
            return True
        return False

    async def _report(self) -> bool:
        told_at_s = self._told_at_s
        if told_at_s <= self._clock() - STALE_S or told_at_s <= self._obeyed_at_s + SETTLE_S:
            return False
        report = write_report(told_at_s, self._worker_id)
        await self._store.set_control(self._control, report)
        self._seen = report
        if self._told_at_s == told_at_s:
            self._told_at_s = 0.0
        return True

    def _hear(self, report: bytes | None) -> None:
        if report is None or report == self._seen:
            return
        self._seen = report
        said_at_s, worker_id = read_report(report)
        now_s = self._clock()
        is_stale = abs(now_s - said_at_s) > STALE_S
        if worker_id == self._worker_id or is_stale or now_s < self._slowed_at_s + SETTLE_S:
            return
        self._obeyed_at_s = self._slowed_at_s = now_s
        self._on_slow()


def slow_control(scope: str) -> str:
    """The control in which the last report about a store stands."""
    return f"slow:{scope}"


def write_report(said_at_s: float, worker_id: str) -> bytes:
    """When a store asked a worker to slow down: seconds since 1970, a space, the worker's id."""
    return f"{said_at_s:.3f} {worker_id}".encode()


def read_report(report: bytes) -> tuple[float, str]:
    """The reverse of ``write_report``; what cannot be read was said at the beginning of time."""
    said_at_s, _, worker_id = report.decode(errors="replace").partition(" ")
    try:
        return float(said_at_s), worker_id
    except ValueError:
        return float("-inf"), worker_id

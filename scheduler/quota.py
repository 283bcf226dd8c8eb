"""One process's share of a rate that all workers of a job keep together.

The store books amounts for everyone (``TaskStore.reserve``); a quota books slices and spends them
in small change, so that ten thousand small objects a second cost some twenty calls a second. Slices
are cut by time, and follow the process's own use: it asks about every ``ASK_EVERY_S`` seconds,
so of N busy processes each holds about an Nth of that much of the rate, without knowing N.

How far may the sum of all spending run ahead of the rate? By what the store lets a bucket save up
(``BURST_S``) and by what is booked and not yet spent (one slice a process, together about
``ASK_EVERY_S``): 0.14 s of the rate, which is 2.8 % of five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, NoReturn

from scheduler.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.store import TaskStore

ASK_EVERY_S = 0.05
"""The pause between two calls to the store that the size of the slices is steered towards."""

SLICE_MAX_S = 0.045
SLICE_MIN_S = 0.002

BURST_S = 0.09
"""What a bucket may save up: enough to catch up after a late wake-up of an event loop."""

STALE_S = 1.0
"""A grant not spent within this time is forfeited; else idle processes would save up bursts."""

RECHECK_S = 0.25
"""A wait looks this often whether the rate has changed; with a rate that is read once a second
(``LiveRate``) a change is felt in well under two seconds."""

RESERVE_MAX_S = 5.0


class Quota:
    """Spends from one bucket of a store. ``rate_per_s`` is asked again and again; None: no limit.

    ``unit`` is the least that is worth booking: 1 for requests, some kilobytes for bytes. Take
    what is about to be used at once (a piece of a stream, a request), not a whole object: what is
    granted may be used without any further delay.

    Fails closed: while the store is away what was granted is spent, and then takers wait.
    """

    def __init__(
        self,
        store: TaskStore,
        bucket: str,
        *,
        rate_per_s: Callable[[], float | None],
        unit: float = 1.0,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._rate_per_s = rate_per_s
        self._unit = unit
        self._clock = clock
        self._rng = rng
        self._turn = asyncio.Lock()
        self._granted = 0.0
        self._granted_at_s = 0.0
        self._asked_at_s = 0.0
        self._slice_s = SLICE_MIN_S * 4

    def take_now(self, amount: float) -> bool:
        """Take without waiting; False (and nothing taken) if that cannot be."""
        rate_per_s = self._rate_per_s()
        if rate_per_s is None:
            return True
        if self._turn.locked():  # those who wait come first
            return False
        self._forfeit(rate_per_s)
        if self._granted < amount:
            return False
        self._granted -= amount
        return True

    async def take(self, amount: float) -> None:
        """Wait until ``amount`` (bytes or requests) may be used. Takers are served in turn.

        A cancel forfeits what was taken so far. Raises ``StoreUnavailable`` only where waiting
        cannot help; else a store that is away is waited for.
        """
        if self.take_now(amount):
            return
        async with self._turn:
            missing = amount
            while (rate_per_s := self._rate_per_s()) is not None:
                self._forfeit(rate_per_s)
                taken = min(self._granted, missing)
                self._granted -= taken
                missing -= taken
                # Slices are sums of floats: a billionth of the amount is not worth a booking.
                if missing <= amount * 1e-9:
                    return
                await self._refill(rate_per_s, missing)

    def _forfeit(self, rate_per_s: float) -> None:
        """Give up grants that are stale, or too large since the rate was lowered."""
        if asyncio.get_running_loop().time() - self._granted_at_s > STALE_S:
            self._granted = 0.0
        self._granted = min(self._granted, max(self._unit, rate_per_s * SLICE_MAX_S))

    async def _refill(self, rate_per_s: float, missing: float) -> None:
        """Book a slice and wait for its turn."""
        self._fit_slice()
        # What is missing is spent at once and not held, so it may be booked up to a whole slice.
        wanted = min(missing, rate_per_s * SLICE_MAX_S)
        amount = max(self._unit, rate_per_s * self._slice_s, wanted)
        wait_s = await self._reserve(amount, rate_per_s)
        await self._wait(wait_s, rate_per_s)
        self._granted += amount
        self._granted_at_s = asyncio.get_running_loop().time()

    def _fit_slice(self) -> None:
        """Steer the slice so that refills come about every ``ASK_EVERY_S``.

        It grows by addition and shrinks by multiplication. All who compete see the same pause,
        so nothing but this pulls a large share and a small one together (Chiu and Jain, 1989:
        "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance").
        """
        now_s = asyncio.get_running_loop().time()
        pause_s = max(now_s - self._asked_at_s, 1e-3)
        self._asked_at_s = now_s
        if pause_s < ASK_EVERY_S:
            self._slice_s += SLICE_MIN_S * min(4.0, ASK_EVERY_S / pause_s)
        else:
            self._slice_s *= max(0.5, min(0.85, ASK_EVERY_S / pause_s))
        self._slice_s = min(SLICE_MAX_S, max(SLICE_MIN_S, self._slice_s))

    async def _reserve(self, amount: float, rate_per_s: float) -> float:
        backoff_s = 0.1
        while True:
            try:
                async with asyncio.timeout(RESERVE_MAX_S):
                    return await self._store.reserve(
                        self._bucket,
                        amount,
                        rate_per_s=rate_per_s,
                        burst=rate_per_s * BURST_S,
                        now_s=self._clock(),
                    )
            except StoreUnavailable as error:
                if error.permanent:
                    raise
            except TimeoutError:
                pass
            await asyncio.sleep(backoff_s * (0.5 + 0.5 * self._rng()))
            backoff_s = min(2.0, 2 * backoff_s)

    async def _wait(self, wait_s: float, rate_per_s: float) -> None:
        """Wait for a booking's turn; a rate that is raised brings it nearer."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while (left_s := until_s - loop.time()) > 0:
            await asyncio.sleep(min(left_s, RECHECK_S))
            now_per_s = self._rate_per_s()
            if now_per_s is None:
                return
            if now_per_s > rate_per_s:
                left_s = max(0.0, until_s - loop.time())
                until_s = loop.time() + left_s * rate_per_s / now_per_s
            rate_per_s = now_per_s


class LiveRate:
    """A rate that follows a control of the store; pass it to a quota as ``rate_per_s``."""

    def __init__(self, rate_per_s: float | None) -> None:
        self._initial = rate_per_s
        self._current = rate_per_s

    def __call__(self) -> float | None:
        """The rate now; None is no limit."""
        return self._current

    async def follow(
        self,
        store: TaskStore,
        control: str,
        *,
        parse: Callable[[bytes], float | None],
        every_s: float = 1.0,
    ) -> NoReturn:
        """Read the control every ``every_s`` seconds; ends by cancellation.

        Without the control the rate is the initial one. A value that ``parse`` refuses with
        ``ValueError``, or a store that is away, leaves the rate as it is.
        """
        while True:
            with contextlib.suppress(StoreUnavailable, ValueError):
                value = await store.get_control(control)
                self._current = self._initial if value is None else parse(value)
            await asyncio.sleep(every_s)

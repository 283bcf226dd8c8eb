"""One process's share of a rate that all workers of a job keep together.

The store books amounts for everyone (``RateStore.reserve``); a quota books slices and spends each
token in its turn (``Holding``), so that ten thousand small objects a second cost some twenty calls
a second. Slices follow the process's own use: it asks about every ``ASK_EVERY_S`` seconds, so of N
busy processes each holds about an Nth of that much of the rate, without knowing N.

How far may the sum of all spending run ahead of the rate? By what the store lets a bucket save up
(``BURST_S``), by what was due and not spent (``HOLD_S``), and by one piece of a taker. What is not
spent goes back to the store. So over one second a fleet stays within 5 % above its rate, as long as
nobody takes more than ``PIECE_MAX_S`` of the rate at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING

from scheduler.errors import StoreUnavailable
from scheduler.holding import Holding

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.rates import RateStore

ASK_EVERY_S = 0.05
"""The pause between two calls to the store that the size of the slices is steered towards."""

SLICE_MAX_S = 0.05
SLICE_MIN_S = 0.002

BURST_S = 0.02
"""What a bucket may save up: enough to catch up after a late wake-up of an event loop."""

HOLD_S = 0.01
"""How long after its turn a token may be spent by a taker that was not there in time."""

FORFEIT_S = 0.15
"""How long after its turn a token that was not spent is given back; later it is lost to the rate."""

PIECE_MAX_S = 0.02
"""The most of the rate that one take should be for."""

GIVE_BACK_S = 0.005
"""Less of the rate than this is not worth a call; it is kept until it is more."""

RECHECK_S = 0.25
"""A wait looks this often whether the rate has changed; with a rate that is read once a second
a change is felt in well under two seconds."""

RESERVE_MAX_S = 5.0
CLOSE_MAX_S = 1.0


class Quota:
    """Spends from one bucket of a store. ``rate_per_s`` is asked again and again; None: no limit.

    ``unit`` is the least that is worth booking: 1 for requests, some kilobytes for bytes. Take
    what is about to be used at once (``piece`` of a stream, a request), not a whole object: what
    is granted may be used without any further delay.

    Fails closed: while the store is away what was granted is spent, and then takers wait. Close
    it with ``aclose``, which gives back what was not spent.
    """

    def __init__(
        self,
        store: RateStore,
        bucket: str,
        *,
        rate_per_s: Callable[[], float | None],
        unit: float = 1.0,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.is_store_away = False
        self._store = store
        self._bucket = bucket
        self._rate_per_s = rate_per_s
        self._unit = unit
        self._clock = clock
        self._rng = rng
        self._turn = asyncio.Lock()
        self._holding = Holding(hold_s=HOLD_S, forfeit_s=FORFEIT_S)
        self._held_per_s = 0.0  # the rate that the holding was last told
        self._owed = 0.0  # booked, not used, and not given back yet
        self._asked_at_s = 0.0
        self._slice_s = SLICE_MIN_S * 4

    @property
    def piece(self) -> float | None:
        """How much one take should be for now; None: there is no limit.

        It follows this process's share. Eight processes that each gather a large piece would
        sometimes all use theirs at once.
        """
        rate_per_s = self._rate_per_s()
        if rate_per_s is None:
            return None
        return max(self._unit, rate_per_s * min(self._slice_s, PIECE_MAX_S))

    def take_now(self, amount: float) -> bool:
        """Take without waiting; False (and nothing taken) if that cannot be."""
        if self._follow() is None:
            return True
        if self._turn.locked():  # those who wait come first
            return False
        now_s = asyncio.get_running_loop().time()
        self._owed += self._holding.expire(now_s)
        if self._holding.ready(now_s) < amount:
            return False
        self._holding.spend(amount)
        return True

    async def take(self, amount: float) -> None:
        """Wait until ``amount`` (bytes or requests) may be used. Takers are served in turn.

        A cancel puts back what was taken so far. Raises ``StoreUnavailable`` only where waiting
        cannot help; else a store that is away is waited for.
        """
        if self.take_now(amount):
            return
        async with self._turn:
            missing = amount
            try:
                # Slices are sums of floats: a billionth of the amount is not worth a booking.
                while missing > amount * 1e-9 and self._follow() is not None:
                    if self._holding.left <= amount * 1e-9:
                        await self._refill(missing)
                    missing -= await self._spend(missing)
            except asyncio.CancelledError:
                self.put_back(amount - missing)
                raise

    def put_back(self, amount: float) -> None:
        """Return what was taken and will not be used; the store hears of it with a later call."""
        self._owed += amount

    async def give_back(self) -> None:
        """Tell the store now of all that was put back. A store that is away is not waited for."""
        owed, self._owed = self._owed, 0.0
        rate_per_s = self._rate_per_s()
        if rate_per_s is None or owed <= 0:
            return
        # Whether a call that failed has happened is not known. Twice would be a burst: forget it.
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CLOSE_MAX_S):
                await self._call(-owed, rate_per_s)

    async def aclose(self) -> None:
        """Give back all that is held. May be called twice; a quota may be used again after it."""
        self._follow()
        self._owed += self._holding.expire(asyncio.get_running_loop().time())
        self._owed += self._holding.clear()
        await self.give_back()

    def _follow(self) -> float | None:
        """The rate now; what is held and owed is fitted to it."""
        rate_per_s = self._rate_per_s()
        if rate_per_s is not None and rate_per_s != self._held_per_s:
            if self._held_per_s:
                now_s = asyncio.get_running_loop().time()
                self._owed *= self._holding.follow(rate_per_s, now_s)
            self._held_per_s = rate_per_s
        return rate_per_s

    async def _spend(self, missing: float) -> float:
        """Wait for the turn of what is missing, or of all that is left; return how much it was."""
        loop = asyncio.get_running_loop()
        while self._follow() is not None:
            amount = min(missing, self._holding.left)
            wait_s = self._holding.turn_s(amount) - loop.time()
            if wait_s <= 0:
                self._holding.spend(amount)
                # A taker that was woken late is behind us; what fell due meanwhile is too old.
                self._owed += self._holding.expire(loop.time())
                return amount
            await asyncio.sleep(min(wait_s, RECHECK_S))
        return missing

    async def _refill(self, missing: float) -> None:
        """Book a slice, and give back what was not used of earlier ones."""
        self._fit_slice()
        backoff_s = 0.1
        while (rate_per_s := self._follow()) is not None:
            if self._owed > max(self._unit, rate_per_s * GIVE_BACK_S):
                await self.give_back()
            # What is missing is spent in its turn and not held: it may be up to a whole slice.
            wanted = min(missing, rate_per_s * SLICE_MAX_S)
            amount = max(self._unit, rate_per_s * self._slice_s, wanted)
            if await self._book(amount, rate_per_s):
                return
            await asyncio.sleep(backoff_s * (0.5 + 0.5 * self._rng()))
            backoff_s = min(2.0, 2 * backoff_s)

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

    async def _book(self, amount: float, rate_per_s: float) -> bool:
        """Book once; False if the store is away and is worth another try."""
        now_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(RESERVE_MAX_S):
                wait_s = await self._call(amount, rate_per_s)
        except StoreUnavailable as error:
            self.is_store_away = True
            if error.permanent:
                raise
            return False
        except TimeoutError:
            self.is_store_away = True
            return False
        self.is_store_away = False
        self._holding.book(amount, due_s=now_s + wait_s, rate_per_s=rate_per_s, now_s=now_s)
        self._held_per_s = rate_per_s  # a change during the call is followed from here
        return True

    async def _call(self, amount: float, rate_per_s: float) -> float:
        return await self._store.reserve(
            self._bucket,
            amount,
            rate_per_s=rate_per_s,
            burst=rate_per_s * BURST_S,
            now_s=self._clock(),
        )


class CombinedTake:
    """Takes from several quotas, one after the other: a job's own rate first, then its links'.

    The quotas must be asked in the same order everywhere, or two takers could each hold what the
    other waits for. A cancel puts back what was taken from the earlier ones.
    """

    def __init__(self, *quotas: Quota) -> None:
        self.quotas = quotas

    async def __call__(self, amount: float) -> None:
        """Wait until all of the quotas let ``amount`` pass."""
        taken: list[Quota] = []
        try:
            for quota in self.quotas:
                await quota.take(amount)
                taken.append(quota)
        except BaseException:
            for quota in taken:
                quota.put_back(amount)
            raise

    @property
    def piece(self) -> float | None:
        """How much one take should be for now: the least of the quotas'; None: no limit."""
        pieces = [piece for quota in self.quotas if (piece := quota.piece) is not None]
        return min(pieces, default=None)

    async def aclose(self) -> None:
        """Give back what any of them holds."""
        for quota in self.quotas:
            await quota.aclose()

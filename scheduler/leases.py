"""Work only while the lease lasts: one keeper renews all leases of a worker in one call."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NoReturn, TypeVar

from scheduler.errors import LeaseLost, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from scheduler.model import Lease
    from scheduler.store import TaskStore

T = TypeVar("T")

RENEWALS_PER_LEASE = 3
"""A lease is renewed at a third of its life: two renewals may fail before it is in danger."""

ATTEMPTS_PER_RENEWAL = 4
"""A failed renewal is tried again after a quarter of that time, not after all of it."""


class Hold:
    """A lease that is being worked on. ``lease`` is the newest form of it, as last extended."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._lost = asyncio.Event()
        self._detail = ""

    @property
    def is_lost(self) -> bool:
        """Whether somebody else may be working on the task by now."""
        return self._lost.is_set()

    def lose(self, detail: str) -> None:
        """Declare the lease lost, and why; whoever waits in ``lost`` hears of it."""
        self._detail = self._detail or detail
        self._lost.set()

    def error(self) -> LeaseLost:
        """What to raise for it."""
        return LeaseLost(
            task_id=self.lease.task_id, generation=self.lease.generation, detail=self._detail
        )

    async def lost(self) -> NoReturn:
        """Wait until the lease is lost, and raise ``LeaseLost``."""
        await self._lost.wait()
        raise self.error()


class LeaseKeeper:
    """Renews what is held, and declares lost what cannot be renewed in time.

    While the store is away the clock of the leases runs on: a hold that reaches its end is lost
    even though nobody said so, because another worker may have the task then.
    """

    def __init__(self, store: TaskStore, *, lease_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._lease_s = lease_s
        self._clock = clock
        # Not by task: a worker may be given a task anew whose lost lease it has not let go of yet.
        self._holds: set[Hold] = set()

    @contextlib.contextmanager
    def holding(self, lease: Lease) -> Iterator[Hold]:
        """Keep the lease alive inside the block. It is not released at the end."""
        hold = Hold(lease)
        self._holds.add(hold)
        try:
            yield hold
        finally:
            self._holds.discard(hold)

    async def keep(self) -> NoReturn:
        """Renew for ever; cancel it when nothing is held any more."""
        pause_s = renew_every_s = self._lease_s / RENEWALS_PER_LEASE
        while True:
            await asyncio.sleep(pause_s)
            answered = await self.renew()
            pause_s = renew_every_s if answered else renew_every_s / ATTEMPTS_PER_RENEWAL

    async def renew(self) -> bool:
        """Extend all holds once; return whether the store answered.

        Never takes longer than what is left of the lease that ends first.
        """
        holds = [hold for hold in self._holds if not hold.is_lost]
        if not holds:
            return True
        now_s = self._clock()
        left_s = min(hold.lease.expires_at_s for hold in holds) - now_s
        limit_s = min(max(left_s, 0.05), self._lease_s / RENEWALS_PER_LEASE)
        try:
            async with asyncio.timeout(limit_s):
                extended = await self._store.extend(
                    [hold.lease for hold in holds], lease_s=self._lease_s, now_s=now_s
                )
        except (StoreUnavailable, TimeoutError):
            self._expire(holds)
            return False
        by_lease = {(lease.task_id, lease.generation): lease for lease in extended}
        for hold in holds:
            if prolonged := by_lease.get((hold.lease.task_id, hold.lease.generation)):
                hold.lease = prolonged
            else:
                hold.lose("it was reaped")
        return True

    def _expire(self, holds: list[Hold]) -> None:
        now_s = self._clock()
        for hold in holds:
            if hold.lease.expires_at_s <= now_s:
                hold.lose("the task store did not answer until it ran out")


async def run_under_lease(
    work: Callable[[], Awaitable[T]], lost: Callable[[], Awaitable[NoReturn]]
) -> T:
    """Run ``work`` only for as long as ``lost`` keeps waiting.

    When ``lost`` raises, the work is cancelled, and has ended, before this returns. Failures of
    either side arrive as an exception group. A cancel from outside cancels the work.
    """
    async with asyncio.TaskGroup() as pair:
        watch = pair.create_task(_raised(lost), name="lease-watch")
        result = await work()
        watch.cancel()
    return result


async def _raised(lost: Callable[[], Awaitable[NoReturn]]) -> None:
    await lost()

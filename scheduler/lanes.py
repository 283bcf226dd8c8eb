"""One lane of a worker: what it has running, and when it asks for more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scheduler.worker_policy import POLL_MIN_S, idle_pause_s

if TYPE_CHECKING:
    from scheduler.worker_policy import LanePolicy


class Lane:
    """The running tasks of a lane by task and generation, and the pauses while there are none to get."""

    def __init__(self, policy: LanePolicy) -> None:
        self.policy = policy
        self.running: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._pause_s = POLL_MIN_S

    @property
    def free(self) -> int:
        """How many more tasks it may run."""
        return self.policy.slots - len(self.running)

    def wake(self) -> None:
        """There is news: an enqueue, a slot, a drain."""
        self._wake.set()

    def found(self) -> None:
        """The last claim brought something: the next pause is a short one."""
        self._pause_s = POLL_MIN_S

    async def rest(self, *, polls: bool, workers: int) -> None:
        """Wait for news; where the lane ``polls``, not longer than it has learned to pause.

        The pause doubles with each vain claim, up to what a fleet of so many ``workers`` bears.
        """
        if await self.news_within(self._pause_s if polls else None):
            self._pause_s = POLL_MIN_S
        else:
            self._pause_s = min(2 * self._pause_s, idle_pause_s(self.policy, workers))

    async def news_within(self, limit_s: float | None) -> bool:
        """Wait for news up to a limit in seconds; return whether there is."""
        try:
            async with asyncio.timeout(limit_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

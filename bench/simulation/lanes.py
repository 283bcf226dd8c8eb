"""A worker's loop as ``scheduler.worker`` has it: claim for free slots, rest, poll ever more slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scheduler.leases import RENEWALS_PER_LEASE
from scheduler.worker_policy import POLL_MIN_S

if TYPE_CHECKING:
    from bench.simulation.clock import Clock
    from bench.simulation.queue import Queue
    from bench.simulation.scenario import Rules
    from bench.simulation.tasks import Held
    from scheduler.worker_policy import LanePolicy


class Lane:
    """One lane of a ``Worker`` of the product: a pool, some slots, and a keeper of its leases.

    ``start`` gets each lease; whoever runs it calls ``ended`` when its finish has been answered.
    ``on_nothing`` is for the lane that asks whether the job is drained.
    """

    def __init__(
        self,
        clock: Clock,
        queue: Queue,
        rules: Rules,
        *,
        name: str,
        pool: str,
        policy: LanePolicy,
        idle_pause_s: float,
        start: Callable[[Held], None],
        on_nothing: Callable[[], None] | None,
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._rules = rules
        self._name = name
        self._pool = pool
        self._slots = policy.slots
        self._idle_pause_s = idle_pause_s
        self._start = start
        self._on_nothing = on_nothing
        self._pause_s = POLL_MIN_S
        self._nap = 0
        self._is_resting = False
        self._is_woken = False
        self._is_over = False
        self.held: list[Held] = []

    def begin(self) -> None:
        """Start claiming, and renewing."""
        self._claim()
        self._clock.at(self._clock.now_s + self._renew_every_s, self._renew)

    def end(self) -> None:
        """The process is gone: nothing more is asked, and what is held runs out."""
        self._is_over = True
        self._nap += 1

    def ended(self, held: Held) -> None:
        """A run is over and its slot is free."""
        if self._is_over:
            return
        self.held.remove(held)
        self._is_woken = True
        if self._is_resting:
            self._wake(self._nap, was_woken=True)

    @property
    def _renew_every_s(self) -> float:
        return self._rules.lease_s / RENEWALS_PER_LEASE

    def _renew(self) -> None:
        if self._is_over:
            return
        if self.held:
            self._queue.extend(self.held)
        self._clock.at(self._clock.now_s + self._renew_every_s, self._renew)

    def _claim(self) -> None:
        free = self._slots - len(self.held)
        if free <= 0:
            self._rest(None)
            return
        leases, answered_s = self._queue.claim(self._name, self._pool, free)
        if leases:
            self.held.extend(leases)
            self._clock.at(answered_s, self._claimed, leases)
            return
        if not self.held and self._on_nothing is not None:
            # One event for both questions: an idle worker asks whether the job is drained, too.
            answered_s = max(answered_s, self._queue.stats("is-drained"))
            self._on_nothing()
        self._clock.at(answered_s, self._rest, self._pause_s)

    def _claimed(self, leases: list[Held]) -> None:
        if self._is_over:
            return
        for held in leases:
            self._start(held)
        self._pause_s = POLL_MIN_S
        self._claim()

    def _rest(self, limit_s: float | None) -> None:
        if self._is_over:
            return
        self._nap += 1
        self._is_resting = True
        if self._is_woken:
            self._wake(self._nap, was_woken=True)
        elif limit_s is not None:
            self._clock.at(self._clock.now_s + limit_s, self._wake, self._nap)

    def _wake(self, nap: int, was_woken: bool = False) -> None:
        if nap != self._nap or not self._is_resting:
            return
        self._is_resting = False
        if was_woken:
            self._is_woken = False
            self._pause_s = POLL_MIN_S
        else:
            self._pause_s = min(2 * self._pause_s, self._idle_pause_s)
        self._claim()

"""What one process has booked of a shared rate and not spent yet: tokens with turns. Pure.

One large booking stands for many small ones, one after the other: its last token has its turn when
the booking has, the others evenly before it. So a process that asks the store twenty times a second
may still spend as smoothly as one that asks for every token.

Times are those of any one clock that does not step, such as an event loop's.
"""

from __future__ import annotations

import math


class Holding:
    """Tokens in the order of their turns; each may be spent from its turn until ``hold_s`` after.

    ``left`` of them are not spent; ``due_s`` is the turn of the last.
    """

    def __init__(self, *, hold_s: float, forfeit_s: float = math.inf) -> None:
        self.left = 0.0
        self.due_s = 0.0
        self._hold_s = hold_s
        self._forfeit_s = forfeit_s
        self._rate_per_s = 1.0
        self._booked_at_s = 0.0

    def book(self, amount: float, *, due_s: float, rate_per_s: float, now_s: float) -> None:
        """Add tokens that were booked at ``now_s``; the turn of the last is ``due_s``."""
        self.left += amount
        self.due_s = due_s
        self._rate_per_s = rate_per_s
        self._booked_at_s = now_s

    def turn_s(self, amount: float) -> float:
        """When the next ``amount`` tokens, of those left, have all had their turn."""
        return self.due_s - (self.left - amount) / self._rate_per_s

    def ready(self, now_s: float) -> float:
        """How many may be spent now."""
        ahead = max(0.0, self.due_s - now_s) * self._rate_per_s
        return max(0.0, self.left - ahead)

    def spend(self, amount: float) -> None:
        """Take tokens; no more than are left."""
        self.left = max(0.0, self.left - amount)

    def expire(self, now_s: float) -> float:
        """Drop those whose turn was too long ago; return how many of them others may still use.

        Without this a process that pauses would bring a burst of its own along. A turn that came
        before its booking counts from the booking: that is what a bucket had saved up. What was due
        more than ``forfeit_s`` ago is gone for everyone: given back, it would be spent on top of
        what others have booked meanwhile.
        """
        late_s = now_s - self._hold_s
        if late_s <= self._booked_at_s:
            return 0.0
        overdue = self.ready(late_s)
        lost_s = now_s - self._forfeit_s
        forfeited = self.ready(lost_s) if lost_s > self._booked_at_s else 0.0
        self.left -= overdue
        return max(0.0, overdue - forfeited)

    def follow(self, rate_per_s: float, now_s: float) -> float:
        """Adapt to a rate that changed; return by how much amounts of before have shrunk.

        As in the store (``budgets.book``): at a higher rate the same tokens take less time; at a
        lower one the time that was booked stays, and holds fewer tokens.
        """
        before_per_s, self._rate_per_s = self._rate_per_s, rate_per_s
        if rate_per_s > before_per_s:
            ahead_s = max(0.0, self.due_s - now_s)
            self.due_s -= ahead_s * (1.0 - before_per_s / rate_per_s)
            return 1.0
        shrunk = rate_per_s / before_per_s
        self.left *= shrunk
        return shrunk

    def clear(self) -> float:
        """Drop all; return how many."""
        left, self.left = self.left, 0.0
        return left

"""How long a failed task waits. Pure: chance is passed in.

Full jitter, from "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the wait is drawn
evenly from zero to a bound that doubles with each attempt up to a cap. Of the forms compared
there it costs the fewest calls when many clients fail together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.model import Disposition, Retry

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounds of the backoff, in seconds. How many attempts there are is the store's to say."""

    base_s: float = 0.5
    cap_s: float = 60.0

    def backoff_max_s(self, attempt: int) -> float:
        """The longest wait after the given attempt (counted from 1)."""
        # The exponent is bounded: 2 ** 2000 does not fit a float, and the cap rules long before.
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 64))

    def decide(
        self, disposition: Disposition, *, attempt: int, rng: Callable[[], float]
    ) -> Disposition:
        """Add the backoff to a Retry; everything else passes.

        ``rng`` draws from [0, 1). A wait that the task asked for (a server's Retry-After) is kept
        whole and the jitter comes on top, or all who were told the same would return together.
        """
        if not isinstance(disposition, Retry):
            return disposition
        jitter_s = rng() * self.backoff_max_s(attempt)
        return Retry(after_s=disposition.after_s + jitter_s, reason=disposition.reason)

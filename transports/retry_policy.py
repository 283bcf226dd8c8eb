"""How often, and after how long, a failed call is tried again. Pure.

Waits follow the "full jitter" rule of the AWS Architecture Blog ("Exponential Backoff And
Jitter"): a uniformly random part of an exponentially growing cap, so that many workers that fail
together do not come back together. The store's ``Retry-After`` is a floor that no wait goes below.
"""

import random
from dataclasses import dataclass
from typing import Final

from transports.errors import Corrupt, NotFound, Transient, TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long to try.

    ``attempts_max`` counts the first try. ``deadline_s`` runs from the first failure of a call
    without progress. ``patience_s`` takes its place until the store has answered for the first
    time: a mistyped host is to be reported in seconds, an outage in mid-job is to be survived.
    """

    attempts_max: int = 12
    base_s: float = 0.2
    cap_s: float = 20.0
    deadline_s: float = 600.0
    patience_s: float = 8.0
    corrupt_attempts_max: int = 3
    not_found_attempts_max: int = 5

    def wait_s(
        self, error: TransportError, *, failures: int, lies: int, fresh: bool, rng: random.Random
    ) -> float | None:
        """Seconds to wait before the next try, or None where trying again is useless.

        ``failures`` counts the failed tries without progress, ``lies`` those of them that ended in
        ``Corrupt`` or ``NotFound``, both with this one included. ``fresh`` says whether the object
        was written a moment ago.
        """
        if isinstance(error, Transient):
            tried_out = failures >= self.attempts_max
        elif isinstance(error, Corrupt):
            tried_out = lies >= self.corrupt_attempts_max
        else:
            tried_out = not (
                isinstance(error, NotFound) and fresh and lies < self.not_found_attempts_max
            )
        if tried_out:
            return None
        # 2.0 ** 32 is beyond every cap and below every overflow.
        backoff_s = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 32))
        return max(rng.uniform(0.0, backoff_s), error.retry_after_s or 0.0)


DEFAULT_POLICY: Final = RetryPolicy()

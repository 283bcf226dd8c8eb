"""The arithmetic of a shared rate: virtual scheduling, pure.

This is the Generic Cell Rate Algorithm of ITU-T Recommendation I.371 in its virtual scheduling
form: of all that was spent, only the *theoretical arrival time* of the next unit is kept. Booking
an amount moves it by ``amount / rate``; the amount may be spent as soon as that time is no more
than ``burst / rate`` ahead of the clock. So over any span of T seconds no more than
``burst + rate * T`` is ever granted, whoever asks, and nothing has to be refilled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CLOCK_STEP_S = 5.0
"""A clock that reads this much less than at the last booking was set back. Smaller differences
are callers that read the clock and then queued for the store's lock: forgiving those would grant
the difference twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """State of one bucket: next theoretical arrival, and the clock and rate of the last booking."""

    arrival_s: float
    booked_at_s: float
    rate_per_s: float


def check_booking(*, amount: float, rate_per_s: float, burst: float) -> None:
    """Raise ``ValueError`` for a booking that makes no sense."""
    if not (math.isfinite(amount) and burst >= 0 and rate_per_s > 0):
        raise ValueError(f"Cannot book {amount} at {rate_per_s}/s with a burst of {burst}")


def book(
    budget: Budget | None, *, amount: float, rate_per_s: float, burst: float, now_s: float
) -> tuple[Budget, float]:
    """Book ``amount``; return the new state and the seconds to wait before spending it.

    A negative amount gives back what an earlier booking did not use. It moves the arrival back,
    but never to before now: what comes back when the bucket has no debt any more is forfeited, as
    a bucket saves up its burst and no more. Its wait is zero. If the rate was lowered since the
    booking, give back no more than the booked *time* is worth at the new rate.

    Two things are put right first:

    1. The clock was set back. What lay ahead at the last booking still does, and no more: a
       stored time that is further ahead than that is impossible, and is clamped.
    2. The rate was raised. What is booked is an amount, so its time shrinks with the new rate. If
       the rate was lowered the time stays: stretching it would stop everybody until what was
       booked under the old rate, a fraction of a second's worth, is paid for at the new one.
    """
    check_booking(amount=amount, rate_per_s=rate_per_s, burst=burst)
    ahead_s, booked_at_s = 0.0, now_s
    if budget is not None:
        ahead_s = budget.arrival_s - now_s
        if now_s < budget.booked_at_s - CLOCK_STEP_S:
            ahead_s = budget.arrival_s - budget.booked_at_s
        else:
            booked_at_s = max(now_s, budget.booked_at_s)
        ahead_s = max(0.0, ahead_s) * min(1.0, budget.rate_per_s / rate_per_s)
    ahead_s = max(0.0, ahead_s + amount / rate_per_s)
    booked = Budget(arrival_s=now_s + ahead_s, booked_at_s=booked_at_s, rate_per_s=rate_per_s)
    wait_s = 0.0 if amount < 0 else max(0.0, ahead_s - burst / rate_per_s)
    return booked, wait_s

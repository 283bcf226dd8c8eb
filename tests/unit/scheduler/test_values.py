"""Values refuse nonsense; retries and budgets compute what they promise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from scheduler.budgets import CLOCK_STEP_S, Budget, book
from scheduler.errors import LeaseLost, StoreUnavailable
from scheduler.model import Discard, Done, NewGroup, NewTask, Release, Retry
from scheduler.retries import RetryPolicy
from scheduler.worker_policy import WorkerPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.model import Disposition


@pytest.mark.parametrize(
    "make",
    [
        lambda: NewTask(payload=b"", weight=-1),
        lambda: NewGroup(name="g", size=0, then=NewTask(payload=b"")),
        lambda: NewGroup(name="g", size=1, then=NewTask(payload=b"", key="k")),
        lambda: Retry(after_s=-0.1),
        lambda: Retry(after_s=math.nan),
        lambda: WorkerPolicy(slots=0),
        lambda: WorkerPolicy(lease_s=0),
        lambda: WorkerPolicy(idle_poll_s=0.01),
    ],
)
def test_nonsense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make()


def test_errors_carry_facts() -> None:
    lost = LeaseLost(task_id=7, generation=3, detail="it was reaped")
    assert (lost.task_id, lost.generation) == (7, 3)
    assert str(lost) == "Lease on task 7, generation 3, is lost: it was reaped"
    away = StoreUnavailable(location="/q", detail="database is locked")
    assert not away.permanent
    assert str(away) == "Task store /q is unavailable: database is locked"


@pytest.mark.parametrize(
    ("attempt", "bound_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10), (5000, 10)]
)
def test_backoff_doubles_up_to_its_cap(attempt: int, bound_s: float) -> None:
    policy = RetryPolicy(base_s=1, cap_s=10)
    assert policy.backoff_max_s(attempt) == bound_s
    for draw in (0.0, 0.5, 0.999):
        rng = iter([draw]).__next__
        decided = policy.decide(Retry(after_s=3, reason="r"), attempt=attempt, rng=rng)
        assert decided == Retry(after_s=3 + draw * bound_s, reason="r")


@pytest.mark.parametrize("disposition", [Done(), Release(), Discard(reason="x")])
def test_only_a_retry_is_delayed(disposition: Disposition) -> None:
    assert RetryPolicy().decide(disposition, attempt=9, rng=lambda: 0.5) is disposition


@pytest.mark.parametrize(
    ("ahead_s", "amount", "burst", "wait_s", "ahead_after_s"),
    [
        # rate 10/s
        (None, 10, 0, 1.0, 1.0),
        (None, 10, 10, 0.0, 1.0),
        (None, 30, 10, 2.0, 3.0),
        (2.0, 0, 0, 2.0, 2.0),
        (2.0, 10, 10, 2.0, 3.0),
        (0.5, 5, 10, 0.0, 1.0),
        (-50.0, 10, 10, 0.0, 1.0),  # what was not used in 50 s is not saved up
    ],
)
def test_book(
    ahead_s: float | None, amount: float, burst: float, wait_s: float, ahead_after_s: float
) -> None:
    now_s = 1000.0
    kept = None
    if ahead_s is not None:
        kept = Budget(arrival_s=now_s + ahead_s, booked_at_s=now_s, rate_per_s=10)
    after, wait = book(kept, amount=amount, rate_per_s=10, burst=burst, now_s=now_s)
    assert wait == pytest.approx(wait_s)
    assert after.arrival_s - now_s == pytest.approx(ahead_after_s)


def test_a_clock_set_back_is_told_from_a_caller_that_queued() -> None:
    kept = Budget(arrival_s=1001.0, booked_at_s=1000.0, rate_per_s=10)
    late, late_wait_s = book(kept, amount=0, rate_per_s=10, burst=0, now_s=1000.0 - CLOCK_STEP_S)
    assert late_wait_s == pytest.approx(1 + CLOCK_STEP_S)
    assert (late.arrival_s, late.booked_at_s) == (1001.0, 1000.0)
    back, back_wait_s = book(kept, amount=0, rate_per_s=10, burst=0, now_s=900.0)
    assert back_wait_s == pytest.approx(1)
    assert (back.arrival_s, back.booked_at_s) == (901.0, 900.0)


@pytest.mark.parametrize(
    ("amount", "rate_per_s", "burst"),
    [(-math.inf, 1, 1), (1, 0, 1), (1, -1, 1), (1, 1, -1), (math.nan, 1, 1), (1, math.nan, 1)],
)
def test_impossible_bookings_are_refused(amount: float, rate_per_s: float, burst: float) -> None:
    with pytest.raises(ValueError, match="Cannot book"):
        book(None, amount=amount, rate_per_s=rate_per_s, burst=burst, now_s=0)

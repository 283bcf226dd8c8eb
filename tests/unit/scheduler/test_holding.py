"""Tokens in hand: when each has its turn, and what becomes of those that are not spent."""

from __future__ import annotations

import pytest

from scheduler.holding import Holding


def booked(amount: float = 10, *, due_s: float = 2.0, now_s: float = 1.0) -> Holding:
    """Ten tokens a second; the last of them has its turn at ``due_s``."""
    holding = Holding(hold_s=0.2)
    holding.book(amount, due_s=due_s, rate_per_s=10, now_s=now_s)
    return holding


@pytest.mark.parametrize(("now_s", "ready"), [(0.5, 0), (1.0, 0), (1.5, 5), (2.0, 10), (9.0, 10)])
def test_turns_come_evenly_until_the_last(now_s: float, ready: float) -> None:
    assert booked().ready(now_s) == pytest.approx(ready)


@pytest.mark.parametrize(("amount", "turn_s"), [(0, 1.0), (1, 1.1), (10, 2.0)])
def test_the_turn_of_the_next_ones(amount: float, turn_s: float) -> None:
    assert booked().turn_s(amount) == pytest.approx(turn_s)


def test_what_is_spent_is_taken_from_the_front() -> None:
    holding = booked()
    holding.spend(4)
    assert holding.turn_s(1) == pytest.approx(1.5)
    holding.spend(100)
    assert holding.left == 0


@pytest.mark.parametrize(
    ("now_s", "expired"), [(1.0, 0), (1.2, 0), (1.5, 3), (2.0, 8), (2.2, 10), (9.0, 10)]
)
def test_a_token_expires_a_while_after_its_turn(now_s: float, expired: float) -> None:
    holding = booked()
    assert holding.expire(now_s) == pytest.approx(expired)
    assert holding.left == pytest.approx(10 - expired)
    assert holding.expire(now_s) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("now_s", "returned"), [(1.2, 0), (1.5, 3), (1.6, 4), (2.0, 4), (2.2, 4), (2.4, 2), (9.0, 0)]
)
def test_what_was_due_long_ago_is_lost_to_everyone(now_s: float, returned: float) -> None:
    holding = Holding(hold_s=0.2, forfeit_s=0.6)
    holding.book(10, due_s=2.0, rate_per_s=10, now_s=1.0)
    expired = booked().expire(now_s)
    assert holding.expire(now_s) == pytest.approx(returned)
    assert holding.left == pytest.approx(10 - expired)


def test_what_a_bucket_had_saved_up_counts_from_its_booking() -> None:
    holding = booked(due_s=1.0, now_s=1.0)  # granted at once: the turns were before
    assert holding.ready(1.0) == 10
    assert holding.expire(1.2) == 0
    assert holding.expire(1.25) == 10


def test_a_higher_rate_brings_the_same_tokens_nearer() -> None:
    holding = booked()
    assert holding.follow(20, 1.0) == 1
    assert holding.left == 10
    assert holding.due_s == pytest.approx(1.5)
    assert holding.ready(1.25) == pytest.approx(5)


def test_a_lower_rate_leaves_the_time_and_fewer_tokens() -> None:
    holding = booked()
    assert holding.follow(5, 1.0) == 0.5
    assert (holding.left, holding.due_s) == (5, 2.0)
    assert holding.ready(1.5) == pytest.approx(2.5)
    assert holding.clear() == 5
    assert holding.left == 0

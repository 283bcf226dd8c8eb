"""Shared rates: the arithmetic under any schedule, and whole fleets in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.budgets import Budget, book
from scheduler.testing import run_virtually
from tests.property.fleets import WALL_S, WINDOW_S, Fleet

if TYPE_CHECKING:
    from scheduler.quota import Quota


@given(
    gaps_s=st.lists(st.floats(0, 3), min_size=1, max_size=40),
    amounts=st.lists(st.floats(0, 30), min_size=40, max_size=40),
    burst=st.floats(0, 20),
)
def test_no_schedule_of_bookings_beats_the_rate(
    gaps_s: list[float], amounts: list[float], burst: float
) -> None:
    rate_per_s, now_s = 10.0, WALL_S
    budget: Budget | None = None
    granted: list[tuple[float, float]] = []
    for gap_s, amount in zip(gaps_s, amounts, strict=False):
        now_s += gap_s
        budget, wait_s = book(
            budget, amount=amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )
        granted.append((now_s + wait_s, amount))
    # Wall clock seconds as floats are good to a quarter of a microsecond.
    assert all(late[0] >= early[0] - 1e-5 for early, late in pairwise(granted))
    # From any grant to any later one: no more than burst + rate * time in between. A grant
    # larger than the burst is paid for before it, hence the first one is not in the span.
    for first in range(len(granted)):
        spent = 0.0
        for at_s, amount in granted[first + 1 :]:
            spent += amount
            assert spent <= burst + rate_per_s * (at_s - granted[first][0]) + 1e-4


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 30), st.floats(0, 1)), min_size=1, max_size=40
    ),
    burst=st.floats(0, 20),
)
def test_what_is_given_back_is_granted_again_and_no_more(
    steps: list[tuple[float, float, float]], burst: float
) -> None:
    """Each step books an amount and gives a part of it back; only what was kept counts."""
    rate_per_s, now_s = 10.0, WALL_S
    budget: Budget | None = None
    changes: list[tuple[float, float]] = []
    for gap_s, amount, unused in steps:
        now_s += gap_s
        budget, wait_s = book(
            budget, amount=amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )
        now_s += wait_s
        changes.append((now_s, amount))
        budget, none_s = book(
            budget, amount=-amount * unused, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )
        assert none_s == pytest.approx(0, abs=1e-5)
        assert budget.arrival_s >= now_s
        changes.append((now_s, -amount * unused))
    for first in range(0, len(changes), 2):
        net = 0.0
        for at_s, amount in changes[first + 2 :]:
            net += amount
            assert net <= burst + rate_per_s * (at_s - changes[first][0]) + 1e-3


def test_a_gift_shortens_the_wait_of_who_comes_later() -> None:
    budget, _ = book(None, amount=100, rate_per_s=10, burst=0, now_s=WALL_S)
    budget, _ = book(budget, amount=-40, rate_per_s=10, burst=0, now_s=WALL_S)
    budget, wait_s = book(budget, amount=10, rate_per_s=10, burst=0, now_s=WALL_S)
    assert wait_s == pytest.approx(7)
    # Late: the debt is paid, and nothing is saved up beyond the burst.
    budget, _ = book(budget, amount=-70, rate_per_s=10, burst=5, now_s=WALL_S + 7)
    budget, wait_s = book(budget, amount=10, rate_per_s=10, burst=5, now_s=WALL_S + 7)
    assert wait_s == pytest.approx(0.5)


@given(steps_s=st.lists(st.floats(-100_000, 100_000), max_size=20), burst=st.floats(0, 10))
def test_no_step_of_the_clock_makes_a_wait_longer_than_what_is_booked(
    steps_s: list[float], burst: float
) -> None:
    now_s, booked, budget = WALL_S, 0.0, None
    for step_s in steps_s:
        now_s += step_s
        booked += 10
        budget, wait_s = book(budget, amount=10, rate_per_s=10, burst=burst, now_s=now_s)
        # Up to five seconds back are taken for a caller that queued, so they are waited out.
        assert wait_s <= booked / 10 + 5 * len(steps_s) + 1e-3


@settings(max_examples=6, deadline=None)
@given(
    stays=st.lists(st.tuples(st.floats(0, 6), st.floats(6.5, 14)), min_size=0, max_size=7),
    rate_per_s=st.sampled_from([300.0, 1_000.0, 1e6, 2e9]),
    seed=st.integers(0, 1000),
)
def test_a_fleet_keeps_within_three_percent_over_any_five_seconds(
    stays: list[tuple[float, float]], rate_per_s: float, seed: int
) -> None:
    fleet = Fleet(rate_per_s, seed=seed)
    end_s = 14.0

    def take() -> float:
        return max(1.0, rate_per_s * 0.006 * fleet.chance.random())

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            # One process is there all the time, so that there is always demand.
            for number, (join_s, leave_s) in enumerate([(0.0, end_s), *stays]):
                crew.create_task(
                    fleet.process(join_s, leave_s, take=take), name=f"process-{number}"
                )

    run_virtually(main)
    budget = rate_per_s * WINDOW_S
    windows = fleet.windows(0.5, end_s)
    assert max(windows) <= budget * 1.03
    assert min(windows) >= budget * 0.97
    assert max(fleet.windows(0, end_s, 0.05)) <= rate_per_s  # no burst near a second of budget
    processes = 1 + len(stays)
    assert fleet.store.bookings <= 25 * end_s * processes


@pytest.mark.parametrize("late", [1, 3, 7])
def test_who_comes_late_gets_an_equal_share(late: int) -> None:
    fleet = Fleet(10_000)
    shares: dict[int, float] = {}

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(1 + late):
                crew.create_task(spend(number, 2.0 if number else 0.0), name=f"process-{number}")

    async def spend(number: int, start_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_s)
        quota = fleet.quota()
        while loop.time() < 14:
            await quota.take(10)
            if loop.time() > 7:
                shares[number] = shares.get(number, 0) + 10

    run_virtually(main)
    assert len(shares) == 1 + late
    fair = sum(shares.values()) / len(shares)
    assert fair * 0.7 < min(shares.values()) <= max(shares.values()) < fair * 1.3


def test_turns_of_demand_do_not_add_up_to_a_burst() -> None:
    """Eight processes are busy one after the other, then all at once."""
    fleet = Fleet(10_000)

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(8):
                quota = fleet.quota()
                crew.create_task(turns(quota, number), name=f"process-{number}")

    async def turns(quota: Quota, number: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(number * 0.5)
        busy_until_s = loop.time() + 0.5
        while loop.time() < 12:
            if busy_until_s < loop.time() < 5:
                await asyncio.sleep(5 - loop.time())
            await quota.take(10)
            fleet.spent.append((loop.time(), 10))

    run_virtually(main)
    assert max(fleet.windows(0, 12)) <= 10_000 * WINDOW_S * 1.03
    assert max(fleet.windows(4, 7, 0.5)) <= 10_000 * 0.5 + 10_000 * 0.15


@pytest.mark.parametrize(("before", "after"), [(2e7, 1e6), (1e6, 2e7), (5e4, 1e3)])
def test_a_new_rate_is_felt_within_two_seconds(before: float, after: float) -> None:
    fleet = Fleet(before)
    piece = min(before, after) / 100

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(3):
                crew.create_task(fleet.process(0, 8, take=lambda: piece), name=f"process-{number}")
            await asyncio.sleep(3)
            fleet.rate = after

    run_virtually(main)
    early = sum(amount for at_s, amount in fleet.spent if 1 <= at_s < 3)
    late = sum(amount for at_s, amount in fleet.spent if 3.5 <= at_s < 7.5)
    assert early == pytest.approx(2 * before, rel=0.05)
    assert late == pytest.approx(4 * after, rel=0.03)


def test_a_limit_that_is_lifted_lets_all_pass() -> None:
    fleet = Fleet(1)

    async def main() -> float:
        async with asyncio.TaskGroup() as crew:
            for number in range(3):
                crew.create_task(fleet.quota().take(1e9), name=f"take-{number}")
            await asyncio.sleep(1)
            fleet.rate = None
        return asyncio.get_running_loop().time()

    assert run_virtually(main) < 1 + 2


def test_a_long_wait_ends_early_when_the_rate_is_raised() -> None:
    fleet = Fleet(0.1)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as crew:
            for number in range(4):
                crew.create_task(fleet.quota().take(1), name=f"take-{number}")
            await asyncio.sleep(3)
            fleet.rate = 1000
        return loop.time()

    assert run_virtually(main) < 3 + 2


def test_a_store_that_is_away_stops_the_spending_and_no_burst_follows() -> None:
    fleet = Fleet(1000)

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(3):
                crew.create_task(fleet.process(0, 20, take=lambda: 2), name=f"process-{number}")
            await asyncio.sleep(5)
            fleet.store.is_away = True
            await asyncio.sleep(5)
            fleet.store.is_away = False

    run_virtually(main)
    assert sum(amount for at_s, amount in fleet.spent if 5 <= at_s < 10) <= 1000 * 0.2
    assert sum(amount for at_s, amount in fleet.spent if 14 <= at_s < 19) >= 5000 * 0.97
    assert max(fleet.windows(9, 20, 1.0)) <= 1000 * 1.2


def test_no_limit_asks_nobody() -> None:
    fleet = Fleet(None)

    async def main() -> float:
        quota = fleet.quota()
        for _ in range(1000):
            assert quota.take_now(1e12)
            await quota.take(1e12)
        return asyncio.get_running_loop().time()

    assert run_virtually(main) == 0
    assert fleet.store.bookings == 0


def test_takers_are_served_in_turn_and_none_overtakes() -> None:
    fleet = Fleet(100)
    order: list[int] = []

    async def main() -> None:
        quota = fleet.quota()

        async def taker(number: int) -> None:
            await quota.take(30 if number == 0 else 1)
            order.append(number)

        async with asyncio.TaskGroup() as crew:
            for number in range(10):
                crew.create_task(taker(number), name=f"taker-{number}")
            await asyncio.sleep(0.01)
            assert not quota.take_now(0.001)

    run_virtually(main)
    assert order == list(range(10))


def test_a_large_take_waits_for_all_of_it() -> None:
    fleet = Fleet(100)
    ends: list[float] = []

    async def main() -> None:
        quota = fleet.quota()
        for _ in range(3):
            await quota.take(500)
            ends.append(asyncio.get_running_loop().time())

    run_virtually(main)
    assert ends[0] == pytest.approx(5, abs=0.1)
    assert [late - early for early, late in pairwise(ends)] == pytest.approx([5, 5], abs=0.1)

"""How well fleets of workers that come and go keep a rate, in virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from scheduler.testing import run_virtually
from tests.property.fleets import WALL_S, Fleet

if TYPE_CHECKING:
    from scheduler.quota import Quota

RATE_PER_S = 50e6
END_S = 25.0


def stays(processes: int, chance: random.Random) -> list[tuple[float, float]]:
    """One process stays, so that there is always demand; the others come and go."""
    found = [(0.0, END_S)]
    for _ in range(processes - 1):
        join_s = chance.uniform(0, 5)
        while join_s < END_S:
            leave_s = min(END_S, join_s + chance.uniform(0.5, 10))
            found.append((join_s, leave_s))
            join_s = leave_s + chance.uniform(0.1, 3)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("stalls", [False, True], ids=["smooth", "stalls"])
@pytest.mark.parametrize("processes", [1, 3, 8])
def test_a_fleet_that_comes_and_goes_holds_its_rate(processes: int, stalls: bool) -> None:
    fleet = Fleet(RATE_PER_S, seed=processes)
    fleet.stalls = stalls
    visits = stays(processes, fleet.chance)

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number, (join_s, leave_s) in enumerate(visits):
                crew.create_task(fleet.process(join_s, leave_s), name=f"process-{number}")

    run_virtually(main)
    tens = [spent / (10 * RATE_PER_S) for spent in fleet.windows(0.5, END_S, 10.0)]
    ones = [spent / RATE_PER_S for spent in fleet.windows(0.0, END_S, 1.0)]
    assert min(tens) >= 0.98
    assert max(tens) <= 1.02
    assert max(ones) <= 1.05
    present_s = sum(leave_s - join_s for join_s, leave_s in visits)
    assert fleet.store.bookings <= 25 * present_s


def test_who_pauses_with_tokens_in_hand_brings_no_burst_along() -> None:
    """Both stop in the middle of a slice, the bucket saves up, and both go on."""
    fleet = Fleet(RATE_PER_S)
    ones: list[float] = []

    async def worker(quota: Quota) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < 8:
            pause_s = fleet.chance.choice([0.0] * 50 + [0.02, 0.06, 0.3, 2.0])
            await asyncio.sleep(pause_s)
            amount = max(65_536.0, quota.piece or 0.0)
            await quota.take(amount)
            fleet.spent.append((loop.time(), amount))

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(2):
                crew.create_task(worker(fleet.quota(unit=16_384)), name=f"worker-{number}")

    run_virtually(main)
    ones = [spent / RATE_PER_S for spent in fleet.windows(0.0, 8.0, 1.0)]
    assert max(ones) <= 1.05


def test_what_a_worker_leaves_unused_is_there_for_the_others() -> None:
    """Seven want all they can get; the eighth takes a little now and then, and wastes nothing."""
    fleet = Fleet(RATE_PER_S)

    async def seldom() -> None:
        quota = fleet.quota(unit=500_000)
        for _ in range(100):
            await quota.take(1000)
            fleet.spent.append((asyncio.get_running_loop().time(), 1000))
            await asyncio.sleep(0.1)

    async def main() -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(7):
                crew.create_task(fleet.process(0.0, 11.0), name=f"process-{number}")
            crew.create_task(seldom(), name="seldom")

    run_virtually(main)
    # Forfeited, 100 bookings of 500 kB would be 10 % of these ten seconds.
    assert (
        sum(amount for at_s, amount in fleet.spent if 0.5 <= at_s < 10.5) >= 10 * RATE_PER_S * 0.99
    )


def test_closing_and_cancelling_give_back_what_was_not_used() -> None:
    fleet = Fleet(1000)

    async def main() -> tuple[float, float]:
        async with asyncio.TaskGroup() as crew:
            quota = fleet.quota(unit=200)
            taker = crew.create_task(quota.take(500), name="taker")
            await asyncio.sleep(0.15)
            taker.cancel()
        before_s = await debt_s()
        await quota.aclose()
        await quota.aclose()
        return before_s, await debt_s()

    async def debt_s() -> float:
        now_s = WALL_S + asyncio.get_running_loop().time()
        return await fleet.store.reserve("bytes", 0, rate_per_s=1000, burst=0, now_s=now_s)

    before_s, after_s = run_virtually(main)
    assert before_s == pytest.approx(0.05, abs=0.01)
    assert after_s == 0


def test_a_lowered_rate_gives_back_time_and_not_amounts() -> None:
    """Tokens of a high rate are worth less time than as many of a low one."""
    fleet = Fleet(1000)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        quota = fleet.quota(unit=400)
        await quota.take(1)  # 400 tokens: 0.4 s are booked
        await fleet.quota(unit=600).take(1)  # 0.6 s more, by another
        fleet.rate = 10
        await quota.aclose()
        now_s = WALL_S + loop.time()
        return (
            await fleet.store.reserve("bytes", 0, rate_per_s=10, burst=0, now_s=now_s) + loop.time()
        )

    # The other's bookings stand: one second in all, of which at most 0.4 s may have come back.
    assert run_virtually(main) >= 0.6

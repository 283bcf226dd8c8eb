from collections.abc import Callable

import pytest

from mover.prewarm.climbing import Climber


def settle(climber: Climber, rate: Callable[[int], float], *, windows: int = 60) -> list[int]:
    """The readers in each window of a source that gives ``rate`` to so many."""
    seen = []
    for _ in range(windows):
        seen.append(climber.readers)
        climber.measured(rate(climber.readers))
    return seen


@pytest.mark.parametrize(
    ("knee", "low", "high"), [(1, 1, 2), (8, 7, 14), (30, 25, 46), (64, 46, 64), (500, 46, 64)]
)
def test_it_climbs_to_where_more_readers_bring_nothing(knee: int, low: int, high: int) -> None:
    climber = Climber(start=4, most=64)
    seen = settle(climber, lambda readers: 10.0 * min(readers, knee))
    # It rests there for most of the time, and tries its neighbours now and then.
    late = sorted(seen[20:])
    assert low <= late[len(late) // 2] <= high
    assert all(1 <= each <= 64 for each in seen)


def test_it_gives_back_readers_that_bring_nothing() -> None:
    climber = Climber(start=48, most=64)
    assert settle(climber, lambda _: 100.0, windows=120)[-1] < 10


def test_it_goes_back_where_more_readers_harm() -> None:
    climber = Climber(start=8, most=64)
    seen = settle(climber, lambda readers: 1000.0 / readers, windows=120)
    assert seen[-1] <= 2


def test_it_stays_above_the_least() -> None:
    climber = Climber(start=50, most=128, least=32)
    assert min(settle(climber, lambda _: 100.0, windows=120)) == 32


def test_nothing_read_at_all_moves_nothing_far() -> None:
    climber = Climber(start=4, most=64)
    assert all(1 <= each <= 64 for each in settle(climber, lambda _: 0.0))

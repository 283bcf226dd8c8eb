import pytest

from mover.prewarm.timing import verdict


@pytest.mark.parametrize(
    ("first_s", "times_s", "slow"),
    [
        (0.020, [0.001, 0.001, 0.002, 0.019], [False, False, False, True]),
        (0.020, [0.001], [False]),
        # Not apart, nothing known, nothing sampled: nothing is said.
        (0.002, [0.001, 0.001], None),
        (0.0, [0.001], None),
        (0.020, [], None),
        (0.020, [0.019, 0.021, 0.020], None),
    ],
)
def test_only_times_that_lie_apart_say_something(
    first_s: float, times_s: list[float], slow: list[bool] | None
) -> None:
    assert verdict(first_s, times_s) == slow

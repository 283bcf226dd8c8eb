"""What is said of a limit comes from every window of what flowed."""

from __future__ import annotations

import pytest

from bench.fleet_rate import SETTLE_S, ratios
from bench.flow_meter import BIN_S, Meter

RATE_PER_S = 1000


def _flow(seconds: float, burst_at_s: float | None = None) -> Meter:
    meter = Meter()
    for place in range(round(seconds / BIN_S)):
        meter.record((place + 0.5) * BIN_S, round(RATE_PER_S * BIN_S))
        if burst_at_s is not None and place == round(burst_at_s / BIN_S):
            meter.record((place + 0.5) * BIN_S, RATE_PER_S // 10)
    return meter


def test_an_even_flow_holds_its_rate() -> None:
    assert ratios(_flow(20), RATE_PER_S, window_s=10.0) == pytest.approx((1.0, 1.0))


def test_a_burst_shows_in_the_windows_that_hold_it() -> None:
    meter = _flow(20, burst_at_s=15)
    assert ratios(meter, RATE_PER_S, window_s=1.0) == pytest.approx((1.0, 1.1))
    assert ratios(meter, RATE_PER_S, window_s=10.0) == pytest.approx((1.0, 1.01))


def test_the_first_seconds_do_not_count_and_too_few_are_refused() -> None:
    assert ratios(_flow(20, burst_at_s=1), RATE_PER_S, window_s=1.0)[1] == pytest.approx(1.0)
    with pytest.raises(RuntimeError, match="too little"):
        ratios(_flow(10 + SETTLE_S - 1), RATE_PER_S, window_s=10.0)

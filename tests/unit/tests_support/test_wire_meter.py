"""The arithmetic by which a throttle is judged."""

from __future__ import annotations

import pytest

from bench.flow_meter import BIN_S, Meter


def steady(meter: Meter, *, rate_bytes_per_s: float, start_s: float, seconds: float) -> None:
    for step in range(round(seconds / BIN_S)):
        meter.record(start_s + (step + 0.5) * BIN_S, round(rate_bytes_per_s * BIN_S))


def test_a_steady_flow_has_its_rate_in_every_window() -> None:
    meter = Meter()
    steady(meter, rate_bytes_per_s=1_000_000, start_s=100.0, seconds=12)
    rates = meter.window_rates(5.0)
    assert len(rates) == 701
    assert min(rates) == pytest.approx(1_000_000)
    assert max(rates) == pytest.approx(1_000_000)
    assert meter.total_bytes == 12_000_000


def test_a_slow_second_shows_in_the_windows_that_hold_it() -> None:
    meter = Meter()
    steady(meter, rate_bytes_per_s=1_000_000, start_s=0.0, seconds=6)
    steady(meter, rate_bytes_per_s=500_000, start_s=6.0, seconds=1)
    steady(meter, rate_bytes_per_s=1_000_000, start_s=7.0, seconds=6)
    rates = meter.window_rates(5.0)
    assert min(rates) == pytest.approx(900_000)
    assert max(rates) == pytest.approx(1_000_000)


def test_the_beginning_can_be_left_out() -> None:
    meter = Meter()
    meter.record(0.0, 10_000_000)
    steady(meter, rate_bytes_per_s=1_000_000, start_s=1.0, seconds=6)
    assert max(meter.window_rates(5.0)) > 2_000_000
    assert max(meter.window_rates(5.0, skip_s=1.0)) == pytest.approx(1_000_000)


def test_a_stretch_has_a_rate_of_its_own() -> None:
    meter = Meter()
    steady(meter, rate_bytes_per_s=1_000_000, start_s=50.0, seconds=2)
    steady(meter, rate_bytes_per_s=250_000, start_s=52.0, seconds=2)
    assert meter.rate_between(50.0, 52.0) == pytest.approx(1_000_000)
    assert meter.rate_between(51.0, 53.0) == pytest.approx(625_000)
    assert meter.rate_between(54.0, 56.0) == 0.0


@pytest.mark.parametrize(
    ("bursts", "expected"),
    [
        pytest.param([(0.0, 10_000)], 10_000, id="alone it is itself"),
        pytest.param([(0.0, 300_000), (0.1, 300_000)], 500_000, id="two add up less the drain"),
        pytest.param([(0.0, 300_000), (5.0, 300_000)], 300_000, id="far apart they do not"),
    ],
)
def test_burst_is_the_depth_of_bucket_that_the_traffic_needs(
    bursts: list[tuple[float, int]], expected: int
) -> None:
    meter = Meter()
    for at_s, size_bytes in bursts:
        meter.record(at_s + BIN_S / 2, size_bytes)
    assert meter.burst_bytes(1_000_000) == pytest.approx(expected, rel=0.03)


def test_a_short_record_has_no_window() -> None:
    meter = Meter()
    assert meter.window_rates(5.0) == []
    assert meter.bins() == []
    steady(meter, rate_bytes_per_s=1_000_000, start_s=0.0, seconds=1)
    assert meter.window_rates(5.0) == []

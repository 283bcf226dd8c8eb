"""Estimates stay within their samples, whatever came, and in whatever order it is put together."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mover.measuring import Estimate, Gauge, Measured, Way

Sizes = st.integers(1, 1 << 40)
Seconds = st.floats(1e-6, 1e6)
Pauses = st.floats(0, 1e5)


@given(st.lists(st.tuples(Sizes, Seconds, Pauses), min_size=1, max_size=60))
def test_an_estimate_is_bounded_by_its_samples(samples: list[tuple[int, float, float]]) -> None:
    at_s = itertools.accumulate(pause for _, _, pause in samples)
    gauge = Gauge(lambda: next(at_s))
    for size_bytes, seconds, _ in samples:
        gauge.note(Way.OUT, size_bytes, seconds)
    rates = [size_bytes / seconds for size_bytes, seconds, _ in samples]
    estimate = gauge.estimates()[Way.OUT.value]
    assert min(rates) <= estimate.rate <= max(rates)
    assert estimate.weight > 0


@given(
    st.lists(st.tuples(st.floats(1, 1e12), st.floats(1, 1e15)), min_size=1, max_size=9),
    st.randoms(use_true_random=False),
)
def test_workers_heard_in_any_order_agree(told: list[tuple[float, float]], random: object) -> None:
    estimates = [[Estimate(*each)] for each in told]
    measured = Measured.of(estimates)
    assert measured == Measured.of(reversed(estimates))
    rates = [rate for rate, _ in told]
    assert measured.out is not None
    assert min(rates) <= measured.out <= max(rates)


@given(st.floats(1, 1e12), st.floats(1, 1e12), st.integers(3, 30))
def test_one_sample_among_many_alike_changes_nothing(rate: float, other: float, count: int) -> None:
    gauge = Gauge(lambda: 0.0)
    gauge.note(Way.OUT, 1 << 20, (1 << 20) / other)
    for _ in range(count):
        gauge.note(Way.OUT, 1 << 20, (1 << 20) / rate)
    assert abs(gauge.estimates()[Way.OUT.value].rate - rate) <= rate * 1e-9

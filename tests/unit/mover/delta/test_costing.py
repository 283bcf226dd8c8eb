"""When a delta is worth it: the worked example, who wins where, and when a scan gives up."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.delta.costing import (
    Job,
    Prices,
    Rates,
    Way,
    choose,
    delta_cost,
    full_cost,
    gives_up,
    join_gap_bytes,
)
from mover.delta.optimising import Optimise

MIB = 1024 * 1024
GB = 10**9
MBIT = 10**6 / 8
PRICES = Prices()
FREE_LINK = Prices(link_per_gb=0.0)


def job(size: int = 100 * GB, changed: float = 0.01, *, sidecar: bool = False) -> Job:
    return Job(size_bytes=size, basis_bytes=size, changed=changed, sidecar=sidecar)


def test_the_worked_example() -> None:
    """100 GB of which 1 % changed: about USD 2.03 in full, about 0.08 or less by delta."""
    rates = Rates(link=100 * MBIT)
    full, delta = full_cost(job(), rates, PRICES), delta_cost(job(), rates, PRICES)
    assert full.money == pytest.approx(2.03, abs=0.01)
    assert full.link_bytes == 100 * GB
    assert 0.02 < delta.money < 0.08
    assert full.time_s == pytest.approx(8_000, rel=0.01)
    assert delta.time_s < full.time_s / 10


@pytest.mark.parametrize(
    ("changed", "link", "optimise", "expected"),
    [
        (0.01, 100 * MBIT, Optimise.TIME, Way.DELTA),
        (0.01, 10_000 * MBIT, Optimise.TIME, Way.FULL),
        (0.01, 10_000 * MBIT, Optimise.COST, Way.DELTA),
        (0.5, 100 * MBIT, Optimise.TIME, Way.DELTA),
        (1.0, 100 * MBIT, Optimise.TIME, Way.FULL),
        (0.9, 100 * MBIT, Optimise.COST, Way.DELTA),
        (0.99, 100 * MBIT, Optimise.COST, Way.FULL),
        (1.0, 100 * MBIT, Optimise.COST, Way.FULL),
    ],
)
def test_which_way(changed: float, link: float, optimise: Optimise, expected: Way) -> None:
    assert choose(job(changed=changed), Rates(link=link), PRICES, optimise=optimise) is expected


def test_a_sidecar_pays_where_signing_does_not() -> None:
    rates = Rates(link=350e6)
    assert choose(job(10 * GB), rates) is Way.FULL
    assert choose(job(10 * GB, sidecar=True), rates) is Way.DELTA


def test_where_the_link_costs_nothing_only_time_counts() -> None:
    rates = Rates(link=100 * MBIT)
    assert choose(job(), rates, FREE_LINK, optimise=Optimise.TIME) is Way.DELTA
    many = dataclasses.replace(job(1 * GB), ranges=5_000)
    assert choose(many, rates, FREE_LINK, optimise=Optimise.COST) is Way.FULL


@pytest.mark.parametrize(("size", "basis"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_is_copied_in_full(size: int, basis: int) -> None:
    empty = Job(size_bytes=size, basis_bytes=basis, changed=0.0)
    assert choose(empty, Rates(link=1e6), optimise=Optimise.COST) is Way.FULL


def test_what_was_appended_is_sent_whatever_was_expected() -> None:
    grown = Job(size_bytes=110 * MIB, basis_bytes=100 * MIB, changed=0.0)
    assert grown.literal_bytes == 10 * MIB


@given(st.integers(1, 10**13), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_more_changes_are_more_bytes(size: int, one: float, other: float, sidecar: bool) -> None:
    less, more = (
        delta_cost(job(size, changed, sidecar=sidecar), Rates(link=1e7), PRICES)
        for changed in sorted((one, other))
    )
    assert less.link_bytes <= more.link_bytes


@given(st.integers(1, 10**13), st.floats(1e5, 1e10), st.booleans(), st.sampled_from(Optimise))
def test_what_changed_wholly_is_copied_in_full(
    size: int, link: float, sidecar: bool, optimise: Optimise
) -> None:
    other = job(size, 1.0, sidecar=sidecar)
    assert choose(other, Rates(link=link), PRICES, optimise=optimise) is Way.FULL


@pytest.mark.parametrize(
    ("scanned", "matched", "size", "expected"),
    [
        (64 * MIB - 1, 0, 1_000 * MIB, False),
        (64 * MIB, 0, 1_000 * MIB, True),
        (64 * MIB, 64 * MIB // 200 + 1, 1_000 * MIB, False),
        (64 * MIB, 0, 100_000 * MIB, False),
        (1_000 * MIB, 0, 100_000 * MIB, True),
        (50 * MIB, 0, 50 * MIB, False),
        (0, 0, 0, False),
    ],
)
def test_when_a_scan_gives_up(scanned: int, matched: int, size: int, expected: bool) -> None:
    assert gives_up(scanned_bytes=scanned, matched_bytes=matched, size_bytes=size) is expected


def test_holes_that_are_cheaper_sent() -> None:
    rates = Rates(link=100 * MBIT, rtt_s=0.06)
    gap = join_gap_bytes(rates, PRICES, connections=16, optimise=Optimise.COST)
    assert gap == 20_000
    assert join_gap_bytes(rates, PRICES, connections=10, optimise=Optimise.TIME) == 75_000
    free = join_gap_bytes(rates, FREE_LINK, connections=10, optimise=Optimise.COST)
    assert free > 1 << 60


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rates(link=0), "more than nothing"),
        (lambda: Rates(link=1, cores=0), "more than nothing"),
        (lambda: Job(size_bytes=1, basis_bytes=1, changed=1.1), "no share"),
        (lambda: Job(size_bytes=-1, basis_bytes=1, changed=0.1), "not negative"),
        (lambda: dataclasses.replace(job(), block_bytes=0), "not negative"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()

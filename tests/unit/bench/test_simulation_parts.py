"""The parts of the simulation: time, chance, keys, the server, processor sharing, the tables."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulation import tables
from bench.simulation.chance import LogNormal, Sizes, speeds
from bench.simulation.clock import Clock
from bench.simulation.fleet import simulate
from bench.simulation.keys import cut, first_after, last_at, name_of
from bench.simulation.processor import Processor, Run
from bench.simulation.scenario import Data, Scenario
from bench.simulation.server import Server
from bench.simulation.tasks import Held, shard


def test_the_clock_keeps_order() -> None:
    clock, seen = Clock(), list[object]()
    clock.at(2.0, seen.append, "late")
    clock.at(1.0, seen.append, "first")
    clock.at(1.0, seen.append, "second")
    clock.run(lambda: len(seen) == 3)
    assert seen == ["first", "second", "late"]
    assert clock.now_s == 2.0
    with pytest.raises(RuntimeError, match="Nothing more happens"):
        clock.run(lambda: False)


def test_the_server_does_one_thing_at_a_time() -> None:
    server = Server(Clock(), round_trip_s=0.001)
    assert server.ask("claim", 100) == pytest.approx(0.0011)
    assert server.ask("stats", 50, calls=2, round_trips=2) == pytest.approx(0.00215)
    load = server.close()
    assert load.calls == {"claim": 1, "stats": 2}
    assert load.peak_calls_all == 3


def test_sums_and_maxima_are_those_of_single_draws() -> None:
    rng = random.Random(1)
    latency = LogNormal(0.02, 0.6, rng)
    singles = [[latency.one() for _ in range(64)] for _ in range(4000)]
    drawn = [latency.total(64) for _ in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(sum(map(sum, singles)) / 4000, rel=0.01)
    slowest = [latency.slowest(64) for _ in range(4000)]
    assert sum(slowest) / 4000 == pytest.approx(sum(map(max, singles)) / 4000, rel=0.02)


def test_without_variance_lanes_share_evenly() -> None:
    latency = LogNormal(0.02, 0.0, random.Random(1))
    assert latency.on_lanes(320, 32) == pytest.approx(0.2)
    assert latency.on_lanes(3, 32) == pytest.approx(0.02)
    assert latency.on_lanes(0, 32) == 0.0


def test_large_objects_come_at_their_share_and_stay_in_bounds() -> None:
    data = Data(large_share=0.01, large_max_bytes=1 << 30)
    sizes = Sizes(data, 16 << 20, random.Random(3))
    pages = [sizes.page(1000) for _ in range(500)]
    large = [size for _, _, found in pages for size in found]
    assert all(small + len(found) == 1000 for small, _, found in pages)
    assert len(large) == pytest.approx(5000, rel=0.1)
    assert all(16 << 20 < size <= (1 << 30) + 1 for size in large)


def test_speeds_are_spread_and_some_straggle() -> None:
    drawn = speeds(Scenario(workers=100, spread=2.0, stragglers=0.1), random.Random(1))
    assert sum(speed <= 0.2 for speed in drawn) == 10
    assert all(0.05 <= speed <= 2.0 for speed in drawn)


@given(st.integers(-1, 9_999), st.integers(1, 10_000))
def test_keys_answer_as_a_store_does(number: int, count: int) -> None:
    follower = first_after(name_of(number), count)
    assert follower == (name_of(number + 1) if number + 1 < count else None)
    assert last_at(name_of(max(number, 0))) == max(number, 0)


@given(st.integers(2, 10**9), st.floats(0, 0.99), st.booleans(), st.integers(2, 300))
def test_cuts_hold_every_key_exactly_once(
    count: int, place: float, is_open: bool, wanted: int
) -> None:
    after = int(place * count) - 1
    upto = None if is_open else count - 1
    ranges, questions = cut(after, upto, wanted=wanted, count=count)
    assert ranges[0][0] == after
    assert ranges[-1][1] == upto
    for (_, end), (start, _) in zip(ranges, ranges[1:], strict=False):
        assert end == start
        assert end is not None
        assert after <= end < count or end >= count
    assert questions >= 1


def test_a_flat_range_is_cut_evenly() -> None:
    ranges, _ = cut(-1, None, wanted=8, count=10**9)
    lengths = [(10**9 - 1 if upto is None else upto) - after for after, upto in ranges]
    assert len(ranges) == 8
    assert max(lengths) < 1.1 * min(lengths)  # the last key is only found to within a hundredth


def ended_at(speed: float, demands: list[tuple[float, float]]) -> list[float]:
    clock, ends = Clock(), list[float]()
    processor = Processor(clock, speed, lambda _: ends.append(clock.now_s))
    for lane_s, cpu_s in demands:
        processor.start(Run(Held(shard(1, 1, 1), 1), lane_s, cpu_s))
    clock.run(lambda: len(ends) == len(demands))
    return ends


def test_a_processor_is_shared() -> None:
    assert ended_at(1.0, [(2.0, 0.5)]) == [2.0]
    assert ended_at(2.0, [(2.0, 0.5)]) == [1.0]
    assert ended_at(1.0, [(1.0, 2.0)]) == [2.0]
    # Two that ask for all of it take turns; the shorter leaves its share to the longer.
    assert ended_at(1.0, [(1.0, 1.0), (2.0, 2.0)]) == pytest.approx([2.0, 3.0])


def test_the_tables_name_what_they_show() -> None:
    outcome = simulate(Scenario(workers=2, data=Data(objects=5000)))
    assert "| once " in tables.times([("once", outcome)])
    assert "claim-empty" in tables.load(outcome)
    assert "objects 5,000" in tables.details(outcome)

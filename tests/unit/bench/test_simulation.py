"""A simulated fleet: the same every time, nothing lost, nothing twice, nothing for free."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulation.fleet import Fleet, simulate
from bench.simulation.rules import COUNTED, GROWN
from bench.simulation.scenario import Costs, Data, Rules, Scenario, Stores
from mover.planning import SHARD_OBJECTS

EVEN = Stores(latency_sigma=0.0, page_sigma=0.0)
SMALL = Scenario(workers=5, data=Data(objects=60_000), join_s=0.2)
FREE = Costs(
    task_us=0,
    more_us=0,
    payload_us_per_kb=0,
    empty_us=0,
    small_us=0,
    extend_us=0,
    held_us=0,
    reap_us=0,
    reap_us_per_leased=0,
    beats_us_per_worker=0,
)


def test_the_same_seed_gives_the_same_run() -> None:
    scenario = replace(SMALL, lost=0.4, lost_at_s=1.0, failing=0.05, spread=2.0)
    assert simulate(scenario) == simulate(scenario)
    assert simulate(scenario).makespan_s != simulate(replace(scenario, seed=2)).makespan_s


def test_without_variance_the_makespan_is_the_ideal_within_a_shard() -> None:
    data = Data(objects=200_000, sigma=0.0, large_share=0.0)
    scenario = Scenario(workers=5, data=data, stores=EVEN, join_s=0.0, costs=FREE)
    outcome = simulate(scenario)
    stores, slots = scenario.stores, scenario.rules.moving.slots
    shard_s = slots * SHARD_OBJECTS * (stores.cpu_per_object_s + 5e4 / stores.bytes_per_s)
    assert outcome.ideal_s <= outcome.makespan_s <= outcome.ideal_s + shard_s


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    workers=st.integers(2, 9),
    objects=st.integers(1, 40_000),
    lost=st.sampled_from([0.0, 0.3, 0.6, 0.85]),
    lost_at_s=st.floats(0.0, 4.0),
    lost_for_s=st.sampled_from([0.0, 5.0]),
    failing=st.sampled_from([0.0, 0.1]),
    large_share=st.sampled_from([0.0, 1e-4]),
    rules=st.sampled_from([Rules(), COUNTED, GROWN, replace(Rules(), cut_every_pages=1)]),
)
def test_every_object_is_moved_exactly_once(
    seed: int,
    workers: int,
    objects: int,
    lost: float,
    lost_at_s: float,
    lost_for_s: float,
    failing: float,
    large_share: float,
    rules: Rules,
) -> None:
    scenario = Scenario(
        workers=workers,
        seed=seed,
        lost=lost,
        lost_at_s=lost_at_s,
        lost_for_s=lost_for_s,
        failing=failing,
        data=Data(objects=objects, large_share=large_share),
        rules=rules,
    )
    outcome = simulate(scenario)
    assert outcome.moved_objects == objects
    assert outcome.tasks_discarded == 0
    assert outcome.ideal_s <= outcome.makespan_s + 1e-6
    assert outcome.reclaimed == 0 or lost > 0


def test_the_leases_of_the_dead_run_out_and_their_tasks_are_taken_back() -> None:
    lease_s = SMALL.rules.lease_s
    whole = simulate(SMALL)
    outcome = simulate(replace(SMALL, lost=0.4, lost_at_s=2.0))
    assert outcome.reclaimed > 0
    assert outcome.moved_objects == whole.moved_objects
    assert whole.makespan_s < outcome.makespan_s < 2.0 + 1.6 * lease_s
    assert 0 < outcome.objects_again < 0.02 * outcome.moved_objects


def test_memory_holds_no_task_that_has_ended() -> None:
    fleet = Fleet(SMALL)
    outcome = fleet.run()
    queue = fleet._queue
    assert outcome.tasks_done > 60
    assert queue.open_tasks == 0
    assert queue.bytes == 0


def test_one_large_object_is_shared_by_all() -> None:
    data = Data(objects=1, single_bytes=8 << 30)
    stores = replace(EVEN, bytes_per_s=125e6)
    outcome = simulate(Scenario(workers=8, data=data, stores=stores))
    chunks = (8 << 30) // (64 << 20)
    assert outcome.tasks_done == chunks + 2
    assert outcome.moved_objects == 1
    assert outcome.balance_max < 1.3


def test_a_slow_server_is_what_limits() -> None:
    scenario = replace(SMALL, costs=Costs(task_us=50_000))
    outcome = simulate(scenario)
    assert outcome.limit == "queue"
    assert outcome.makespan_s > 2 * simulate(SMALL).makespan_s


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"lost": 1.0}, {"spread": 0.5}, {"data": Data(objects=0)}]
)
def test_a_scenario_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="A fleet needs|nothing to move"):
        Scenario(**wrong)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("seed", range(4))
def test_a_range_is_not_cut_behind_its_last_page(seed: int) -> None:
    rules = replace(Rules(), cut_every_pages=1)
    outcome = simulate(Scenario(workers=60, seed=seed, data=Data(objects=40_000), rules=rules))
    assert outcome.moved_objects == 40_000

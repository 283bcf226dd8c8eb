"""The command: arguments become a scenario, and a loss is shown beside the fleet that had none."""

import pytest

from bench.__main__ import build_parser
from bench.simulation.command import run, scenario_of
from bench.simulation.rules import COUNTED
from bench.simulation.scenario import Scenario

SMALL = ["simulate", "--workers", "4", "--objects", "20000"]


def test_the_defaults_are_those_of_the_values() -> None:
    scenario = scenario_of(build_parser().parse_args(["simulate"]))
    assert scenario.workers == 1000
    assert scenario.data.objects == 1_000_000_000
    assert (scenario.stores, scenario.rules, scenario.costs) == (
        Scenario().stores,
        Scenario().rules,
        Scenario().costs,
    )


def test_rules_go_by_name() -> None:
    assert (
        scenario_of(build_parser().parse_args(["simulate", "--rules", "counted"])).rules == COUNTED
    )


def test_a_loss_is_compared_with_the_fleet_that_had_none() -> None:
    text = run(build_parser().parse_args([*SMALL, "--lost", "0.5", "--lost-at", "1"]))
    assert "nobody lost" in text
    assert "The loss cost" in text
    assert "| claim " in text


def test_one_object_can_be_the_job() -> None:
    text = run(build_parser().parse_args([*SMALL, "--single-gib", "1"]))
    assert "objects 1, tasks done" in text


@pytest.mark.parametrize("wrong", ["--worker-rate=0", "--latency=-1", "--lost=1", "--workers=0"])
def test_requests_that_make_no_sense_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="must be above 0|needs a worker"):
        scenario_of(build_parser().parse_args(["simulate", wrong]))

"""Results held against goals: which were reached, by how much, and in comparison with whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.peers import OURS, PEER_NAMES
from bench.results import (
    Metric,
    Ratio,
    Results,
    ScenarioResult,
    Spread,
    cpu_of,
    ratio_to_best,
    rss_of,
    wall_of,
)
from bench.scenarios import SCENARIOS, Goal


class Mark(StrEnum):
    """How a goal came out."""

    PASS = "pass"
    MISS = "miss"
    OPEN = "open"  # there is no number: the mover or every peer failed or was not run


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One goal of one scenario. ``value`` has the unit of ``bound``: a ratio, or bytes."""

    metric: str
    bound: float
    value: float | None
    mark: Mark
    ratio: Ratio | None = None


def goal_of(scenario: str) -> Goal:
    """Return a scenario's goals; none for a name that this version does not know."""
    return next((one.goal for one in SCENARIOS if one.name == scenario), Goal())


def judge(result: ScenarioResult, results: Results) -> tuple[Verdict, ...]:
    """Hold one scenario against its goals, in the order wall, CPU, memory, growth of memory."""
    goal = goal_of(result.name)
    verdicts: list[Verdict] = []
    bounds: Sequence[tuple[str, Metric, float | None]] = (
        ("wall", wall_of, goal.wall_ratio_max),
        ("CPU", cpu_of, goal.cpu_ratio_max),
    )
    for name, metric, bound in bounds:
        if bound is not None:
            found = ratio_to_best(result, metric, ours=OURS, peers=PEER_NAMES)
            verdicts.append(_verdict(name, bound, found.of_medians if found else None, found))
    if goal.rss_bytes_max is not None:
        verdicts.append(_verdict("RSS", goal.rss_bytes_max, highest_rss(result)))
    if goal.rss_growth_bytes_max is not None:
        before = next((one for one in results.scenarios if one.name == goal.rss_growth_from), None)
        low, high = highest_rss(before) if before else None, highest_rss(result)
        growth = high - low if low is not None and high is not None else None
        verdicts.append(_verdict("RSS growth", goal.rss_growth_bytes_max, growth))
    return tuple(verdicts)


def highest_rss(result: ScenarioResult) -> float | None:
    """Return our highest peak: a bound on memory is for every run, not for the median run."""
    series = result.of(OURS)
    if series is None or series.failure or not series.good:
        return None
    return Spread.of(rss_of(sample) for sample in series.good).highest


def _verdict(name: str, bound: float, value: float | None, ratio: Ratio | None = None) -> Verdict:
    mark = Mark.OPEN
    if value is not None:
        mark = Mark.PASS if value <= bound else Mark.MISS
    return Verdict(metric=name, bound=bound, value=value, mark=mark, ratio=ratio)

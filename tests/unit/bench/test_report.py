from dataclasses import replace

import pytest

from bench.machine import Machine
from bench.report import UnlikeRuns, compare, scenario_text, show, table
from bench.results import Series
from bench.verdicts import Mark, judge
from tests.unit.bench.samples import MACHINE, results, sample, scenario, series


def test_table_is_aligned_markdown() -> None:
    assert table(("tool", "s"), [["mover", "1.0"], ["s5cmd", "10.0"]]) == (
        "| tool  |    s |\n| ----- | ---: |\n| mover |  1.0 |\n| s5cmd | 10.0 |"
    )


def test_scenario_shows_medians_spread_cost_per_object_and_the_floor() -> None:
    text = scenario_text(
        scenario(series("mover", 2.0, 1.0, 4.0, cpu_s=0.1), series("floor", 0.5, cpu_s=0.05))
    )
    (row,) = [line for line in text.splitlines() if line.startswith("| mover")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "mover",
        "2.00 (1.00–4.00)",
        "0.10 (0.10–0.10)",
        "100",
        "100",
        "4.0",
        "defaults",
    ]


def test_a_failed_tool_is_shown_with_its_reason_and_without_numbers() -> None:
    broken = Series(
        tool="s5cmd",
        setting="64 workers",
        samples=(sample(1.0), sample(0.1, problem="exit code 1: no such\nhost")),
    )
    text = scenario_text(scenario(series("mover", 1.0), broken))
    assert "s5cmd: FAILED, exit code 1: no such host" in text
    assert "| s5cmd" not in text


def test_a_tool_that_cannot_take_part_is_named() -> None:
    absent = Series(tool="s5cmd", setting="", not_applicable="copies on the server only")
    assert "s5cmd: n/a, copies on the server only." in scenario_text(scenario(absent))


@pytest.mark.parametrize(
    ("wall_s", "cpu_s", "rss_mb", "marks"),
    [
        (0.8, 0.6, 250, [Mark.PASS, Mark.PASS, Mark.PASS]),
        (0.81, 0.6, 250, [Mark.MISS, Mark.PASS, Mark.PASS]),
        (0.8, 0.61, 250, [Mark.PASS, Mark.MISS, Mark.PASS]),
        (0.8, 0.6, 251, [Mark.PASS, Mark.PASS, Mark.MISS]),
    ],
)
def test_goals_of_small_files_are_judged(
    wall_s: float, cpu_s: float, rss_mb: float, marks: list[Mark]
) -> None:
    result = scenario(series("mover", wall_s, cpu_s=cpu_s, rss_mb=rss_mb), series("s5cmd", 1.0))
    assert [verdict.mark for verdict in judge(result, results(result))] == marks


def test_memory_is_judged_by_the_highest_run_not_the_median() -> None:
    ours = Series(
        tool="mover",
        setting="",
        samples=tuple(
            sample(0.1, 0.1, repeat=number, rss_mb=rss)
            for number, rss in enumerate((100, 100, 300), start=1)
        ),
    )
    result = scenario(ours, series("s5cmd", 1.0))
    (verdict,) = [one for one in judge(result, results(result)) if one.metric == "RSS"]
    assert (verdict.value, verdict.mark) == (300e6, Mark.MISS)


@pytest.mark.parametrize(("grown_mb", "mark"), [(150, Mark.PASS), (151, Mark.MISS)])
def test_growth_of_memory_is_judged_against_the_smaller_listing(
    grown_mb: float, mark: Mark
) -> None:
    few = scenario(series("mover", 1.0, rss_mb=100), name="listing-10k")
    many = scenario(series("mover", 9.0, rss_mb=grown_mb), name="listing-1m")
    (verdict,) = judge(many, results(few, many))
    assert verdict.mark is mark


def test_goals_are_open_where_there_is_no_number() -> None:
    result = scenario(series("mover", 1.0))
    wall, cpu, rss = judge(result, results(result))
    assert (wall.mark, cpu.mark, rss.mark) == (Mark.OPEN, Mark.OPEN, Mark.PASS)
    growth = scenario(series("mover", 1.0), name="listing-1m")
    assert [one.mark for one in judge(growth, results(growth))] == [Mark.OPEN]


def test_show_says_machine_date_and_seed_before_any_number() -> None:
    text = show(results(scenario(series("mover", 0.5), series("s5cmd", 1.0))))
    for fact in ("Test CPU", "2 cores", "24 GiB", "6.1.0", "3.11.7", "seed 1", "2026-01-01"):
        assert fact in text.split("##")[0]
    assert "pass" in text


UNLIKE_MACHINES = [
    replace(MACHINE, cpu_model="Other CPU"),
    replace(MACHINE, cores=4),
    replace(MACHINE, memory_gib=8),
    replace(MACHINE, kernel="6.2.0"),
    replace(MACHINE, architecture="aarch64"),
    replace(MACHINE, python="3.12.0"),
]


@pytest.mark.parametrize("other", UNLIKE_MACHINES, ids=lambda one: repr(one)[8:40])
def test_unlike_machines_are_not_compared(other: Machine) -> None:
    result = scenario(series("mover", 1.0))
    with pytest.raises(UnlikeRuns) as caught:
        compare(results(result), results(result, machine=other))
    assert len(caught.value.reasons) == 1


def test_unlike_runs_name_every_difference() -> None:
    result = scenario(series("mover", 1.0))
    other = replace(
        results(result, machine=replace(MACHINE, cores=64), seed=2), storage="disk", scale=0.1
    )
    with pytest.raises(UnlikeRuns) as caught:
        compare(results(result), other)
    assert caught.value.reasons == (
        "cores: 2 and 64",
        "storage: ram and disk",
        "seed: 1 and 2",
        "scale: 1.0 and 0.1",
    )


@pytest.mark.parametrize(
    ("after", "apart"),
    [((2.0, 2.2), "yes"), ((0.2, 0.3), "yes"), ((1.2, 2.2), "no"), ((0.5, 5.0), "no")],
)
def test_a_change_counts_only_where_the_samples_are_apart(
    after: tuple[float, float], apart: str
) -> None:
    text = compare(
        results(scenario(series("mover", 1.0, 1.4))), results(scenario(series("mover", *after)))
    )
    (row,) = [line for line in text.splitlines() if "wall" in line]
    assert row.strip("| ").split("|")[-1].strip() == apart


def test_compare_leaves_out_what_either_run_lacks() -> None:
    broken = Series(tool="rclone", setting="", samples=(sample(1.0, problem="late"),))
    before = results(scenario(series("mover", 1.0), series("rclone", 1.0)))
    after = results(
        scenario(series("mover", 2.0), broken), scenario(series("mover", 1.0), name="large-up")
    )
    text = compare(before, after)
    assert "rclone" not in text
    assert "large-up" not in text
    assert "2.00" in text


@pytest.mark.parametrize(("cores", "warned"), [(0.05, False), (0.29, False), (0.3, True)])
def test_a_busy_machine_is_named(cores: float, warned: bool) -> None:
    noisy = Series(
        tool="mover", setting="", samples=(sample(1.0), sample(1.0, foreign_cores=cores))
    )
    assert ("Not a quiet machine" in scenario_text(scenario(noisy))) is warned

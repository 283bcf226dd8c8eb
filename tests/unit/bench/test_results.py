import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import (
    Series,
    Spread,
    UnreadableResults,
    cpu_of,
    load,
    ratio,
    ratio_to_best,
    save,
    wall_of,
)
from tests.unit.bench.samples import results, sample, scenario, series

PEERS = ("s5cmd", "rclone")


@pytest.mark.parametrize(
    ("numbers", "median", "lowest", "highest", "mad"),
    [
        ([3.0], 3.0, 3.0, 3.0, 0.0),
        ([4.0, 1.0], 2.5, 1.0, 4.0, 1.5),
        ([5.0, 1.0, 2.0], 2.0, 1.0, 5.0, 1.0),
        ([2.0, 2.0, 2.0, 2.0, 100.0], 2.0, 2.0, 100.0, 0.0),
    ],
)
def test_spread_is_median_ends_and_mad(
    numbers: list[float], median: float, lowest: float, highest: float, mad: float
) -> None:
    spread = Spread.of(numbers)
    assert (spread.median, spread.lowest, spread.highest, spread.mad) == (
        median,
        lowest,
        highest,
        mad,
    )


def test_spread_of_nothing_is_an_error() -> None:
    with pytest.raises(statistics.StatisticsError):
        Spread.of([])


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20))
def test_spread_does_not_depend_on_order_and_holds_the_median(numbers: list[float]) -> None:
    spread = Spread.of(numbers)
    assert spread == Spread.of(reversed(numbers))
    assert spread.lowest <= spread.median <= spread.highest
    assert 0 <= spread.mad <= spread.highest - spread.lowest


def test_ratio_pairs_samples_of_the_same_repeat() -> None:
    # The second repeat was slow for both: repeat by repeat the ratio is 0.5 throughout.
    found = ratio(series("mover", 1.0, 4.0), series("s5cmd", 2.0, 8.0), wall_of)
    assert found is not None
    assert (found.of_medians, found.lowest, found.highest) == (0.5, 0.5, 0.5)


def test_best_peer_is_chosen_for_each_metric() -> None:
    result = scenario(
        series("mover", 1.0, cpu_s=1.0),
        series("s5cmd", 2.0, cpu_s=4.0),
        series("rclone", 4.0, cpu_s=2.0),
        series("floor", 0.1, cpu_s=0.1),
    )
    wall = ratio_to_best(result, wall_of, ours="mover", peers=PEERS)
    cpu = ratio_to_best(result, cpu_of, ours="mover", peers=PEERS)
    assert wall is not None
    assert cpu is not None
    assert (wall.peer, wall.of_medians) == ("s5cmd", 0.5)
    assert (cpu.peer, cpu.of_medians) == ("rclone", 0.5)


def failed(tool: str, *walls: float) -> Series:
    good = series(tool, *walls).samples
    return Series(tool=tool, setting="", samples=(*good, sample(0.01, problem="exit code 1")))


@pytest.mark.parametrize(
    "mine",
    [failed("mover", 1.0), Series(tool="mover", setting=""), series("other", 1.0)],
    ids=["failed once", "never ran", "absent"],
)
def test_no_result_of_ours_gives_no_ratio(mine: Series) -> None:
    result = scenario(mine, series("s5cmd", 2.0))
    assert ratio_to_best(result, wall_of, ours="mover", peers=PEERS) is None


def test_a_peer_that_failed_once_is_not_a_rival_however_fast() -> None:
    result = scenario(series("mover", 1.0), failed("s5cmd", 0.5), series("rclone", 2.0))
    found = ratio_to_best(result, wall_of, ours="mover", peers=PEERS)
    assert found is not None
    assert found.peer == "rclone"


def test_no_peer_gives_no_ratio() -> None:
    result = scenario(series("mover", 1.0), failed("s5cmd", 0.5))
    assert ratio_to_best(result, wall_of, ours="mover", peers=PEERS) is None


def test_results_survive_the_file(tmp_path: Path) -> None:
    written = results(scenario(series("mover", 1.0, 1.5), failed("s5cmd", 2.0)))
    save(written, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "truncated"), ("{}", "missing"), ('{"schema_version": "x"}', "int")],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UnreadableResults, match=reason) as caught:
        load(path)
    assert "other.json" in str(caught.value)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save(results(), path)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(UnreadableResults, match="99"):
        load(path)

from collections import Counter
from pathlib import Path

import pytest

from bench.__main__ import TOOLS, build_parser, choose_tools, list_all, needed_bytes
from bench.machine import Machine, _cpu_model, busy_ticks
from bench.runner import rotated
from bench.scenarios import choose
from bench.workspace import NoRoom, open_workspace


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_tool_takes_every_place_equally_often(count: int) -> None:
    tools = TOOLS[:count]
    orders = [rotated(tools, repeat) for repeat in range(1, 2 * count + 1)]
    assert orders[0] == tools
    for place in range(count):
        assert set(Counter(order[place].name for order in orders).values()) == {2}


def test_cpu_model_is_the_first_or_unknown() -> None:
    assert _cpu_model("processor: 0\nmodel name\t: A: fast one\nmodel name: B\n") == "A: fast one"
    assert _cpu_model("processor: 0\nBogoMIPS: 50\n") == "unknown"


def test_busy_ticks_leave_out_idle_waiting_and_counted_guests() -> None:
    assert busy_ticks("cpu  1 2 4 1000 2000 8 16 32 5000 5000\ncpu0 9 9 9\n") == 63


def test_machines_name_their_differences() -> None:
    here = Machine.here()
    assert here.cores >= 1
    assert here.memory_gib >= 1
    assert here.differences(here) == ()


def test_the_workspace_is_removed_however_the_run_ends(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_workspace(tmp_path, needed_bytes=1) as workspace:
            (workspace.root / "data").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_runs_are_swept_and_of_living_ones_are_not(tmp_path: Path) -> None:
    dead, living, foreign = (
        tmp_path / "mover-bench-999999999-x",  # above any process id the kernel gives
        tmp_path / "mover-bench-1-x",
        tmp_path / "mover-bench-notes",
    )
    for path in (dead, living, foreign):
        path.mkdir()
    with open_workspace(tmp_path, needed_bytes=1):
        assert not dead.exists()
        assert living.exists()
        assert foreign.exists()


def test_too_little_room_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with (
        pytest.raises(NoRoom, match=r"--directory"),
        open_workspace(tmp_path, needed_bytes=2**62),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_room_for_large_files_is_three_copies_and_some() -> None:
    needed = needed_bytes(choose(("large-down",)), seed=1, scale=1.0, tools=5)
    assert 12 * 2**30 < needed < 15 * 2**30


def test_list_names_every_scenario_and_tool() -> None:
    text = list_all()
    for word in ("small-down", "listing-1m", "s5cmd", "rclone", "juicefs", "mover", "floor"):
        assert word in text


def test_tools_are_chosen_by_name() -> None:
    assert [tool.name for tool in choose_tools("floor,mover")] == ["mover", "floor"]
    assert choose_tools("") == TOOLS
    with pytest.raises(ValueError, match="rsync"):
        choose_tools("rsync")


def test_defaults_of_the_command_line() -> None:
    arguments = build_parser().parse_args(["run"])
    assert (arguments.repeats, arguments.scale, arguments.scenarios) == (5, 1.0, [])

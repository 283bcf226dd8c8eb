"""What speaks against a deletion, as tables; and the command line that asks or refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mover import cli, cli_rsync
from mover.deleting import PAUSE_MAX_S, PAUSE_MIN_S, Survey, doubt, must_count, objection, pause_s
from mover.model import CopySpec

if TYPE_CHECKING:
    from pathlib import Path


def spec(**wishes: Any) -> CopySpec:
    return CopySpec(source="s", target="t", delete=True, **wishes)


def found(sources: int, targets: int, extras: int) -> Survey:
    survey = Survey(sources=sources, targets=targets)
    for number in range(extras):
        survey.add_extra(f"k{number}")
    return survey


@pytest.mark.parametrize(
    ("wishes", "survey", "remedy"),
    [
        ({}, found(5, 9, 4), ""),
        ({}, found(5, 1000, 995), ""),
        ({}, found(0, 0, 0), ""),
        ({}, found(0, 1, 1), "--allow-empty-source"),
        ({"allow_empty_source": True}, found(0, 1, 1), ""),
        ({"max_delete": 4}, found(5, 9, 4), ""),
        ({"max_delete": 3}, found(5, 9, 4), "--max-delete 3"),
        ({"max_delete": 0}, found(5, 9, 1), "--max-delete 0"),
        ({"max_delete": 0}, found(5, 9, 0), ""),
        ({"max_delete": 0, "allow_empty_source": True}, found(0, 9, 9), "--max-delete 0"),
    ],
)
def test_objections(wishes: dict[str, Any], survey: Survey, remedy: str) -> None:
    against = objection(spec(**wishes), survey)
    assert (remedy in against) if remedy else (against == "")
    assert "\n" not in against


@pytest.mark.parametrize(
    ("survey", "doubtful"),
    [
        (found(5, 10, 5), False),
        (found(5, 10, 6), True),
        (found(5, 1, 1), True),
        (found(5, 0, 0), False),
    ],
)
def test_more_than_half_of_a_target_needs_a_word(survey: Survey, doubtful: bool) -> None:
    assert ("-y" in doubt(survey)) is doubtful


def test_three_names_are_shown() -> None:
    assert str(found(5, 4000, 2000)) == "2,000 of the target's 4,000 objects (k0, k1, k2, …)"
    assert str(found(5, 9, 2)) == "2 of the target's 9 objects (k0, k1)"


def test_only_a_largest_number_has_to_be_counted() -> None:
    assert [must_count(spec()), must_count(spec(max_delete=0))] == [False, True]


def test_a_sweep_asks_less_often_the_more_there_is_to_wait_for() -> None:
    assert [pause_s(2), pause_s(100), pause_s(10**6)] == [PAUSE_MIN_S, 1.0, PAUSE_MAX_S]


# --- The command line ---


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A source of two files, and a target that has one of them and three more."""
    monkeypatch.setenv("MOVER_STATE", str(tmp_path / "state"))
    for name in ("in/a", "in/b", "out/a", "out/x", "out/y", "out/z"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name[-1])
    return f"{tmp_path}/in/", f"{tmp_path}/out/"


def names(directory: str) -> str:
    import os

    return "".join(sorted(os.listdir(directory)))


@pytest.mark.parametrize(
    ("arguments", "code", "left", "says"),
    [
        ([], 0, "abxyz", ""),
        (["--delete"], 2, "axyz", "-y"),
        (["--delete", "-y"], 0, "ab", "3 deleted"),
        (["--delete", "-y", "--max-delete", "2"], 2, "axyz", "--max-delete 2"),
        (["--delete", "-y", "--max-delete", "3"], 0, "ab", ""),
        (["--delete", "--exclude", "[xy]"], 0, "abxy", "1 deleted"),
        (["--delete", "-y", "--exclude", "*"], 0, "axyz", ""),
        (["--delete", "-y", "--include", "[q-z]", "--exclude", "*"], 2, "axyz", "--allow-empty"),
        (["--delete", "--dry-run"], 0, "axyz", "3 to delete"),
        (["--max-delete", "3"], 2, "axyz", "--delete"),
        (["--allow-empty-source"], 2, "axyz", "--delete"),
        (["--inplace"], 2, "axyz", "visible"),
        (["--delete", "-y", "--max-delete", "-1"], 2, "axyz", "--max-delete"),
    ],
)
def test_guards(
    ends: tuple[str, str],
    arguments: list[str],
    code: int,
    left: str,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["rsync", *ends, "--workers", "1", *arguments]
    assert cli.run(command) == code
    assert names(ends[1]) == left
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("agrees", [True, False])
def test_a_person_is_asked(
    ends: tuple[str, str], agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return agrees

    monkeypatch.setattr(cli_rsync, "_can_ask", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    assert cli.run(["rsync", *ends, "--workers", "1", "--delete"]) == (0 if agrees else 2)
    assert asked == ["mover: delete 3 of the target's 4 objects (x, y, z)?"]
    assert names(ends[1]) == ("ab" if agrees else "axyz")
    # Where nothing is left to delete, nobody is asked.
    if agrees:
        assert cli.run(["rsync", *ends, "--workers", "1", "--delete"]) == 0
        assert len(asked) == 1


def test_ends_that_overlap(ends: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    source, target = ends
    around = str(source).removesuffix("in/")
    for command in ([source, around], [source, f"{source}sub/"], [source, source]):
        assert cli.run(["rsync", *command, "--delete", "-y"]) == 2
    assert cli.run(["rsync", f"{source}a", target, "--delete", "-y"]) == 2
    assert cli.run(["rsync", f"{around}none/", target, "--delete", "-y"]) == 2
    assert (names(source), names(target)) == ("ab", "axyz")
    assert "would remove it" in capsys.readouterr().err


def test_a_target_that_holds_the_state_of_the_job(
    ends: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOVER_STATE", f"{ends[1]}state")
    assert cli.run(["rsync", *ends, "--delete", "-y"]) == 2
    assert "MOVER_STATE" in capsys.readouterr().err


def test_an_empty_source(tmp_path: Path, ends: tuple[str, str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cli.run(["rsync", f"{empty}/", ends[1], "--delete", "-y"]) == 2
    assert names(ends[1]) == "axyz"
    command = ["rsync", f"{empty}/", ends[1], "--delete", "-y", "--allow-empty-source"]
    assert cli.run(command) == 0
    assert names(ends[1]) == ""

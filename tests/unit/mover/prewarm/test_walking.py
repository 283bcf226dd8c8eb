from pathlib import Path

import pytest

from mover.filtering import Rule, Selection
from mover.prewarm_walking import some_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/x.bin", "a/y.txt", "b/c/z.bin", "top.bin"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "link.bin").symlink_to("top.bin")
    return tmp_path


def test_some_files_are_those_that_are_wanted_and_hold_something(tree: Path) -> None:
    selector = Selection(rules=(Rule(verdict="exclude", pattern="*.txt"),)).compile(0.0)
    found = some_files(str(tree), selector, count=100)
    assert {entry.key: entry.size for entry in found} == {
        "a/x.bin": 4,
        "b/c/z.bin": 4,
        "top.bin": 4,
    }
    assert len(some_files(str(tree), selector, count=2)) == 2


def test_where_nothing_can_be_read_there_are_none(tmp_path: Path) -> None:
    assert some_files(str(tmp_path / "gone"), Selection().compile(0.0), count=8) == []

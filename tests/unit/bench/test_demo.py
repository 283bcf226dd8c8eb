"""The show of ``make run``: what it takes and what it runs."""

from pathlib import Path

import pytest

from bench import demo
from mover.filtering import Rule, Selection


def rules() -> tuple[Rule, ...]:
    made = []
    for text in demo.DATASET_RULES:
        verdict, _, pattern = text.removeprefix("--").partition("=")
        made.append(Rule(verdict="include" if verdict == "include" else "exclude", pattern=pattern))
    return tuple(made)


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("bin/weed", True),
        ("bin/python", False),
        ("lib/python3.13/site-packages/rich/live.py", True),
        ("lib/python3.13/site-packages/rich/__pycache__/live.cpython-313.pyc", False),
        ("pyvenv.cfg", False),
    ],
)
def test_the_dataset_is_packages_and_the_server(key: str, taken: bool) -> None:
    selector = Selection(rules=rules()).compile(0.0)
    assert selector.wants(key, 1, 0) is taken


def test_the_size_is_that_of_what_the_rules_take(tmp_path: Path) -> None:
    for name in ("bin/weed", "bin/python", "lib/a/b.py", "lib/a/__pycache__/b.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "lib" / "link").symlink_to("a/b.py")
    assert demo.dataset_size(tmp_path) == (2, 10)


def test_every_copy_is_checked_and_takes_the_users_arguments() -> None:
    commands = [
        step.arguments for step in demo.steps(Path("/env"), Path("/disk"), "http://h:1", ["--json"])
    ]
    assert [command[0] for command in commands] == [
        *("copy", "copy", "check", "copy", "check", "copy")
    ]
    assert all(command[-1] == "--json" for command in commands if command[0] == "copy")
    assert commands[2][1:3] == commands[1][1:3]
    assert commands[4][1:3] == commands[3][1:3]

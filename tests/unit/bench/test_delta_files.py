"""The cases of the delta benchmark, and one real turn of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from bench import delta_files
from bench.delta_cases import CASES, OLD_SEED, randoms
from bench.delta_peers import TOOLS, Places

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 40 * 1024 * 1024 + 3


def test_the_cases_are_what_they_are_called() -> None:
    old = b"".join(randoms(OLD_SEED, SIZE))
    made = {case.name: b"".join(case.new(SIZE)) for case in CASES}
    assert {name: len(new) for name, new in made.items()} == dict.fromkeys(made, SIZE)
    assert made["identical"] == old
    step = SIZE // 100
    same = [
        place
        for place in range(0, 100 * step, step)
        if made["edited"][place : place + step] == old[place : place + step]
    ]
    assert same == []
    changed = sum(one != other for one, other in zip(old, made["edited"], strict=True))
    assert 0.0095 < changed / SIZE < 0.0101  # a byte may be replaced by its like
    assert made["different"][:1000] != old[:1000]


def test_rsync_tells_what_it_would_have_sent(tmp_path: Path) -> None:
    (rsync,) = [tool for tool in TOOLS if tool.name == "rsync"]
    printed = "Total bytes sent: 1,234\nTotal bytes received: 56\n"
    assert rsync.wire_bytes(Places(root=tmp_path, url=""), printed) == 1290


def test_a_small_turn_with_what_is_always_there() -> None:
    parser = argparse.ArgumentParser()
    delta_files.add_arguments(parser)
    arguments = parser.parse_args(
        ["--mib", "2", "--repeats", "1", "--cases", "edited", "--tools", "mover,rsync"]
    )
    told: list[str] = []
    table = delta_files.run(arguments, told.append)
    assert [line.split(":")[0].strip() for line in told] == ["edited, mover", "edited, rsync"]
    assert table.count("| edited |") == 2


@pytest.mark.parametrize("argument", ["--cases=odd", "--tools=odd"])
def test_unknown_names_are_refused(argument: str) -> None:
    parser = argparse.ArgumentParser()
    delta_files.add_arguments(parser)
    with pytest.raises(ValueError, match="no such (case|tool): odd"):
        delta_files.run(parser.parse_args([argument]), lambda _: None)

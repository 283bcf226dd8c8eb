"""Texts of a command line become values, in their order, or one line that says why not."""

from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover import cli
from mover.cli_options import read_output, read_selection, read_wishes, read_workers, rule_options
from mover.errors import Rejected
from mover.filtering import Selection

COPY = cli.commands.commands["copy"]


def parse(*arguments: str) -> click.Context:
    return COPY.make_context("copy", ["source", "target", *arguments])


@pytest.mark.parametrize(
    ("arguments", "rules"),
    [
        ([], []),
        (["--include", "a", "--exclude", "b", "--include", "c"], ["+ a", "- b", "+ c"]),
        (["--exclude=*", "--include=a"], ["- *", "+ a"]),
        (
            ["--include=a=b", "--limit", "1MiB/s", "--exclude", "--include"],
            ["+ a=b", "- --include"],
        ),
        (["--exclude", "-x"], ["- -x"]),
        (["--json", "--exclude", "a", "--exclude", "a"], ["- a", "- a"]),
    ],
)
def test_rules_keep_the_order_of_the_command_line(arguments: list[str], rules: list[str]) -> None:
    assert [str(rule) for rule in read_selection(parse(*arguments)).rules] == rules


def test_rules_of_files_stand_where_their_option_stands(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("+ f1\n- f2\n")
    second.write_text("!\n+ s1\n")
    around = parse("--include", "a", "--filter-from", str(first), "--exclude", "b")
    assert [str(rule) for rule in read_selection(around).rules] == ["+ a", "+ f1", "- f2", "- b"]
    dropped = parse("--include", "a", f"--filter-from={second}", "--exclude", "b")
    assert [str(rule) for rule in read_selection(dropped).rules] == ["+ s1", "- b"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["include", "exclude"]),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_any_values_in_any_order_come_back(options: list[tuple[str, str, bool]]) -> None:
    arguments: list[str] = []
    for name, value, joined in options:
        arguments += [f"--{name}={value}"] if joined else [f"--{name}", value]
    assert list(rule_options(parse(*arguments))) == [(name, value) for name, value, _ in options]


def test_selection_of_everything_is_the_default() -> None:
    assert read_selection(parse()) == Selection()


def test_selection_reads_sizes_times_and_names(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_bytes(b"a\n# comment\nb\xff c\n")
    context = parse(
        *("--min-size", "1KiB", "--max-size", "2MiB", "--newer", "2h", "--older", "2026-05-04"),
        *("--files-from", str(names)),
    )
    assert read_selection(context) == Selection(
        names=("a", "b\udcff c"),
        size_min_bytes=1024,
        size_max_bytes=2 * 1024 * 1024,
        newer="2h",
        older="2026-05-04",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--include", "[z"], "--include pattern '[z'"),
        (["--exclude", ""], "--exclude pattern ''"),
        (["--filter-from", "/nowhere"], "--filter-from /nowhere: No such file"),
        (["--files-from", "/"], "--files-from /: Is a directory"),
        (["--files-from", "-", "--filter-from", "-"], "standard input"),
        (["--min-size", "-1"], "--min-size '-1'"),
        (["--min-size", "2MiB", "--max-size", "1MiB"], "--min-size"),
        (["--newer", "yesterday"], "--newer 'yesterday'"),
    ],
)
def test_selections_that_make_no_sense(arguments: list[str], says: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_selection(parse(*arguments))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_line_of_a_filter_file_is_named(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("+ a\nnonsense\n")
    with pytest.raises(Rejected, match=r"rules, line 2: 'nonsense'"):
        read_selection(parse("--filter-from", str(rules)))


DEFAULTS: dict[str, Any] = {
    "selection": Selection(),
    "compare": "mtime",
    "links": "skip",
    "verify": "stream",
    "limit": "",
    "limit_requests": "",
    "part_bytes": 0,
    "server_copy": True,
    "ignore_existing": False,
    "manifest": "",
    "rate_links": (),
    "pool": "any",
    "sign_on_write": False,
}


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--compare", "checksum", "--links=follow"], {"compare": "checksum", "links": "follow"}),
        (["--verify", "full"], {"verify": "full"}),
        (["--limit", "08:00,50MiB/s 19:00,off"], {"limit": "08:00,50MiB/s 19:00,off"}),
        (["--limit-requests", "500/s"], {"limit_requests": "500/s"}),
        (["--sign-on-write"], {"sign_on_write": True}),
        (["--part-size", "8MiB"], {"part_bytes": 8 * 1024 * 1024}),
        (
            ["--no-server-copy", "--ignore-existing"],
            {"server_copy": False, "ignore_existing": True},
        ),
    ],
)
def test_wishes(arguments: list[str], changes: dict[str, Any]) -> None:
    assert read_wishes(parse(*arguments)) == {**DEFAULTS, **changes}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--limit", "-5MiB/s"], "--limit '-5MiB/s'"),
        (["--limit", "500"], "--limit '500'"),
        (["--limit-requests", "-1/s"], "--limit-requests '-1/s'"),
        (["--part-size", "0"], "--part-size '0'"),
    ],
)
def test_wishes_that_make_no_sense(arguments: list[str], says: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_wishes(parse(*arguments))
    assert says in str(caught.value)


@pytest.mark.parametrize(("text", "workers"), [("auto", "auto"), ("1", 1), ("256", 256)])
def test_workers(text: str, workers: int | str) -> None:
    assert read_workers(text) == workers


@pytest.mark.parametrize("text", ["0", "-1", "257", "1.5", "many", "", "²", "١" * 4])
def test_workers_that_make_no_sense(text: str) -> None:
    with pytest.raises(Rejected, match="--workers"):
        read_workers(text)


def test_output() -> None:
    output = read_output(parse("--json", "--no-progress", "--log-level", "debug"))
    assert (output.as_json, output.progress, output.log_level) == (True, False, "debug")
    assert read_output(parse()).progress is None

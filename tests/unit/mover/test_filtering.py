"""Selections and selectors, as tables; rsync itself judges the rules in tests/integration."""

import dataclasses
import json
import time

import pytest

from mover.filtering import RULE_COUNT_MAX, Rule, Selection, read_rules
from mover.name_lists import MalformedLine
from mover.patterns import DEEP_STAR_COUNT_MAX, PATTERN_LENGTH_MAX, parse_pattern
from mover.selecting import BELOW_COUNT_MAX, DIRECTORY_COUNT_MAX, Selector
from mover.units import Malformed

NOW_S = 1_700_000_000.0


def selector(rules: str = "", **bounds: object) -> Selector:
    return dataclasses.replace(
        Selection(rules=read_rules(rules, file="test")),
        **bounds,  # type: ignore[arg-type]
    ).compile(NOW_S)


@pytest.mark.parametrize(
    ("rules", "key", "taken"),
    [
        ("", "any/thing", True),
        ("- *", "a", False),
        ("- *.tmp", "a/b.tmp", False),
        ("- *.tmp", "a/b.tmp2", True),
        ("- *.tmp", ".tmp", False),
        ("- a*a", "a", True),
        ("- a*a", "aa", False),
        ("- logs/", "logs", True),
        ("- logs/", "x/logs/a", False),
        ("+ x/keep\n- x/", "x/keep", False),
        ("+ /x/\n+ /x/keep\n- *", "x/keep", True),
        ("+ /x/\n+ /x/keep\n- *", "x/other", False),
        # names of stores that no file system has
        ("- b", "a//b", False),
        ("- a//b", "a//b", False),
        ("- /a/b", "a//b", True),
        ("- a//", "a//b", False),
        ("- a//", "a/b", True),
        ("- /b", "/b", True),
        ("- b", "/b", False),
        ("- /..", "../x", False),
        ("- .", "./x", False),
        ("- a?b", "a\nb", False),
        ("- *b", "a\nb", False),
        ("- a", "a\n", True),
        ("- a*", "a\n", False),
        ("- ?", "\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("- ?", "\udcff", False),
        ("- a?b", "a\0b", False),
        # a folder's marker goes with its directory
        ("- d/", "d/", False),
        ("- *.txt", "d.txt/", False),
        ("+ */\n- *", "d/", True),
        ("+ */\n- *", "d/x", False),
        ("- /d/*", "d/", True),
        ("- d/***", "d/", False),
        ("- d/**", "d/", True),
    ],
)
def test_rules_decide(rules: str, key: str, taken: bool) -> None:
    assert selector(rules).wants(key, 1, 0) is taken


@pytest.mark.parametrize(
    ("size", "mtime_s", "taken"),
    [(9, 0, False), (10, 0, True), (20, 0, True), (21, 0, False), (15, -1, False), (15, 60, False)],
)
def test_bounds_on_size_include_both_ends_and_ages_the_first(
    size: int, mtime_s: int, taken: bool
) -> None:
    chosen = selector(
        size_min_bytes=10, size_max_bytes=20, newer="1970-01-01", older="1970-01-01T00:01:00Z"
    )
    assert chosen.wants("a", size, mtime_s * 10**9) is taken


def test_newer_and_older_share_out_every_entry() -> None:
    at_ns = int((NOW_S - 3600) * 10**9)
    for mtime_ns in (at_ns - 1, at_ns, at_ns + 1):
        newer = selector(newer="1h").wants("a", 1, mtime_ns)
        assert newer is (mtime_ns >= at_ns)
        assert selector(older="1h").wants("a", 1, mtime_ns) is not newer


def test_names_and_rules_must_both_take_a_key() -> None:
    chosen = selector("- *.tmp", names=("a/x", "a/x.tmp", "a/x", "b/", "c\nd"))
    taken = [
        key for key in ("a/x", "a/x.tmp", "a/y", "a", "b/", "b/c", "c\nd") if wants(chosen, key)
    ]
    assert taken == ["a/x", "b/", "c\nd"]
    walked = [name for name in ("", "a/", "a/x/", "b/", "c/", "z/") if chosen.wants_directory(name)]
    assert walked == ["", "a/", "b/"]


def wants(chosen: Selector, key: str) -> bool:
    return chosen.wants(key, 1, 0)


def test_an_empty_list_of_names_takes_nothing() -> None:
    assert not wants(selector(names=()), "a")


@pytest.mark.parametrize(
    ("rules", "prefix"),
    [
        ("", ""),
        ("+ /a/b/***", ""),
        ("+ /a/b/***\n- *.c", ""),
        ("+ /a/\n+ /a/b/***\n- *", "a/"),
        ("+ /a/b*/c\n+ /a/bc\n- /**", "a/b"),
        ("+ /data/2026-01*\n+ /data/2026-02*\n+ /data/\n- *", "data/"),
        ("+ /logs\n- /*", "logs"),
        (r"+ /a\*b*" + "\n- *", "a*b"),
        ("+ *.c\n- *", ""),
        ("+ /a/***\n- b\n+ ***\n- *", ""),
        ("- /x\n+ /a/***\n- *\n+ /b", "a/"),
        ("- */", ""),
    ],
)
def test_the_literal_prefix_narrows_the_listing(rules: str, prefix: str) -> None:
    assert selector(rules).literal_prefix == prefix


def test_the_longer_prefix_of_rules_and_names_counts() -> None:
    assert selector("+ /a/***\n- *", names=("a/b/c", "a/b/d")).literal_prefix == "a/b/"
    assert selector("+ /a/***\n- *", names=("a/b", "b")).literal_prefix == "a/"


def test_rule_files_are_read_line_by_line() -> None:
    before = (Rule(verdict="exclude", pattern="gone"),)
    text = "+ kept\n!\n# c\n; c\n\n- *.o\r\n+  lead\ninclude a b \nexclude #x\n+_under\n"
    assert [str(rule) for rule in read_rules(text, file="f", before=before)] == [
        "- *.o",
        "+  lead",
        "+ a b ",
        "- #x",
        "+ under",
    ]
    assert read_rules("- new", file="f", before=before)[0].pattern == "gone"


@pytest.mark.parametrize(
    "line",
    ["foo", "-foo", " - foo", "-", "- ", "! ", "!x", "hide foo", "-! foo", "exclude", "- [a", "- /"]
    + ["merge x", ". x", "  "],
)
def test_a_bad_line_names_file_number_text_and_remedy(line: str) -> None:
    with pytest.raises(MalformedLine) as caught:
        read_rules(f"# first\n- ok\n{line}\n- ok", file="rules.txt")
    error = caught.value
    assert (error.file, error.line_number, error.text) == ("rules.txt", 3, line)
    assert str(error).startswith(f"rules.txt, line 3: {line!r} cannot be used: {error.remedy}")


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("", "names nothing"),
        ("//", "names nothing"),
        ("[a", "has no ]"),
        ("a[", "has no ]"),
        ("[a\\", "has no ]"),
        ("[a-", "has no ]"),
        ("[!", "has no ]"),
        ("[]", "has no ]"),
        ("[[:nope:]]", "no class [:nope:]"),
        ("[[::]]", "no class [::]"),
        ("[z-a]", "reversed"),
        ("[a/b]", "no slash"),
        ("*\\", "backslash"),
        ("a" * (PATTERN_LENGTH_MAX + 1), "longer than"),
        ("**a" * (DEEP_STAR_COUNT_MAX + 1), "more than"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str, remedy: str) -> None:
    with pytest.raises(Malformed) as caught:
        Rule(verdict="exclude", pattern=pattern)
    assert remedy in caught.value.remedy
    assert caught.value.what == "--exclude pattern"


@pytest.mark.parametrize(
    "bounds",
    [
        {"size_min_bytes": 0},
        {"size_max_bytes": -1},
        {"size_max_bytes": 2**63},
        {"size_min_bytes": 2, "size_max_bytes": 1},
        {"newer": "soon"},
        {"older": ""},
        {"rules": (Rule(verdict="include", pattern="a"),) * (RULE_COUNT_MAX + 1)},
    ],
)
def test_bounds_without_sense_are_refused(bounds: dict[str, object]) -> None:
    with pytest.raises(Malformed, match="cannot be used"):
        Selection(**bounds)  # type: ignore[arg-type]


def test_ages_that_leave_nothing_are_refused_when_the_time_is_known() -> None:
    with pytest.raises(Malformed, match="--newer '1h'"):
        Selection(newer="1h", older="2h").compile(NOW_S)
    assert Selection(newer="2h", older="1h").compile(NOW_S) is not None


FULL = Selection(
    rules=(Rule(verdict="include", pattern="a\nb\udcff*"), Rule(verdict="exclude", pattern=" #")),
    names=("x\ny", "#z", "\udc80", "é"),
    size_min_bytes=1,
    size_max_bytes=2,
    newer="2h",
    older="2026-01-01",
)


@pytest.mark.parametrize("selection", [Selection(), FULL, Selection(names=())])
def test_a_selection_survives_json(selection: Selection) -> None:
    text = json.dumps(selection.to_dict(), ensure_ascii=False)
    assert Selection.from_dict(json.loads(text.encode())) == selection


def test_the_digest_tells_selections_apart() -> None:
    others = [Selection(), FULL, dataclasses.replace(FULL, newer=None)]
    others.append(dataclasses.replace(FULL, rules=FULL.rules[::-1]))
    assert len({selection.digest() for selection in others}) == len(others)
    assert FULL.digest() == dataclasses.replace(FULL).digest()


@pytest.mark.parametrize(
    "record",
    [{"rules": "- a"}, {"rules": ["a"]}, {"names": 1}, {"size_min_bytes": "1"}, {"newer": True}]
    + [{"size_min_bytes": True}, {"rules": ["- \\q"]}],
)
def test_a_broken_record_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        Selection.from_dict(record)


def test_only_the_default_takes_everything() -> None:
    assert Selection().takes_everything
    assert not FULL.takes_everything
    assert not Selection(names=()).takes_everything


def test_what_a_selector_remembers_is_bounded() -> None:
    rules = "".join(f"- /d{number}/*.tmp\n" for number in range(BELOW_COUNT_MAX + 10))
    chosen = selector(rules)
    for number in range(DIRECTORY_COUNT_MAX + 10):
        assert not wants(chosen, f"d{number % (BELOW_COUNT_MAX + 10)}/a.tmp")
        assert wants(chosen, f"d{number}/sub/a.tmp")
        assert len(chosen._directories) <= DIRECTORY_COUNT_MAX
        assert len(chosen._belows) <= BELOW_COUNT_MAX
    deep = "a/" * (DIRECTORY_COUNT_MAX + 10)
    assert wants(chosen, deep)
    assert len(chosen._directories) <= DIRECTORY_COUNT_MAX


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("a*" * 40 + "b", "a" * 1024),
        ("*a" * 40 + "?b", "a" * 1024),
        ("**a" * 15 + "**b", "a" * 1024),
        ("**" + "a*" * 40 + "b/c", "a" * 1022 + "/c"),
        ("a/**/" * 16 + "b", "a/" * 511 + "a"),
        ("*/" * 60 + "b", "a/" * 511 + "a"),
        ("[ab]*[!c]*" * 20 + "z", "ab" * 512),
        ("*" * 4000 + "b", "a" * 1024),
    ],
)
def test_hostile_patterns_do_not_hang(pattern: str, key: str) -> None:
    chosen = selector(f"- {pattern}")
    start_s = time.perf_counter()
    assert wants(chosen, key)
    # The square of the length is some 0.05 s; the exponent would outlive the machine.
    assert time.perf_counter() - start_s < 5.0


def test_a_pattern_can_be_asked_by_itself() -> None:
    pattern = parse_pattern("dir/***")
    assert pattern.matches("x/dir", is_directory=True)
    assert not pattern.matches("x/dir", is_directory=False)
    assert pattern.matches("dir/deep/er", is_directory=False)
    assert not parse_pattern("dir/").matches("dir", is_directory=False)

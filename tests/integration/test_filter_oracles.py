"""The rules held against rsync itself, and against rclone where the two agree.

One tree with many names is built once; each case is one run of the other program on it.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mover.filtering import Selection, read_rules
from mover.units import Malformed

FILES = (
    *("a", "foo", "a.txt", "b.TXT", "ab", "abc", "note.c", "note.h", "core", ".hidden", "z9"),
    *("[x]", "a[b", "a]b", "a-b", "a^b", "a!b", "a\\b", "a*b", "a?b", "{a,b}", "#hash", ";semi"),
    *(" lead", "trail ", "two  spaces", "-dash", "+plus", "a&b", "a|b", "(a)", "a.b.c", "~"),
    *("x/foo", "x/y/foo", "x/y/z/foo", "x/y/z/a.txt", "x/bar", "x/note.c", "x/a\\b", "x/[x]"),
    *(
        "dir/foo/bar",
        "dir/foo/a.txt",
        "dir/bar/foo/deep/er/f.c",
        "dir/keep/me.txt",
        "dir/core/dump",
    ),
    *("foo1/in", "foobar/foo/bar", "barfoo/foo/x", "logs/app.log", "logs/old/app.log.1"),
    *("deep/logs/app.log", "deep/a/b/c/d/e/f/g.tmp", "deep/a/a/a/a/b", "deep/.git/config"),
    *("src/main.c", "src/lib/util.c", "src/lib/util.o", "src/lib/.git/HEAD", "src/build/main.o"),
    *("data/2026-01-01.csv", "data/2026-01-02.csv", "data/part-00000", "data/part-00001.gz"),
    *("p/q/r/s/t", "p/q/r/u", "p/q/v", "p/w", "q/r/s", "r/s", "s/t/foo/u/bar", "y/x/y/x/y"),
)
TABLE = (
    # one component, any depth
    *("- foo", "- a", "- *.txt", "- *.c", "- a*", "- *a", "- a?b", "- ?", "- ??", "- *", "- .*"),
    *("- *o*", "- f*o", "- a*b", "- *b*c", "- [x]", r"- \[x]", "- a[[]b", "- a[]]b", "- [!a]*"),
    *("- [^a]*", "- [a-c]", "- [a-cx-z]*", "- [[:digit:]]*", "- [[:alpha:][:digit:]]"),
    *("- [![:alnum:]]*", "- a[-^!]b", "- a[!-]b", r"- a[\]\\]b", "- a[+--]b", "- [[:alpha]"),
    *("- [[:upper:]]*", "- *.[ch]", "- a[&|]b", "- []a]", "- [a-]*", "- *[!a-z]", "- [:a]"),
    # the trailing slash
    *("- foo/", "- */", "- core/", "- x/", "- ?/", "- *o/", "- /x/", "- x/y/", "- y/x/", "- **/"),
    # anchors and paths
    *("- /foo", "- /a", "- /x/foo", "- /*.txt", "- /*/foo", "- /*", "- /*/", "- x/foo", "- y/*"),
    *("- foo/bar", "- */bar", "- x/*/foo", "- */*/foo", "- /x/*", "- fo?/b*", "- o/bar", "- /x"),
    *("- lib/*.[co]", "- /*/*", "- /*/*/*", "- s/t", "- r/s", "- y/x", "- x/[!n]*", "- q/r/s"),
    # two stars
    *("- **", "- **/foo", "- **foo", "- foo**", "- foo/**", "- /x/**", "- /x/**/foo", "- x/**/foo"),
    *("- /**/foo", "- **/x/foo", "- **/*/foo", "- **/**/foo", "- *o**", "- /**", "- **/a/**/b"),
    *(
        "- a/**/b",
        "- deep/**.tmp",
        "- **.log",
        "- **/.git/**",
        "- x**o",
        "- /x**o",
        "- **r",
        "- **?",
    ),
    *("- p/**/s", "- p/**/s/**", "- **/[a-c]/**", "- f**/bar", "- **/s*/**", "- *a**b", r"- a\**b"),
    # three stars
    *("- foo/***", "- /x/***", "- ***", "- foo***", "- */***", "- x/y/***", "- **/foo/***"),
    *("- ***/foo", "- /***/foo", "- foo/***/", "- ***/", "- */x/***", "- l*/***"),
    # backslashes: plain without a wildcard, an escape with one
    *(r"- a\b", r"- a\\b*", r"- a\b*", r"- a\*b", r"- a\?b*", r"- \*", r"- [\]x[]*"),
    # several rules: the first decides, an excluded directory hides what is below it
    *(
        "+ foo\n- *",
        "+ */\n+ *.c\n- *",
        "+ *.c\n- *",
        "- x/\n+ x/foo",
        "+ x/foo\n- x/",
        "+ /x/\n- *",
    ),
    *("+ /x/\n+ /x/y/\n+ /x/y/**\n- *", "+ /x/***\n- *", "+ /src/\n+ /src/**\n- /*", "- *.o\n+ **"),
    *(
        "+ /dir/\n+ /dir/keep/***\n- /dir/*",
        "+ note.c\n- note.*\n+ note.h",
        "- .git/\n- *.o\n- *.tmp",
    ),
    *(
        "+ a*\n- ?\n+ *.txt\n- *.*",
        "+ */\n- *",
        "+ /*/\n- /*",
        "+ /x/**\n- *",
        "+ x/***\n+ y/***\n- *",
    ),
    *(
        "- a\n!\n- foo",
        "- *\n!",
        "# comment\n; comment\n\n- foo",
        "include foo\nexclude *",
        "+_foo\n-_*",
    ),
    *(
        "- #hash\n- ;semi",
        "-  lead",
        "- trail ",
        "- two  spaces",
        "- -dash\n- +plus",
        "- {a,b}",
        "- (a)",
    ),
    *("+ lib/***\n+ src/\n- *", "- /x/y/z/\n+ **\n- **", "- **/foo/**\n+ foo/bar", "+ y/x\n- y"),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oracle") / "tree"
    for name in FILES:
        path = root / name
        # "a" is both a file at the top and a directory elsewhere, never both in one place.
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root.parent / "empty").mkdir()
    return root


def program(name: str) -> str:
    """The program's path; its absence is a failure of the set-up, not a reason to skip."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert path is not None, f"{name} is not installed; the tests need it as a judge"
    return path


@functools.cache
def keys_of(tree: Path) -> list[str]:
    keys = []
    for path in tree.rglob("*"):
        key = path.relative_to(tree).as_posix()
        keys.append(f"{key}/" if path.is_dir() else key)
    return sorted(keys)


def rsync_takes(tree: Path, rules: str) -> list[str]:
    listed = run(
        [program("rsync"), "-rn", "-8", "--out-format=%n", "--filter=. -", f"{tree}/"]
        + [f"{tree.parent / 'empty'}/"],
        rules,
    )
    return sorted(name for name in listed if name != "./")


def rclone_takes(tree: Path, rules: str) -> list[str]:
    filters = tree.parent / "rclone.filter"
    filters.write_text(rules)
    command = [program("rclone"), "lsf", "-R", "--files-only", "--filter-from", str(filters)]
    return sorted(run([*command, "--config", os.devnull, str(tree)], ""))


def run(command: Sequence[str], stdin: str) -> list[str]:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command[0]} failed on {stdin!r}: {done.stderr}"
    return done.stdout.splitlines()


def we_take(tree: Path, rules: str) -> list[str]:
    selector = Selection(rules=read_rules(rules, file="table")).compile(0.0)
    keys = keys_of(tree)
    taken = [key for key in keys if selector.wants(key, 1, 0)]
    assert all(key.startswith(selector.literal_prefix) for key in taken)
    walked = {key for key in keys if key.endswith("/") and selector.wants_directory(key)}
    assert walked == {key for key in taken if key.endswith("/")}
    return taken


@pytest.mark.parametrize("rules", TABLE)
def test_rules_take_what_rsync_takes(tree: Path, rules: str) -> None:
    assert we_take(tree, rules) == rsync_takes(tree, rules)


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "foo",
        "x",
        "y",
        "lib",
        ".c",
        "o",
        "/",
        "/",
        "*",
        "*",
        "**",
        "***",
        "?",
        "[a-f]",
        "[!a]",
    ]
)
PATTERNS = st.lists(PIECES, min_size=1, max_size=6).map("".join)
RULES = st.lists(st.tuples(st.sampled_from("+-"), PATTERNS), min_size=1, max_size=5)


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(rules=RULES)
def test_generated_rules_take_what_rsync_takes(tree: Path, rules: list[tuple[str, str]]) -> None:
    usable = [f"{sign} {pattern}" for sign, pattern in rules if pattern.strip("/")]
    text = "\n".join(usable)
    assert we_take(tree, text) == rsync_takes(tree, text)


@pytest.mark.parametrize("pattern", ["[a", "a[!", "[[:nope:]]*", "a*\\", "/", "//", "[a/]"])
def test_patterns_that_we_refuse_match_nothing_in_rsync(tree: Path, pattern: str) -> None:
    with pytest.raises(Malformed):
        we_take(tree, f"- {pattern}")
    assert rsync_takes(tree, f"- {pattern}") == keys_of(tree)


# rclone never hides by directory, so only rules that do not depend on that can be compared.
AGREED = (
    *("- *.txt", "- *.c\n- *.o", "- note.?", "- [a-c]*.txt", "- logs/", "- /logs/", "- /x/**"),
    *(
        "- foo/**",
        "- /x/*.c",
        "+ *.c\n- *.[a-z]",
        "- **/.git/**",
        "- lib/*.o",
        "- /*.txt",
        "- z[0-9]",
    ),
    *("- part-*", "- a.b.*", "- *.log\n- *.log.*", "+ /src/**\n+ /data/*\n- *.c\n- *.o"),
)


@pytest.mark.parametrize("rules", AGREED)
def test_rules_take_what_rclone_takes(tree: Path, rules: str) -> None:
    ours = [key for key in we_take(tree, rules) if not key.endswith("/")]
    assert ours == rclone_takes(tree, rules)
    assert ours != [key for key in keys_of(tree) if not key.endswith("/")], "the rule bites"


DIFFERENT = {
    # what rclone takes and we do not, because rsync hides below an excluded directory
    "+ *.c\n- *": "x/note.c",
    "+ /x/foo\n- /x/**\n- x": "x/foo",
    # a bare name is only a file to rclone, also a directory to rsync
    "- core": "dir/core/dump",
    # braces enclose alternatives in rclone, and are plain characters to rsync
    "- {a,b}": "{a,b}",
}


@pytest.mark.parametrize(("rules", "name"), DIFFERENT.items())
def test_documented_differences_to_rclone(tree: Path, rules: str, name: str) -> None:
    assert name in rclone_takes(tree, rules)
    assert name not in we_take(tree, rules)
    assert name not in rsync_takes(tree, rules)

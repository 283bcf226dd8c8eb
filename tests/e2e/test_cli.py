"""The command line as a process: what it prints where, and what it returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import REPOSITORY, environment_for, read_tree, write_tree
from tests.servers import ready

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

TREE = {"a.txt": b"alpha", "d/b.bin": bytes(range(256)) * 40, "d/empty": b"", "e/c.tmp": b"t"}
CLOSED = "endpoint_url=http://127.0.0.1:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    out: str
    errors: str
    seconds: float


class CommandLine:
    """Runs ``mover`` with a state directory and a working directory of its own.

    An interpreter starts for each command only ``anew``.
    """

    def __init__(self, place: Path, *, anew: bool = False) -> None:
        self.place = place
        self.environment = environment_for(place / "state")
        self._anew = anew

    def __call__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        started_s = time.monotonic()
        variables = {**self.environment, **(environment or {})}
        run = start_anew if self._anew else ready.run
        done = run(arguments, cwd=self.place, env=variables)
        return Ran(
            code=done.returncode,
            out=done.stdout.decode(),
            errors=done.stderr.decode(),
            seconds=time.monotonic() - started_s,
        )


def start_anew(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mover", *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def mover(tmp_path: Path) -> CommandLine:
    write_tree(tmp_path / "source", TREE)
    return CommandLine(tmp_path)


@pytest.fixture
def started_anew(tmp_path: Path) -> CommandLine:
    write_tree(tmp_path / "source", TREE)
    return CommandLine(tmp_path, anew=True)


@pytest.mark.alone
def test_version_and_help_are_quick(started_anew: CommandLine) -> None:
    for arguments in (
        ("--version",),
        ("--help",),
        ("-h",),
        ("copy", "-h"),
        ("rsync", "-h"),
        ("check", "--help"),
    ):
        # One of three: another process may hold the processor during two.
        for number in range(3):
            ran = started_anew(*arguments)
            assert (ran.code, ran.errors) == (0, "")
            if ran.seconds < 0.3:
                break
            assert number < 2, (arguments, ran.seconds)


FLEET_COMMANDS = ("cancel", "jobs", "limit", "pause", "resume", "retry", "serve", "show", "worker")


@pytest.mark.parametrize(
    "command", ["copy", "rsync", "check", "prewarm", "completion", *FLEET_COMMANDS]
)
def test_every_help_has_three_examples(mover: CommandLine, command: str) -> None:
    text = mover(command, "--help").out
    assert text.count(f"\n    mover {command} ") >= 3


def test_help_lists_what_there_is(mover: CommandLine) -> None:
    lines = mover("--help").out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        ["check", "completion", "copy", "delta", "prewarm", "rsync", *FLEET_COMMANDS]
    )


def test_stores_are_not_imported_before_they_are_needed(mover: CommandLine) -> None:
    code = "import sys, mover.cli; print(sorted({'aiohttp', 'rich', 'awscrt'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=mover.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(mover: CommandLine, shell: str) -> None:
    ran = mover("completion", shell)
    assert ran.code == 0
    assert "_MOVER_COMPLETE" in ran.out


def test_completion_knows_commands_and_options(mover: CommandLine) -> None:
    asked = {
        "_MOVER_COMPLETE": "bash_complete",
        "COMP_WORDS": "mover copy --lim",
        "COMP_CWORD": "2",
    }
    ran = mover(environment=asked)
    assert ran.out.split() == ["plain,--limit", "plain,--limit-requests"]


def test_copy_and_check_a_tree(started_anew: CommandLine) -> None:
    mover = started_anew
    ran = mover("copy", "source/", "target/")
    assert (ran.code, ran.out) == (0, "")
    assert ran.errors.startswith("mover: done: 4 objects copied, ")
    assert read_tree(mover.place / "target") == TREE
    again = mover("copy", "source/", "target/")
    assert "0 objects copied" in again.errors
    assert "4 skipped, 0 failed" in again.errors
    same = mover("check", "source/", "target/")
    assert (same.code, same.out) == (0, "")
    assert same.errors.startswith("mover: equal: 4 objects are equal, 0 are not")


def test_check_names_what_differs(mover: CommandLine) -> None:
    assert mover("copy", "source/", "target/").code == 0
    target = mover.place / "target"
    (target / "a.txt").unlink()
    (target / "d" / "b.bin").write_bytes(b"other")
    (target / "new\nline").write_bytes(b"")
    ran = mover("check", "source/", "target/")
    assert ran.code == 1
    words = [line.split(":")[0] for line in ran.out.splitlines()]
    assert sorted(words) == ["differs d/b.bin", r"extra new\x0aline", "missing a.txt"]
    names = ran.errors.rsplit("--files-from ", 1)[1].strip()
    mended = mover("copy", "source/", "target/", "--files-from", names)
    assert mended.code == 0
    assert {key: read_tree(target)[key] for key in TREE} == TREE


def test_json_is_one_object_and_nothing_else(mover: CommandLine) -> None:
    ran = mover("copy", "source/", "target/", "--json")
    report = json.loads(ran.out)
    assert ran.out.count("\n") == 1
    assert ran.errors == ""
    assert list(report) == [
        *("job", "state", "objects", "bytes", "delta", "seconds", "verified", "failures"),
        *("retry_file", "withheld", "rates"),
    ]
    assert report["state"] == "done"
    assert report["objects"]["copied"] == 4
    checked = json.loads(mover("check", "source/", "target/", "--json").out)
    assert (checked["state"], checked["failures"]) == ("done", [])


def test_json_of_a_request_that_makes_no_sense_says_why(mover: CommandLine) -> None:
    for arguments in (("copy", "source/", "source/"), ("copy", "source/"), ("copy", "--no-such")):
        ran = mover(*arguments, "--json")
        report = json.loads(ran.out)
        assert (ran.code, report["state"]) == (2, "rejected")
        assert report["error"] in ran.errors


def test_dry_run_prints_the_plan_and_changes_nothing(mover: CommandLine) -> None:
    ran = mover("copy", "source/", "target/", "--dry-run", "--exclude", "*.tmp")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "copy a.txt (5 bytes)",
        "copy d/b.bin (10240 bytes)",
        "copy d/empty (0 bytes)",
    ]
    assert ran.errors.startswith("mover: plan: 3 objects, 10.0 KiB to copy; ")
    assert not (mover.place / "target").exists()
    report = json.loads(mover("copy", "source/", "target/", "-n", "--json").out)
    assert (report["state"], report["objects"]["planned"]) == ("planned", 4)


def test_rules_apply_in_their_order(mover: CommandLine) -> None:
    (mover.place / "rules").write_text("- *.tmp\n")
    arguments = ("--include=*.bin", "--filter-from", "rules", "--exclude=d/*", "--include", "*")
    ran = mover("copy", "source/", "target/", "-n", *arguments)
    assert [line.split()[1] for line in ran.out.splitlines()] == ["a.txt", "d/b.bin"]


def test_a_closed_pipe_ends_the_plan_quietly(mover: CommandLine) -> None:
    names = {f"n{number:05d}": b"" for number in range(5000)}
    write_tree(mover.place / "many", names)
    process = ready.ReadyProcess(
        ("copy", "many/", "target/", "-n"), cwd=mover.place, env=mover.environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"copy n00000 (0 bytes)\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), errors) == (1, b"")


def test_failed_objects_are_named_and_the_code_is_one(mover: CommandLine) -> None:
    # Where the target has a directory, an object of that name cannot be; root may do all else.
    (mover.place / "target" / "a.txt" / "inside").mkdir(parents=True)
    ran = mover("copy", "source/", "target/")
    assert ran.code == 1
    lines = ran.errors.splitlines()
    assert lines[0].startswith("mover: incomplete: 3 objects copied")
    assert any(line.startswith("mover: failed: a.txt: ") for line in lines)
    names = lines[-1].rsplit("--files-from ", 1)[1]
    (mover.place / "target" / "a.txt" / "inside").rmdir()
    (mover.place / "target" / "a.txt").rmdir()
    assert mover("copy", "source/", "target/", "--files-from", names).code == 0
    assert read_tree(mover.place / "target") == TREE


BAD_REQUESTS = [
    ("unknown scheme", ["copy", "foo://x/y", "target/"], "unknown scheme 'foo'", 2),
    ("missing source", ["copy", "nowhere", "target"], "nowhere does not exist", 2),
    ("missing tree", ["check", "nowhere/", "source/"], "nowhere/", 2),
    ("source is target", ["copy", "source/", "source/"], "is the source", 2),
    ("source is target by another way", ["copy", "source/", "d/../source"], "is the source", 2),
    ("target in source", ["copy", "source/", "source/deep/er/"], "lies inside it", 2),
    ("bad filter", ["copy", "source/", "target/", "--include", "[z"], "--include pattern", 2),
    (
        "bad filter file",
        ["copy", "source/", "target/", "--filter-from", "no"],
        "--filter-from no",
        2,
    ),
    (
        "negative limit",
        ["copy", "source/", "target/", "--limit", "-5MiB/s"],
        "--limit '-5MiB/s'",
        2,
    ),
    ("negative rate", ["copy", "source/", "t/", "--limit-requests=-1/s"], "--limit-requests", 2),
    ("no workers", ["copy", "source/", "target/", "--workers", "0"], "--workers '0'", 2),
    ("unknown option", ["copy", "source/", "t/", "--exlude", "x"], "--exclude", 2),
    ("bad choice", ["copy", "source/", "t/", "--compare", "moon"], "'moon'", 2),
    ("unknown command", ["copi", "a", "b"], "copi", 2),
    ("no target", ["copy", "source/"], "TARGET", 2),
    ("empty target", ["copy", "source/", ""], "TARGET", 2),
    ("secret in a URL", ["copy", "s3://key:hunter2@b/p/", "t/"], "must not hold", 2),
    ("unreachable source", ["copy", f"s3://b/p/?{CLOSED}", "target/"], "127.0.0.1:1", 1),
    ("unreachable target", ["copy", "source/", f"s3://b/p/?{CLOSED}"], "127.0.0.1:1", 1),
    ("unreachable site", ["copy", "http://127.0.0.1:1/d/", "target/"], "127.0.0.1", 1),
]
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "unguessable-secret"}


def assert_one_clear_line(ran: Ran, says: str, code: int) -> None:
    assert ran.code == code, ran.errors
    assert ran.errors.startswith("mover: error: ")
    assert ran.errors.count("\n") == 1
    assert says in ran.errors
    assert ran.out == ""
    assert ran.seconds < 30  # the retries take seven; more is a machine that does something else
    assert "hunter2" not in ran.errors
    assert "unguessable-secret" not in ran.errors


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [row[1:] for row in BAD_REQUESTS],
    ids=[row[0] for row in BAD_REQUESTS],
)
def test_bad_requests(mover: CommandLine, arguments: list[str], says: str, code: int) -> None:
    before = sorted(os.listdir(mover.place / "source"))
    assert_one_clear_line(mover(*arguments, environment=KEYS), says, code)
    assert sorted(os.listdir(mover.place / "source")) == before


def test_a_missing_bucket(mover: CommandLine, seaweed: SeaweedServer) -> None:
    location = f"s3://no-such-bucket/p/?endpoint_url={seaweed.endpoint_url}"
    for arguments in (("copy", location, "t/"), ("copy", "source/", location)):
        ran = mover(*arguments, environment=seaweed.environment())
        assert_one_clear_line(ran, "no-such-bucket", 2)


def test_wrong_credentials(mover: CommandLine, seaweed_bucket: Bucket) -> None:
    server = seaweed_bucket.server
    for wrong in (KEYS, {"AWS_SECRET_ACCESS_KEY": "unguessable-secret"}):
        environment = {**server.environment(), **wrong}
        for arguments in (
            ("copy", seaweed_bucket.location("p/"), "t/"),
            ("copy", "source/", seaweed_bucket.location("p/")),
        ):
            ran = mover(*arguments, environment=environment)
            assert_one_clear_line(ran, seaweed_bucket.name, 2)


def test_each_side_has_credentials_of_its_own(mover: CommandLine, seaweed_bucket: Bucket) -> None:
    right = seaweed_bucket.server.environment()
    wrong = {**right, **KEYS}
    sided = {f"MOVER_TARGET_{name}": value for name, value in right.items()}
    up = mover("copy", "source/", seaweed_bucket.location("p/"), environment={**wrong, **sided})
    assert up.code == 0, up.errors
    assert sorted(seaweed_bucket.list_keys("p/")) == sorted(f"p/{key}" for key in TREE)


def test_debug_logs_the_traceback_of_an_error(mover: CommandLine) -> None:
    ran = mover("copy", "source/", "source/", "--log-level", "debug", "--log-format", "json")
    assert ran.code == 2
    lines = ran.errors.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert any("Rejected" in record.get("exception", "") for record in records)
    assert [line for line in lines if not line.startswith("{")] == [
        line for line in lines if line.startswith("mover: error: ")
    ]


def test_relative_paths_are_another_job_elsewhere(mover: CommandLine) -> None:
    jobs: Callable[[], int] = lambda: len(os.listdir(mover.place / "state" / "jobs"))  # noqa: E731
    assert mover("copy", "source/", "target/").code == 0
    assert jobs() == 1
    write_tree(mover.place / "other" / "source", {"x": b"x"})
    elsewhere = CommandLine(mover.place / "other")
    elsewhere.environment = mover.environment
    assert elsewhere("copy", "source/", "target/").code == 0
    assert jobs() == 2
    assert read_tree(elsewhere.place / "target") == {"x": b"x"}

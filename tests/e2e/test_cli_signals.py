"""Ctrl-C, SIGTERM and impatience: what a stopped command says, returns, leaves, and resumes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import environment_for, leftovers, make_objects, read_tree, write_tree
from tests.servers.ready import ReadyProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# 600 objects of 1 KiB on average at 100 KiB a second: six seconds, if nobody stops it.
OBJECTS = make_objects(600, seed=11, size_max=2048)
SLOW = ("--limit", "100KiB/s", "--no-server-copy")
GOES_ON = "next: the same command goes on from here"
WAIT_S = 20.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ReadyProcess]]:
    """Starts ``mover`` at the head of a process group of its own, as a shell's job is."""
    write_tree(tmp_path / "source", OBJECTS)
    started: list[ReadyProcess] = []

    def run(*arguments: str) -> ReadyProcess:
        process = ReadyProcess(
            arguments,
            cwd=tmp_path,
            env=environment_for(tmp_path / "state"),
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def some_have_arrived(target: Path) -> Callable[[], bool]:
    return lambda: any(name.endswith(".bin") for _, _, names in os.walk(target) for name in names)


def files_of(target: Path) -> dict[str, int]:
    """The file that each name has: a copy makes another one, even of the same bytes."""
    return {name: (target / name).stat().st_ino for name in read_tree(target) if name in OBJECTS}


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 143, "1"), (signal.SIGINT, 130, "2")],
)
def test_a_stopped_copy_says_how_to_go_on_and_does(
    start: Callable[..., ReadyProcess],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    workers: str,
) -> None:
    command = ("copy", "source/", "target/", *SLOW, "--workers", workers)
    process = start(*command)
    wait_until(some_have_arrived(tmp_path / "target"))
    # To the whole group, as a terminal does: the worker processes get it too.
    os.killpg(process.pid, number)
    out, errors = process.communicate(timeout=WAIT_S)
    lines = errors.decode().splitlines()
    assert (process.returncode, out) == (code, b"")
    assert lines[0] == "mover: stopping: finishing what is under way; again to stop at once"
    assert lines[1].startswith("mover: interrupted: ")
    assert lines[-1] == f"mover: {GOES_ON}"
    there = files_of(tmp_path / "target")
    assert len(there) < len(OBJECTS)

    again = start(*command)
    _, errors = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, errors
    assert errors.startswith(b"mover: going on with job ")
    assert read_tree(tmp_path / "target") == OBJECTS
    assert leftovers(tmp_path / "target") == []
    now = files_of(tmp_path / "target")
    assert there == {name: now[name] for name in there}, "what was done is done again"


def test_the_second_signal_stops_at_once(
    start: Callable[..., ReadyProcess], tmp_path: Path
) -> None:
    process = start("copy", "source/", "target/", *SLOW, "--workers", "2", "--json")
    wait_until(some_have_arrived(tmp_path / "target"))
    assert process.stderr is not None
    os.kill(process.pid, signal.SIGTERM)
    assert b"stopping" in process.stderr.readline()
    started_s = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=WAIT_S)
    assert time.monotonic() - started_s < 4
    assert process.returncode == 143  # the first one counts
    assert json.loads(out)["state"] == "interrupted"


@pytest.mark.parametrize("command", ["copy", "check"])
def test_one_signal_ends_what_has_nothing_to_drain(
    start: Callable[..., ReadyProcess], command: str
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        process = start(command, f"http://127.0.0.1:{port}/d/", "target/")
        silent.settimeout(WAIT_S)
        with silent.accept()[0]:
            started_s = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            out, errors = process.communicate(timeout=WAIT_S)
    assert time.monotonic() - started_s < 4
    assert (process.returncode, out) == (130, b"")
    assert errors.startswith(b"mover: interrupted")
    assert b"Traceback" not in errors

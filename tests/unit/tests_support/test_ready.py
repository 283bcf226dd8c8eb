"""The mover as a fork of a process that has imported it: what ``python -m mover`` would do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ready

REPOSITORY = Path(__file__).resolve().parents[3]
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "HOME": "/nonexistent"}


def by_an_interpreter(arguments: tuple[str, ...], place: Path) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "mover", *arguments],
        cwd=place,
        env=ENVIRONMENT,
        input=b"bytes",
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        ("copy", "only-one"),
        ("delta", "patch", "nowhere", "-", "-"),
        ("copy", "--dry-run", "here/", "there/"),
        ("jobs",),
    ],
    ids=" ".join,
)
def test_it_says_what_an_interpreter_says(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / os.fsdecode(b"no\xfftext")).write_bytes(b"1")
    done = ready.run(arguments, cwd=tmp_path, env=ENVIRONMENT, input=b"bytes")
    assert (done.returncode, done.stdout, done.stderr) == by_an_interpreter(arguments, tmp_path)


def waiting(tmp_path: Path, *, leads: bool = False) -> ready.ReadyProcess:
    """One that reads its standard input for ever."""
    return ready.ReadyProcess(
        ("delta", "sign", "-", "sig"),
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        start_new_session=leads,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_it_alone(number: signal.Signals, tmp_path: Path) -> None:
    with waiting(tmp_path) as struck, waiting(tmp_path) as other:
        assert struck.stdin is not None
        struck.stdin.write(bytes(1 << 20))  # more than a pipe holds: it has begun to read
        assert struck.poll() is None
        struck.send_signal(number)
        code = struck.wait(30)
        assert code in {-number, 128 + number}
        assert other.poll() is None
        out, _ = other.communicate(b"bytes", 30)
        assert (other.wait(), out) == (0, b"")


def test_it_may_lead_a_session(tmp_path: Path) -> None:
    with waiting(tmp_path, leads=True) as leader, waiting(tmp_path) as member:
        assert os.getpgid(leader.pid) == leader.pid
        assert os.getpgid(member.pid) == os.getpgid(0)
        for process in (leader, member):
            process.kill()


def test_what_takes_too_long_is_killed(tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.stdin, kept = None, process.stdin
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.01)
        assert process.wait() == -signal.SIGKILL
        assert kept is not None
        kept.close()


def test_nothing_is_left_of_another(tmp_path: Path) -> None:
    """Neither its environment, its directory nor its open descriptors."""
    with waiting(tmp_path) as first:
        (tmp_path / "elsewhere").mkdir()
        with ready.ReadyProcess(
            ("delta", "sign", "-", "sig"),
            cwd=tmp_path / "elsewhere",
            env={**ENVIRONMENT, "ONE": "1"},
            stdin=subprocess.PIPE,
        ) as second:
            assert first.stdin is not None
            first.stdin.close()  # an end of its input that another held would keep it waiting
            assert first.wait(30) == 0
            second.communicate(b"", 30)
        assert all((tmp_path / where / "sig").exists() for where in ("", "elsewhere"))

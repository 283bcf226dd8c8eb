"""Have one command weighed by `bench/meter.py` in a fresh helper process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

METER = Path(__file__).with_name("meter.py")
_STOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments. Secrets ride in the environment, which ``repr`` leaves out."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a command cost, over all of its processes."""

    wall_s: float
    cpu_user_s: float
    cpu_system_s: float
    rss_peak_bytes: int
    processes_peak: int
    machine_busy_s: float
    exit_code: int
    timed_out: bool
    left_behind: int


class MeterFailed(RuntimeError):
    """The helper itself failed: the harness is broken, not the tool."""

    def __init__(self, argv: tuple[str, ...], exit_code: int, detail: str) -> None:
        super().__init__(f"The meter of {argv[0]} left with {exit_code}: {detail}")
        self.exit_code = exit_code


def weigh(command: Command, *, cwd: Path, stdout: Path, stderr: Path, timeout_s: float) -> Weight:
    """Run a command to its end and return its cost.

    A failing or late command is a ``Weight`` like any other; ``MeterFailed`` means that there is
    none. An interruption (KeyboardInterrupt too) kills the command and all of its children first.
    """
    order = {
        "argv": command.argv,
        "cwd": str(cwd),
        "stdout": str(stdout),
        "stderr": str(stderr),
        "timeout_s": timeout_s,
    }
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(METER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", os.defpath), **command.environment},
        start_new_session=True,
    ) as helper:
        try:
            answer, complaint = helper.communicate(msgspec.json.encode(order))
        except BaseException:
            helper.terminate()
            try:
                helper.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                helper.kill()
            raise
    if helper.returncode != 0:
        detail = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise MeterFailed(command.argv, helper.returncode, detail)
    return msgspec.json.decode(answer, type=Weight)

"""Long-lived helpers of a run: started, asked for their port, and always stopped."""

import contextlib
import ctypes
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.metering import Command

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STOP_S = 5.0


def _die_with_parent() -> None:
    """Ask the kernel to kill this child when its parent dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextlib.contextmanager
def script_server(script: str, *arguments: str) -> Iterator[int]:
    """Run a script of this package that prints its port, and stop it at the end.

    Raises ``RuntimeError`` if it ends before it has a port.
    """
    path = Path(__file__).with_name(script)
    with subprocess.Popen(
        [sys.executable, "-I", str(path), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Between fork and exec only one thread may run, and this program has no other.
        preexec_fn=_die_with_parent,
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line.strip().isdigit():
                raise RuntimeError(f"{script} ended before it had a port")
            yield int(line)
        finally:
            server.terminate()
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()


class CommandFailed(RuntimeError):
    """A preparing or judging command failed: the harness is broken, not a tool under test."""

    def __init__(self, program: str, exit_code: int, detail: str) -> None:
        super().__init__(f"{program} left with {exit_code}: {detail}")
        self.exit_code = exit_code


def run_command(command: Command, *, timeout_s: float = 1800) -> str:
    """Run a command to its end, untimed, and return its stdout.

    Raises ``CommandFailed``, or ``subprocess.TimeoutExpired`` after killing it.
    """
    done = subprocess.run(
        command.argv,
        env=dict(command.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        detail = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise CommandFailed(Path(command.argv[0]).name, done.returncode, detail)
    return done.stdout

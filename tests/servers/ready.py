"""The mover as a process, without the third of a second that its imports take at every start.

So too programs that are the mover with something changed: what they change must be looked up when
it is used, for all is imported before. Each of them is a process of its own, forked from one that has imported everything: its arguments,
environment, directory, streams, signals and exit code are those of ``python -m mover``. What asks
how the interpreter starts, or what is imported, starts one itself.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_REPOSITORY = Path(__file__).resolve().parents[2]
_NUMBER_BYTES = 8


class Process(Protocol):
    """What the tests use of a command that runs, however it was started."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ReadyProcess:
    """A command of the mover that runs; used as ``subprocess.Popen`` is, with bytes."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        program: str = "mover",
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        start_new_session: bool = False,
    ) -> None:
        request = {
            "program": program,
            "arguments": list(arguments),
            "environment": dict(env),
            "directory": str(cwd),
            "leads_a_session": start_new_session,
        }
        with contextlib.ExitStack() as theirs:
            self.stdin, its_input = _stream(stdin, theirs, writes=True)
            self.stdout, its_output = _stream(stdout, theirs, writes=False)
            self.stderr, its_errors = _stream(stderr, theirs, writes=False)
            self._status, status = os.pipe()
            theirs.callback(os.close, status)
            socket.send_fds(
                _channel(),
                [json.dumps(request).encode()],
                [its_input, its_output, its_errors, status],
            )
        self.returncode: int | None = None
        # Whoever kills it waits for it too, beside the thread that waits already.
        self._ending, self._draining = threading.Lock(), threading.Lock()
        self.pid = self._read_number()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def _read_number(self) -> int:
        told = os.read(self._status, _NUMBER_BYTES)
        assert told, "the process that forks is gone"
        return array.array("q", told)[0]

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._status, select.POLLIN)
            if not waiting.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("mover", timeout or 0)
            with self._ending:
                if self.returncode is None:
                    self.returncode = self._read_number()
                    os.close(self._status)
        return self.returncode

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """What it printed; it is killed when it takes longer than ``timeout`` seconds."""
        with self._draining, ThreadPoolExecutor(3) as crew:
            out, errors = (crew.submit(_drain, stream) for stream in (self.stdout, self.stderr))
            fed = crew.submit(_feed, self.stdin, input or b"")
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        fed.result()
        return out.result(), errors.result()

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _drain(stream: IO[bytes] | None) -> bytes:
    if stream is None or stream.closed:
        return b""
    with stream:
        return stream.read()


def _feed(stream: IO[bytes] | None, data: bytes) -> None:
    if stream is not None and not stream.closed:
        with contextlib.suppress(BrokenPipeError), stream:
            stream.write(data)


def _stream(
    wanted: int, theirs: contextlib.ExitStack, *, writes: bool
) -> tuple[IO[bytes] | None, int]:
    """Our end of a stream, and the descriptor that goes to the process."""
    if wanted != subprocess.PIPE:
        given = os.open(os.devnull, os.O_RDWR) if wanted == subprocess.DEVNULL else os.dup(wanted)
        theirs.callback(os.close, given)
        return None, given
    read, write = os.pipe()
    ours, its = (write, read) if writes else (read, write)
    theirs.callback(os.close, its)
    return os.fdopen(ours, "wb" if writes else "rb"), its


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    input: bytes | None = None,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the mover to its end."""
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    with ReadyProcess(arguments, cwd=cwd, env=env, stdin=stdin) as process:
        out, errors = process.communicate(input, timeout)
    return subprocess.CompletedProcess(list(arguments), process.wait(), out, errors)


def start(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    program: str = "mover",
    prefix: Sequence[str] = (),
    output: int = subprocess.PIPE,
    anew: bool = False,
) -> Process:
    """Start a program; ``anew``, or under another command, by an interpreter.

    ``output`` is what ``subprocess`` takes, or a descriptor.
    """
    if not (prefix or anew):
        return ReadyProcess(
            arguments,
            program=program,
            cwd=_REPOSITORY,
            env=environment,
            stdout=output,
            stderr=output,
        )
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", program, *arguments],
        cwd=_REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


@functools.cache
def _channel() -> socket.socket:
    """To the process that forks: one for this test process, from the first start to its end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        forking = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.ready_main", str(theirs.fileno())],
            cwd=_REPOSITORY,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(_REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        forking.wait()

    atexit.register(end)
    return ours

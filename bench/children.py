"""Child processes that cannot outlive this program: servers for benchmarks and tests.

A sentinel stands beside each child. It learns the child's process group on its first line of input
and then sleeps until we say goodbye (a second line) or die (end of file, also after kill -9), when
it kills the group and removes what it was told to. A parent-death signal would not do: the kernel
sends it when the *thread* that started the child ends, and servers are started from executors.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_SENTINEL = """
read -r group
read -r bye || { kill -s KILL -- "-$group"; sleep 0.2; rm -rf -- "$@"; }
"""


class GuardedChild:
    """A running child in its own session and process group; its output goes to ``log``.

    ``leftovers`` are files and directories that the sentinel removes if this program dies; after an
    ordinary ``end`` they are the caller's.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        log: Path,
        environment: Mapping[str, str],
        leftovers: Sequence[Path] = (),
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._sentinel = subprocess.Popen(
            ["/bin/sh", "-c", _SENTINEL, "sentinel", *map(str, leftovers)],
            cwd="/",
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        if self._sentinel.stdin is not None:
            self._sentinel.stdin.write(f"{self._process.pid}\n".encode())
            self._sentinel.stdin.flush()

    @property
    def pid(self) -> int:
        """The child's process id, which is also its process group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The child's exit status (negative: a signal), or None while it runs."""
        return self._process.poll()

    def end(self, *, wait_gracefully: Callable[[], None] | None = None) -> None:
        """End the child and all of its group. Repeatable.

        With ``wait_gracefully`` the child gets SIGTERM first, and SIGKILL when that returns.
        """
        if wait_gracefully is not None and self.status is None:
            self._process.terminate()
            wait_gracefully()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._sentinel.returncode is None:
            self._sentinel.communicate(b"bye\n")

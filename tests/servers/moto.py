"""moto as an S3 server in a process of its own, so that it takes no share of the tests' GIL.

moto keeps every name exactly (``a//b``, ``./a``, ``d/``), lists in S3's order and stores checksums;
it checks no signature, and it closes the connection after every answer. SeaweedFS differs in all
of these. Use both.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.children import GuardedChild
from bench.s3_raw import S3Raw
from bench.stores import REGION, ServerFailed, free_ports

if TYPE_CHECKING:
    from types import TracebackType

_REPOSITORY = Path(__file__).resolve().parents[2]
_READY_TIMEOUT_S = 30.0


class MotoServer:
    """moto's S3 on 127.0.0.1 between ``start`` and ``stop``; any keys are good keys."""

    access_key = "moto-key"
    secret_key = "moto-secret"  # not a secret: moto takes any
    region = REGION
    ca_file: Path | None = None

    def __init__(self) -> None:
        self._child: GuardedChild | None = None
        self._directory = Path(tempfile.mkdtemp(prefix="fluid-mover-moto-"))
        self._port = free_ports(1)[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def raw(self) -> S3Raw:
        return S3Raw(
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
        )

    def environment(self) -> dict[str, str]:
        """AWS_* variables for a client; the user's own AWS files are shut out."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self) -> None:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._directory)}
        self._child = GuardedChild(
            [sys.executable, "-m", "tests.servers.moto_main", str(self._port)],
            directory=_REPOSITORY,
            log=self._directory / "moto.log",
            environment=environment | self.environment(),
            leftovers=[self._directory],
        )
        try:
            self._wait_ready(self._child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait_ready(self, child: GuardedChild) -> None:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while child.status is None and time.monotonic() < deadline_s:
            try:
                if self.raw.call("GET", "/").status == 200:
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.03)
        log = (self._directory / "moto.log").read_text(errors="replace")
        raise ServerFailed(program="moto", reason=f"status {child.status}", log_tail=log[-2000:])

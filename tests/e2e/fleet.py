"""A fleet on one machine for end-to-end tests: a real Redis, worker processes, commands."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.support import REPOSITORY, Ended, Mover

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.redis_process import RedisProcess


@dataclass(kw_only=True)
class Fleet:
    """Workers of one queue; everything ends with ``close``."""

    redis: RedisProcess
    environment: dict[str, str]
    timeout_s: float = 90.0
    program: str = "mover"
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mover = Mover(environment=self.environment, timeout_s=self.timeout_s)

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(
            [sys.executable, "-m", self.program, "worker", "--queue", self.redis.url, *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)
        return worker

    def start(self, source: str, target: str, *arguments: str) -> subprocess.Popen[str]:
        return self.mover.start(source, target, "--queue", self.redis.url, *arguments)

    def copy(self, source: str, target: str, *arguments: str) -> Ended:
        return self.mover.finish(self.start(source, target, *arguments))

    def submit(self, source: str, target: str, *arguments: str) -> str:
        ended = self.copy(source, target, "--detach", *arguments)
        assert ended.code == 0, ended
        return str(ended.report["job"])

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run a command on the queue and return what it printed; ``code`` is what it must end with."""
        done = self.mover.run(*arguments, "--queue", self.redis.url)
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        return done.stdout

    def show(self, job: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.command("show", job, "--json"))
        return shown

    def wait_until(
        self, job: str, reached: Callable[[dict[str, Any]], bool], *, within_s: float = 60.0
    ) -> dict[str, Any]:
        """Poll ``show`` until the job stands as wished."""
        deadline_s = time.monotonic() + within_s
        while True:
            shown = self.show(job)
            if reached(shown):
                return shown
            assert time.monotonic() < deadline_s, shown
            time.sleep(0.1)

    def wait_for_end(self, job: str, *, within_s: float = 60.0) -> dict[str, Any]:
        ended = {"done", "incomplete", "cancelled"}
        return self.wait_until(
            job,
            lambda shown: shown["state"] in ended and not _open_tasks(shown),
            within_s=within_s,
        )

    def close(self) -> None:
        self.mover.close()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()


def _open_tasks(shown: dict[str, Any]) -> int:
    tasks = shown["tasks"]
    return int(tasks["pending"] + tasks["leased"] + tasks["delayed"] + tasks["waiting"])

"""A fleet on one machine for end-to-end tests: a real Redis, worker processes, commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mover.operating import show_job
from mover.queues import open_fleet_board
from tests.e2e.support import Ended, Mover
from tests.servers import ready

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bench.redis_process import RedisProcess


T = TypeVar("T")


@dataclass(kw_only=True)
class Fleet:
    """Workers of one queue; everything ends with ``close``."""

    redis: RedisProcess
    environment: dict[str, str]
    timeout_s: float = 90.0
    program: str = "mover"
    workers: list[ready.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mover = Mover(environment=self.environment, timeout_s=self.timeout_s)

    def start_worker(self, *arguments: str) -> ready.Process:
        worker = ready.start(
            ["worker", "--queue", self.redis.url, *arguments],
            environment=self.environment,
            program=self.program,
            output=subprocess.DEVNULL,
        )
        self.workers.append(worker)
        return worker

    def start(self, source: str, target: str, *arguments: str) -> ready.Process:
        return self.mover.start(source, target, "--queue", self.redis.url, *arguments)

    def copy(self, source: str, target: str, *arguments: str) -> Ended:
        return self.mover.finish(self.start(source, target, *arguments))

    def rsync(self, source: str, target: str, *arguments: str) -> Ended:
        return self.mover.rsync(source, target, "--queue", self.redis.url, *arguments)

    def submit(self, source: str, target: str, *arguments: str) -> str:
        ended = self.copy(source, target, "--detach", *arguments)
        assert ended.code == 0, ended
        return str(ended.report["job"])

    def submit_rsync(self, source: str, target: str, *arguments: str) -> str:
        """The same of a job that makes the target equal."""
        ended = self.rsync(source, target, "--detach", *arguments)
        assert ended.code == 0, ended
        return str(ended.report["job"])

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run a command on the queue and return what it printed; ``code`` is what it must end with."""
        done = self.mover.run(*arguments, "--queue", self.redis.url)
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        return done.stdout

    def show(self, job: str) -> dict[str, Any]:
        """What ``mover show --json`` prints of a job."""
        shown: dict[str, Any] = json.loads(self.command("show", job, "--json"))
        return shown

    def look(self, job: str) -> dict[str, Any]:
        """The same without a process, whose start would cost more than all that is looked at."""

        async def look() -> dict[str, Any]:
            async with open_fleet_board(self.redis.url, {}) as board:
                return (await show_job(board, job)).to_json()

        return _run(look)

    def wait_for_job(self) -> str:
        """Wait until somebody has submitted a job to the empty queue; its name."""

        async def wait() -> str:
            async with open_fleet_board(self.redis.url, {}) as board, asyncio.timeout(60):
                while not (jobs := await board.active()):  # noqa: ASYNC110 - another process acts
                    await asyncio.sleep(0.05)
                return jobs[0]

        return _run(wait)

    def wait_until(
        self, job: str, reached: Callable[[dict[str, Any]], bool], *, within_s: float = 60.0
    ) -> dict[str, Any]:
        """Look until the job stands as wished."""
        deadline_s = time.monotonic() + within_s
        while True:
            shown = self.look(job)
            if reached(shown):
                return shown
            assert time.monotonic() < deadline_s, shown
            time.sleep(0.1)

    def wait_for_end(self, job: str, *, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until no task is left and a worker has removed what the job left at its target."""
        return self.wait_until(
            job, lambda shown: has_ended(shown) and _is_cleaned(shown), within_s=within_s
        )

    def close(self) -> None:
        self.mover.close()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """On a loop of its own, in a thread of its own: the caller may have one that is running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work()).result()


def has_ended(shown: dict[str, Any]) -> bool:
    """Whether no task of a job is left."""
    tasks = shown["tasks"]
    left = tasks["pending"] + tasks["leased"] + tasks["delayed"] + tasks["waiting"]
    return shown["state"] in {"done", "incomplete", "cancelled"} and not left


def _is_cleaned(shown: dict[str, Any]) -> bool:
    return any(event["text"] == "the job has ended" for event in shown["events"])

"""A storm over a fleet: workers die every second, Redis and the store go away and come back."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.redis_process import RedisProcess
    from bench.stores import SeaweedServer
    from tests.e2e.fleet import Fleet

WORKER_ARGUMENTS = ("--lease", "4s", "--slots", "2")


class Storm:
    """Kills one of ``size`` workers each second, and does what is planned for a second."""

    def __init__(
        self, fleet: Fleet, *, size: int, seed: int, plan: dict[int, Callable[[], None]]
    ) -> None:
        self._fleet = fleet
        self._rng = random.Random(seed)
        self._plan = plan
        self._crew = [fleet.start_worker(*WORKER_ARGUMENTS) for _ in range(size)]
        self.killed = 0

    def rage(self, seconds: int, is_over: Callable[[], bool]) -> None:
        """Go on for so long, or until the job is over."""
        for second in range(seconds):
            if is_over():
                return
            started_s = time.monotonic()
            if act := self._plan.get(second):
                act()
            self._strike()
            time.sleep(max(0.0, started_s + 1.0 - time.monotonic()))

    def _strike(self) -> None:
        number = self._rng.randrange(len(self._crew))
        victim = self._crew[number]
        if victim.poll() is None:
            victim.kill()
            self.killed += 1
        victim.wait()
        self._crew[number] = self._fleet.start_worker(*WORKER_ARGUMENTS)


def frozen_for(redis: RedisProcess, seconds: float) -> Callable[[], None]:
    """Stops Redis's clock, and starts it again later, while the storm goes on."""

    def freeze() -> None:
        redis.freeze()
        threading.Timer(seconds, redis.thaw).start()

    return freeze


def restarted(redis: RedisProcess) -> Callable[[], None]:
    """Kills Redis and starts it again at once on its append-only file."""

    def restart() -> None:
        redis.stop()
        redis.start()

    return restart


def store_restarted(server: SeaweedServer) -> Callable[[], None]:
    """Ends the S3 server and starts it again with what it had stored."""
    return server.restart

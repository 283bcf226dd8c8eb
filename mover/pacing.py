"""How fast a job is and how far: from what it has told so far. Pure; displays and metrics use the same."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from mover.progress import Progress

RATE_WINDOW_S: Final = 5.0
"""The rate that is shown is that of the last seconds: long enough to be calm, short enough to be true."""


class RateMeter:
    """A moving average: what came in over the last ``RATE_WINDOW_S`` seconds, per second."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque(maxlen=256)

    def add(self, seconds: float, total: int) -> None:
        """Note that ``total`` had come in ``seconds`` after the start; both only grow."""
        self._points.append((seconds, total))
        while len(self._points) > 2 and self._points[1][0] <= seconds - RATE_WINDOW_S:
            self._points.popleft()

    def per_s(self) -> float:
        """Zero until two points are known."""
        if len(self._points) < 2:
            return 0.0
        (start_s, start), (end_s, end) = self._points[0], self._points[-1]
        return max(end - start, 0) / (end_s - start_s) if end_s > start_s else 0.0


class Rates(Protocol):
    """The rates of a job and of its workers, in bytes per second."""

    def per_s(self) -> float:
        """The job's rate."""

    def worker_per_s(self, worker: str) -> float:
        """A worker's rate; zero for one that was never heard of."""


@dataclass(frozen=True, slots=True)
class ToldRates:
    """Rates as the workers have measured them themselves, by worker. Implements ``Rates``."""

    workers: Mapping[str, float]

    def per_s(self) -> float:
        return sum(self.workers.values())

    def worker_per_s(self, worker: str) -> float:
        return self.workers.get(worker, 0.0)


class Pace:
    """Rates by the updates that it is shown. Implements ``Rates``."""

    def __init__(self) -> None:
        self._job = RateMeter()
        self._workers: dict[str, RateMeter] = {}

    def add(self, progress: Progress) -> None:
        """Take an update into account."""
        self._job.add(progress.seconds, progress.copied_bytes)
        for each in progress.workers:
            meter = self._workers.setdefault(each.worker, RateMeter())
            meter.add(progress.seconds, each.bytes)

    def per_s(self) -> float:
        return self._job.per_s()

    def worker_per_s(self, worker: str) -> float:
        meter = self._workers.get(worker)
        return 0.0 if meter is None else meter.per_s()


def left_bytes(progress: Progress) -> int:
    """What is planned and neither copied nor needs to be; never below zero."""
    return max(0, progress.planned_bytes - progress.copied_bytes - progress.skipped_bytes)


def fraction_done(progress: Progress) -> float:
    """How much is done, from 0 to 1: by bytes, or by objects where all are empty."""
    if progress.planned_bytes > 0:
        done = (progress.copied_bytes + progress.skipped_bytes) / progress.planned_bytes
    elif progress.planned_objects > 0:
        done = progress.copied_objects / progress.planned_objects
    else:
        done = 1.0 if progress.planned_all else 0.0
    return min(max(done, 0.0), 1.0)


def eta_s(progress: Progress, rate_bytes_per_s: float) -> float | None:
    """Seconds until all bytes are there; None while the plan still grows, and where nothing comes."""
    if not progress.planned_all:
        return None
    left = left_bytes(progress)
    if not left:
        return 0.0
    return left / rate_bytes_per_s if rate_bytes_per_s > 0 else None

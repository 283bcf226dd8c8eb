"""What one worker can carry: tasks side by side, each as fast as its lanes, all within the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.simulation.clock import Clock
    from bench.simulation.tasks import Held


@dataclass(slots=True, eq=False)
class Run:
    """A task at work: ``lane_s`` alone on an idle worker, of which ``cpu_s`` takes all of it."""

    held: Held
    lane_s: float
    cpu_s: float
    left_s: float = 0.0


class Processor:
    """Processor sharing: when the tasks ask for more than there is, all slow down alike.

    ``busy_s`` is worker time used, in seconds of a worker at its own full speed.
    """

    def __init__(self, clock: Clock, speed: float, on_done: Callable[[Run], None]) -> None:
        self._clock = clock
        self._speed = speed
        self._on_done = on_done
        self._runs: list[Run] = []
        self._rate = 0.0
        self._demand = 0.0
        self._at_s = 0.0
        self._plan = 0
        self._busy_s = 0.0

    @property
    def busy_s(self) -> float:
        return self._busy_s + min(1.0, self._demand) * (self._clock.now_s - self._at_s)

    def start(self, run: Run) -> None:
        """Begin a run; ``on_done`` gets it when it has ended."""
        run.lane_s = max(run.lane_s, 1e-9)
        run.left_s = run.lane_s
        self._catch_up()
        self._runs.append(run)
        self._replan()

    def kill(self) -> list[Run]:
        """Stop for good; gives the runs that were cut short, with what was left of them."""
        self._catch_up()
        runs, self._runs = self._runs, []
        self._replan()
        return runs

    def _catch_up(self) -> None:
        now_s = self._clock.now_s
        elapsed_s = now_s - self._at_s
        if elapsed_s > 0:
            self._busy_s += min(1.0, self._demand) * elapsed_s
            for run in self._runs:
                run.left_s -= elapsed_s * self._rate
        self._at_s = now_s

    def _replan(self) -> None:
        self._plan += 1
        self._demand = sum(run.cpu_s / run.lane_s for run in self._runs)
        self._rate = self._speed * min(1.0, 1 / self._demand if self._demand > 0 else 1.0)
        if self._runs:
            left_s = min(run.left_s for run in self._runs)
            self._clock.at(self._at_s + max(0.0, left_s) / self._rate, self._due, self._plan)

    def _due(self, plan: int) -> None:
        if plan != self._plan:
            return
        self._catch_up()
        ended = [run for run in self._runs if run.left_s <= 1e-9]
        if not ended:  # rounding left a crumb: the one that was due is over
            ended = [min(self._runs, key=_left)]
        self._runs = [run for run in self._runs if run not in ended]
        self._replan()
        for run in ended:
            self._on_done(run)


def _left(run: Run) -> float:
    return run.left_s

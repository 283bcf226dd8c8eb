"""What a run came to: times, balance, the load of the queue's server, and what limited it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.model import TaskState

if TYPE_CHECKING:
    from bench.simulation.clock import Clock
    from bench.simulation.queue import Queue
    from bench.simulation.scenario import Scenario
    from bench.simulation.server import Load
    from bench.simulation.workers import SimWorker, Waste


@dataclass(slots=True)
class Marks:
    """Moments noted on the way, in seconds from the submission."""

    planned: int = 0
    planned_s: float = 0.0
    busy_when_planned_s: float = 0.0
    idle_s: float | None = None
    after_99_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The figures of one run; times in seconds.

    ``ideal_s`` is the work that was done divided by the speed of all workers that were there while
    they were: no ramp, no tail, no waiting. ``starved_s`` and ``tail_s`` are the idle time of the
    average worker before and after the last key was planned.
    """

    scenario: Scenario
    makespan_s: float
    ideal_s: float
    starved_s: float
    tail_s: float
    planned_s: float
    first_idle_s: float
    last_percent_s: float
    balance_max: float
    balance_deviation: float
    tasks_done: int
    tasks_discarded: int
    moved_objects: int
    reclaimed: int
    objects_again: float
    bytes_again: float
    listed_again: int
    open_max: int
    queue_bytes_max: int
    events: int
    load: Load

    @property
    def efficiency(self) -> float:
        return self.ideal_s / self.makespan_s

    @property
    def server_busy(self) -> float:
        """The share of the server's one thread that was busy."""
        return sum(self.load.busy_us.values()) * 1e-6 / self.makespan_s

    @property
    def saturated_at(self) -> float:
        """The number of workers whose calls, were they as these workers', fill the server."""
        return self.scenario.workers / max(self.server_busy, 1e-9)

    @property
    def limit(self) -> str:
        """What cost most of the time beyond the ideal."""
        if self.server_busy > 0.9:
            return "queue"
        if self.efficiency > 0.95:
            return "workers"
        return "tail" if self.tail_s > self.starved_s else "listing"


def sum_up(
    scenario: Scenario,
    clock: Clock,
    queue: Queue,
    load: Load,
    workers: Sequence[SimWorker],
    marks: Marks,
    waste: Waste,
) -> Outcome:
    """Make the figures of a run that has ended."""
    end_s = clock.now_s
    busy = [each.processor.busy_s for each in workers]
    there = [min(each.died_at_s, end_s) for each in workers]
    # A worker's own second is worth its speed: the work is weighed, not the time.
    work = sum(one * each.speed for one, each in zip(busy, workers, strict=True))
    stayed = [one for one, each in zip(busy, workers, strict=True) if each.died_at_s == math.inf]
    mean = statistics.fmean(stayed)
    before_s = sum(min(each.died_at_s, marks.planned_s) for each in workers)
    starved = (before_s - marks.busy_when_planned_s) / len(workers)
    idle = (sum(there) - sum(busy)) / len(workers)
    return Outcome(
        scenario=scenario,
        makespan_s=end_s,
        ideal_s=_ideal(work, there, workers),
        starved_s=starved,
        tail_s=idle - starved,
        planned_s=marks.planned_s,
        first_idle_s=end_s if marks.idle_s is None else marks.idle_s,
        last_percent_s=end_s - (end_s if marks.after_99_s is None else marks.after_99_s),
        balance_max=max(stayed) / mean if mean else 1.0,
        balance_deviation=statistics.pstdev(stayed) / mean if mean else 0.0,
        tasks_done=queue.ended[TaskState.DONE],
        tasks_discarded=queue.ended[TaskState.DISCARDED],
        moved_objects=queue.moved_objects,
        reclaimed=queue.reclaimed,
        objects_again=waste.objects_again,
        bytes_again=waste.bytes_again,
        listed_again=waste.listed_again,
        open_max=queue.open_max,
        queue_bytes_max=queue.bytes_max,
        events=clock.events,
        load=load,
    )


def _ideal(work: float, there: Sequence[float], workers: Sequence[SimWorker]) -> float:
    """When the work would have been done by all who were there, each at full speed all the time."""
    speed = sum(each.speed for each in workers)
    at_s = 0.0
    for until_s, lost in sorted(zip(there, [each.speed for each in workers], strict=True)):
        if work <= speed * (until_s - at_s):
            break
        work -= speed * (until_s - at_s)
        at_s, speed = until_s, speed - lost
        if speed <= 1e-9:
            return at_s
    return at_s + work / speed if speed > 1e-9 else at_s

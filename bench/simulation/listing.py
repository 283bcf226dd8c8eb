"""A listing task at work, as ``mover.ranging`` does it: page by page, cut, advanced, held back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.simulation.keys import cut
from bench.simulation.scenario import PAGE_OBJECTS, Data, Rules, Stores
from bench.simulation.tasks import Held, Task, listing, opening, shard
from scheduler.model import Done

if TYPE_CHECKING:
    from bench.simulation.chance import LogNormal, Sizes
    from bench.simulation.clock import Clock
    from bench.simulation.queue import Queue
    from mover.planning import ShardLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What all listings of a job share."""

    clock: Clock
    queue: Queue
    rules: Rules
    stores: Stores
    data: Data
    sizes: Sizes
    page_s: LogNormal
    entry_bytes: float
    fleet_size: int
    heard: Callable[[], int]
    note_planned: Callable[[int], None]


class Lister:
    """One range; it ends with a finish, or without a word when its lease or its worker is gone."""

    def __init__(
        self, around: Around, held: Held, speed: float, ended: Callable[[Held], None]
    ) -> None:
        self._around = around
        self._held = held
        self._speed = speed
        self._ended = ended
        self._pages = 0
        self._slots = 1
        self._is_over = False

    def begin(self) -> None:
        self._next_page(self._around.clock.now_s)

    def end(self) -> None:
        """The process is gone."""
        self._is_over = True

    def _next_page(self, from_s: float) -> None:
        around = self._around
        page_s = around.page_s.one() + around.stores.page_cpu_s / self._speed
        around.clock.at(from_s + page_s, self._take_page)

    def _take_page(self) -> None:
        if self._is_over:
            return
        around, task = self._around, self._held.task
        end = around.data.objects - 1 if task.upto is None else task.upto
        objects = min(PAGE_OBJECTS, end - task.after)
        if objects <= 0:
            self._finish()
            return
        limits = self._limits()
        follow_ups = self._plan(objects, limits)
        task.after += objects
        self._pages += 1
        cuts, delay_s = self._cut()
        answered_s = around.queue.advance(self._held, [*cuts, *follow_ups])
        if answered_s is None:
            self._ended(self._held)
            return
        around.note_planned(objects)
        self._wait(answered_s + delay_s)

    def _limits(self) -> ShardLimits:
        around = self._around
        if self._pages % around.rules.cut_every_pages == 0:
            heard = around.heard()
            around.queue.workers(heard)
            self._slots = around.rules.moving.slots * heard
        if not around.rules.stats_with_advance:
            around.queue.stats()
        return around.rules.limits(around.queue.pending, self._slots)

    def _plan(self, objects: int, limits: ShardLimits) -> list[Task]:
        around = self._around
        small, size, large = around.sizes.page(objects)
        tasks = [opening(each) for each in large]
        mean = size / small if small else 0.0
        fitting = int(limits.bytes / mean) if mean else limits.objects
        most = max(1, min(limits.objects, fitting))
        packed = around.rules.packed(self._slots)
        for first in range(0, small, most):
            count = min(most, small - first)
            payload_bytes = 40 + round(count * around.entry_bytes * packed)
            tasks.append(shard(count, round(count * mean), payload_bytes))
        return tasks

    def _cut(self) -> tuple[list[Task], float]:
        """The ranges given away, and how long the store was asked where to cut."""
        around, task = self._around, self._held.task
        wanted = task.ranges
        if task.upto is not None and task.after >= task.upto:
            return [], 0.0  # that was the last page
        if wanted > 1:
            wanted = around.rules.first_ranges(self._slots)
        elif self._pages % around.rules.cut_every_pages == 0:
            if not around.rules.stats_with_advance:
                around.queue.stats()
            wanted = 1 if around.queue.pending else 2
        if wanted == 1:
            return [], 0.0
        ranges, questions = cut(task.after, task.upto, wanted=wanted, count=around.data.objects)
        task.upto, task.ranges = ranges[0][1], 1
        delay_s = sum(around.page_s.one() for _ in range(questions))
        return [listing(after, upto) for after, upto in ranges[1:]], delay_s

    def _wait(self, from_s: float) -> None:
        around = self._around
        if self._is_over:
            return
        if not around.rules.stats_with_advance or from_s <= around.clock.now_s:
            from_s = max(from_s, around.queue.stats())
        if around.queue.open_tasks > around.rules.tasks_ahead(self._slots):
            around.clock.at(from_s + around.rules.ahead_poll_s, self._wait, 0.0)
        else:
            self._next_page(max(from_s, around.clock.now_s))

    def _finish(self) -> None:
        around = self._around
        answered_s = around.queue.finish(self._held, Done())
        around.clock.at(answered_s or around.clock.now_s, self._ended, self._held)

"""One process of a fleet: two lanes, a processor for what moves, and listers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.simulation.chance import LogNormal
from bench.simulation.lanes import Lane
from bench.simulation.listing import Around, Lister
from bench.simulation.processor import Processor, Run
from bench.simulation.tasks import Held, Kind, Task, parts_of
from mover.copying import LANES
from mover.copying_large import PART_LANES
from mover.pools import LISTING
from mover.sizing import plan_parts
from scheduler.model import ANY_POOL, Done, Retry
from scheduler.retries import RetryPolicy
from transports.model import Capabilities

OPENING_REQUESTS = 3
ASSEMBLY_REQUESTS = 3
TARGET = Capabilities(scheme="s3")


@dataclass(slots=True)
class Waste:
    """What was done in vain or twice: by workers that died, and by tasks that failed."""

    objects_again: float = 0.0
    bytes_again: float = 0.0
    listed_again: int = 0


class SimWorker:
    """``kill`` takes it away as ``kill -9`` does: nobody is told, the leases run out."""

    def __init__(
        self,
        around: Around,
        *,
        name: str,
        speed: float,
        failing: float,
        rng: random.Random,
        waste: Waste,
        on_nothing: Callable[[], None],
    ) -> None:
        self._around = around
        self.speed = speed
        self._failing = failing
        self._rng = rng
        self._waste = waste
        self._latency = LogNormal(around.stores.latency_s, around.stores.latency_sigma, rng)
        self._retries = RetryPolicy()
        self._listers: dict[int, Lister] = {}
        self.processor = Processor(around.clock, speed, self._ran)
        self.is_alive = False
        self.died_at_s = float("inf")
        clock, queue, rules = around.clock, around.queue, around.rules
        self._moving = Lane(
            clock,
            queue,
            rules,
            name=name,
            pool=ANY_POOL,
            policy=rules.moving,
            idle_pause_s=rules.idle_pause_s(rules.moving, around.fleet_size),
            start=self._move,
            on_nothing=on_nothing,
        )
        self._listing = Lane(
            clock,
            queue,
            rules,
            name=f"{name}/listing",
            pool=LISTING,
            policy=rules.listing,
            idle_pause_s=rules.idle_pause_s(rules.listing, around.fleet_size),
            start=self._list,
            on_nothing=None,
        )

    def join(self) -> None:
        """Begin to work."""
        self.is_alive = True
        self._moving.begin()
        self._listing.begin()

    def kill(self) -> None:
        """Die; what the runs had brought over by then is there, and only the rest is to be done."""
        self.is_alive = False
        self.died_at_s = self._around.clock.now_s
        self._moving.end()
        self._listing.end()
        for lister in self._listers.values():
            lister.end()
            self._waste.listed_again += 1
        for run in self.processor.kill():
            self._cut_short(run.held.task, run.left_s / run.lane_s)

    # --- Listing ---

    def _list(self, held: Held) -> None:
        lister = Lister(self._around, held, self.speed, self._listed)
        self._listers[id(held)] = lister
        lister.begin()

    def _listed(self, held: Held) -> None:
        self._listers.pop(id(held), None)
        self._listing.ended(held)

    # --- Moving ---

    def _move(self, held: Held) -> None:
        lane_s, cpu_s = self._demands(held.task)
        if held.generation > 1 and held.task.kind is Kind.SHARD:
            lane_s += self._around.page_s.one()  # the shard's own range of keys at the target
        self.processor.start(Run(held, lane_s, cpu_s))

    def _demands(self, task: Task) -> tuple[float, float]:
        """The time a task takes alone, and what of the worker it uses up."""
        stores = self._around.stores
        if task.kind is Kind.SHARD:
            objects = max(1, round(task.objects * task.left))
            body_s = task.size * task.left / (LANES * stores.connection_bytes_per_s)
            cpu_s = objects * stores.cpu_per_object_s + task.size * task.left / stores.bytes_per_s
            return self._latency.on_lanes(objects, LANES) + body_s, cpu_s
        if task.kind is Kind.CHUNK:
            parts = max(1, -(-round(task.size * task.left) // task.part_bytes))
            lanes = min(PART_LANES, parts)
            body_s = task.size * task.left / (lanes * stores.connection_bytes_per_s)
            return self._latency.on_lanes(
                parts, lanes
            ) + body_s, task.size * task.left / stores.bytes_per_s
        requests = OPENING_REQUESTS if task.kind is Kind.OPENING else ASSEMBLY_REQUESTS
        return self._latency.total(requests), stores.cpu_per_object_s

    def _ran(self, run: Run) -> None:
        held = run.held
        if self._failing and self._rng.random() < self._failing:
            self._cut_short(held.task, self._rng.random())
            wish = self._retries.decide(
                Retry(reason="failed"),
                attempt=held.task.standing.attempts + 1,
                rng=self._rng.random,
            )
            answered_s = self._around.queue.finish(held, wish)
        else:
            answered_s = self._around.queue.finish(held, Done(), self._follow_ups(held.task))
        self._around.clock.at(answered_s or self._around.clock.now_s, self._moving.ended, held)

    def _follow_ups(self, task: Task) -> list[Task]:
        if task.kind is not Kind.OPENING:
            return []
        plan = plan_parts(task.size, TARGET)
        return parts_of(task.size, plan.part_bytes, plan.runs())

    def _cut_short(self, task: Task, left: float) -> None:
        """Keep what is there; what was on its way when the run ended is done again."""
        if task.kind is Kind.SHARD:
            objects = task.objects * task.left
            flying = min(float(LANES), objects * left)
            self._waste.objects_again += flying
            self._waste.bytes_again += flying * task.size / max(1, task.objects) / 2
            task.left *= left
        elif task.kind is Kind.CHUNK:
            self._waste.bytes_again += task.size * task.left * (1 - left)

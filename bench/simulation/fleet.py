"""A job from its submission to its last task: the fleet put together, its chores, its losses."""

from __future__ import annotations

import math
import random
from functools import cache
from typing import TYPE_CHECKING

from bench.simulation.chance import LogNormal, Sizes, speeds
from bench.simulation.clock import Clock
from bench.simulation.listing import Around
from bench.simulation.outcome import Marks, Outcome, sum_up
from bench.simulation.queue import Queue
from bench.simulation.server import Server
from bench.simulation.tasks import listing, opening
from bench.simulation.workers import SimWorker, Waste
from mover.model import CopySpec, SmallShard
from mover.payloads import encode_payload
from transports.model import Entry

if TYPE_CHECKING:
    from bench.simulation.scenario import Scenario

TICK_S = 0.1
"""How often the chores of the whole fleet (beats, looks, reaps) are charged, all of a tick at once."""


def simulate(scenario: Scenario) -> Outcome:
    """Run a job on a fleet to its end. Raises ``RuntimeError`` where it cannot end."""
    return Fleet(scenario).run()


class Fleet:
    """One run; everything random comes from the scenario's seed."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._nearly_all = 0.99 * scenario.data.objects
        self._rng = random.Random(scenario.seed)
        self._clock = Clock()
        self._server = Server(self._clock, scenario.stores.round_trip_s)
        self._queue = Queue(self._clock, self._server, scenario.costs, scenario.rules)
        self._marks = Marks()
        self._waste = Waste()
        self._due: dict[str, float] = dict.fromkeys(("reap", "beat", "look"), 0.0)
        self._around = self._surroundings()
        self._workers = self._hire()

    def run(self) -> Outcome:
        scenario, clock = self._scenario, self._clock
        for worker in self._workers:
            clock.at(self._rng.random() * scenario.join_s, worker.join)
        self._plan_losses()
        clock.at(TICK_S, self._chores)
        if scenario.data.single_bytes:
            self._marks.planned = scenario.data.objects
            self._queue.submit([opening(scenario.data.single_bytes)])
        else:
            self._queue.submit([listing(-1, None, ranges=2)])
        clock.run(self._is_over)
        return sum_up(
            scenario,
            clock,
            self._queue,
            self._server.close(),
            self._workers,
            self._marks,
            self._waste,
        )

    def _is_over(self) -> bool:
        queue, marks = self._queue, self._marks
        if marks.after_99_s is None and queue.moved_objects >= self._nearly_all:
            marks.after_99_s = self._clock.now_s
        return queue.is_drained

    def _surroundings(self) -> Around:
        scenario = self._scenario
        stores, data = scenario.stores, scenario.data
        return Around(
            clock=self._clock,
            queue=self._queue,
            rules=scenario.rules,
            stores=stores,
            data=data,
            sizes=Sizes(data, CopySpec(source="", target="").split_bytes, self._rng),
            page_s=LogNormal(stores.page_s, stores.page_sigma, self._rng),
            entry_bytes=entry_bytes(),
            fleet_size=scenario.workers,
            heard=self._heard,
            note_planned=self._note_planned,
        )

    def _hire(self) -> list[SimWorker]:
        scenario = self._scenario
        return [
            SimWorker(
                self._around,
                name=f"worker-{number}",
                speed=speed,
                failing=scenario.failing,
                rng=self._rng,
                waste=self._waste,
                on_nothing=self._note_idle,
            )
            for number, speed in enumerate(speeds(scenario, self._rng))
        ]

    def _heard(self) -> int:
        since_s = self._clock.now_s - self._scenario.rules.heard_s
        heard = [
            each for each in self._workers if each.is_alive or since_s <= each.died_at_s < math.inf
        ]
        return max(1, len(heard))

    # --- Marks ---

    def _note_planned(self, objects: int) -> None:
        marks = self._marks
        marks.planned += objects
        if marks.planned >= self._scenario.data.objects:
            marks.planned_s = self._clock.now_s
            marks.busy_when_planned_s = sum(each.processor.busy_s for each in self._workers)

    def _note_idle(self) -> None:
        """A worker with nothing in hand found nothing; of interest once nothing more will come."""
        marks = self._marks
        if marks.idle_s is None and marks.planned >= self._scenario.data.objects:
            marks.idle_s = self._clock.now_s

    # --- Losses and chores ---

    def _plan_losses(self) -> None:
        scenario = self._scenario
        dying = self._rng.sample(self._workers, math.floor(scenario.lost * scenario.workers))
        for worker in dying:
            delay_s = self._rng.random() * scenario.lost_for_s
            at_s = max(scenario.join_s, scenario.lost_at_s + delay_s)
            self._clock.at(at_s, worker.kill)

    def _chores(self) -> None:
        rules = self._scenario.rules
        alive = sum(each.is_alive for each in self._workers)
        if reaps := self._ripe("reap", alive / rules.reap_pause_s(rules.lease_s, alive)):
            self._queue.reap(reaps)
        # A sign of life comes with a look at the job's state.
        if beats := self._ripe("beat", alive / rules.beat_every_s):
            self._queue.small("beat", beats)
            self._queue.small("control", beats)
        if looks := self._ripe("look", alive / rules.look_pause_s(alive)):
            self._queue.small("look", looks)
        self._clock.at(self._clock.now_s + TICK_S, self._chores)

    def _ripe(self, chore: str, per_s: float) -> int:
        self._due[chore] += per_s * TICK_S
        ripe = int(self._due[chore])
        self._due[chore] -= ripe
        return ripe


@cache
def entry_bytes() -> float:
    """What an entry takes in a shard's payload, as the product encodes it."""
    entries = [
        Entry(
            f"data/train/{number // 1000:06d}/object-{number:012d}.bin",
            50_000 + number,
            1_764_000_000_000_000_000 + number,
            etag=f"{number * 0x9E3779B97F4A7C15 % (1 << 128):032x}",
        )
        for number in range(1000)
    ]
    return len(encode_payload(SmallShard(copies=entries, probes=[]))) / len(entries)

"""The queue of one job: real standings under the real verbs, and the price of every call.

It does what the stores of ``scheduler`` do, in memory and in virtual time. A change takes effect
when it is asked for and its answer comes when the server has got round to it, so under a backlog
others see it up to that much early; the throughput of the server is exact.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.simulation.tasks import Held, Task
from scheduler import states
from scheduler.model import Disposition, TaskState

if TYPE_CHECKING:
    from bench.simulation.clock import Clock
    from bench.simulation.scenario import Costs, Rules
    from bench.simulation.server import Server
    from scheduler.states import Standing


class Queue:
    """Open tasks only: one that has ended is counted and forgotten."""

    def __init__(self, clock: Clock, server: Server, costs: Costs, rules: Rules) -> None:
        self._clock = clock
        self._server = server
        self._costs = costs
        self._rules = rules
        self._ready: dict[str, deque[Task]] = {}
        self._delayed: list[tuple[float, int, Task]] = []
        self._leases: list[tuple[float, int, int, Task]] = []
        self._number = 0
        self.pending = 0
        self.leased = 0
        self.waiting = 0
        self.ended = dict.fromkeys((TaskState.DONE, TaskState.DISCARDED), 0)
        self.moved_objects = 0
        self.reclaimed = 0
        self.bytes = 0
        self.bytes_max = 0
        self.open_max = 0

    @property
    def open_tasks(self) -> int:
        return self.pending + self.leased + len(self._delayed)

    @property
    def is_drained(self) -> bool:
        return not (self.pending or self.leased or self._delayed)

    # --- Verbs: each returns what it found and when the answer is there ---

    def submit(self, tasks: Iterable[Task]) -> None:
        """The job begins; submitting is not part of what is measured."""
        self._admit(tasks)

    def claim(self, worker_id: str, pool: str, limit: int) -> tuple[list[Held], float]:
        """Lease up to ``limit`` tasks of a pool."""
        now_s = self._clock.now_s
        while self._delayed and self._delayed[0][0] <= now_s:
            self._push(heapq.heappop(self._delayed)[2])
        ready = self._ready.setdefault(pool, deque())
        held: list[Held] = []
        while ready and len(held) < limit:
            task = ready.popleft()
            leased = states.claim(
                task.standing, worker_id=worker_id, lease_s=self._rules.lease_s, now_s=now_s
            )
            task.standing = _sure(leased)
            self.pending -= 1
            self.leased += 1
            self._watch(task)
            held.append(Held(task, task.standing.generation))
        if not held:
            return held, self._server.ask("claim-empty", self._costs.empty_us)
        out = sum(each.task.payload_bytes for each in held)
        self._server.load.bytes_out += out
        return held, self._server.ask("claim", self._scripted(len(held), out))

    def extend(self, leases: Sequence[Held]) -> list[Held]:
        """Prolong leases; gives those that are still held."""
        now_s, lease_s = self._clock.now_s, self._rules.lease_s
        kept = []
        for held in leases:
            longer = states.extend(
                held.task.standing, generation=held.generation, lease_s=lease_s, now_s=now_s
            )
            if longer is not None:
                held.task.standing = longer
                kept.append(held)
        self._server.ask("extend", self._costs.extend_us + self._costs.held_us * len(leases))
        return kept

    def advance(self, held: Held, follow_ups: Sequence[Task]) -> float | None:
        """Note a listing's page with the tasks it came to; None if the lease is lost."""
        task = held.task
        further = states.advance(task.standing, generation=held.generation, step=task.standing.step)
        size = task.payload_bytes + sum(each.payload_bytes for each in follow_ups)
        self._server.load.bytes_in += size
        answered_s = self._server.ask("advance", self._scripted(len(follow_ups), size))
        if further is None:
            return None
        task.standing = further
        self._admit(follow_ups)
        return answered_s

    def finish(
        self, held: Held, disposition: Disposition, follow_ups: Sequence[Task] = ()
    ) -> float | None:
        """Settle a lease; None if it is lost. A task that is done opens its group's gate."""
        task = held.task
        settled = states.finish(
            task.standing,
            generation=held.generation,
            disposition=disposition,
            attempts_max=self._rules.attempts_max,
            now_s=self._clock.now_s,
        )
        size = sum(each.payload_bytes for each in follow_ups)
        self._server.load.bytes_in += size
        answered_s = self._server.ask("finish", self._scripted(len(follow_ups), size))
        if settled is None or settled is task.standing:
            return None if settled is None else answered_s
        self.leased -= 1
        self._admit(follow_ups)
        self._place(task, settled)
        return answered_s

    def reap(self, times: int = 1) -> None:
        """Take back what has run out; the same is asked ``times`` times and found once."""
        now_s = self._clock.now_s
        leases = self._leases
        while leases and leases[0][0] <= now_s:
            _, _, generation, task = heapq.heappop(leases)
            standing = task.standing
            if standing.state is not TaskState.LEASED or standing.generation != generation:
                continue
            back = states.reap(standing, attempts_max=self._rules.attempts_max, now_s=now_s)
            if back is None:
                self._watch(task)
                continue
            self.leased -= 1
            self.reclaimed += 1
            self._place(task, back)
        costs = self._costs
        cost_us = times * (costs.reap_us + costs.reap_us_per_leased * self.leased)
        self._server.ask("reap", cost_us, calls=times)

    def stats(self, verb: str = "stats") -> float:
        """Ask for the counts: two commands. The counts themselves are attributes."""
        return self._server.ask(verb, 2 * self._costs.small_us, calls=2, round_trips=2)

    def small(self, verb: str, times: int) -> None:
        """So many small commands whose answers nobody here waits for."""
        self._server.ask(verb, times * self._costs.small_us, calls=times)

    def workers(self, beats: int) -> float:
        """Read every sign of life."""
        cost_us = self._costs.small_us + self._costs.beats_us_per_worker * beats
        return self._server.ask("workers", cost_us)

    # --- Standings ---

    def _scripted(self, tasks: int, size: int) -> float:
        costs = self._costs
        more_us = costs.more_us * max(0, tasks - 1)
        return costs.task_us + more_us + costs.payload_us_per_kb * size / 1000

    def _admit(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self.bytes += task.payload_bytes
            if task.gate is not None and task.after == 1:  # the first member brings its gate
                self.waiting += 1
                self.bytes += task.gate.waiting.payload_bytes
            self._push(task)
        self.bytes_max = max(self.bytes_max, self.bytes)
        self.open_max = max(self.open_max, self.open_tasks)

    def _push(self, task: Task) -> None:
        self.pending += 1
        self._ready.setdefault(task.pool, deque()).append(task)

    def _watch(self, task: Task) -> None:
        standing = task.standing
        self._number += 1
        entry = (standing.expires_at_s, self._number, standing.generation, task)
        heapq.heappush(self._leases, entry)

    def _place(self, task: Task, standing: Standing) -> None:
        task.standing = standing
        if standing.state is TaskState.PENDING:
            self._push(task)
        elif standing.state is TaskState.DELAYED:
            self._number += 1
            heapq.heappush(self._delayed, (standing.not_before_s, self._number, task))
        else:
            self._end(task, standing.state)

    def _end(self, task: Task, state: TaskState) -> None:
        self.ended[state] += 1
        self.bytes -= task.payload_bytes
        if state is TaskState.DONE:
            self.moved_objects += task.objects
        gate = task.gate
        if gate is not None:
            gate.ended += 1
            if gate.ended == gate.size:
                self.waiting -= 1
                gate.waiting.standing = _sure(states.settle(gate.waiting.standing))
                self._push(gate.waiting)


def _sure(standing: Standing | None) -> Standing:
    if standing is None:
        raise RuntimeError("The queue asked for a change that its state machine refuses")
    return standing

"""Who takes part in a prewarm: the nodes whose workers are there, and what becomes of those that leave.

A node is a host with a cache; its workers name it in their signs of life. The first round waits until
no further node comes, and puts the nodes down in the queue, where every later step finds the same ones.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from mover.crew import RUN_S_MAX, beats_in, read_beats
from mover.model import Tally, TaskResult
from mover.payloads import decode_payload, encode_payload, encode_result
from mover.pools import listing_pool, node_pool
from mover.prewarm.absence import Absences
from mover.prewarm.model import EVERY_NODE, Round, WarmShard, WarmSpec
from mover.prewarm.placing import successor
from mover.settings import FLEET_POLICY
from scheduler.model import HEARD_S, Discard, Done, Lease, NewTask
from scheduler.patience import patiently
from scheduler.store import TaskStore

NODES: Final = "nodes"
"""Control of a prewarm that holds the names of its nodes, as JSON."""

LOOK_EVERY_S: Final = 0.1
SETTLE_S: Final = 1.5
"""Workers look for jobs four times a second; in so long all that are there have said that they are."""

NODES_WAIT_S: Final = 60.0
"""How long the first round waits for as many nodes as the job wants."""

LOST_S: Final = 30.0
"""A node none of whose workers says anything new for so long has left: a lease, and no more."""


class TooFewNodes(Exception):
    """Not as many nodes as the job wants have come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """The nodes of one job, as the queue knows them. ``clock`` gives the time in seconds since 1970."""

    spec: WarmSpec
    store: TaskStore
    clock: Callable[[], float] = time.time
    absences: Absences = field(default_factory=Absences)

    async def gather(self) -> list[str]:
        """The job's nodes: those noted, those named, or those that are there once no more come.

        Raises ``TooFewNodes`` when the job's wish is not met in ``NODES_WAIT_S``.
        """
        if noted := await self.noted():
            return noted
        wanted = max(len(self.spec.nodes), self.spec.nodes_min, self.spec.replicas, 1)
        found = sorted(self.spec.nodes) or await self._settled(wanted)
        await self._note(found)
        return found

    async def _note(self, nodes: list[str]) -> None:
        await self.store.set_control(NODES, json.dumps(nodes).encode())

    async def noted(self) -> list[str]:
        """The nodes that an earlier round has put down; [] before the first."""
        known = await self.store.get_control(NODES)
        return [] if known is None else json.loads(known)

    async def _settled(self, wanted: int) -> list[str]:
        began_s = changed_s = time.monotonic()
        here: set[str] = set()
        while True:
            seen = await self._heard(HEARD_S)
            now_s = time.monotonic()
            if seen != here:
                here, changed_s = seen, now_s
            is_told = self.spec.nodes_min > 1  # whoever says how many wants no others waited for
            if len(here) >= wanted and (is_told or now_s - changed_s >= SETTLE_S):
                return sorted(here)
            if now_s - began_s > NODES_WAIT_S:
                raise TooFewNodes(
                    f"{len(here)} of {wanted} nodes are there ({', '.join(sorted(here)) or 'none'}):"
                    " start a worker on each, with --node where host names do not tell them apart"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _heard(self, within_s: float) -> set[str]:
        beats = await read_beats(self.store, now_s=self.clock(), within_s=within_s)
        return {note.node for note in beats.values() if note.node}

    async def see_to_lost(self, nodes: Collection[str], *, here: str) -> None:
        """Settle what those of the nodes were to do that have left, as far as the node ``here`` can tell."""
        lost = await patiently(
            lambda: self.lost(nodes, here=here),
            patience_s=FLEET_POLICY.patience_s,
            rng=random.random,
        )
        if lost and (settled := await self.hand_over(lost, nodes)):
            said = f"{', '.join(sorted(lost))} left; {settled} tasks settled"
            await self.store.record(said, now_s=self.clock())

    async def lost(self, nodes: Collection[str], *, here: str) -> set[str]:
        """Those of the nodes of which this observer, on the node ``here``, has seen nothing new for ``LOST_S``."""
        signs = await self.store.workers(now_s=self.clock(), within_s=RUN_S_MAX)
        latest: dict[str, float] = {}
        for sign in signs:
            for said in beats_in([sign]).values():
                latest[said.node] = max(latest.get(said.node, 0.0), sign.at_s)
        others = set(nodes) - {here}
        return self.absences.lost(others, latest, now_s=time.monotonic(), after_s=LOST_S)

    async def hand_over(self, lost: Collection[str], nodes: Collection[str]) -> int:
        """Give the tasks of nodes that have left to others, or up where each node was to have them.

        Returns how many were settled. Tasks that a dead worker holds come back when their lease runs out.
        """
        present, settled = sorted(set(nodes) - set(lost)), 0
        if self.spec.replicas != EVERY_NODE and present:
            await self._note(present)  # later rounds do without them
        leases = await self.store.claim(
            "hand-over",
            limit=100,
            lease_s=FLEET_POLICY.lease_s,
            now_s=self.clock(),
            pools=[node_pool(node) for node in sorted(lost)],
        )
        for lease in leases:
            await self._settle(lease, present)
            settled += 1
        return settled

    async def _settle(self, lease: Lease, present: list[str]) -> None:
        task = decode_payload(lease.payload)
        heir = None
        if isinstance(task, WarmShard) and self.spec.replicas != EVERY_NODE and task.pieces:
            heir = successor(task.pieces[0].entry.key, present, task.others)
        if heir is None or not isinstance(task, WarmShard):
            node = task.node if isinstance(task, WarmShard | Round) else "?"
            wish = Discard(reason=f"node {node} has left")
            await self.store.finish(lease, wish, now_s=self.clock())
            return
        moved = NewTask(
            payload=encode_payload(replace(task, node=heir), packed=True),
            weight=lease.weight,
            pool=node_pool(heir),
        )
        nothing = encode_result(TaskResult(tally=Tally(), round=task.round))
        await patiently(
            lambda: self.store.finish(
                lease, Done(), result=nothing, follow_ups=[moved], now_s=self.clock()
            ),
            patience_s=FLEET_POLICY.patience_s,
            rng=random.random,
        )


def round_task(task: Round, pool: str) -> NewTask:
    """A round as a task; the queue keeps one of each number and node."""
    place = node_pool(task.node) if task.node else listing_pool(pool)
    return NewTask(payload=encode_payload(task), pool=place, key=f"round-{task.number}-{task.node}")

"""Share a shard that is under way with workers that would have nothing to do.

How long a shard takes is known only when it runs: a shard of a thousand objects is a second of work
for one worker and ten for another, and the job ends with its slowest. So while nothing waits in the
queue, a shard keeps a piece of what it has not begun, and the rest goes back as pieces. Both happen
in one step of the queue (``TaskStore.advance``): whoever takes the shard over after a crash finds
the payload without what was given away.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from mover.copying import ShardCopier
from mover.model import SmallShard, TaskResult
from mover.payloads import encode_payload
from mover.settings import FLEET_POLICY
from mover.sharding import piece_size
from scheduler.errors import StoreUnavailable
from scheduler.model import Lease, NewTask, TaskState
from scheduler.patience import patiently
from scheduler.store import TaskStore
from transports.model import Entry

LOOK_EVERY_S = 0.25
"""How often a process looks whether anything waits in the queue: two commands of a server."""

LOOKS_PER_S_MAX = 1000.0
"""How often all workers of a fleet together look, however large it is."""


class Lookout:
    """Looks at the queue for all shards that a process has under way.

    ``fleet_size`` tells how many workers look.
    """

    def __init__(self, store: TaskStore, fleet_size: Callable[[], int]) -> None:
        self._store = store
        self._fleet_size = fleet_size
        self._looking = asyncio.Lock()
        self._next_s = 0.0
        self._sees_nothing = False

    @property
    def pause_s(self) -> float:
        """Seconds from one look to the next."""
        return max(LOOK_EVERY_S, self._fleet_size() / LOOKS_PER_S_MAX)

    async def nothing_waits(self) -> bool:
        """Whether no task waited in the queue when it was last looked at, a pause ago at most."""
        async with self._looking:
            if time.monotonic() >= self._next_s:
                self._sees_nothing = await self._look()
                self._next_s = time.monotonic() + self.pause_s
        return self._sees_nothing

    def shared(self) -> None:
        """Something has just been given away, so that something waits."""
        self._sees_nothing = False

    async def _look(self) -> bool:
        try:
            return not (await self._store.stats()).tasks[TaskState.PENDING]
        except StoreUnavailable:
            return False  # the queue is away; shards go on as they are


class Sharer:
    """Watches the queue for one shard while it is copied; ``around`` does it."""

    def __init__(
        self,
        store: TaskStore,
        lease: Lease,
        shard: SmallShard,
        copier: ShardCopier,
        lookout: Lookout,
        *,
        pool: str,
    ) -> None:
        self._store = store
        self._lease = lease
        self._shard = shard
        self._copier = copier
        self._lookout = lookout
        self._pool = pool
        self._over = asyncio.Event()

    async def around(self, copying: Coroutine[Any, Any, TaskResult]) -> TaskResult:
        """Run the copier to its end, sharing meanwhile; the result is of what was kept.

        Raises ``LeaseLost`` and ``StoreUnavailable`` (in a group). A step under way is seen out
        even when the copier ends first: what it has given away must not be lost.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="sharing")
            try:
                return await copying
            finally:
                self._over.set()

    async def _watch(self) -> None:
        started_s = time.monotonic()
        while not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lookout.pause_s):
                    await self._over.wait()
                    return
            per_s = self._copier.taken / (time.monotonic() - started_s)
            left = self._copier.left
            if piece_size(left, per_s) < left and await self._lookout.nothing_waits():
                # Lanes have gone on while the queue was asked.
                left = self._copier.left
                await self._share(left - piece_size(left, per_s), piece_size(left, per_s))

    async def _share(self, count: int, piece: int) -> None:
        given = self._copier.give_away(count)
        if not given:
            return
        gone = {entry.key for entry in given}
        self._shard = SmallShard(
            copies=[entry for entry in self._shard.copies if entry.key not in gone],
            probes=[pair for pair in self._shard.probes if pair[0].key not in gone],
            refused=self._shard.refused,
            failed=self._shard.failed,
        )
        pieces = [self._task(given[at : at + piece]) for at in range(0, len(given), piece)]
        payload = encode_payload(self._shard)
        advanced = await patiently(
            lambda: self._store.advance(self._lease, payload, follow_ups=pieces),
            patience_s=FLEET_POLICY.patience_s,
            rng=random.random,
        )
        self._lease = advanced.lease
        self._lookout.shared()

    def _task(self, entries: list[Entry]) -> NewTask:
        # It weighs nothing: its bytes are in the weight of the shard that it was cut from.
        payload = encode_payload(SmallShard(copies=entries, probes=[], failed=self._shard.failed))
        return NewTask(payload=payload, pool=self._pool)

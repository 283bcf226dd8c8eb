"""Run the last task of a job that deletes: wait for all others, find what is extra, have it removed.

The sweep is a task like any other, so it survives its worker, and it runs wherever the job does. It
is given back until it is the only one that is open; so nothing is removed while anything may still
fail. Where something has failed it removes nothing and becomes a dead letter: ``mover retry`` makes
it claimable again together with what failed. It lists both ends anew, and each page of extras is
enqueued together with its own new payload, as a listing task does it.

One failure does not count against a deletion: where real directories are, an extra may stand in the way
of an object (a file where a directory is needed, or the reverse). Such objects are dead letters that the
sweep makes claimable again when the extras have gone.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from mover.deleting import Survey, failed_before, must_count, objection, pause_s
from mover.ends import Ends
from mover.feeding import pair_pages
from mover.letters import is_obstructed
from mover.model import Removal, Sweep, Tally, TaskResult
from mover.payloads import encode_payload, encode_result
from mover.planning import Policy
from mover.pools import put_in
from mover.settings import FLEET_POLICY
from scheduler.model import Done, Lease, NewTask, Outcome, Release, TaskState
from scheduler.patience import patiently
from scheduler.store import TaskStore
from transports.model import Entry

T = TypeVar("T")

REMOVAL_OBJECTS: Final = 1000
"""Objects of a removal: what S3 deletes in one request."""

REMOVALS_AHEAD: Final = 200
"""Removals that may wait in the queue: two hundred thousand objects, some ten megabytes."""


async def survey(ends: Ends, policy: Policy, *, counting: bool) -> Survey:
    """Look at both ends as a deletion would; unless ``counting``, only until the source has one.

    Raises ``TransportError`` for a listing that fails.
    """
    found = Survey()
    pages = pair_pages(ends, prefix=policy.selector.literal_prefix, extras=True)
    async with aclosing(pages):
        async for page in pages:
            for source, target in page.pairs:
                if policy.wants(source):
                    found.sources += 1
                    found.targets += target is not None
            for entry in page.extras:
                if policy.wants(entry):
                    found.targets += 1
                    found.add_extra(entry.key)
            if found.sources and not counting:
                break
    return found


class Sweeper:
    """Runs one sweep; ``notify`` is called when removals were enqueued."""

    def __init__(
        self,
        ends: Ends,
        store: TaskStore,
        sweep: Sweep,
        lease: Lease,
        *,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self._ends = ends
        self._store = store
        self._sweep = sweep
        self._lease = lease
        self._notify = notify
        self._policy = Policy.of(
            ends.spec, ends.source.capabilities, ends.target.capabilities, sweep.now_s, delete=True
        )

    async def run(self) -> Outcome:
        """Sweep to the end, or say why not. A cancel leaves what was enqueued and the rest to find.

        Raises ``TransportError`` for a listing that fails, ``LeaseLost``, ``StoreUnavailable``.
        """
        if not self._sweep.begun:
            stats = await self._patiently(self._store.stats)
            if stats.open_tasks > 1:
                return Outcome(disposition=Release(after_s=pause_s(stats.open_tasks)))
            failed = stats.tasks[TaskState.DISCARDED]
            if failed and not await self._are_obstructed():
                return self._withheld(failed_before(failed))
        if against := await self._objection():
            return self._withheld(against)
        open_tasks = await self._find() or await self._make_way()
        if open_tasks:
            # Given back, not waited for: on a worker of one slot the removals need this one.
            return Outcome(disposition=Release(after_s=pause_s(open_tasks)))
        return Outcome(
            disposition=Done(), result=encode_result(TaskResult(tally=self._sweep.tally))
        )

    async def _objection(self) -> str:
        """What speaks against going on: at the beginning, and where somebody else had begun."""
        spec = self._ends.spec
        if self._sweep.begun:
            spec = replace(spec, max_delete=None)  # which was for all of it, and some is gone
            if spec.allow_empty_source:
                return ""
        found = await survey(self._ends, self._policy, counting=must_count(spec))
        return objection(spec, found)

    def _withheld(self, why: str) -> Outcome:
        tally = self._sweep.tally if self._sweep.begun else Tally()
        self._sweep = replace(self._sweep, tally=Tally())
        letter = NewTask(
            payload=encode_payload(self._sweep),
            discarded=why.encode("utf-8", "backslashreplace").decode(),
            result=encode_result(TaskResult(tally=Tally(), withheld=why)),
        )
        return Outcome(
            disposition=Done(),
            result=encode_result(TaskResult(tally=tally)),
            follow_ups=[letter],
        )

    async def _find(self) -> int:
        """Enqueue the removals of extras, a page or more at a time; 0 when there are no more.

        Else it has come as far as the queue shall hold, and returns how many tasks are open.
        """
        waiting: list[Entry] = []
        pages = pair_pages(
            self._ends,
            prefix=self._policy.selector.literal_prefix,
            start_after=self._sweep.after,
            extras=True,
        )
        reached = self._sweep.after
        async with aclosing(pages):
            async for page in pages:
                waiting += [entry for entry in page.extras if self._policy.wants(entry)]
                reached = page.last_key
                if len(waiting) >= REMOVAL_OBJECTS:
                    open_tasks = await self._enqueue(waiting, reached)
                    waiting = []
                    if open_tasks > REMOVALS_AHEAD:
                        return open_tasks
        if waiting:
            await self._enqueue(waiting, reached)
        return 0

    async def _are_obstructed(self) -> bool:
        """Whether all that has failed did so because something stands in its way."""
        after = 0
        asking = partial(self._store.results, [TaskState.DISCARDED])
        while letters := await self._patiently(partial(asking, after_task_id=after)):
            if not all(is_obstructed(letter.result) for letter in letters):
                return False
            after = letters[-1].task_id
        return True

    async def _make_way(self) -> int:
        """Try what was obstructed again, when all that was in the way has gone.

        Returns how many tasks are open while it has not; 0 when there is nothing to wait for.
        """
        if not self._sweep.begun:
            return 0  # nothing went
        stats = await self._patiently(self._store.stats)
        if not stats.tasks[TaskState.DISCARDED]:
            return 0
        if stats.open_tasks > 1:
            return stats.open_tasks
        if await self._are_obstructed():
            await self._patiently(self._store.requeue)
            self._notify()
        return 0

    async def _enqueue(self, entries: Sequence[Entry], reached: str) -> int:
        count, tally = len(entries), self._sweep.tally
        tally.add(Tally(planned_objects=count, planned_deletes=count))
        self._sweep = replace(self._sweep, after=reached, begun=True)
        removals = [
            Removal(entries=list(entries[at : at + REMOVAL_OBJECTS]))
            for at in range(0, count, REMOVAL_OBJECTS)
        ]
        tasks = [NewTask(payload=encode_payload(each, packed=True)) for each in removals]
        payload = encode_payload(self._sweep)
        advanced = await self._patiently(
            lambda: self._store.advance(
                self._lease, payload, follow_ups=put_in(tasks, self._ends.spec.pool)
            )
        )
        self._lease = advanced.lease
        self._notify()
        return advanced.stats.open_tasks

    async def _patiently(self, verb: Callable[[], Awaitable[T]]) -> T:
        return await patiently(verb, patience_s=FLEET_POLICY.patience_s, rng=random.random)

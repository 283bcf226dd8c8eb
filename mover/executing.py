"""Run one task of a copy, whatever its kind, and say what became of it.

The one place where a payload becomes work and where a failure becomes a disposition. What failed
for now comes again; failures of objects that nothing can mend are results (the task is done, the
report names them). An exception is a fault of ours, or of a listing's store: the worker makes a
retry of it.
"""

import functools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from mover.beside import alone
from mover.copying import ShardCopier, copied_in_store_row, copy_in_store
from mover.copying_large import (
    ChunkCopier,
    assemble,
    failed_result,
    finished_tally,
    open_object,
    pin,
)
from mover.copying_streamed import copy_streamed
from mover.delta_directing import Director, begin_anew, first_step
from mover.delta_landing import Lander, QueueKeeper
from mover.delta_parcels import KeeperLost, Spoiled, clear_object
from mover.delta_seeking import Seeker
from mover.delta_sending import Sender, Whole
from mover.delta_tasks import DeltaTask, Direct, Patch, Prove, Sample, SeekTask, Sign, keepers_of
from mover.ends import Ends
from mover.feeding import found, sweep_task
from mover.letters import (
    CANCELLED,
    another_attempt,
    comes_again,
    done,
    failures_in,
    handed_on,
    object_outcome,
    shard_outcome,
)
from mover.manifest import Row, failed_rows
from mover.model import (
    Assembly,
    Chunk,
    Delta,
    Failure,
    LargeObject,
    Listing,
    Removal,
    SmallShard,
    Sweep,
    Tally,
    TaskResult,
)
from mover.payloads import Payload, decode_payload, decode_result, encode_payload, encode_result
from mover.pools import outcome_in
from mover.ranging import RangeLister
from mover.recording import now_ms
from mover.removing import Remover
from mover.settings import WORKER_POLICY
from mover.sharing import Lookout, Sharer
from mover.sweeping import Sweeper
from mover.uploading import abandon, drop_uploads
from scheduler.errors import LeaseLost
from scheduler.model import Discard, Done, Lease, NewGroup, NewTask, Outcome, TaskState
from scheduler.patience import patiently
from scheduler.store import TaskStore
from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    NotFound,
    Transient,
    TransportError,
    Unsupported,
)
from transports.model import Entry

FENCE_LEASE_S = WORKER_POLICY.lease_s
"""What a lease is extended by when the queue is asked whether it is held; the keeper goes on from there."""


class Executor:
    """Runs the tasks of one job in one process; ``store`` is the job's.

    With ``shares``, shards under way are cut for workers that would have nothing to do; the more there
    are (``fleet_size``), the less often each looks. ``notify`` is called when a task has enqueued
    others before its end.
    """

    def __init__(
        self,
        ends: Ends,
        store: TaskStore,
        *,
        shares: bool = False,
        fleet_size: Callable[[], int] = lambda: 1,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self._ends = ends
        self._store = store
        self._lookout = Lookout(store, fleet_size) if shares else None
        self._notify = notify
        self._seeker = Seeker(ends)

    async def run(self, lease: Lease) -> Outcome:
        """Run a leased task, and record what it did before it counts as done.

        What a cancel leaves behind is safe to run again. Raises ``TransportError`` when the manifest
        cannot be written: a job that promises a record must not lose it in silence.
        """
        task = decode_payload(lease.payload)
        rows: list[Row] | None = None if self._ends.manifest is None else []
        outcome = outcome_in(await self._run(task, lease, rows), self._ends.spec.pool)
        failures = failures_in(outcome.follow_ups)
        self._ends.live.failed_objects += len(failures)
        if rows is not None:
            await self._record(task, lease, rows, failures)
        return outcome

    async def _run(self, task: Payload, lease: Lease, rows: list[Row] | None) -> Outcome:
        repeated = lease.generation > 1
        if isinstance(task, SmallShard):
            copier = ShardCopier(self._ends, rows)
            copying = copier.run(task, repeated=repeated and not task.failed)
            if self._lookout is not None:
                pool = self._ends.spec.pool
                sharer = Sharer(self._store, lease, task, copier, self._lookout, pool=pool)
                result = await sharer.around(copying)
            else:
                result = await copying
            outcome = shard_outcome(task, result, copier.transient, attempt=lease.attempt)
            if not isinstance(outcome.disposition, Done):
                return outcome  # the next attempt finds them again
            large = [NewTask(payload=encode_payload(each)) for each in copier.large]
            return replace(outcome, follow_ups=[*outcome.follow_ups, *large])
        if isinstance(task, LargeObject):
            return await self._open(task, lease, rows)
        if isinstance(task, Chunk):
            return await self._chunk(task, lease)
        if isinstance(task, Listing | Sweep):
            return await self._list(task, lease)
        if isinstance(task, Removal):
            remover = Remover(self._ends, rows)
            result = await remover.run(task)
            return shard_outcome(task, result, remover.transient, attempt=lease.attempt)
        if isinstance(task, SeekTask):
            return await self._seek(task, lease)
        if isinstance(task, DeltaTask):
            return await self._delta(task, lease, rows)
        assert isinstance(task, Assembly)  # noqa: S101 - what a prewarm enqueues is in no copy's queue
        outcome = await self._assemble(task, lease, rows)
        if task.reopened and isinstance(outcome.disposition, Done):
            with suppress(TransportError):
                await self._drop_uploads(task.entry, lease)
        return outcome

    async def give_up(self, lease: Lease) -> Outcome:
        """Settle a task of a cancelled job: nothing is moved, and what it left open is dropped."""
        task = decode_payload(lease.payload)
        if isinstance(task, Assembly):
            await abandon(self._ends, self._ends.target_key(task.entry.key), task.upload_id)
        if isinstance(task, LargeObject | Patch) and lease.generation > 1:
            with suppress(TransportError):  # whoever had it may have opened one
                await self._drop_uploads(task.entry, lease)
        if isinstance(task, DeltaTask):
            await self._remove_parcels(task)
        return Outcome(disposition=Discard(reason=CANCELLED))

    async def disown(self, outcome: Outcome) -> None:
        """Drop the uploads that an outcome opened which came too late to be known to anybody."""
        for group in outcome.groups:
            task = decode_payload(group.then.payload)
            if isinstance(task, Assembly):
                await abandon(self._ends, self._ends.target_key(task.entry.key), task.upload_id)

    async def _drop_uploads(self, entry: Entry, lease: Lease) -> None:
        """Drop what earlier holders of the task have left open. Raises ``LeaseLost``."""
        fence = functools.partial(self._still_held, lease)
        await drop_uploads(self._ends, self._ends.target_key(entry.key), fence)

    async def _still_held(self, lease: Lease) -> None:
        """Raise ``LeaseLost`` unless the queue says that the task is still ours."""
        extended = await patiently(
            lambda: self._store.extend([lease], lease_s=FENCE_LEASE_S, now_s=time.time()),
            patience_s=WORKER_POLICY.patience_s,
            rng=random.random,
        )
        if not extended:
            raise LeaseLost(
                task_id=lease.task_id, generation=lease.generation, detail="another holder has it"
            )

    async def _list(self, task: Listing | Sweep, lease: Lease) -> Outcome:
        try:
            if isinstance(task, Sweep):
                sweeper = Sweeper(self._ends, self._store, task, lease, notify=self._notify)
                return await sweeper.run()
            lister = RangeLister(self._ends, self._store, task, lease, notify=self._notify)
            outcome = done(await lister.run())
            if self._ends.spec.delete:
                return replace(outcome, follow_ups=[sweep_task(task.now_s)])
            return outcome
        except Transient:
            raise  # another attempt goes on from the last page
        except TransportError as error:
            return Outcome(disposition=Discard(reason=f"{type(error).__name__}: {error}"))

    async def _record(
        self, task: Payload, lease: Lease, rows: list[Row], failures: list[Failure]
    ) -> None:
        ends = self._ends
        rows.extend(failed_rows(task, failures, ends.target_key, now_ms()))
        if rows and ends.manifest is not None:
            await ends.manifest.write(
                [row.from_source(ends.single.source_key) for row in rows] if ends.single else rows,
                task=lease.task_id,
                generation=lease.generation,
                worker=lease.worker_id,
            )

    async def _open(self, task: LargeObject, lease: Lease, rows: list[Row] | None) -> Outcome:
        ends, entry = self._ends, task.entry
        if task.seeks and (not ends.copies_in_store or ends.spec.delta is Delta.ALWAYS):
            return handed_on(Sample(entry=entry), ends.spec.near_source)
        group, repeated = f"{lease.task_id}", lease.generation > 1
        fence = functools.partial(self._still_held, lease)
        try:
            if repeated:
                await self._drop_uploads(entry, lease)
            first = await first_step(ends, task)
            if ends.copies_in_store and (first is None or ends.spec.delta is not Delta.ALWAYS):
                receipt = await copy_in_store(ends, entry)
                if rows is not None:
                    rows.append(copied_in_store_row(ends, entry, receipt))
                return done(TaskResult(tally=finished_tally(entry.size, receipt.proof)))
            info = await pin(ends, entry)
            if first is not None and info.ranges:
                is_near = isinstance(first, Direct | Sample)
                return handed_on(first, ends.spec.near_source if is_near else ends.spec.near_target)
            if entry.size < 0 or not info.ranges:
                return done(await copy_streamed(ends, entry, info, fence, rows))
            chunks, assembly = await open_object(
                ends, task, info, group, fence, repeated=repeated, tapered=self._lookout is not None
            )
        except Changed as error:
            return await self._again(task, lease, error)
        except TransportError as error:
            return _failed(entry, error, lease)
        then = NewTask(payload=encode_payload(assembly))
        return Outcome(
            disposition=Done(),
            result=encode_result(TaskResult(tally=Tally())),
            follow_ups=[_chunk_task(chunk, group) for chunk in chunks],
            groups=[NewGroup(name=group, size=len(chunks), then=then)],
        )

    async def _chunk(self, task: Chunk, lease: Lease) -> Outcome:
        try:
            return done(await ChunkCopier(self._ends, task).run(repeated=lease.generation > 1))
        except TransportError as error:
            if comes_again(error, lease.attempt):
                return another_attempt([error])  # which finds the parts that are there
            failure = Failure(task.entry.key, type(error).__name__, str(error))
            return done(TaskResult(tally=Tally(), handed_on=[failure]))

    async def _assemble(self, task: Assembly, lease: Lease, rows: list[Row] | None) -> Outcome:
        ends, entry = self._ends, task.entry
        members = await self._store.group_outcomes(task.group)
        results = [decode_result(m.result) for m in members if m.state is TaskState.DONE]
        failures = [failure for result in results for failure in result.handed_on]
        failures += [Failure(entry.key, "Discarded", m.reason) for m in members if m.reason]
        try:
            if failures:
                await abandon(ends, ends.target_key(entry.key), task.upload_id)
                if failures[0].error == Changed.__name__:
                    return await self._again(task, lease, Changed(entry.key))
                result = TaskResult(tally=Tally(failed_objects=1), failures=failures[:1])
                result.tally.corrupt_objects = int(failures[0].error == "Corrupt")
                return object_outcome(entry, result, attempt=lease.attempt)
            parts = [part for result in results for part in result.parts]
            return done(await assemble(ends, task, parts, rows))
        except (Changed, Corrupt) as error:
            return await self._again(task, lease, error)
        except TransportError as error:
            if not comes_again(error, lease.attempt):
                await abandon(ends, ends.target_key(entry.key), task.upload_id)
            return _failed(entry, error, lease)

    async def _seek(self, task: SeekTask, lease: Lease) -> Outcome:
        """One step of an object that may be made of one with another name, which enqueues the next."""
        made: Payload
        try:
            if isinstance(task, Sample):
                made = await self._seeker.sample(task)
            else:
                made = await self._seeker.seek(task)
        except TransportError as error:
            if comes_again(error, lease.attempt):
                return another_attempt([error])
            made = LargeObject(
                entry=task.entry, again=task.again
            )  # where nothing is sought what is wrong will show
        spec = self._ends.spec
        if isinstance(made, LargeObject):
            return handed_on(made, spec.pool)
        weight = task.entry.size if isinstance(made, Patch) else 0
        return handed_on(made, spec.near_target, weight=weight)

    async def _delta(self, task: DeltaTask, lease: Lease, rows: list[Row] | None) -> Outcome:
        """One step of an object that is sent as a difference, which enqueues the next."""
        spec = self._ends.spec
        director = Director(self._ends, lease, task.spent)
        sender = Sender(self._ends, lease, task.spent)
        try:
            if isinstance(task, Sign):
                return handed_on(await alone(sender.sign(task)), spec.near_source)
            if isinstance(task, Prove):
                return handed_on(await alone(director.prove(task)), spec.near_source)
            if isinstance(task, Patch):
                keeper = QueueKeeper(self._store, lease, task)
                lander = Lander(self._ends, functools.partial(self._still_held, lease), keeper)
                patching = lander.patch(task, repeated=lease.generation > 1, rows=rows)
                return done(await alone(patching))
            comparing = director.direct(task) if isinstance(task, Direct) else sender.diff(task)
            made = await alone(comparing)
            sent = Tally(wire_bytes=made.spent.wire_bytes - task.spent.wire_bytes)
            if not isinstance(made, Whole):
                weight = task.entry.size if isinstance(made, Patch) else 0
                return handed_on(made, spec.near_target, weight=weight, tally=sent)
            await self._remove_parcels(task)
            return handed_on(LargeObject(entry=task.entry, again=task.again), spec.pool, tally=sent)
        except (Changed, NotFound, AlreadyExists) as error:
            return await self._again(task, lease, error)
        except KeeperLost as error:
            await self._remove_parcels(task)
            if isinstance(task, Patch) and task.upload is not None:
                with suppress(TransportError):
                    await self._drop_uploads(task.entry, lease)
            first = await begin_anew(self._ends, task, error.keeper)
            is_near = isinstance(first, Direct)
            return handed_on(first, spec.near_source if is_near else spec.near_target)
        except (Corrupt, Spoiled, Unsupported):
            await self._remove_parcels(task)
            return handed_on(LargeObject(entry=task.entry, again=task.again), spec.pool)
        except TransportError as error:
            if not comes_again(error, lease.attempt):
                await self._remove_parcels(task)
                if isinstance(task, Patch):
                    with suppress(TransportError):
                        await self._drop_uploads(task.entry, lease)
            return _failed(task.entry, error, lease)

    async def _remove_parcels(self, task: DeltaTask) -> None:
        """Remove what an object has hidden. What cannot be removed goes at the job's end."""
        with suppress(TransportError):
            key = self._ends.target_key(task.entry.key)
            await clear_object(self._ends, key, keepers_of(task))

    async def _again(
        self, task: LargeObject | Assembly | DeltaTask, lease: Lease, error: TransportError
    ) -> Outcome:
        """Plan an object that changed, or arrived damaged, once more; the second time report it."""
        ends = self._ends
        if isinstance(task, DeltaTask):
            await self._remove_parcels(task)
        if task.again:
            return _failed(task.entry, error, lease)
        try:
            fresh = (await ends.source.head(task.entry.key)).entry
            # An assembly has no basis to pass on; its object is copied whole.
            basis = task.basis if isinstance(task, LargeObject) else None
            if isinstance(task, DeltaTask):
                basis = await found(ends.target, ends.target_key(task.entry.key))
        except TransportError as gone:
            return _failed(task.entry, gone, lease)
        anew = LargeObject(entry=fresh, again=True, basis=basis)
        return Outcome(
            disposition=Done(),
            result=encode_result(TaskResult(tally=Tally())),
            follow_ups=[NewTask(payload=encode_payload(anew))],
        )


def _chunk_task(chunk: Chunk, group: str) -> NewTask:
    size = min(chunk.last * chunk.part_bytes, chunk.entry.size)
    weight = size - (chunk.first - 1) * chunk.part_bytes
    return NewTask(payload=encode_payload(chunk), weight=max(weight, 0), group=group)


def _failed(entry: Entry, error: TransportError, lease: Lease) -> Outcome:
    """What becomes of a task of one object that failed."""
    if comes_again(error, lease.attempt):
        return another_attempt([error])
    return object_outcome(entry, failed_result(entry.key, error), attempt=lease.attempt)

"""Run one task of a prewarm: look what is resident, read what is not, and say what came of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mover.beside import alone
from mover.ends import closing_pages
from mover.errors import MoverError
from mover.gathering import NOT_RESIDENT
from mover.letters import CANCELLED, another_attempt, comes_again, done
from mover.model import Failure, Tally, TaskResult
from mover.payloads import decode_payload, decode_result, encode_result
from mover.prewarm.model import Look, Piece, Residence, Round, Warmed, WarmShard, Wish
from mover.prewarm_evicting import Evictor
from mover.prewarm_ground import WarmGround
from mover.prewarm_looking import files_of, missing_of
from mover.prewarm_places import Place, Told
from mover.prewarm_rounds import RoundRunner, shard_task
from mover.prewarm_rows import shard_rows
from scheduler.model import Discard, Done, Lease, NewTask, Outcome, Retry
from scheduler.store import TaskStore
from transports.errors import TransportError

REFUSALS_MAX: Final = 3
REFUSED_S: Final = 2.0
"""A task whose place makes no sense to a worker is tried so often, with such a pause, and then given up."""


class WarmRunner:
    """Runs the tasks of one prewarm in one process; ``notify`` is called when tasks were enqueued."""

    def __init__(
        self, ground: WarmGround, store: TaskStore, *, notify: Callable[[], None] = lambda: None
    ) -> None:
        self._ground = ground
        self._store = store
        self._notify = notify

    async def run(self, lease: Lease) -> Outcome:
        """Run a leased task. What a cancel leaves behind is safe to run again."""
        task = decode_payload(lease.payload)
        try:
            if isinstance(task, Round):
                return await self._round(task, lease)
            assert isinstance(task, WarmShard)  # noqa: S101 - the job's queue holds nothing else
            return await alone(self._shard(task, lease))
        except TransportError as error:
            if comes_again(error, lease.attempt):
                return another_attempt([error])
            return Outcome(disposition=Discard(reason=f"{type(error).__name__}: {error}"))
        except MoverError as error:
            # Another node, or another worker of this one, may have what this one lacks.
            if lease.attempt < REFUSALS_MAX:
                return Outcome(disposition=Retry(after_s=REFUSED_S, reason=str(error)))
            return Outcome(disposition=Discard(reason=str(error)))

    async def give_up(self, lease: Lease) -> Outcome:
        """Settle a task of a cancelled job; what was read stays in the cache."""
        return Outcome(disposition=Discard(reason=CANCELLED))

    async def disown(self, outcome: Outcome) -> None:
        """An outcome that came too late has made nothing that anybody must remove."""

    async def _round(self, task: Round, lease: Lease) -> Outcome:
        if task.node and self._ground.spec.wish is Wish.EVICT:
            return done(await self._evict(task, lease))
        if task.node:
            return await self._ask_for_attributes(task)
        runner = RoundRunner(self._ground, self._store, task, lease, notify=self._notify)
        return self._seen_at_once(await runner.run())

    def _seen_at_once(self, outcome: Outcome) -> Outcome:
        """Note what a round has seen of the whole dataset, or of what it leaves out."""
        if not outcome.result:
            return outcome
        result = decode_result(outcome.result)
        for row in result.residency:
            if result.round == 0:
                row.before_bytes = max(0, row.resident_bytes - row.read_bytes)
            self._ground.counts.saw(result.round, row, reads=self._ground.spec.wish is Wish.WARM)
        return replace(outcome, result=encode_result(result))

    async def _evict(self, task: Round, lease: Lease) -> TaskResult:
        notes: list[str] = []
        evictor = Evictor(ground=self._ground, note=notes.append)
        if self._ground.spec.dry_run:
            result = await evictor.told(task)
        else:
            result = await evictor.evict(task, lease)
        for note in dict.fromkeys(notes):
            await self._store.record(note, now_s=time.time())
        return result

    async def _ask_for_attributes(self, task: Round) -> Outcome:
        """Walk all targets on this node, so that its caches of names and attributes are filled."""
        selector, tally = self._ground.spec.selection.compile(task.now_s), Tally()
        for number in range(len(self._ground.spec.targets)):
            place = await self._ground.place(number)
            async with closing_pages(place.walk(selector, metadata=True)) as pages:
                async for page in pages:
                    tally.planned_objects += len(page)
                    tally.copied_objects += len(page)
        self._ground.live.add(tally)
        return done(TaskResult(tally=tally, round=task.number))

    # --- Shards ---

    async def _shard(self, task: WarmShard, lease: Lease) -> Outcome:
        place = await self._ground.place(task.target)
        look = await self._look(place, task)
        row = _seen(task, place, look)
        result = TaskResult(
            tally=Tally(), round=task.round, residency=[row], pieces=-len(task.pieces)
        )
        follow_ups: list[NewTask] = []
        read: Sequence[Piece] = ()
        with self._ground.counts.underway(task) as underway:
            if task.reads:
                read = await self._read(place, task, look, result, underway.told)
                follow_ups = self._handed_on(place, task)
            elif look.missing:
                await self._name_missing(place, look, result)
            await self._record(place, task, read, result, lease)
        # In one step: what was under way has come to its end, and must not be told twice.
        self._ground.live.add(replace(result.tally, failed_objects=0))
        self._ground.counts.saw(task.round, row, reads=task.reads)
        self._ground.progressed.set()
        return Outcome(disposition=Done(), result=encode_result(result), follow_ups=follow_ups)

    async def _look(self, place: Place, task: WarmShard) -> Look:
        """What is resident of a shard: before the first reading a glance will do."""
        if task.reads and task.round == 0:
            return await place.glance(task.pieces)
        return await place.look(task.pieces)

    async def _read(
        self, place: Place, task: WarmShard, look: Look, result: TaskResult, told: Told
    ) -> Sequence[Piece]:
        """Read what lacks, and count it; the pieces that it was tried with."""
        # What nobody can tell of was read in the first round, and is not read again for that.
        unknown = look.resident_bytes is None
        pieces = task.pieces if unknown and task.round == 0 else look.missing
        tally, row = result.tally, result.residency[0]
        if task.round == 0:
            tally.skipped_objects = len(files_of(task.pieces)) - len(files_of(pieces))
        if not pieces:
            return pieces
        warmed = await place.warm(pieces, holders=task.holders, again=task.round > 0, told=told)
        _count(warmed, row)
        tally.wire_bytes = warmed.origin_bytes
        if task.round == 0:  # what is read again was counted
            tally.copied_objects = warmed.read_files
            tally.copied_bytes = warmed.read_bytes
        _fail(result, [Failure(*each) for each in warmed.failures])
        return pieces

    async def _record(
        self,
        place: Place,
        task: WarmShard,
        read: Sequence[Piece],
        result: TaskResult,
        lease: Lease,
    ) -> None:
        """Put down what became of each file before the task counts as done; later rounds add what is news."""
        record = self._ground.record
        if not record.writes:
            return
        entries = {piece.entry.key: piece.entry for piece in task.pieces}
        were_read = dict.fromkeys(piece.entry.key for piece in read)
        rows = shard_rows(
            entries,
            read=were_read,
            found=[key for key in entries if key not in were_read] if task.round == 0 else (),
            failures=[(each.key, each.error, each.detail) for each in result.failures],
            proof=place.nature.proof,
            at_ms=record.now_ms(),
        )
        await record.write(place, self._ground.spec.targets[task.target], rows, lease)

    def _handed_on(self, place: Place, task: WarmShard) -> list[NewTask]:
        """The same pieces for the other nodes that shall have them, which may take them from here."""
        holders = [*task.holders, *filter(None, [place.address])]
        return [
            shard_task(replace(task, node=node, others=[], holders=holders)) for node in task.others
        ]

    async def _name_missing(self, place: Place, look: Look, result: TaskResult) -> None:
        """Say which files are not resident, after the last attempt."""
        missing = await missing_of(place, look)
        row = result.residency[0]
        row.resident_files = row.files - len(files_of(missing))
        attempts = self._ground.spec.attempts
        if self._ground.spec.wish is Wish.STATUS:
            return
        times = "attempt" if attempts == 1 else "attempts"
        why = f"not in the cache after {attempts} {times}"
        _fail(result, [Failure(key, NOT_RESIDENT, why) for key in files_of(missing)])


def _seen(task: WarmShard, place: Place, look: Look) -> Residence:
    nature = place.nature
    row = Residence(
        node=task.node,
        files=len(files_of(task.pieces)),
        bytes=look.bytes,
        judge=nature.judge,
        certainty=nature.certainty,
        where=nature.where,
    )
    if look.resident_bytes is None:
        row.unknown_bytes = look.bytes
    else:
        row.resident_bytes = look.resident_bytes
        row.before_bytes = look.resident_bytes if task.round == 0 else 0
        row.resident_files = row.files - len(files_of(look.missing))
    return row


def _count(warmed: Warmed, row: Residence) -> None:
    row.read_bytes = warmed.read_bytes
    row.origin_bytes = warmed.origin_bytes
    row.peer_bytes = warmed.peer_bytes


def _fail(result: TaskResult, failures: Sequence[Failure]) -> None:
    result.failures += failures
    result.tally.failed_objects += len(failures)

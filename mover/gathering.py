"""From the results in the queue to the report, and to the file that retries the failures."""

import os
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mover.delta_tasks import DeltaTask
from mover.letters import CANCELLED
from mover.model import (
    FAILURES_SHOWN,
    Assembly,
    Chunk,
    Failure,
    LargeObject,
    Listing,
    Removal,
    Report,
    SmallShard,
    State,
    Sweep,
    Tally,
    TaskResult,
)
from mover.name_lists import NAME_LIST_HEADER, escape_name
from mover.payloads import decode_payload, decode_result
from mover.prewarm.model import Residence, Round, WarmShard
from mover.prewarm.summing import add_row, without_looks
from scheduler.model import FinishedTask, TaskState
from scheduler.store import TaskStore

LISTING = "Listing"
"""In the place of an error's class: a range of keys that could not be listed."""

NOT_RESIDENT = "NotResident"
"""In the place of an error's class: a file that is not in the cache after all attempts."""

ROUND = "round"
"""Control of a prewarm that holds the number of the round that has begun last."""

PLANNED = "planned"
"""Control of a prewarm that is set when its targets have been walked, so that its totals are all."""

PAGE_TASKS = 200
"""Results read at a time: at most 200,000 failures in memory, and usually none."""


@dataclass(slots=True, kw_only=True)
class Gathered:
    """The sum of all results, with the first failures and the retry file's path ("" for none).

    Of a prewarm, ``residency`` has by node what its last round saw, ``rounds`` that round's number, ``earlier``
    why files failed in those before, and ``pieces`` how many nobody has dealt with although a walk planned them.
    """

    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)
    retry_file: str = ""
    withheld: str = ""
    residency: dict[str, Residence] = field(default_factory=dict)
    rounds: int = 0
    earlier: dict[str, Failure] = field(default_factory=dict)
    pieces: int = 0

    def report(self, job: str, *, seconds: float, state: State | None = None) -> Report:
        """The end of a job; ``state`` where it is another than what the counts say."""
        return Report(
            job=job,
            state=state or self.state,
            tally=self.tally,
            seconds=seconds,
            failures=self.failures,
            retry_file=self.retry_file,
            withheld=self.withheld,
        )

    def add(self, result: TaskResult) -> None:
        """Add what a task of the last round did and saw."""
        self.tally.add(result.tally)
        self.withheld = self.withheld or result.withheld
        self.pieces += result.pieces
        for row in result.residency:
            add_row(self.residency, row)
        self.show(map(self.reasoned, result.failures[:FAILURES_SHOWN]))

    def show(self, failures: Iterable[Failure]) -> None:
        """Keep these failures for the report, as far as there is room."""
        self.failures.extend(islice(failures, FAILURES_SHOWN - len(self.failures)))

    def add_void(self, result: TaskResult) -> None:
        """Add what a round did; what it saw, and what failed in it, was looked at again since."""
        self.tally.add(replace(result.tally, failed_objects=0))
        for row in result.residency:
            add_row(self.residency, without_looks(row))
        for failure in result.failures[: FAILURES_SHOWN - len(self.earlier)]:
            self.earlier[failure.key] = failure

    @property
    def knows_all(self) -> bool:
        """Whether the last round could tell of all that it looked at whether it is there."""
        return not any(row.unknown_bytes for row in self.residency.values())

    def reasoned(self, failure: Failure) -> Failure:
        """A failure with the reason that an earlier round had for it, if the last one knows none."""
        earlier = self.earlier.get(failure.key)
        if failure.error != NOT_RESIDENT or earlier is None:
            return failure
        return earlier._replace(detail=f"{earlier.detail}; {failure.detail}")

    @property
    def state(self) -> State:
        if self.tally.corrupt_objects:
            return State.DAMAGED
        is_whole = not (self.tally.failed_objects or self.withheld)
        return State.DONE if is_whole else State.INCOMPLETE


class RetryFile:
    """Writes names for ``--files-from``, one by one; the file appears whole or not at all.

    Leaving the block normally publishes it, or removes an older one when no name came; an
    exception leaves the older file as it was. ``written`` is its path, "" when there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + ".new")
        self._file: IO[bytes] | None = None
        self.written = ""

    def __enter__(self) -> Self:
        return self

    def add(self, key: str) -> None:
        """Add a name; the file is made with the first one."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._temporary.open("wb")
            self._file.write(f"{NAME_LIST_HEADER}\n".encode())
        self._file.write(f"{escape_name(key)}\n".encode())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is None:
            if kind is None:
                self._path.unlink(missing_ok=True)
            return
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        if kind is None:
            self._temporary.replace(self._path)
            self.written = str(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


async def gather_results(store: TaskStore, retry_path: Path) -> Gathered:
    """Add up the finished tasks, and write the names of failed objects to ``retry_path``."""
    last_round = await round_reached(store)
    gathered = Gathered(rounds=last_round)
    is_listed = True
    with RetryFile(retry_path) as names:
        async with aclosing(_results(store)) as results:
            async for result in results:
                if result.round < last_round:
                    gathered.add_void(result)
                    continue
                gathered.add(result)
                for failure in result.failures:
                    is_listed = is_listed and failure.error != LISTING
                    names.add(failure.key)
        if last_round:
            is_listed = await _add_standing(store, gathered, names) and is_listed
    gathered.retry_file = names.written
    if not is_listed:
        # Nobody knows the names of a range that could not be listed: a list would be a lie.
        retry_path.unlink(missing_ok=True)
        gathered.retry_file = ""
    return gathered


async def _add_standing(store: TaskStore, gathered: Gathered, names: RetryFile) -> bool:
    """Add what failed in earlier rounds of a prewarm and no later one has made up for.

    That is a walk which failed, and all the rest where the last round cannot tell what is there: it reads
    nothing of that. Returns whether all names are known.
    """
    is_listed = True
    pieces = Counter[int]()
    async with aclosing(_results(store)) as results:
        async for result in results:
            if result.round >= gathered.rounds:
                continue
            pieces[result.round] += result.pieces
            standing = [
                failure
                for failure in result.failures
                if failure.error == LISTING or not gathered.knows_all
            ]
            gathered.tally.failed_objects += len(standing)
            gathered.show(standing)
            for failure in standing:
                is_listed = is_listed and failure.error != LISTING
                names.add(failure.key)
    if not gathered.knows_all:
        gathered.pieces = sum(max(0, count) for count in (gathered.pieces, *pieces.values()))
    return is_listed


async def round_reached(store: TaskStore) -> int:
    """The round of a prewarm that has begun last; 0 for any other job."""
    return int(await store.get_control(ROUND) or b"0")


async def round_results(store: TaskStore, number: int) -> AsyncGenerator[TaskResult, None]:
    """What the finished tasks of one round of a prewarm came to."""
    async with aclosing(_results(store)) as results:
        async for result in results:
            if result.round == number:
                yield result


async def planned_first(store: TaskStore) -> Tally:
    """What the first round of a prewarm has planned, and what was done in it."""
    tally = Tally()
    async with aclosing(round_results(store, 0)) as results:
        async for result in results:
            tally.add(result.tally)
    return tally


async def tally_so_far(store: TaskStore) -> Tally:
    """The counts of the tasks that earlier runs have finished."""
    tally = Tally()
    async with aclosing(_results(store)) as results:
        async for result in results:
            tally.add(result.tally)
    return tally


async def _results(store: TaskStore) -> AsyncGenerator[TaskResult, None]:
    after = 0
    while True:
        page = await store.results(
            (TaskState.DONE, TaskState.DISCARDED), after_task_id=after, limit=PAGE_TASKS
        )
        for task in page:
            after = task.task_id
            yield decode_result(task.result) if task.state is TaskState.DONE else _given_up(task)
        if not page:
            return


def _given_up(task: FinishedTask) -> TaskResult:
    """A task that was discarded failed with all its objects (a chunk's is counted by its assembly).

    What a cancel has given up is not called failed; a dead letter brings its own result.
    """
    if task.result:
        return decode_result(task.result)
    if task.reason == CANCELLED:
        return TaskResult(tally=Tally())
    payload = decode_payload(task.payload)
    if isinstance(payload, Chunk):
        return TaskResult(tally=Tally())
    if isinstance(payload, Listing):
        failure = Failure(payload.after, LISTING, task.reason)
        tally = Tally(failed_objects=1)
        tally.add(payload.tally)
        return TaskResult(tally=tally, failures=[failure])
    if isinstance(payload, Sweep):
        return TaskResult(tally=payload.tally, withheld=_swept(payload, task.reason))
    if isinstance(payload, Removal):
        keys = [entry.key for entry in payload.entries]
    elif isinstance(payload, SmallShard):
        keys = [entry.key for entry in payload.copies] + [pair[0].key for pair in payload.probes]
    elif isinstance(payload, WarmShard | Round):
        return _given_up_round(payload, task.reason)
    else:
        assert isinstance(payload, LargeObject | Assembly | DeltaTask)  # noqa: S101 - the union is closed
        keys = [payload.entry.key]
    failures = [Failure(key, "Discarded", task.reason) for key in keys]
    return TaskResult(tally=Tally(failed_objects=len(keys)), failures=failures)


def _given_up_round(payload: WarmShard | Round, reason: str) -> TaskResult:
    """A part of a prewarm that was given up: of its bytes nothing is known to be resident."""
    if isinstance(payload, Round):
        failure = Failure(payload.node or "all targets", LISTING, reason)
        return TaskResult(tally=Tally(failed_objects=1), failures=[failure], round=payload.number)
    keys = list(dict.fromkeys(piece.entry.key for piece in payload.pieces))
    size = sum(piece.size for piece in payload.pieces)
    return TaskResult(
        tally=Tally(failed_objects=len(keys)),
        failures=[Failure(key, "Discarded", reason) for key in keys],
        round=payload.round,
        pieces=-len(payload.pieces),
        residency=[Residence(node=payload.node, files=len(keys), bytes=size)],
    )


def _swept(sweep: Sweep, reason: str) -> str:
    """What became of a deletion that was given up by the queue."""
    what = "not all was deleted" if sweep.begun else "nothing was deleted"
    return f"{what}: {reason}"

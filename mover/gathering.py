"""From the results in the queue to the report, and to the file that retries the failures."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from mover.model import (
    FAILURES_SHOWN,
    Assembly,
    Chunk,
    Failure,
    LargeObject,
    SmallShard,
    State,
    Tally,
    TaskResult,
)
from mover.name_lists import NAME_LIST_HEADER, escape_name
from mover.payloads import decode_payload, decode_result
from scheduler.model import FinishedTask, TaskState
from scheduler.store import TaskStore

PAGE_TASKS = 200
"""Results read at a time: at most 200,000 failures in memory, and usually none."""


@dataclass(slots=True, kw_only=True)
class Gathered:
    """The sum of all results, with the first failures and the retry file's path ("" for none)."""

    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)
    retry_file: str = ""

    @property
    def state(self) -> State:
        if self.tally.corrupt_objects:
            return State.DAMAGED
        return State.INCOMPLETE if self.tally.failed_objects else State.DONE


async def gather_results(store: TaskStore, retry_path: Path | None) -> Gathered:
    """Add up the finished tasks; write the names of failed objects to ``retry_path``, durably.

    Without failures an older retry file is removed. A cancel leaves the older file as it was.
    """
    gathered = Gathered()
    names: list[bytes] = []
    async with aclosing(_results(store)) as results:
        async for result in results:
            gathered.tally.add(result.tally)
            room = FAILURES_SHOWN - len(gathered.failures)
            gathered.failures.extend(result.failures[:room])
            if result.failures and retry_path is not None:
                names.extend(f"{escape_name(f.key)}\n".encode() for f in result.failures)
    if retry_path is not None:
        gathered.retry_file = _write(retry_path, names)
    return gathered


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
    """A task that was discarded failed with all its objects (a chunk's is counted by its assembly)."""
    payload = decode_payload(task.payload)
    if isinstance(payload, Chunk):
        return TaskResult(tally=Tally())
    if isinstance(payload, SmallShard):
        keys = [entry.key for entry in payload.copies] + [pair[0].key for pair in payload.probes]
    else:
        assert isinstance(payload, LargeObject | Assembly)  # noqa: S101 - the union is closed
        keys = [payload.entry.key]
    failures = [Failure(key, "Discarded", task.reason) for key in keys]
    return TaskResult(tally=Tally(failed_objects=len(keys)), failures=failures)


def _write(path: Path, names: list[bytes]) -> str:
    if not names:
        path.unlink(missing_ok=True)
        return ""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(f"{NAME_LIST_HEADER}\n".encode())
        file.writelines(names)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return str(path)

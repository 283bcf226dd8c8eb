"""The board of one host: a directory with a subdirectory for each job.

``<directory>/<job>/job.json`` is what the job is about, ``queue.sqlite`` its task store. Whoever
leads a job makes them; a board only finds them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from scheduler.board import JobBoard, JobRecord
from scheduler.sqlite_store import SqliteTaskStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from scheduler.store import TaskStore

DESCRIPTION: Final = "job.json"
QUEUE: Final = "queue.sqlite"


class DirectoryBoard(JobBoard):
    """The jobs of a directory; one that is not there has none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def jobs(self) -> list[JobRecord]:
        records = await asyncio.to_thread(self._read_all)
        return sorted(records, key=lambda record: record.submitted_at_s, reverse=True)

    async def find(self, job: str) -> JobRecord | None:
        return await asyncio.to_thread(self._read, job)

    @asynccontextmanager
    async def opened(self, job: str, *, attempts_max: int) -> AsyncGenerator[TaskStore, None]:
        path = self._directory / job / QUEUE
        async with await SqliteTaskStore.open(path, attempts_max=attempts_max) as store:
            yield store

    def _read_all(self) -> list[JobRecord]:
        if not self._directory.is_dir():
            return []
        found = [self._read(path.name) for path in self._directory.iterdir()]
        return [record for record in found if record is not None]

    def _read(self, job: str) -> JobRecord | None:
        path = self._directory / job / DESCRIPTION
        if not (self._directory / job / QUEUE).exists():
            return None
        try:
            return JobRecord(
                job=job, description=path.read_bytes(), submitted_at_s=path.stat().st_mtime
            )
        except OSError:
            return None

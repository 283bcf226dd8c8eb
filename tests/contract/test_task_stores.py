"""Every task store keeps the contract."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from scheduler.memory_store import MemoryTaskStore
from scheduler.sqlite_store import SqliteTaskStore
from scheduler.testing import TaskStoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scheduler.store import TaskStore


class TestMemoryTaskStore(TaskStoreContract):
    @contextlib.asynccontextmanager
    async def opened(self, *, attempts_max: int) -> AsyncIterator[TaskStore]:
        async with MemoryTaskStore(attempts_max=attempts_max) as store:
            yield store


class TestSqliteTaskStore(TaskStoreContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self._path = tmp_path / "queue.sqlite"

    @contextlib.asynccontextmanager
    async def opened(self, *, attempts_max: int) -> AsyncIterator[TaskStore]:
        async with await SqliteTaskStore.open(self._path, attempts_max=attempts_max) as store:
            yield store

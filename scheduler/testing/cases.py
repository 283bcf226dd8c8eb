"""What the parts of the contract share: a store to open, and tasks to put into it."""
# ruff: noqa: D103 - one-line makers of test values

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest

from scheduler.model import (
    Discard,
    Disposition,
    Done,
    Lease,
    NewGroup,
    NewTask,
    Release,
    Retry,
    TaskState,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from scheduler.store import TaskStore


class StoreCases(ABC):
    """Opens the store that each test gets as ``store``."""

    @abstractmethod
    def opened(self, *, attempts_max: int) -> AbstractAsyncContextManager[TaskStore]:
        """An empty store that gives up on a task after ``attempts_max`` attempts."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[TaskStore]:
        async with self.opened(attempts_max=3) as store:
            yield store


NOW_S = 1_700_000_000.0
LEASE_S = 30.0

EVERY_DISPOSITION: tuple[Disposition, ...] = (
    Done(),
    Retry(after_s=1),
    Release(),
    Discard(reason="useless"),
)


def make_tasks(letters: str) -> list[NewTask]:
    return [NewTask(payload=letter.encode()) for letter in letters]


def make_members(letters: str) -> list[NewTask]:
    return [NewTask(payload=letter.encode(), group="g") for letter in letters]


def make_group(size: int) -> NewGroup:
    return NewGroup(name="g", size=size, then=NewTask(payload=b"then"))


async def claim(
    store: TaskStore, worker_id: str = "w", *, limit: int = 100, now_s: float = NOW_S
) -> list[Lease]:
    return await store.claim(worker_id, limit=limit, lease_s=LEASE_S, now_s=now_s)


def payloads(leases: list[Lease]) -> list[str]:
    return [lease.payload.decode() for lease in leases]


def counts(by_state: Mapping[TaskState, int]) -> dict[str, int]:
    return {state.value: number for state, number in by_state.items() if number}

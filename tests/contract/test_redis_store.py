"""The Redis store keeps the contract, on every server program that is here."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess, installed_servers
from scheduler.redis_store import RedisTaskStore
from scheduler.testing import TaskStoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scheduler.store import TaskStore


@pytest.fixture(scope="module", params=sorted(installed_servers()))
def server(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    with RedisProcess(program=installed_servers()[request.param]) as server:
        yield server


class TestRedisTaskStore(TaskStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: RedisProcess) -> None:
        self._url = server.url

    @contextlib.asynccontextmanager
    async def opened(self, *, attempts_max: int) -> AsyncIterator[TaskStore]:
        job = uuid.uuid4().hex
        async with await RedisTaskStore.open(self._url, job, attempts_max=attempts_max) as store:
            yield store

"""Redis does what the reference does, whatever the order of the verbs.

Where a task comes back in the queue is each store's own choice, so claims take all there is, and
answers are compared in the order of ids.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from bench.redis_process import RedisProcess
from scheduler.model import ANY_POOL, Lease
from scheduler.redis_store import RedisTaskStore
from tests.property.test_scheduler_stores import WORKERS, StoresAgree

if TYPE_CHECKING:
    from scheduler.store import TaskStore

_servers: list[RedisProcess] = []


def _server() -> RedisProcess:
    """One server for all examples; it ends with this process."""
    if not _servers:
        _servers.append(RedisProcess())
        _servers[0].start()
    return _servers[0]


def teardown_module() -> None:
    while _servers:
        _servers.pop().close()


class RedisAgrees(StoresAgree):
    def open_store(self) -> TaskStore:
        job = uuid.uuid4().hex
        return self.loop.run_until_complete(RedisTaskStore.open(_server().url, job, attempts_max=3))

    @rule(
        worker=st.sampled_from(WORKERS),
        pools=st.sampled_from([[ANY_POOL], [ANY_POOL, "eu"], ["eu"]]),
    )
    def claim(self, worker: str, pools: list[str]) -> None:
        async def take(store: TaskStore) -> list[Lease]:
            leases = await store.claim(
                worker, limit=1000, lease_s=30, now_s=self.now_s, pools=pools
            )
            return sorted(leases, key=lambda lease: lease.task_id)

        claimed = self.both(take)
        assert isinstance(claimed, list)
        self.leases += claimed


RedisAgrees.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestRedisAgrees = RedisAgrees.TestCase

"""Many processes on one Redis, killed and stopped, and Redis too: each task counts exactly once."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from scheduler.model import Done, NewTask, TaskState
from tests.servers.crews import (
    LEASE_S,
    everything,
    kill_and_check,
    open_crew,
    open_queue,
    working,
)

if TYPE_CHECKING:
    from scheduler.store import TaskStore


@pytest.mark.slow
async def test_killed_workers_and_a_killed_server_lose_nothing() -> None:
    with RedisProcess(("appendfsync", "always"), durable=True) as process:

        def restart() -> None:
            process.stop()
            process.start()

        async with await open_queue(process.url) as store:
            await kill_and_check(store, process.url, half_way=restart)


@pytest.mark.slow
async def test_what_a_worker_says_after_its_lease_counts_nowhere() -> None:
    with RedisProcess() as process:
        async with await open_queue(process.url) as store:
            with open_crew("work", process.url, processes=1) as crew:
                await working(store, crew)
                await store.enqueue([NewTask(payload=b"slow", weight=7)])
                await _until_leased(1, store)
                crew.signal_all(signal.SIGSTOP)
                await asyncio.sleep(LEASE_S + 0.5)
                assert (await store.reap(now_s=time.time())).reclaimed == 1
                (lease,) = await store.claim("rescuer", limit=1, lease_s=30, now_s=time.time())
                crew.signal_all(signal.SIGCONT)
                await _until_noted(b"1 lost", store)
                # What its finish would have brought is not there: no result, no follow-up.
                stats = await store.stats()
                assert {state: count for state, count in stats.tasks.items() if count} == {
                    TaskState.LEASED: 1
                }
                await store.finish(lease, Done(), result=b"rescued", now_s=time.time())
            (task,) = await everything(store)
            assert (task.result, task.attempts) == (b"rescued", 1)


async def _until_leased(count: int, store: TaskStore) -> None:
    async with asyncio.timeout(20):
        while True:
            if (await store.stats()).tasks[TaskState.LEASED] == count:
                return
            await asyncio.sleep(0.01)


async def _until_noted(note: bytes, store: TaskStore) -> None:
    async with asyncio.timeout(20):
        while True:
            beats = await store.workers(now_s=time.time(), within_s=60)
            if note in {beat.note for beat in beats}:
                return
            await asyncio.sleep(0.01)

"""Jobs on a board in a real Redis: submitted once, found, retired and reopened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from scheduler.errors import LeaseLost
from scheduler.model import Discard, Done, NewTask, TaskState
from scheduler.redis_board import RedisBoard
from scheduler.redis_server import RedisServer
from scheduler.redis_store import RedisTaskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def process() -> Iterator[RedisProcess]:
    with RedisProcess() as process:
        yield process


@pytest.fixture
async def server(process: RedisProcess) -> AsyncIterator[RedisServer]:
    server = await RedisServer.open(process.url)
    await server.do("FLUSHALL")
    yield server
    await server.aclose()


FIRST = [NewTask(payload=b"list")]


async def test_many_submitters_make_one_job(server: RedisServer) -> None:
    board = RedisBoard(server)
    begun: list[bool] = []

    async def submit() -> None:
        begun.append(await board.submit("j", b"about", FIRST, now_s=100))

    async with asyncio.TaskGroup() as crew:
        for number in range(8):
            crew.create_task(submit(), name=f"submit-{number}")
    assert sorted(begun) == [False] * 7 + [True]
    assert await board.active() == ["j"]
    async with board.opened("j", attempts_max=3) as store:
        (lease,) = await store.claim("w", limit=9, lease_s=30, now_s=100)
        assert await board.submit("j", b"about", FIRST, now_s=101) is False
        await store.finish(lease, Done(), result=b"r", now_s=102)
        assert await store.is_drained()
        assert await board.submit("j", b"again", FIRST, now_s=103) is True
        assert len(await store.claim("w", limit=9, lease_s=30, now_s=103)) == 1
    (record,) = await board.jobs()
    assert (record.job, record.description, record.submitted_at_s) == ("j", b"again", 103)


async def test_a_retired_job_goes_when_its_time_is_over(server: RedisServer) -> None:
    board = RedisBoard(server)
    for job in ("a", "b"):
        await board.submit(job, b"about " + job.encode(), FIRST, now_s=100)
    await board.retire("a", ttl_s=1)
    assert await board.active() == ["a", "b"]  # it has a task to run
    async with board.opened("a", attempts_max=3) as store:
        (lease,) = await store.claim("w", limit=9, lease_s=30, now_s=100)
        await store.finish(lease, Done(), now_s=100)
    await board.retire("a", ttl_s=1)
    assert await board.active() == ["b"]
    assert [record.job for record in await board.jobs()] == ["b", "a"]
    await asyncio.sleep(1.3)
    assert [record.job for record in await board.jobs()] == ["b"]
    assert await board.find("a") is None
    keys = await server.do("KEYS", "mover:{a}:*")
    assert keys == []


async def test_a_reopened_job_stays(server: RedisServer) -> None:
    board = RedisBoard(server)
    await board.submit("a", b"about", FIRST, now_s=100)
    async with board.opened("a", attempts_max=3) as store:
        (lease,) = await store.claim("w", limit=9, lease_s=30, now_s=100)
        await store.finish(lease, Discard(reason="denied"), now_s=100)
        await board.retire("a", ttl_s=1)
        assert await store.requeue() == 1
        await board.reopen("a")
        await asyncio.sleep(1.3)
        assert await board.active() == ["a"]
        assert len(await store.claim("w", limit=9, lease_s=30, now_s=100)) == 1


async def test_a_lease_of_before_a_loss_does_not_fit_a_task_of_after_it(
    server: RedisServer,
) -> None:
    store = RedisTaskStore(server, "j")
    await store.enqueue([NewTask(payload=b"a")])
    (old,) = await store.claim("w1", limit=1, lease_s=30, now_s=100)
    await server.do("FLUSHALL")  # as a server does that comes back without its last writes
    await store.enqueue([NewTask(payload=b"b")])
    (new,) = await store.claim("w2", limit=1, lease_s=30, now_s=100)
    assert (new.task_id, new.generation) == (old.task_id, old.generation)
    assert await store.extend([old], lease_s=30, now_s=101) == []
    with pytest.raises(LeaseLost):
        await store.advance(old, b"c")
    with pytest.raises(LeaseLost):
        await store.finish(old, Done(), result=b"a", now_s=101)
    assert len(await store.extend([new], lease_s=30, now_s=101)) == 1
    await store.finish(new, Done(), result=b"b", now_s=102)
    assert [task.result for task in await store.results({TaskState.DONE})] == [b"b"]

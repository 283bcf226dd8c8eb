"""What the scripts do where the contract does not look: full memory, many tasks, long lives."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess, installed_servers
from scheduler.errors import LeaseLost, StoreUnavailable
from scheduler.model import FINAL_STATES, Discard, Done, NewGroup, NewTask, TaskState
from scheduler.redis_notes import BEATS_KEPT_S
from scheduler.redis_server import RedisServer
from scheduler.redis_store import RedisTaskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scheduler.model import Lease

MANY = 50_000
BATCH = 5_000
STEP_MAX_S = 0.25
"""A step that takes longer stops everybody. The machines of tests are slow and shared."""

HOUR_S = 3600


@pytest.fixture(scope="module", params=sorted(installed_servers()))
def program(request: pytest.FixtureRequest) -> str:
    """Each server there is, by its short name."""
    return str(request.param)


@pytest.fixture(scope="module")
def process(program: str) -> Iterator[RedisProcess]:
    with RedisProcess(program=installed_servers()[program]) as process:
        yield process


@pytest.fixture
async def server(process: RedisProcess) -> AsyncIterator[RedisServer]:
    server = await RedisServer.open(process.url)
    await server.do("FLUSHALL")
    await server.do("CONFIG", "SET", "maxmemory", 0)
    yield server
    await server.aclose()


@pytest.fixture
def store(server: RedisServer) -> RedisTaskStore:
    return RedisTaskStore(server, uuid.uuid4().hex, attempts_max=3)


async def _claim(store: RedisTaskStore, worker: str = "w", limit: int = 100) -> list[Lease]:
    return await store.claim(worker, limit=limit, lease_s=30, now_s=time.time())


# --- Full memory ---


async def test_a_full_server_lets_work_end(server: RedisServer, store: RedisTaskStore) -> None:
    await store.enqueue([NewTask(payload=b"x" * 1000) for _ in range(4)])
    await server.do("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="memory is full; raise maxmemory") as refused:
        await store.enqueue([NewTask(payload=b"y")])
    assert not refused.value.permanent
    first, second, third, fourth = await _claim(store)
    with pytest.raises(StoreUnavailable, match="memory is full"):
        await store.advance(first, b"y")
    assert await store.extend([first], lease_s=60, now_s=time.time()) != []
    await store.finish(first, Done(), result=b"r", now_s=time.time())
    await store.finish(second, Discard(reason="useless"), now_s=time.time())
    await store.release(third)
    assert (await store.reap(now_s=time.time(), dead=[fourth.worker_id])).reclaimed == 1
    await store.set_control("state", b"paused")
    await store.beat("w", b"note", now_s=time.time())
    await store.record("something", now_s=time.time())
    await store.reserve("b", 1, rate_per_s=1, burst=1, now_s=time.time())
    await store.close_intake()
    assert await store.get_control("state") == b"paused"
    assert len(await store.workers(now_s=time.time(), within_s=9)) == 1
    assert await store.requeue() == 1
    assert await store.forget_finished() == 1
    stats = await store.stats()
    assert (stats.tasks[TaskState.PENDING], stats.intake_closed) == (3, True)


# --- One moment ---


async def test_whether_a_job_is_drained_is_asked_in_one_step(
    server: RedisServer, store: RedisTaskStore
) -> None:
    """Two questions would let a planner enqueue its last tasks and close its intake in between."""
    await store.is_drained()
    await server.do("CONFIG", "RESETSTAT")
    await store.is_drained()
    calls = await server.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 1
    assert calls.keys() <= {"cmdstat_evalsha", "cmdstat_hgetall", "cmdstat_hexists"} | {
        name for name in calls if name.startswith(("cmdstat_config", "cmdstat_info"))
    }


# --- Many tasks ---


async def _slowest_s(server: RedisServer) -> float:
    """The longest script since the log was emptied, by the server's own clock."""
    log = await server.do("SLOWLOG", "GET", 1000)
    return max((entry[2] for entry in log), default=0) / 1e6


@pytest.mark.slow
async def test_verbs_over_many_tasks_stop_nobody_for_long(
    server: RedisServer, store: RedisTaskStore, program: str
) -> None:
    many = MANY if program == "bundled" else MANY // 5  # the scripts are the same
    await server.do("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    letter = NewTask(payload=b"p", weight=2, discarded="denied", result=b"r")
    for _ in range(0, many, BATCH):
        await store.enqueue([letter] * BATCH)
    await server.do("SLOWLOG", "RESET")
    assert await store.requeue() == many
    assert await _slowest_s(server) < STEP_MAX_S
    stats = await store.stats()
    assert (stats.tasks[TaskState.PENDING], stats.weight[TaskState.PENDING]) == (many, 2 * many)
    for _ in range(0, many, BATCH):
        await _claim(store, limit=500)
    await server.do("SLOWLOG", "RESET")
    assert (await store.reap(now_s=time.time() + 31)).reclaimed == many // BATCH * 500
    await store.clear()
    assert await _slowest_s(server) < STEP_MAX_S
    for _ in range(0, many, BATCH):
        await store.enqueue([letter] * BATCH)
    await server.do("SLOWLOG", "RESET")
    assert await store.forget_finished() == many
    assert await _slowest_s(server) < STEP_MAX_S
    assert sum((await store.stats()).tasks.values()) == 0
    assert await store.results(FINAL_STATES) == []


async def test_forgetting_goes_by_pages_and_keeps_open_groups(store: RedisTaskStore) -> None:
    size = 1200
    members = [NewTask(payload=b"m", group="g", key=f"k{number}") for number in range(size)]
    await store.enqueue(members, groups=[NewGroup(name="g", size=size, then=NewTask(payload=b"t"))])
    leases = await _claim(store, limit=size)
    for lease in leases[:-1]:
        await store.finish(lease, Done(), now_s=time.time())
    assert await store.forget_finished() == 0
    await store.finish(leases[-1], Done(), now_s=time.time())
    (then,) = await _claim(store)
    assert await store.forget_finished() == 0
    await store.finish(then, Done(), now_s=time.time())
    assert await store.forget_finished() == size + 1
    again = NewGroup(name="g", size=1, then=NewTask(payload=b"t"))
    assert await store.enqueue(members[:1], groups=[again]) == 1


async def test_a_page_of_results_does_not_grow_with_the_payloads(store: RedisTaskStore) -> None:
    large = b"x" * 1_000_000
    for number in range(10):
        await store.enqueue([NewTask(payload=large, discarded=f"{number}", result=large)])
    found: list[str] = []
    after, pages = 0, 0
    while page := await store.results({TaskState.DISCARDED}, after_task_id=after):
        found += [task.reason for task in page]
        after, pages = page[-1].task_id, pages + 1
    assert found == [str(number) for number in range(10)]
    assert pages > 2


async def test_a_large_payload_comes_back_as_it_was(store: RedisTaskStore) -> None:
    payload = bytes(range(256)) * 4096
    await store.enqueue([NewTask(payload=payload, weight=2**50)])
    (lease,) = await _claim(store)
    assert (lease.payload, lease.weight) == (payload, 2**50)
    advanced, _ = await store.advance(lease, payload[::-1])
    await store.finish(advanced, Discard(reason="r"), result=payload, now_s=time.time())
    (task,) = await store.results({TaskState.DISCARDED})
    assert (task.payload, task.result) == (payload[::-1], payload)


# --- Long lives ---


async def test_dead_consumers_do_not_pile_up(server: RedisServer, store: RedisTaskStore) -> None:
    await store.enqueue([NewTask(payload=b"%d" % number) for number in range(3)])
    for worker in ("w1", "w2", "w3"):
        await _claim(store, worker, limit=1)
    await store.reap(now_s=time.time(), dead=["w1", "w2", "never-seen"])
    consumers = await server.do("XINFO", "CONSUMERS", store._key("queue:any"), "crew")
    assert {row[1] for row in consumers} - {b"reaper"} == {b"w3"}


async def test_old_signs_of_life_go(server: RedisServer, store: RedisTaskStore) -> None:
    now_s = time.time()
    await store.beat("old", b"1", now_s=now_s - BEATS_KEPT_S - 1)
    await store.beat("new", b"2", now_s=now_s)
    assert [beat.worker_id for beat in await store.workers(now_s=now_s, within_s=1e9)] == ["new"]
    assert await server.do("HLEN", store._key("beat")) == 1


async def test_a_fast_clock_takes_no_leases_away(store: RedisTaskStore) -> None:
    await store.enqueue([NewTask(payload=b"a")])
    (lease,) = await _claim(store)
    with pytest.raises(StoreUnavailable, match="clock of this host is far ahead") as refused:
        await store.reap(now_s=time.time() + HOUR_S)
    assert refused.value.permanent
    await store.finish(lease, Done(), now_s=time.time())


async def test_a_foreign_entry_of_a_stream_is_dropped(
    server: RedisServer, store: RedisTaskStore
) -> None:
    await store.enqueue([NewTask(payload=b"a")])
    (lease,) = await _claim(store)
    stream = store._key("queue:any")
    entry = await server.do("XADD", stream, "*", "task", lease.task_id)
    await server.do("XREADGROUP", "GROUP", "crew", "w", "STREAMS", stream, ">")
    await server.do("XCLAIM", stream, "crew", "w", 0, entry, "TIME", 1)
    reaped = await store.reap(now_s=time.time())
    assert (reaped.reclaimed, await server.do("XLEN", stream)) == (0, 1)
    await store.finish(lease, Done(), now_s=time.time())


async def test_a_closed_store_says_so(process: RedisProcess) -> None:
    store = await RedisTaskStore.open(process.url, "j")
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed") as refused:
        await store.stats()
    assert refused.value.permanent


# --- Expiry ---


async def test_all_keys_of_a_job_expire_and_stay_again(
    server: RedisServer, store: RedisTaskStore
) -> None:
    await store.enqueue([NewTask(payload=b"a"), NewTask(payload=b"b", pool="eu")], checkpoint=b"c")
    (lease,) = await _claim(store)
    await store.finish(lease, Discard(reason="r"), result=b"r", now_s=time.time())
    await store.beat("w", b"", now_s=time.time())
    await store.record("event", now_s=time.time())
    keys = await server.do("KEYS", "*")
    assert {store._key("queue:any").encode(), store._key("queue:eu").encode()} <= set(keys)

    async def times() -> list[int]:
        return [await server.do("TTL", key) for key in keys]

    assert set(await times()) == {-1}
    await store.expire(100)
    assert all(90 < ttl_s <= 100 for ttl_s in await times())
    await store.expire(None)
    assert set(await times()) == {-1}
    await store.expire(100)
    await store.clear()
    assert await server.do("TTL", store._meta) == -1
    await store.enqueue([NewTask(payload=b"a")])
    await store.expire(0.2)
    await asyncio.sleep(0.3)
    assert await server.do("KEYS", "*") == []
    # Whoever comes too late finds nothing, and leaves nothing.
    with pytest.raises(LeaseLost):
        await store.finish(lease, Done(), now_s=time.time())
    assert await _claim(store) == []
    assert (await store.reap(now_s=time.time(), dead=["w"])).reclaimed == 0
    assert await server.do("KEYS", "*") == []

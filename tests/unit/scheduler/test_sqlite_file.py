"""What the embedded queue says of files that it cannot or must not use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from scheduler.errors import StoreUnavailable
from scheduler.model import Done, NewGroup, NewTask, TaskState
from scheduler.sqlite_store import SqliteTaskStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


async def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


async def _newer(path: Path) -> None:
    await _make(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()


async def _torn(path: Path) -> None:
    await _make(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


async def _text(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


async def _make(path: Path) -> None:
    async with await SqliteTaskStore.open(path) as store:
        await store.enqueue([NewTask(payload=b"x" * 5000)])


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (_foreign, "database of something else"),
        (_newer, "newer version .schema 99, this version knows 2."),
        (_text, "not a database"),
        (_torn, "malformed"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, spoil: Callable[[Path], Awaitable[None]], detail: str
) -> None:
    path = tmp_path / "queue"
    await spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=detail) as caught:
        await _make(path)
    assert caught.value.permanent
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open"):
        await SqliteTaskStore.open(tmp_path / "none" / "queue")


async def test_a_lock_held_too_long_is_unavailable_for_now(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    async with await SqliteTaskStore.open(path, busy_timeout_s=0.05) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            await store.enqueue([NewTask(payload=b"")])
        assert not caught.value.permanent
        # Readers, and idle workers, do not need the lock.
        assert not await store.is_drained()
        assert await store.claim("w", limit=1, lease_s=1, now_s=0) == []
        holder.execute("ROLLBACK")
        holder.close()
        assert await store.enqueue([NewTask(payload=b"")]) == 1


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await SqliteTaskStore.open(tmp_path / "queue")
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.stats()


async def test_everything_is_there_after_a_reopen(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    group = NewGroup(name="g", size=2, then=NewTask(payload=b"then", weight=3))
    members = [NewTask(payload=b"%d" % i, weight=i, group="g") for i in range(2)]
    async with await SqliteTaskStore.open(path) as store:
        await store.enqueue(members, groups=[group], checkpoint=b"half way")
        (lease,) = await store.claim("w", limit=1, lease_s=30, now_s=100)
        await store.reserve("b", 50, rate_per_s=10, burst=0, now_s=100)
        before = await store.stats()
    async with await SqliteTaskStore.open(path) as store:
        assert await store.stats() == before
        assert await store.load_checkpoint() == b"half way"
        await store.finish(lease, Done(), result=b"r", now_s=101)
        assert await store.group_results("g") == [b"r"]
        assert await store.reserve("b", 0, rate_per_s=10, burst=0, now_s=100) == pytest.approx(5)


async def test_a_file_of_the_first_version_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    async with await SqliteTaskStore.open(path) as store:
        await store.enqueue([NewTask(payload=b"old")])
    downgrade = """
        DROP INDEX task_pending; ALTER TABLE task DROP COLUMN pool;
        ALTER TABLE task DROP COLUMN step; DROP TABLE event; UPDATE schema_version SET version = 1;
        CREATE INDEX task_pending ON task (task_id) WHERE state = 'pending';
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(downgrade)
    for _ in range(2):
        async with await SqliteTaskStore.open(path) as store:
            (lease,) = await store.claim("w", limit=9, lease_s=30, now_s=100)
            assert lease.payload == b"old"
            await store.release(lease)
            await store.record("upgraded", now_s=100)


async def test_two_openings_of_a_new_file_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    stores: list[SqliteTaskStore] = []

    async def open_one() -> None:
        stores.append(await SqliteTaskStore.open(path))

    async with asyncio.TaskGroup() as crew:
        for number in range(6):
            crew.create_task(open_one(), name=f"open-{number}")
    for number, store in enumerate(stores):
        await store.enqueue([NewTask(payload=b"%d" % number)])
    assert (await stores[0].stats()).tasks[TaskState.PENDING] == 6
    for store in stores:
        await store.aclose()


async def test_a_done_task_frees_its_payload(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    async with await SqliteTaskStore.open(path) as store:
        for _ in range(60):
            await store.enqueue([NewTask(payload=os.urandom(100_000))])
            (lease,) = await store.claim("w", limit=1, lease_s=30, now_s=0)
            await store.finish(lease, Done(), now_s=0)
    assert path.stat().st_size < 2_000_000


async def test_a_cancelled_verb_happens_whole_or_not_at_all(tmp_path: Path) -> None:
    async with await SqliteTaskStore.open(tmp_path / "queue") as store:
        tasks = [NewTask(payload=b"", weight=1) for _ in range(50)]
        for delay_s in (0, 0.0001, 0.001, 0.003):
            before = (await store.stats()).tasks[TaskState.PENDING]
            try:
                async with asyncio.timeout(delay_s):
                    await store.enqueue(tasks)
            except TimeoutError:
                pass
            added = (await store.stats()).tasks[TaskState.PENDING] - before
            assert added in (0, 50)

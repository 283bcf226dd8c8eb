"""docs/formats.md names what is really written: every key, field, column and tag, and no other."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.redis_process import RedisProcess
from mover import payloads
from mover.model import TaskResult
from mover.prewarm.peer_talk import Had, Wanted
from mover.prewarm_index import Index
from scheduler.model import Discard, Done, NewGroup, NewTask, Retry
from scheduler.redis_board import RedisBoard
from scheduler.redis_server import RedisServer
from scheduler.sqlite_store import SqliteTaskStore

if TYPE_CHECKING:
    from scheduler.store import TaskStore

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text("utf-8")
PREFIX = "mover:{j}:"


def _table(text: str, after: str) -> list[list[str]]:
    """The cells of the first table after some words, without its head."""
    rows = []
    for line in text[text.index(after) :].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


async def _use_every_verb(store: TaskStore) -> None:
    now_s = time.time()
    then = NewTask(payload=b"then")
    await store.enqueue(
        [
            NewTask(payload=b"a", key="k", group="g"),
            NewTask(payload=b"b", pool="eu", discarded="denied", result=b"r"),
            *(NewTask(payload=b"%d" % number) for number in range(4)),
        ],
        groups=[NewGroup(name="g", size=1, then=then)],
        checkpoint=b"c",
    )
    leases = await store.claim("w", limit=5, lease_s=30, now_s=now_s)
    done, discarded, retried, _, released = leases
    advanced, _ = await store.advance(done, b"more", follow_ups=[NewTask(payload=b"x", pool="eu")])
    await store.extend(leases, lease_s=30, now_s=now_s)
    await store.finish(advanced, Done(), result=b"r", now_s=now_s)
    await store.finish(discarded, Discard(reason="no"), result=b"r", now_s=now_s)
    await store.finish(retried, Retry(after_s=99), now_s=now_s)
    await store.release(released)
    await store.reap(now_s=now_s, dead=["w"])
    await store.set_control("state", b"paused")
    await store.beat("w", b"note", now_s=now_s)
    await store.record("event", now_s=now_s)
    await store.reserve("b", 1, rate_per_s=1, burst=1, now_s=now_s)
    await store.close_intake()


async def test_the_keys_of_redis_are_those_of_the_page() -> None:
    with RedisProcess() as process:
        server = await RedisServer.open(process.url)
        board = RedisBoard(server)
        await board.submit("j", b"about", [], now_s=time.time())
        async with board.opened("j", attempts_max=3) as store:
            # Submitting closes the intake; a planner's store is open.
            await server.do("HDEL", f"{PREFIX}meta", "intake_closed")
            await _use_every_verb(store)
        found = {}
        for key in await server.do("KEYS", "*"):
            kind = (await server.do("TYPE", key)).decode()
            found[re.sub(r"queue:\w+", "queue:POOL", key.decode().removeprefix(PREFIX))] = kind
        fields = {field.decode() for field in await server.do("HKEYS", f"{PREFIX}meta")}
        await server.aclose()
    documented = {row[0]: row[1] for row in _table(PAGE, "Keys of one job")}
    outside = {row[0]: row[1] for row in _table(PAGE, "Two keys name jobs")}
    assert found == documented | outside
    assert fields == {row[0] for row in _table(PAGE, "Fields of `meta`")}


def test_the_array_of_a_task_is_that_of_the_page() -> None:
    common = (ROOT / "scheduler" / "lua" / "common.lua").read_text("utf-8")
    found: dict[str, str] = {}
    for constants, numbers in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", common, re.MULTILINE):
        found.update(zip(numbers.split(", "), constants.split(", "), strict=True))
    documented = {row[0]: row[1] for row in _table(PAGE, "The array of a task")}
    assert {number: found[number] for number in documented} == documented
    names = (ROOT / "scheduler" / "lua" / "names.lua").read_text("utf-8")
    emptied = re.search(r"local NAMES = \{(.+?)\}", names, re.DOTALL)
    assert emptied is not None
    keys = {row[0] for row in _table(PAGE, "Keys of one job")}
    assert set(re.findall(r'"(\w+)"', emptied[1])) == keys - {"meta", "queue:POOL"}


async def test_the_tables_of_sqlite_are_those_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    async with await SqliteTaskStore.open(path, attempts_max=3) as store:
        await _use_every_verb(store)
    found = {}
    connection = sqlite3.connect(path)
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in connection.execute(names).fetchall():
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        found[table] = [(column[1], column[2]) for column in columns]
    versions = connection.execute("SELECT version FROM schema_version").fetchall()
    connection.close()
    part = PAGE[PAGE.index("## The queue in SQLite") : PAGE.index("## Payloads")]
    documented = {
        name: [(row[0], row[1]) for row in _table(part, f"### `{name}`")]
        for name in re.findall(r"^### `(\w+)`$", part, re.MULTILINE)
    }
    assert found == documented
    assert str(versions[-1][0]) == _table(part, "One file")[-1][0]


async def test_the_index_of_a_cache_directory_is_that_of_the_page(tmp_path: Path) -> None:
    index = await Index.open(str(tmp_path), "job")
    found = {}

    def step(connection: sqlite3.Connection) -> None:
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in connection.execute(names).fetchall():
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            found[table] = [(column[1], column[2]) for column in columns]

    await index.read(step)
    await index.close()
    part = PAGE[PAGE.index("## A cache directory") : PAGE.index("### Between nodes")]
    documented = {
        name: [(row[0], row[1]) for row in _table(part, f"### `{name}`")]
        for name in re.findall(r"^### `(\w+)`$", part, re.MULTILINE)
    }
    assert found == documented


def test_what_nodes_say_to_each_other_is_that_of_the_page() -> None:
    part = PAGE[PAGE.index("### Between nodes") : PAGE.index("## Signatures")]
    for kind, after in ((Wanted, "`POST /cache/files`"), (Had, "The answer (200)")):
        assert [row[1] for row in _table(part, after)] == list(kind.__struct_fields__)


def test_the_payloads_are_those_of_the_page() -> None:
    def fields(kind: type) -> str:
        return ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))

    found = {tag: (kind.__name__, fields(kind)) for tag, kind in payloads._TAGS.items()}
    rows = _table(PAGE, "## Payloads and results")
    assert found == {row[0]: (row[1], f"`{row[2]}`") for row in rows}
    assert f"A result is a `TaskResult`: {fields(TaskResult)}." in PAGE

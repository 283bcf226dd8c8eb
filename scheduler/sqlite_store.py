"""The embedded queue, and the default: one file, no server, many processes on one host.

Every verb is one transaction. The decisions are those of ``states`` and ``budgets``; here is only
how they are loaded and saved. ``claim`` and ``reap``, which idle workers repeat, look before they
take the write lock, so that waiting workers do not stand in the way of working ones.
Hosts must not share the file over a network: WAL needs shared memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scheduler import sqlite_rows, sqlite_schema, states
from scheduler.errors import IntakeClosed, LeaseLost
from scheduler.model import (
    ANY_POOL,
    Advanced,
    FinishedTask,
    Lease,
    Reaped,
    StoreStats,
    TaskState,
)
from scheduler.sqlite_file import Connection, SqliteFile
from scheduler.sqlite_notes import SqliteNotes
from scheduler.store import check_final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from scheduler.model import Disposition, NewGroup, NewTask


class SqliteTaskStore(SqliteNotes):
    """Tasks in one SQLite file. Made by ``open``; see ``sqlite_file`` for what a crash leaves."""

    def __init__(self, file: SqliteFile, *, attempts_max: int) -> None:
        super().__init__(file)
        self._attempts_max = attempts_max

    @classmethod
    async def open(
        cls, path: Path, *, attempts_max: int = 5, busy_timeout_s: float = 5.0
    ) -> SqliteTaskStore:
        """Open or create the queue at ``path``; the directory must exist.

        A verb waits up to ``busy_timeout_s`` for other processes before ``StoreUnavailable``.
        """
        return cls(
            await SqliteFile.open(path, busy_timeout_s=busy_timeout_s), attempts_max=attempts_max
        )

    async def aclose(self) -> None:
        await self._file.aclose()

    # --- Intake ---

    async def enqueue(
        self,
        tasks: Sequence[NewTask],
        *,
        groups: Sequence[NewGroup] = (),
        checkpoint: bytes | None = None,
    ) -> int:
        def step(connection: Connection) -> int:
            if tasks and sqlite_rows.is_intake_closed(connection):
                raise IntakeClosed(tasks=len(tasks))
            added = sqlite_rows.admit(connection, tasks, groups)
            if checkpoint is not None:
                connection.execute("UPDATE progress SET checkpoint = ?", (checkpoint,))
            return added

        return await self._file.write(step)

    async def load_checkpoint(self) -> bytes | None:
        def step(connection: Connection) -> bytes | None:
            (checkpoint,) = connection.execute("SELECT checkpoint FROM progress").fetchone()
            return None if checkpoint is None else bytes(checkpoint)

        return await self._file.read(step)

    async def close_intake(self) -> None:
        await self._file.write(
            lambda connection: connection.execute("UPDATE progress SET intake_closed = 1")
        )

    async def is_drained(self) -> bool:
        return (await self.stats()).is_drained

    # --- Leases ---

    async def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        now_s: float,
        pools: Sequence[str] = (ANY_POOL,),
    ) -> list[Lease]:
        def find(connection: Connection, limit: int) -> list[int]:
            found: set[int] = set()
            for pool in pools:
                window = {"limit": limit, "now_s": now_s, "pool": pool}
                found.update(row[0] for row in connection.execute(sqlite_schema.CLAIMABLE, window))
            return sorted(found)[:limit]

        def look(connection: Connection) -> bool:
            return bool(find(connection, min(limit, 1)))

        def step(connection: Connection) -> list[Lease]:
            leases = []
            for task_id in find(connection, limit):
                task = sqlite_rows.load(connection, task_id)
                standing = task and states.claim(
                    task.standing, worker_id=worker_id, lease_s=lease_s, now_s=now_s
                )
                if task is not None and standing is not None:
                    sqlite_rows.move(connection, task, standing)
                    leases.append(sqlite_rows.read_lease(connection, task, standing))
            return leases

        return await self._file.write_if(look, step, [])

    async def extend(self, leases: Sequence[Lease], *, lease_s: float, now_s: float) -> list[Lease]:
        def step(connection: Connection) -> list[Lease]:
            extended = []
            for lease in leases:
                task = sqlite_rows.load(connection, lease.task_id)
                standing = task and states.extend(
                    task.standing, generation=lease.generation, lease_s=lease_s, now_s=now_s
                )
                if task is not None and standing is not None:
                    sqlite_rows.move(connection, task, standing)
                    extended.append(replace(lease, expires_at_s=standing.expires_at_s))
            return extended

        return await self._file.write(step) if leases else []

    async def advance(
        self,
        lease: Lease,
        payload: bytes,
        *,
        follow_ups: Sequence[NewTask] = (),
        groups: Sequence[NewGroup] = (),
    ) -> Advanced:
        def step(connection: Connection) -> Advanced:
            task = sqlite_rows.load(connection, lease.task_id)
            standing = task and states.advance(
                task.standing, generation=lease.generation, step=lease.step
            )
            if task is None or standing is None:
                raise LeaseLost(
                    task_id=lease.task_id, generation=lease.generation, detail="it was reaped"
                )
            if standing is not task.standing:
                sqlite_rows.admit(connection, follow_ups, groups)
                sqlite_rows.move(connection, task, standing)
                sqlite_rows.replace_payload(connection, task.task_id, payload)
            further = replace(lease, payload=payload, step=standing.step)
            return Advanced(further, sqlite_rows.read_stats(connection))

        return await self._file.write(step)

    async def finish(
        self,
        lease: Lease,
        disposition: Disposition,
        *,
        result: bytes = b"",
        follow_ups: Sequence[NewTask] = (),
        groups: Sequence[NewGroup] = (),
        now_s: float,
    ) -> None:
        def step(connection: Connection) -> None:
            task = sqlite_rows.load(connection, lease.task_id)
            standing = task and states.finish(
                task.standing,
                generation=lease.generation,
                disposition=disposition,
                attempts_max=self._attempts_max,
                now_s=now_s,
            )
            if task is None or standing is None:
                raise LeaseLost(
                    task_id=lease.task_id, generation=lease.generation, detail="it was reaped"
                )
            if standing is not task.standing:
                sqlite_rows.admit(connection, follow_ups, groups)
                sqlite_rows.move(connection, task, standing, result=result)

        await self._file.write(step)

    async def reap(self, *, now_s: float, dead: Collection[str] = ()) -> Reaped:
        def find(connection: Connection) -> list[int]:
            found = connection.execute(
                "SELECT task_id, worker_id, expires_at_s FROM task INDEXED BY task_leased "
                "WHERE state = 'leased' ORDER BY task_id"
            )
            return [row[0] for row in found if row[2] <= now_s or row[1] in dead]

        def step(connection: Connection) -> Reaped:
            reclaimed = discarded = 0
            for task_id in find(connection):
                task = sqlite_rows.load(connection, task_id)
                standing = task and states.reap(
                    task.standing, attempts_max=self._attempts_max, now_s=now_s, dead=dead
                )
                if task is None or standing is None:
                    continue
                sqlite_rows.move(connection, task, standing)
                if standing.state is TaskState.DISCARDED:
                    discarded += 1
                else:
                    reclaimed += 1
            return Reaped(reclaimed=reclaimed, discarded=discarded)

        return await self._file.write_if(lambda c: bool(find(c)), step, Reaped())

    # --- What became of it ---

    async def stats(self) -> StoreStats:
        return await self._file.read(sqlite_rows.read_stats)

    async def results(
        self, states: Collection[TaskState], *, after_task_id: int = 0, limit: int = 1000
    ) -> list[FinishedTask]:
        check_final(states)
        wanted = ", ".join(f"'{state}'" for state in sorted(states))
        query = (
            f"{sqlite_schema.FINISHED} WHERE task.task_id > ? AND state IN ({wanted}) "
            "ORDER BY task.task_id LIMIT ?"
        )
        return await self._file.read(
            lambda connection: sqlite_rows.read_finished(
                connection.execute(query, (after_task_id, limit))
            )
        )

    async def group_outcomes(self, group: str) -> list[FinishedTask]:
        query = (
            f"{sqlite_schema.FINISHED} WHERE group_name = ? AND state IN ('done', 'discarded') "
            "ORDER BY task.task_id"
        )
        return await self._file.read(
            lambda connection: sqlite_rows.read_finished(connection.execute(query, (group,)))
        )

    async def requeue(self) -> int:
        return await self._file.write(sqlite_rows.requeue)

    async def forget_finished(self) -> int:
        return await self._file.write(sqlite_rows.forget)

    async def clear(self) -> None:
        def step(connection: Connection) -> None:
            for table in sqlite_schema.EMPTIED_BY_CLEAR:
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE progress SET intake_closed = 0, checkpoint = NULL")

        await self._file.write(step)

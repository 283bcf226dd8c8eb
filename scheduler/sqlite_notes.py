"""What workers on one host tell each other through the embedded queue, beside its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler import budgets
from scheduler.model import HEARD_S, Event, WorkerBeat, plain_text
from scheduler.store import EVENTS_KEPT, TaskStore

if TYPE_CHECKING:
    from scheduler.sqlite_file import Connection, SqliteFile


class SqliteNotes(TaskStore):
    """Controls, signs of life, events and rates in the file of a queue."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def set_control(self, name: str, value: bytes | None) -> None:
        def step(connection: Connection) -> None:
            if value is None:
                connection.execute("DELETE FROM control WHERE name = ?", (name,))
            else:
                connection.execute("INSERT OR REPLACE INTO control VALUES (?, ?)", (name, value))

        await self._file.write(step)

    async def get_control(self, name: str) -> bytes | None:
        def step(connection: Connection) -> bytes | None:
            query = "SELECT value FROM control WHERE name = ?"
            row = connection.execute(query, (name,)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._file.read(step)

    async def beat(self, worker_id: str, note: bytes, *, now_s: float) -> int:
        def step(connection: Connection) -> int:
            connection.execute(
                "INSERT OR REPLACE INTO worker_beat VALUES (?, ?, ?)", (worker_id, note, now_s)
            )
            (heard,) = connection.execute(
                "SELECT count(*) FROM worker_beat WHERE at_s >= ?", (now_s - HEARD_S,)
            ).fetchone()
            return int(heard)

        return await self._file.write(step)

    async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
        def step(connection: Connection) -> list[WorkerBeat]:
            rows = connection.execute(
                "SELECT worker_id, note, at_s FROM worker_beat WHERE at_s >= ? ORDER BY worker_id",
                (now_s - within_s,),
            )
            return [
                WorkerBeat(worker_id=worker_id, note=bytes(note), at_s=at_s)
                for worker_id, note, at_s in rows
            ]

        return await self._file.read(step)

    async def record(self, text: str, *, now_s: float) -> None:
        def step(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO event (at_s, text) VALUES (?, ?)", (now_s, plain_text(text))
            )
            connection.execute(
                "DELETE FROM event WHERE event_id <= last_insert_rowid() - ?", (EVENTS_KEPT,)
            )

        await self._file.write(step)

    async def events(self, *, after_event_id: int = 0, limit: int = 100) -> list[Event]:
        def step(connection: Connection) -> list[Event]:
            rows = connection.execute(
                "SELECT event_id, at_s, text FROM event WHERE event_id > ?"
                " ORDER BY event_id DESC LIMIT ?",
                (after_event_id, limit),
            )
            events = [Event(event_id=number, at_s=at_s, text=text) for number, at_s, text in rows]
            return events[::-1]

        return await self._file.read(step)

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        def step(connection: Connection) -> float:
            row = connection.execute(
                "SELECT arrival_s, booked_at_s, rate_per_s FROM budget WHERE bucket = ?", (bucket,)
            ).fetchone()
            kept = row and budgets.Budget(arrival_s=row[0], booked_at_s=row[1], rate_per_s=row[2])
            budget, wait_s = budgets.book(
                kept, amount=amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
            )
            connection.execute(
                "INSERT OR REPLACE INTO budget VALUES (?, ?, ?, ?)",
                (bucket, budget.arrival_s, budget.booked_at_s, budget.rate_per_s),
            )
            return wait_s

        return await self._file.write(step)

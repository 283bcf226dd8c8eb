"""What workers on any hosts tell each other through a Redis queue, beside its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler import budgets
from scheduler.model import HEARD_S, Event, WorkerBeat, plain_text
from scheduler.store import EVENTS_KEPT, TaskStore

if TYPE_CHECKING:
    from scheduler.redis_server import RedisServer

BEATS_KEPT_S = 7 * 86_400.0
"""Signs of life older than this go: workers of a fleet come and go for as long as a job lives."""


def job_key(job: str, name: str) -> str:
    """The name of one of a job's keys; the braces put all of them into one slot of a cluster."""
    return f"mover:{{{job}}}:{name}"


class RedisNotes(TaskStore):
    """Controls, signs of life, events and rates of one job."""

    def __init__(self, server: RedisServer, job: str) -> None:
        if not job:
            raise ValueError(
                "A job needs a name: its keys would lie in different slots of a cluster"
            )
        self._server = server
        self._job = job
        self._meta = job_key(job, "meta")

    def _key(self, name: str) -> str:
        return job_key(self._job, name)

    async def set_control(self, name: str, value: bytes | None) -> None:
        given = (0, b"") if value is None else (1, value)
        await self._server.run("tell", self._meta, "control", name, *given)

    async def get_control(self, name: str) -> bytes | None:
        value: bytes | None = await self._server.do("HGET", self._key("control"), name)
        return value

    async def beat(self, worker_id: str, note: bytes, *, now_s: float) -> int:
        heard: int = await self._server.run(
            "beat", self._meta, worker_id, repr(now_s), note, BEATS_KEPT_S, HEARD_S
        )
        return heard

    async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
        rows = await self._server.run("workers", self._meta, repr(now_s - within_s))
        beats = [
            WorkerBeat(worker_id=name.decode(), at_s=float(at_s), note=note)
            for name, at_s, note in rows
        ]
        return sorted(beats, key=lambda beat: beat.worker_id)

    async def record(self, text: str, *, now_s: float) -> None:
        await self._server.run("record", self._meta, repr(now_s), plain_text(text), EVENTS_KEPT)

    async def events(self, *, after_event_id: int = 0, limit: int = 100) -> list[Event]:
        entries = await self._server.do(
            "XREVRANGE", self._key("event"), "+", f"({after_event_id}-0", "COUNT", limit
        )
        return [
            Event(
                event_id=int(entry_id.partition(b"-")[0]),
                at_s=float(fields[b"at_s"]),
                text=fields[b"text"].decode(),
            )
            for entry_id, fields in reversed(entries)
        ]

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        budgets.check_booking(amount=amount, rate_per_s=rate_per_s, burst=burst)
        numbers = (amount, rate_per_s, burst, now_s, budgets.CLOCK_STEP_S)
        wait_s = await self._server.run(
            "reserve", self._meta, bucket, *map(repr, map(float, numbers))
        )
        return float(wait_s)

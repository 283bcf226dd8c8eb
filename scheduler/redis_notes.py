"""What workers on any hosts tell each other through a Redis queue, beside its tasks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scheduler import budgets
from scheduler.model import Event, WorkerBeat
from scheduler.store import EVENTS_KEPT, TaskStore

if TYPE_CHECKING:
    from scheduler.redis_server import RedisServer

_AT_S = struct.Struct("<d")


def job_key(job: str, name: str) -> str:
    """The name of one of a job's keys; the braces put all of them into one slot of a cluster."""
    return f"mover:{{{job}}}:{name}"


class RedisNotes(TaskStore):
    """Controls, signs of life, events and rates of one job."""

    def __init__(self, server: RedisServer, job: str) -> None:
        self._server = server
        self._job = job
        self._meta = job_key(job, "meta")

    def _key(self, name: str) -> str:
        return job_key(self._job, name)

    async def set_control(self, name: str, value: bytes | None) -> None:
        if value is None:
            await self._server.do("HDEL", self._key("control"), name)
        else:
            await self._server.do("HSET", self._key("control"), name, value)

    async def get_control(self, name: str) -> bytes | None:
        value: bytes | None = await self._server.do("HGET", self._key("control"), name)
        return value

    async def beat(self, worker_id: str, note: bytes, *, now_s: float) -> None:
        await self._server.do("HSET", self._key("beat"), worker_id, _AT_S.pack(now_s) + note)

    async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
        beats: dict[bytes, bytes] = await self._server.do("HGETALL", self._key("beat"))
        heard = [
            WorkerBeat(
                worker_id=worker.decode(),
                note=value[_AT_S.size :],
                at_s=_AT_S.unpack_from(value)[0],
            )
            for worker, value in beats.items()
        ]
        lately = [beat for beat in heard if beat.at_s >= now_s - within_s]
        return sorted(lately, key=lambda beat: beat.worker_id)

    async def record(self, text: str, *, now_s: float) -> None:
        await self._server.run("record", self._meta, repr(now_s), text, EVENTS_KEPT)

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

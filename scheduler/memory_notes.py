"""What workers of the reference store tell each other: controls, signs of life, events, rates."""

from __future__ import annotations

from scheduler import budgets
from scheduler.model import HEARD_S, Event, WorkerBeat, plain_text
from scheduler.store import EVENTS_KEPT, TaskStore


class MemoryNotes(TaskStore):
    """The part of the reference store that knows no tasks."""

    def _empty_notes(self) -> None:
        self._controls: dict[str, bytes] = {}
        self._beats: dict[str, WorkerBeat] = {}
        self._budgets: dict[str, budgets.Budget] = {}
        self._events: list[Event] = []

    async def set_control(self, name: str, value: bytes | None) -> None:
        if value is None:
            self._controls.pop(name, None)
        else:
            self._controls[name] = value

    async def get_control(self, name: str) -> bytes | None:
        return self._controls.get(name)

    async def beat(self, worker_id: str, note: bytes, *, now_s: float) -> int:
        self._beats[worker_id] = WorkerBeat(worker_id=worker_id, note=note, at_s=now_s)
        return len(await self.workers(now_s=now_s, within_s=HEARD_S))

    async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
        heard = [beat for beat in self._beats.values() if beat.at_s >= now_s - within_s]
        return sorted(heard, key=lambda beat: beat.worker_id)

    async def record(self, text: str, *, now_s: float) -> None:
        last_id = self._events[-1].event_id if self._events else 0
        self._events.append(Event(event_id=last_id + 1, at_s=now_s, text=plain_text(text)))
        del self._events[:-EVENTS_KEPT]

    async def events(self, *, after_event_id: int = 0, limit: int = 100) -> list[Event]:
        newer = [event for event in self._events if event.event_id > after_event_id]
        return newer[-limit:]

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        self._budgets[bucket], wait_s = budgets.book(
            self._budgets.get(bucket),
            amount=amount,
            rate_per_s=rate_per_s,
            burst=burst,
            now_s=now_s,
        )
        return wait_s

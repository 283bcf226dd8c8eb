"""Watch a job that a fleet works on: progress while it runs, a report at its end.

Watching changes nothing. Who stops watching does not stop the job.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mover.beside import running_beside
from mover.crew import RUN_S_MAX, Beat, bytes_come, read_beats, residency_of
from mover.errors import Incomplete
from mover.gathering import PLANNED, Gathered, gather_results
from mover.gauging import measured_by_all
from mover.model import Report, State
from mover.progress import Monitor, Progress, WorkerProgress
from mover.stopping import Stop
from scheduler.model import HEARD_S, JOB_STATE, JobState, StoreStats, TaskState
from scheduler.patience import patiently
from scheduler.store import TaskStore

TICK_S = 0.5
"""How often the watcher looks."""

NO_WORKER_S = 5.0
"""After this long without a sign of life the person should know why nothing happens."""

STORE_PATIENCE_S = 300.0

Conclude = Callable[[Gathered, str, float, State | None], Report]
"""Makes a job's report of what was gathered: its name, its seconds, and its state where that is not what counts say."""


def conclude_copy(gathered: Gathered, job: str, seconds: float, state: State | None) -> Report:
    """The report of a copy."""
    return gathered.report(job, seconds=seconds, state=state)


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Follows one job until it is drained or the watching is stopped; ``run`` does it.

    ``worker_hint`` says what to do when nobody works on it. A job of a fleet has all its first tasks
    from the beginning, so one without any was lost by its queue. Who knows that the job has ended sets ``hurry``.
    """

    job: str
    store: TaskStore
    monitor: Monitor
    stop: Stop
    retry_path: Path
    worker_hint: str = ""
    is_fleet: bool = True
    conclude: Conclude = conclude_copy
    clock: Callable[[], float] = time.time
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _started_s: float = field(default_factory=time.monotonic)
    _seen_event: int = 0
    _warned: bool = False
    _copied_bytes: int = 0

    async def run(self, *, resumed: bool) -> Report:
        """Watch to the end. Raises ``StoreUnavailable`` when the queue stays away for minutes."""
        self.monitor.begin(self.job, resumed=resumed)
        if events := await self.store.events(limit=1):
            self._seen_event = events[-1].event_id if resumed else 0
        while True:
            stats = await patiently(
                self._look,
                patience_s=STORE_PATIENCE_S,
                rng=lambda: 0.5,
                interrupted_by=self.stop.drain,
            )
            if self.is_fleet and not stats.intake_closed and not sum(stats.tasks.values()):
                raise Incomplete(
                    f"the queue has lost job {self.job}, as a Redis that restarts without its data"
                    " does; run its command again, which skips what is there"
                )
            if stats.is_drained or self.stop.drain.is_set():
                return await self._report(is_over=stats.is_drained)
            await self._pause()

    async def _pause(self) -> None:
        """Until the next look; in a hurry or told to stop, no longer."""
        woken = asyncio.Event()

        async def wake_at(event: asyncio.Event) -> None:
            await event.wait()
            woken.set()

        async with running_beside(
            functools.partial(wake_at, self.hurry), functools.partial(wake_at, self.stop.drain)
        ):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await woken.wait()

    async def _look(self) -> StoreStats:
        stats = await self.store.stats()
        beats = await read_beats(self.store, now_s=self.clock(), within_s=RUN_S_MAX)
        is_planned = stats.is_drained or await self.store.get_control(PLANNED) is not None
        self.monitor.update(self._progress(stats, beats, is_planned=is_planned))
        for event in await self.store.events(after_event_id=self._seen_event):
            self.monitor.note(event.text)
            self._seen_event = event.event_id
        if not self._warned and time.monotonic() - self._started_s > NO_WORKER_S:
            self._warned = True
            if not await self.store.workers(now_s=self.clock(), within_s=HEARD_S):
                self.monitor.note(f"nobody works on this job; {self.worker_hint}")
        return stats

    def _progress(self, stats: StoreStats, beats: dict[str, Beat], *, is_planned: bool) -> Progress:
        told = progress_of(
            self.job,
            stats,
            beats,
            seconds=time.monotonic() - self._started_s,
            is_planned=is_planned,
        )
        # What was read in part, and failed, is read again: the number waits for it and does not go back.
        self._copied_bytes = max(self._copied_bytes, told.copied_bytes)
        return replace(told, copied_bytes=self._copied_bytes)

    async def _report(self, *, is_over: bool) -> Report:
        gathered = await gather_results(self.store, self.retry_path)
        state = None if is_over else State.INTERRUPTED
        if is_over and await self.store.get_control(JOB_STATE) == JobState.CANCELLED.encode():
            state = State.CANCELLED
        seconds = time.monotonic() - self._started_s
        report = self.conclude(gathered, self.job, seconds, state)
        measured = await measured_by_all(self.store, now_s=self.clock())
        report = replace(report, rates=measured.named())
        self.monitor.end(report)
        return report


def progress_of(
    job: str, stats: StoreStats, beats: dict[str, Beat], *, seconds: float, is_planned: bool
) -> Progress:
    """How a job stands by what its workers say of themselves."""
    notes = beats.values()
    return Progress(
        job=job,
        seconds=seconds,
        planned_objects=sum(note.planned_objects for note in notes),
        planned_bytes=sum(note.planned_bytes for note in notes),
        planned_all=is_planned,
        copied_objects=sum(note.objects for note in notes),
        copied_bytes=bytes_come(notes),
        skipped_objects=sum(note.skipped for note in notes),
        skipped_bytes=sum(note.skipped_bytes for note in notes),
        failed_objects=stats.tasks[TaskState.DISCARDED],
        residency=residency_of(notes),
        round=max((note.round for note in notes), default=0),
        workers=tuple(
            WorkerProgress(name, note.objects, note.bytes_come, note.node)
            for name, note in beats.items()
        ),
    )

"""Operate jobs on any board: list, show, pause, resume, cancel, limit, retry.

Each takes a board and does one thing to a job, live: workers obey within seconds.
"""

import time
from dataclasses import dataclass

from mover.crew import RUN_S_MAX, Beat, read_beats
from mover.errors import Rejected
from mover.fleet import ENDED
from mover.gathering import PLANNED, round_reached, round_results
from mover.gauging import measured_by_all
from mover.links import check_link_name, link_bucket
from mover.metrics import Standing, WorkerStanding, numbers
from mover.pacing import ToldRates
from mover.payloads import Spec, decode_spec
from mover.prewarm.model import WarmSpec
from mover.prewarm.summing import Fullness, fullness_json
from mover.progress import Progress
from mover.rating import LIMIT
from mover.settings import ATTEMPTS_MAX
from mover.units import Malformed, Timetable
from mover.watching import progress_of
from scheduler.board import FleetBoard, JobBoard, JobRecord
from scheduler.errors import StoreUnavailable
from scheduler.model import HEARD_S, JOB_STATE, Event, FinishedTask, JobState, StoreStats, TaskState
from scheduler.store import TaskStore

LINK_PREFIX = "link:"

LETTERS_SHOWN = 20
"""Dead letters that are named; ``retry`` takes all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job on one line. ``state`` is running, paused, cancelled, done or incomplete."""

    job: str
    spec: Spec
    submitted_at_s: float
    state: str
    stats: StoreStats
    workers: int

    @property
    def failed(self) -> int:
        """Dead letters: tasks that were given up."""
        return self.stats.tasks[TaskState.DISCARDED]

    @property
    def done_bytes(self) -> int:
        return self.stats.weight[TaskState.DONE]

    @property
    def known_bytes(self) -> int:
        """What the tasks so far weigh; it grows while the job is being listed."""
        return sum(self.stats.weight.values())

    def to_json(self) -> dict[str, object]:
        """What ``mover jobs --json`` prints of a job."""
        return {
            "job": self.job,
            "state": self.state,
            "source": self.spec.source,
            "target": self.spec.target,
            "submitted_at": self.submitted_at_s,
            "tasks": {str(state): count for state, count in self.stats.tasks.items()},
            "bytes": {"done": self.done_bytes, "known": self.known_bytes},
            "dead_letters": self.failed,
            "workers": self.workers,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """All that ``mover show`` tells of a job."""

    summary: JobSummary
    limit: str
    workers: tuple[WorkerStanding, ...]  # those that were heard of lately
    rates: dict[str, int]  # measured, in bytes per second, by name
    letters: list[FinishedTask]
    events: list[Event]
    fullness: Fullness | None = None  # of a prewarm, as its last round has seen it so far
    progress: Progress | None = None  # while it runs
    bytes_per_s: float = 0.0  # by the workers' own measure

    def to_json(self) -> dict[str, object]:
        """What ``mover show --json`` prints."""
        return (
            self.summary.to_json()
            | {
                "limit": self.limit,
                "workers": [each._asdict() for each in self.workers],
                "progress": self._numbers(),
                "rates": self.rates,
                "letters": [
                    {"task": letter.task_id, "reason": letter.reason, "attempts": letter.attempts}
                    for letter in self.letters
                ],
                "events": [{"at": event.at_s, "text": event.text} for event in self.events],
            }
            | ({} if self.fullness is None else {"residency": fullness_json(self.fullness)})
        )

    def _numbers(self) -> dict[str, float] | None:
        """What metrics tell of the job; None when it has ended."""
        if self.progress is None:
            return None
        rates = ToldRates({each.worker: each.rate_bytes_per_s for each in self.workers})
        now_s = time.time()
        return numbers(Standing.of_progress(self.progress, rates, command="show", told_at_s=now_s))


async def list_jobs(board: JobBoard) -> list[JobSummary]:
    """Every job of a board, the newest first; one that cannot be read here is left out."""
    summaries = []
    for record in await board.jobs():
        try:
            async with board.opened(record.job, attempts_max=ATTEMPTS_MAX) as store:
                summaries.append(await _summary(record, store))
        except Rejected:
            continue
        except StoreUnavailable as error:
            if not error.permanent:
                raise
    return summaries


async def find_job(board: JobBoard, name: str) -> JobRecord:
    """The job of this name, or the only one whose name begins with it. Raises ``Rejected``."""
    if record := await board.find(name):
        return record
    found = [record for record in await board.jobs() if name and record.job.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(record.job for record in found[:5])
        raise Rejected(f"{name} begins the names of several jobs: {names}")
    raise Rejected(f"there is no job {name} in this queue; mover jobs lists what there is")


async def show_job(board: JobBoard, name: str) -> JobDetails:
    """Everything about one job. Raises ``Rejected`` when there is none."""
    record = await find_job(board, name)
    async with board.opened(record.job, attempts_max=ATTEMPTS_MAX) as store:
        summary = await _summary(record, store)
        live = await store.get_control(LIMIT)
        beats = await read_beats(store, now_s=time.time(), within_s=RUN_S_MAX)
        here = await read_beats(store, now_s=time.time(), within_s=HEARD_S)
        progress = await _progress(summary, store, beats)
        rates = {} if progress is None else {name: beat.bytes_per_s for name, beat in here.items()}
        return JobDetails(
            summary=summary,
            limit=summary.spec.limit if live is None else live.decode(),
            workers=tuple(
                WorkerStanding(name, beat.node, beat.objects, beat.bytes_come, rates.get(name, 0))
                for name, beat in here.items()
            ),
            progress=progress,
            bytes_per_s=sum(rates.values()),
            rates=(await measured_by_all(store, now_s=time.time())).named(),
            letters=await store.results({TaskState.DISCARDED}, limit=LETTERS_SHOWN),
            events=await store.events(limit=20),
            fullness=await _fullness(summary.spec, store),
        )


async def _progress(
    summary: JobSummary, store: TaskStore, beats: dict[str, Beat]
) -> Progress | None:
    """How a job stands that has not ended."""
    if summary.state not in {"running", "paused"}:
        return None
    is_planned = await store.get_control(PLANNED) is not None
    seconds = max(0.0, time.time() - summary.submitted_at_s)
    return progress_of(summary.job, summary.stats, beats, seconds=seconds, is_planned=is_planned)


async def _fullness(spec: Spec, store: TaskStore) -> Fullness | None:
    """How full the caches of a prewarm are; None for any other job."""
    if not isinstance(spec, WarmSpec):
        return None
    number = await round_reached(store)
    rows = [row async for result in round_results(store, number) for row in result.residency]
    return Fullness.of(rows)


async def set_state(board: JobBoard, name: str, state: JobState) -> str:
    """Pause, resume or cancel a job; returns its full name. Raises ``Rejected`` for one that ended."""
    record = await find_job(board, name)
    async with board.opened(record.job, attempts_max=ATTEMPTS_MAX) as store:
        before = await _state(store, await store.stats())
        if before in {"done", "incomplete", "cancelled"}:
            raise Rejected(f"job {record.job} is {before}: there is nothing to {_VERBS[state]}")
        await store.set_control(JOB_STATE, state.encode())
        await store.record(f"{_PAST[state]} by an operator", now_s=time.time())
    return record.job


_VERBS = {JobState.PAUSED: "pause", JobState.RUNNING: "resume", JobState.CANCELLED: "cancel"}
_PAST = {JobState.PAUSED: "paused", JobState.RUNNING: "resumed", JobState.CANCELLED: "cancelled"}


async def set_limit(board: JobBoard, name: str, rate: str) -> str:
    """Change the byte rate of a job while it runs; returns its full name.

    ``rate`` is what ``--limit`` takes, ``off`` for none. ``link:NAME`` names a link that jobs share
    instead of a job. Raises ``Rejected``.
    """
    try:
        Timetable.parse(rate, what="RATE")
    except Malformed as error:
        raise Rejected(str(error)) from error
    if name.startswith(LINK_PREFIX):
        return await _set_link(board, name.removeprefix(LINK_PREFIX), rate)
    record = await find_job(board, name)
    async with board.opened(record.job, attempts_max=ATTEMPTS_MAX) as store:
        if (state := await _state(store, await store.stats())) not in {"running", "paused"}:
            raise Rejected(f"job {record.job} is {state}: there is nothing to limit")
        await store.set_control(LIMIT, rate.encode())
        await store.record(f"limit set to {rate} by an operator", now_s=time.time())
    return record.job


async def _set_link(board: JobBoard, name: str, rate: str) -> str:
    try:
        check_link_name(name, what="link")
    except Malformed as error:
        raise Rejected(str(error)) from error
    async with board.rates() as rates:
        await rates.set_rate(link_bucket(name), rate.encode())
    return f"{LINK_PREFIX}{name}"


async def retry_job(board: JobBoard, name: str) -> tuple[JobRecord, int]:
    """Make a job's dead letters claimable again: (the job, how many). Raises ``Rejected``."""
    record = await find_job(board, name)
    if isinstance(decode_spec(record.description), WarmSpec):
        raise Rejected(
            f"job {record.job} is a prewarm: run its command again, which reads what is missing now"
        )
    async with board.opened(record.job, attempts_max=ATTEMPTS_MAX) as store:
        if await _state(store, await store.stats()) == "cancelled":
            raise Rejected(f"job {record.job} was cancelled; run its command again to start anew")
        if isinstance(board, FleetBoard):
            await board.reopen(record.job)  # first: tasks of a retired job would be seen by nobody
        await store.set_control(ENDED, None)
        requeued = await store.requeue()
        if requeued:
            await store.record(f"{requeued} failed tasks again, by an operator", now_s=time.time())
    return record, requeued


async def _summary(record: JobRecord, store: TaskStore) -> JobSummary:
    stats = await store.stats()
    heard = await store.workers(now_s=time.time(), within_s=HEARD_S)
    return JobSummary(
        job=record.job,
        spec=decode_spec(record.description),
        submitted_at_s=record.submitted_at_s,
        state=await _state(store, stats),
        stats=stats,
        workers=len([beat for beat in heard if beat.note]),
    )


async def _state(store: TaskStore, stats: StoreStats) -> str:
    wish = await store.get_control(JOB_STATE)
    if wish == JobState.CANCELLED.encode():
        return "cancelled"
    if stats.is_drained:
        return "incomplete" if stats.tasks[TaskState.DISCARDED] else "done"
    return "paused" if wish == JobState.PAUSED.encode() else "running"

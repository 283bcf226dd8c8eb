"""What metrics tell of jobs: families of numbers, made of what a job has told. Pure; docs/metrics.md lists them.

The numbers are those of the progress line and of the JSON report, in base units. All but the information are
gauges: they are statements of a job about itself, which it may take back (a file that failed is tried again).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from mover.model import Report, State, Tally
from mover.pacing import Rates, eta_s, fraction_done
from mover.prewarm.model import Residence
from mover.prewarm.summing import Fullness
from mover.progress import Progress

PREFIX: Final = "fluid_mover_"
RUNNING: Final = "running"
FAILED: Final = "failed"
STATES: Final = (RUNNING, *(str(state) for state in State), FAILED)

ROWS_MAX: Final = 1000
"""Workers, and nodes, of a job that have samples of their own; of more the first by name do."""


class Kind(StrEnum):
    """What a number does: a gauge goes both ways, a counter only up while its process lives."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Sample(NamedTuple):
    """One number and what tells it from others of its family: names and values of labels."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Numbers of one meaning. ``name`` is whole; all samples have the same labels."""

    name: str
    help: str
    samples: Sequence[Sample]
    kind: Kind = Kind.GAUGE


class WorkerStanding(NamedTuple):
    """What one worker has moved, and how fast it is now."""

    worker: str
    node: str
    objects: int
    bytes: int
    rate_bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one job stands, from its progress or from its report. None: not known, so nothing is told of it.

    ``verified`` counts objects by how; ``told_at_s`` is when the job said so, in seconds since 1970.
    """

    job: str
    command: str
    state: str
    told_at_s: float
    seconds: float
    tally: Tally
    planned_all: bool
    done: float
    rate_bytes_per_s: float
    eta_s: float | None
    skipped_bytes: int | None = None
    wire_bytes: int | None = None
    round: int | None = None
    residency: tuple[Residence, ...] = ()
    workers: tuple[WorkerStanding, ...] = ()
    verified: dict[str, int] = field(default_factory=dict)
    ended: bool = False

    @classmethod
    def of_progress(
        cls,
        progress: Progress,
        rates: Rates,
        *,
        command: str,
        told_at_s: float,
        state: str = RUNNING,
    ) -> "Standing":
        """How a job stands that runs, or that ended without a report."""
        rate = rates.per_s()
        counts = Tally(
            planned_objects=progress.planned_objects,
            planned_bytes=progress.planned_bytes,
            copied_objects=progress.copied_objects,
            copied_bytes=progress.copied_bytes,
            skipped_objects=progress.skipped_objects,
            failed_objects=progress.failed_objects,
        )
        workers = tuple(
            WorkerStanding(
                each.worker, each.node, each.objects, each.bytes, rates.worker_per_s(each.worker)
            )
            for each in progress.workers
        )
        is_warm = bool(progress.residency)
        return cls(
            job=progress.job,
            command=command,
            state=state,
            told_at_s=told_at_s,
            seconds=progress.seconds,
            tally=counts,
            planned_all=progress.planned_all,
            done=fraction_done(progress),
            rate_bytes_per_s=rate,
            eta_s=eta_s(progress, rate),
            skipped_bytes=progress.skipped_bytes if is_warm else None,
            round=progress.round if is_warm else None,
            residency=progress.residency,
            workers=workers,
        )

    @classmethod
    def of_report(
        cls,
        report: Report,
        *,
        command: str,
        told_at_s: float,
        residency: tuple[Residence, ...] = (),
        rounds: int = 0,
        before: "Standing | None" = None,
    ) -> "Standing":
        """How a job has ended; ``before`` is how it stood last, for what a report does not tell."""
        tally = report.tally
        done = before.done if before is not None and report.state is State.INTERRUPTED else 1.0
        return cls(
            job=report.job,
            command=command,
            state=str(report.state),
            told_at_s=told_at_s,
            seconds=round(report.seconds, 3),
            tally=tally,
            planned_all=before.planned_all if before is not None else True,
            done=done,
            rate_bytes_per_s=0.0,
            eta_s=None if report.state is State.INTERRUPTED else 0.0,
            skipped_bytes=sum(row.before_bytes for row in residency) if residency else None,
            wire_bytes=tally.wire_bytes,
            round=rounds if residency else None,
            residency=residency,
            workers=_at_rest(before.workers) if before is not None else (),
            verified=report.verified,
            ended=True,
        )


def _at_rest(workers: tuple[WorkerStanding, ...]) -> tuple[WorkerStanding, ...]:
    return tuple(each._replace(rate_bytes_per_s=0.0) for each in workers)


Rows = Callable[[Standing], Iterable[Sample]]


class Told(NamedTuple):
    """A family as docs/metrics.md lists it; ``rows`` makes its samples of one job, without the label ``job_id``."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Rows


def families(standings: Iterable[Standing]) -> list[Family]:
    """The families of some jobs, each with the label ``job_id``; a family without a sample is left out."""
    known = list(standings)
    found = []
    for told in TOLD:
        samples = [
            Sample({"job_id": standing.job, **labels}, value)
            for standing in known
            for labels, value in told.rows(standing)
        ]
        if samples:
            found.append(Family(name=f"{PREFIX}{told.name}", help=told.help, samples=samples))
    return found


def numbers(standing: Standing) -> dict[str, float]:
    """The families of a job that have no labels of their own, by their names without prefix: for JSON."""
    return {
        told.name.removeprefix("job_"): sample.value
        for told in TOLD
        if not told.labels
        for sample in told.rows(standing)
    }


def information(version: str) -> Family:
    """What tells one program from another; its value is always 1."""
    return Family(
        name=f"{PREFIX}build_info",
        help="The version of the mover that tells this; always 1.",
        samples=[Sample({"version": version}, 1)],
    )


def _one(name: str, help_text: str, value: Callable[[Standing], float | None]) -> Told:
    def rows(standing: Standing) -> Iterable[Sample]:
        number = value(standing)
        return () if number is None else (Sample({}, number),)

    return Told(name, help_text, (), rows)


def _by_node(name: str, help_text: str, value: Callable[[Residence], int]) -> Told:
    def rows(standing: Standing) -> Iterable[Sample]:
        some = standing.residency[:ROWS_MAX]
        return (Sample({"node": row.node}, value(row)) for row in some)

    return Told(name, help_text, ("node",), rows)


def _by_judge(name: str, help_text: str, value: Callable[[Residence], int]) -> Told:
    def rows(standing: Standing) -> Iterable[Sample]:
        for row in standing.residency[:ROWS_MAX]:
            labels = {"node": row.node, "judge": row.judge, "certainty": str(row.certainty)}
            yield Sample(labels, value(row))

    return Told(name, help_text, ("node", "judge", "certainty"), rows)


def _by_worker(name: str, help_text: str, value: Callable[[WorkerStanding], float]) -> Told:
    def rows(standing: Standing) -> Iterable[Sample]:
        some = standing.workers[:ROWS_MAX]
        return (Sample({"worker": each.worker, "node": each.node}, value(each)) for each in some)

    return Told(name, help_text, ("worker", "node"), rows)


def _states(standing: Standing) -> Iterable[Sample]:
    return (Sample({"state": state}, float(state == standing.state)) for state in STATES)


def _verified(standing: Standing) -> Iterable[Sample]:
    return (Sample({"how": how}, count) for how, count in standing.verified.items())


def _resident_ratio(of_files: bool) -> Callable[[Standing], float | None]:
    def ratio(standing: Standing) -> float | None:
        percent = Fullness.of(standing.residency).percent(of_files=of_files)
        return None if percent is None or not standing.residency else percent / 100

    return ratio


def _at_end(count: Callable[[Tally], int]) -> Callable[[Standing], float | None]:
    return lambda standing: count(standing.tally) if standing.ended else None


TOLD: Final = (
    Told(
        "job_info",
        "What kind of job it is; always 1.",
        ("command",),
        lambda standing: (Sample({"command": standing.command}, 1),),
    ),
    Told("job_state", "How the job stands: 1 for one state, 0 for all others.", ("state",), _states),
    _one("job_updated_timestamp_seconds", "When the job has told these numbers, in seconds since 1970.", lambda each: each.told_at_s),
    _one("job_elapsed_seconds", "Seconds since this run of the job began.", lambda each: each.seconds),
    _one("job_planned_objects", "Objects to be moved, as far as they are listed.", lambda each: each.tally.planned_objects),
    _one("job_planned_bytes", "Bytes to be moved, as far as they are listed.", lambda each: each.tally.planned_bytes),
    _one("job_planned_all", "1 when everything is listed, so that the planned numbers are totals; else 0.", lambda each: float(each.planned_all)),
    _one("job_copied_objects", "Objects that were copied, or read into a cache.", lambda each: each.tally.copied_objects),
    _one("job_copied_bytes", "Payload bytes that were copied, or read into a cache.", lambda each: each.tally.copied_bytes),
    _one("job_skipped_objects", "Objects that needed nothing.", lambda each: each.tally.skipped_objects),
    _one("job_skipped_bytes", "Of a prewarm, planned bytes that were resident before.", lambda each: each.skipped_bytes),
    _one("job_failed_objects", "Objects that failed and may be tried again; while a fleet works, tasks.", lambda each: each.tally.failed_objects),
    _one("job_deleted_objects", "Objects that were deleted; known at the end.", _at_end(lambda tally: tally.deleted_objects)),
    _one("job_patched_objects", "Copied objects of which only a difference was sent; known at the end.", _at_end(lambda tally: tally.patched_objects)),
    _one("job_wire_bytes", "Bytes that crossed a network, repeats included; known at the end.", lambda each: each.wire_bytes),
    Told("job_verified_objects", "Objects by how they were verified; known at the end.", ("how",), _verified),
    _one("job_done_ratio", "How much is done, from 0 to 1: by bytes, or by objects where all are empty.", lambda each: each.done),
    _one("job_rate_bytes_per_second", "Payload bytes per second over the last five seconds; 0 at the end.", lambda each: each.rate_bytes_per_s),
    _one("job_eta_seconds", "Seconds until all bytes are there; absent while that is not known.", lambda each: each.eta_s),
    _one("job_round", "Of a prewarm, the round that has begun last.", lambda each: each.round),
    _one("job_resident_ratio", "What is resident by bytes, from 0 to 1, of what the round has looked at; absent where nobody can tell.", _resident_ratio(of_files=False)),
    _one("job_resident_files_ratio", "What is resident by files, from 0 to 1, of what the round has looked at; absent where nobody can tell.", _resident_ratio(of_files=True)),
    _by_node("job_looked_at_bytes", "Bytes that the round has looked at on the node.", lambda row: row.bytes),
    _by_node("job_looked_at_files", "Files that the round has looked at on the node.", lambda row: row.files),
    _by_judge("job_resident_bytes", "Bytes that the round saw resident on the node, by who says so and how sure it is.", lambda row: row.resident_bytes),
    _by_judge("job_resident_files", "Files that the round saw wholly resident on the node, by who says so and how sure it is.", lambda row: row.resident_files),
    _by_node("job_unknown_bytes", "Bytes of which nobody can tell whether they are resident on the node.", lambda row: row.unknown_bytes),
    _by_node("job_read_bytes", "Bytes that were read through the cache of the node, or into it.", lambda row: row.read_bytes),
    _by_node("job_origin_bytes", "Bytes of these that certainly came from the origin.", lambda row: row.origin_bytes),
    _by_node("job_peer_bytes", "Bytes of these that came from other nodes.", lambda row: row.peer_bytes),
    _by_worker("job_worker_objects", "Objects that the worker has moved in this job.", lambda each: each.objects),
    _by_worker("job_worker_bytes", "Payload bytes that the worker has moved in this job.", lambda each: each.bytes),
    _by_worker("job_worker_rate_bytes_per_second", "Payload bytes per second of the worker over the last five seconds.", lambda each: each.rate_bytes_per_s),
)  # fmt: skip
"""All families, in the order in which they are told. The label ``job_id`` comes with each: ``job`` is Prometheus's own."""

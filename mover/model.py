"""The values of a move: what was asked, what is to be done, and what came of it.

Everything here is plain data. What crosses a process (specifications, task payloads, tallies) is
encoded by ``mover.payloads``; nothing here holds a secret.
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple

from mover.delta.optimising import Optimise
from mover.filtering import Selection
from mover.prewarm.model import Residence
from transports.model import Entry, PartReceipt

MIB = 1024 * 1024


class Compare(StrEnum):
    """How two objects of one name are told apart; see ``mover.comparing``."""

    SIZE = "size"
    MTIME = "mtime"
    ETAG = "etag"
    CHECKSUM = "checksum"


class Links(StrEnum):
    """What becomes of symlinks in a local source."""

    FOLLOW = "follow"
    SKIP = "skip"
    PRESERVE = "preserve-as-object"


class Verify(StrEnum):
    """``stream`` checks what the stores allow as bytes pass; ``full`` reads the target again."""

    STREAM = "stream"
    FULL = "full"


class Delta(StrEnum):
    """Whether a large object that the target has in another version may be sent as a difference."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySpec:
    """One request to copy, as it was made. It names the job: equal specs share a job directory.

    ``limit`` and ``limit_requests`` are texts (``"50MiB/s"``, a timetable, ``""`` for none).
    ``split_bytes`` is the size above which an object is cut into parts that workers share;
    ``part_bytes`` is the part size wished for, 0 to choose by the object and the stores.
    ``sign_on_write`` leaves a signature of each large object at the target, hidden, for later differences.
    ``manifest`` is the location of the job's record, "" for the job's own directory.
    ``pool`` names the workers of a fleet that may take the job's tasks.
    ``rate_links`` are budgets shared with other jobs, each as ``"NAME=RATE"``.
    ``delete`` removes what only the target has, once all else is done; never more than ``max_delete``
    objects (None: as many as there are), nor all of them because the source is empty, unless
    ``allow_empty_source``.
    ``delta`` other than ``never`` may send a changed large object as a difference from the target's
    old version of it; ``optimise`` is what a difference must save to be worth it. ``fuzzy`` looks for
    a basis of a large object that the target lacks among the target's other ones. ``source_pool`` and
    ``target_pool`` name the workers near each end, "" for those of ``pool``.
    ``base`` is the location of an older copy of the source's tree near it, "" for none; with
    ``base_versions`` the older versions that the source itself keeps are looked at too. Differences are taken
    from what of these is the target's old version.
    """

    source: str
    target: str
    selection: Selection = field(default_factory=Selection)
    compare: Compare = Compare.MTIME
    links: Links = Links.SKIP
    verify: Verify = Verify.STREAM
    limit: str = ""
    limit_requests: str = ""
    split_bytes: int = 16 * MIB
    part_bytes: int = 0
    server_copy: bool = True
    ignore_existing: bool = False
    sign_on_write: bool = False
    manifest: str = ""
    rate_links: tuple[str, ...] = ()
    pool: str = "any"
    delete: bool = False
    max_delete: int | None = None
    allow_empty_source: bool = False
    delta: Delta = Delta.NEVER
    optimise: Optimise = Optimise.TIME
    fuzzy: bool = False
    source_pool: str = ""
    target_pool: str = ""
    base: str = ""
    base_versions: bool = False

    @property
    def has_base(self) -> bool:
        """Whether older versions may be near the source."""
        return bool(self.base) or self.base_versions

    @property
    def pools(self) -> frozenset[str]:
        """All pools that the job has tasks in."""
        return frozenset({self.pool, self.near_source, self.near_target})

    @property
    def near_source(self) -> str:
        """The pool of the workers near the source."""
        return self.source_pool or self.pool

    @property
    def near_target(self) -> str:
        """The pool of the workers near the target."""
        return self.target_pool or self.pool

    @property
    def has_sides(self) -> bool:
        """Whether each end has workers of its own, with the link between them."""
        return self.near_source != self.near_target


class Failure(NamedTuple):
    """One object that did not make it: its key, the class of the error, and one line for a person."""

    key: str
    error: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallShard:
    """Whole objects that one worker moves as one unit, and names on their way into the report.

    Of a shard that ``failed`` before nothing is taken for done because it looks alike.
    """

    copies: list[Entry]
    probes: list[tuple[Entry, Entry]]
    refused: list[Failure] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeObject:
    """One object above the split size: its opening task makes the upload and its chunk tasks.

    ``again`` is set when the object changed while it was being copied and is planned a second time.
    ``basis`` is the target's version, for a job that may send differences; it ``seeks`` another name's.
    """

    entry: Entry
    again: bool = False
    basis: Entry | None = None
    seeks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A run of consecutive parts of one large object: part numbers ``first`` to ``last``, inclusive."""

    entry: Entry
    upload_id: str
    part_bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The last task of a large object: all its parts are there; make it visible.

    When it was ``reopened``, whoever had the object before may have opened an upload as well, and
    so late that it was not found when this one was opened.
    """

    entry: Entry
    upload_id: str
    part_bytes: int
    group: str
    again: bool = False
    reopened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The last task of a job that deletes: find what only the target has, and have it removed.

    It has looked at all keys up to ``after``; before it has ``begun`` nothing was removed.
    ``now_s`` is when the job was submitted, from which ages count back.
    """

    now_s: float
    after: str = ""
    begun: bool = False
    tally: "Tally" = field(default_factory=lambda: Tally())


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Objects that only the target has, to be deleted as one unit; some ``failed`` before."""

    entries: list[Entry]
    failed: bool = False


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of what happened; the one mutable value, added up by workers and by the report.

    Bytes are payload bytes. ``wire_bytes`` are those that crossed a network, repeats included; of
    patched objects, which are copied objects too, those that crossed between the two sides
    (``delta_wire_bytes`` without repeats). ``renamed_objects`` are patched ones whose basis had another
    name, ``direct_objects`` those compared with a base near the source; ``changed_bytes`` came as changes of
    elements. ``saved_usd_e6`` is what differences saved, in millionths of a US dollar.
    """

    planned_objects: int = 0
    planned_bytes: int = 0
    copied_objects: int = 0
    copied_bytes: int = 0
    patched_objects: int = 0
    skipped_objects: int = 0
    deleted_objects: int = 0
    failed_objects: int = 0
    wire_bytes: int = 0
    verified_strong: int = 0
    verified_weak: int = 0
    verified_none: int = 0
    corrupt_objects: int = 0
    retries: int = 0
    planned_deletes: int = 0
    delta_wire_bytes: int = 0
    direct_objects: int = 0
    changed_bytes: int = 0
    literal_bytes: int = 0
    matched_bytes: int = 0
    delta_requests: int = 0
    saved_usd_e6: int = 0
    renamed_objects: int = 0

    def add(self, other: "Tally") -> None:
        for name in TALLY_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


TALLY_FIELDS = tuple(each.name for each in fields(Tally))


@dataclass(slots=True, kw_only=True)
class TaskResult:
    """What a task of a copy leaves in the store: its counts and its failures, and parts if any.

    ``handed_on`` are failures of a chunk, which are its assembly's to judge: the object may be
    planned once more, and if it fails it fails once, however many chunks it has.
    ``withheld`` says why nothing was deleted in a job that should have, or nothing read.
    Of a prewarm ``residency`` is what was seen in the caches, in the ``round`` of that number; failures of
    a round are void when a later one has begun. ``pieces`` are those that a walk has planned, less those that a
    shard has dealt with: all of a round come to zero.
    """

    tally: Tally
    failures: list[Failure] = field(default_factory=list)
    handed_on: list[Failure] = field(default_factory=list)
    parts: list[PartReceipt] = field(default_factory=list)
    withheld: str = ""
    round: int = 0
    residency: list[Residence] = field(default_factory=list)
    pieces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A range of keys to list and plan: after ``after``, up to and with ``upto`` (None: all the rest).

    ``ranges`` is how many ranges it is to be cut into as soon as it proves long, 1 for only
    when workers are idle, 0 for never.
    ``now_s`` is when the job was submitted, from which ages count back; ``tally`` counts what has
    been planned up to ``after``.
    """

    after: str
    upto: str | None
    now_s: float
    ranges: int = 1
    tally: Tally = field(default_factory=Tally)


class State(StrEnum):
    """How a job stands. The strings are part of the JSON report."""

    DONE = "done"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    INTERRUPTED = "interrupted"
    PLANNED = "planned"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a job, as people and programs see it.

    ``failures`` holds at most ``FAILURES_SHOWN`` rows; ``retry_file`` names them all, in a form
    that ``--files-from`` accepts, and is "" when nothing failed. ``withheld`` says why a job that
    should delete has deleted nothing, "" where that is not so. ``rates`` are what the workers have
    measured of a job between two sides, in bytes per second, by name; empty elsewhere.
    """

    job: str
    state: State
    tally: Tally
    seconds: float
    failures: list[Failure]
    retry_file: str = ""
    withheld: str = ""
    rates: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]

    @property
    def verified(self) -> dict[str, int]:
        """Objects by how they were verified."""
        tally = self.tally
        return {
            "strong": tally.verified_strong,
            "weak": tally.verified_weak,
            "none": tally.verified_none,
        }

    def to_json(self) -> dict[str, object]:
        """The final JSON object of every command; its keys are a contract with other programs."""
        tally = self.tally
        return {
            "job": self.job,
            "state": self.state.value,
            "objects": {
                "planned": tally.planned_objects,
                "copied": tally.copied_objects,
                "patched": tally.patched_objects,
                "renamed": tally.renamed_objects,
                "skipped": tally.skipped_objects,
                "deleted": tally.deleted_objects,
                "planned_deletes": tally.planned_deletes,
                "failed": tally.failed_objects,
            },
            "bytes": {
                "planned": tally.planned_bytes,
                "copied": tally.copied_bytes,
                "wire": tally.wire_bytes,
            },
            "delta": {
                "wire": tally.delta_wire_bytes,
                "literals": tally.literal_bytes,
                "matched": tally.matched_bytes,
                "requests": tally.delta_requests,
                "saved_usd": tally.saved_usd_e6 / 1e6,
                "direct": tally.direct_objects,
                "changed": tally.changed_bytes,
            },
            "seconds": round(self.seconds, 3),
            "verified": self.verified,
            "failures": [each._asdict() for each in self.failures],
            "retry_file": self.retry_file,
            "withheld": self.withheld,
            "rates": self.rates,
        }


FAILURES_SHOWN = 1000
"""Rows of failures in a report; a job with a million failures must still fit in memory."""

EXIT_CODES = {
    State.DONE: 0,
    State.PLANNED: 0,
    State.INCOMPLETE: 1,
    State.CANCELLED: 1,
    State.DAMAGED: 3,
    State.INTERRUPTED: 130,
}

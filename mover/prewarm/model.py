"""The values of a prewarm: what was asked, what one task reads, and what looks at a cache came to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from mover.filtering import Selection
from scheduler.model import ANY_POOL
from transports.model import Entry


class Wish(StrEnum):
    """What a job does with its targets."""

    WARM = "warm"
    EVICT = "evict"
    STATUS = "status"


class Metadata(StrEnum):
    """Whether names and attributes are asked for one by one, so that a cache has them too."""

    NO = "no"
    FIRST = "first"
    ONLY = "only"


class Oversize(StrEnum):
    """What becomes of a dataset that is larger than its cache."""

    REFUSE = "refuse"
    FIT = "fit"


class Judge(StrEnum):
    """Who says what of a file is in the cache; docs/prewarm.md says what each can know."""

    AUTO = "auto"
    JUICEFS = "juicefs"
    CACHE = "cache"
    HEADER = "header"
    PAGES = "pages"
    TIMED = "timed"
    NONE = "none"


class Certainty(StrEnum):
    """How a judge knows: the cache itself says so, or it is concluded from how long reading takes."""

    PROVEN = "proven"
    INFERRED = "inferred"
    UNKNOWN = "unknown"


EVERY_NODE = 0
"""As ``WarmSpec.replicas``: each byte on all nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmSpec:
    """One request to prewarm, to evict or to look, as it was made. It names the job, as a ``CopySpec`` does.

    ``targets`` are locations: a directory on a mount, a bucket or prefix of a gateway, an origin for the
    cache directory ``into`` (in which ``{node}`` stands for the node's name), "" for none.
    ``capacity_bytes`` is what that directory may hold, 0 for no bound.
    ``replicas`` is on how many nodes each byte shall be, ``EVERY_NODE`` for all; ``nodes`` names them, () for
    those whose workers are there, of which ``nodes_min`` are waited for.
    ``attempts`` is how often what is not resident is read, ``min_percent`` what must be (by bytes).
    ``hit_header`` is ``NAME=REGEX``: a gateway's header and its value on a hit, "" for the usual ones.
    ``yield_factor`` is by how much a light read may become slower than on an idle mount, 0 for no matter.
    ``manifest`` is the location of the job's record, "" for each node's own state directory. ``evicts`` is the
    former job by whose record is freed, "" to free all that is there; with ``dry_run`` it is only counted.
    """

    targets: tuple[str, ...]
    wish: Wish = Wish.WARM
    into: str = ""
    capacity_bytes: int = 0
    oversize: Oversize = Oversize.REFUSE
    selection: Selection = field(default_factory=Selection)
    metadata: Metadata = Metadata.NO
    replicas: int = 1
    nodes: tuple[str, ...] = ()
    nodes_min: int = 1
    judge: Judge = Judge.AUTO
    hit_header: str = ""
    attempts: int = 3
    min_percent: float = 100.0
    keep_page_cache: bool = False
    yield_factor: float = 0.0
    limit: str = ""
    limit_requests: str = ""
    rate_links: tuple[str, ...] = ()
    pool: str = ANY_POOL
    manifest: str = ""
    evicts: str = ""
    dry_run: bool = False

    @property
    def source(self) -> str:
        """The targets as one text, for people."""
        return " ".join(self.targets)

    @property
    def target(self) -> str:
        """Where the bytes end up, for people."""
        return self.into or self.wish.value

    @property
    def pools(self) -> frozenset[str]:
        """The pool whose workers take part; their nodes' own pools come with them."""
        return frozenset({self.pool})


class Piece(NamedTuple):
    """Bytes ``start`` to ``stop`` (exclusive) of one file; mostly all of it."""

    entry: Entry
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        return self.start == 0 and self.stop >= self.entry.size


class Look(NamedTuple):
    """What a judge saw of some pieces together.

    ``resident_bytes`` is None where it cannot tell. ``missing`` are the pieces that hold all that is not
    resident, as narrow as could be told cheaply: where one of them is asked for alone, the answer may be narrower.
    """

    bytes: int
    resident_bytes: int | None
    missing: Sequence[Piece] = ()


class Whole(NamedTuple):
    """What one look at all that is below a target saw. Bytes are the cache's own count, not the files' sizes."""

    files: int
    bytes: int
    resident_bytes: int

    @property
    def is_full(self) -> bool:
        return self.resident_bytes >= self.bytes


@dataclass(slots=True, kw_only=True)
class Residence:
    """How much of what a job wants is in the cache of one node, in one round.

    ``files`` and ``bytes`` are what was looked at; ``unknown_bytes`` of it nobody can tell of. ``before_bytes``
    were resident before anything was read, ``read_bytes`` were read then, ``origin_bytes`` and ``peer_bytes`` as in
    ``Warmed``.
    """

    node: str
    files: int = 0
    bytes: int = 0
    resident_files: int = 0
    resident_bytes: int = 0
    unknown_bytes: int = 0
    read_bytes: int = 0
    origin_bytes: int = 0
    peer_bytes: int = 0
    before_bytes: int = 0
    judge: str = ""
    certainty: Certainty = Certainty.UNKNOWN
    where: str = ""


@dataclass(slots=True, kw_only=True)
class Warmed:
    """What a read came to. ``failures`` are (key, class of the error, one line for a person).

    ``read_bytes`` went through the cache or into it, ``origin_bytes`` of them certainly came from the origin,
    ``peer_bytes`` from another node's cache directory.
    """

    read_bytes: int = 0
    read_files: int = 0
    origin_bytes: int = 0
    peer_bytes: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The task that begins a round: walk all targets and enqueue their shards.

    Round 0 reads what lacks. Each further one looks first, after all of the round before is done, and reads
    again while there are attempts left; the last only looks. ``now_s`` is when the job was submitted.
    With a ``node`` it is that node's part of a round for attributes: it walks there and enqueues nothing.
    """

    number: int
    now_s: float
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmShard:
    """Pieces of one target that one node looks at and reads as one unit.

    ``target`` counts from 0. Unless it ``reads`` it only looks. ``others`` are nodes that shall have the pieces
    too, and take them from the ``holders`` (addresses) if they can.
    """

    target: int
    round: int
    pieces: list[Piece]
    node: str = ""
    reads: bool = True
    others: list[str] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)

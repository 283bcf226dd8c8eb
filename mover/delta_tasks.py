"""The tasks that send one object as a difference, and what they hand on. Plain data.

*Sign* runs near the target, *diff* near the source, *patch* near the target again; each is enqueued
by the one before, in the step that ends it. Where the source may have a base, *direct* comes first, near
the source, and *prove* where the target must be asked. What is too large for a queue (signatures,
deltas) lies at the target as parcels. An object that the target lacks begins with *sample* near the
source and *seek* near the target, which looks for a basis under another name; so does one whose old
version may well have nothing in common with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transports.model import Checksum, Entry, PartReceipt


class Keeper(NamedTuple):
    """A worker that keeps parcels: its address, and whether it is near the source, not the target."""

    address: str
    near_source: bool = False


def choose_keeper(
    number: int, *, given: Keeper | None, own: Keeper | None, known: Sequence[Keeper]
) -> Keeper | None:
    """Who is to keep a parcel: one near the target if there is one, else one near the source; or nobody.

    That is who keeps what was ``given`` to the step, the worker of the step itself, or one of those that are
    ``known`` in the job; ``number`` spreads objects over them.
    """
    if given is not None:
        return given
    for near_source in (False, True):
        if own is not None and own.near_source is near_source:
            return own
        if there := sorted(keeper for keeper in known if keeper.near_source is near_source):
            return there[number % len(there)]
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Bytes that a job hides at its target, in objects of ``piece_bytes``; the last may be smaller.

    Where they are ``at`` a worker they are there instead, but for the ``stored`` pieces that it did not take;
    these may be all, and it may still have something else of the object.
    """

    name: str
    size: int
    piece_bytes: int
    at: Keeper | None = None
    stored: int = 0

    @property
    def count(self) -> int:
        return -(-self.size // self.piece_bytes)

    @property
    def puts(self) -> int:
        """The requests to the store that writing it took."""
        return self.stored if self.at else self.count

    @property
    def reads(self) -> int:
        """The requests to the store that reading it takes: a look at each piece, and its bytes."""
        return 2 * self.puts

    def piece(self, number: int) -> Entry:
        """The object with a piece of it; they count from 0."""
        size = min(self.piece_bytes, self.size - number * self.piece_bytes)
        return Entry(piece_name(self.name, number), size, 0)


def piece_name(name: str, number: int) -> str:
    """The key of one piece of a parcel."""
    return f"{name}-{number:06d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a difference took so far. ``wire_bytes`` crossed between the sides.

    ``gets`` and ``puts`` are requests, ``hashed_bytes`` went through a processor. ``lost`` is the address of
    a worker from which parcels were not got: the object began anew then, and leaves them at the target.
    """

    wire_bytes: int = 0
    gets: int = 0
    puts: int = 0
    hashed_bytes: int = 0
    lost: str = ""

    @property
    def requests(self) -> int:
        return self.gets + self.puts

    def plus(self, other: "Spent") -> "Spent":
        return Spent(
            wire_bytes=self.wire_bytes + other.wire_bytes,
            gets=self.gets + other.gets,
            puts=self.puts + other.puts,
            hashed_bytes=self.hashed_bytes + other.hashed_bytes,
            lost=other.lost or self.lost,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What is known of an object when a finer signature is asked for.

    ``ops`` has the operations so far, ``ladder`` and ``whole`` the new object's checksums of each MiB and
    of all of it; ``digest`` is its XXH3-128, in hex.
    """

    ops: Parcel
    ladder: Parcel
    whole: Checksum
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """Look near the source for a base, an older version that is ``basis``, and take the difference from it.

    ``digest`` is the XXH3-128 of ``basis`` in hex, where the target was asked for it. ``again`` as in ``Sign``.
    """

    entry: Entry
    basis: Entry
    digest: str = ""
    spent: Spent = field(default_factory=Spent)
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prove:
    """Take the XXH3-128 of ``basis``, for a base that nothing else proves to be equal."""

    entry: Entry
    basis: Entry
    spent: Spent = field(default_factory=Spent)
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Look at ``entry`` for what may be like it at the target: ``basis``, its old version there.

    Without one the target lacks it, and any object may be. ``again`` as in ``Sign``.
    """

    entry: Entry
    basis: Entry | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seek:
    """Find out of which object of the target ``entry`` can be made, if of any.

    ``told`` are the checksums that its store keeps. ``samples`` is a signature of some of its bytes,
    empty where only an object of equal bytes is of use. ``basis`` and ``again`` as in ``Sample``.
    """

    entry: Entry
    told: tuple[Checksum, ...]
    samples: bytes = b""
    basis: Entry | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Make a signature of ``basis``, which the target has, with ``block_bytes``.

    It is the old version of ``entry``, or an object like it under another name.

    With an ``outline`` only of what nothing has matched yet; ``level`` counts the signatures before.
    ``again`` is set when one of the two objects changed meanwhile and is planned a second time.
    ``base`` says why no base was used, "" where none was looked for.
    """

    entry: Entry
    basis: Entry
    block_bytes: int
    level: int = 0
    outline: Outline | None = None
    spent: Spent = field(default_factory=Spent)
    again: bool = False
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Compare ``entry`` with the signature; send what is different, or ask for a finer signature."""

    entry: Entry
    basis: Entry
    signature: Parcel
    level: int = 0
    outline: Outline | None = None
    spent: Spent = field(default_factory=Spent)
    again: bool = False
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """An upload that a patch has open at the target, with the parts that are there and proved."""

    upload_id: str
    parts: list[PartReceipt] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Make ``entry`` of ``basis`` and the delta. ``whole`` is its checksum, ``ladder`` of each MiB.

    Without a delta all of the basis is the object, as their checksums say.
    A ``direct`` delta was taken from a base, which ``base`` names; ``changed_bytes`` of what matched are told
    as changes of elements.
    ``upload`` is what an earlier holder of the task has left open.
    """

    entry: Entry
    basis: Entry
    delta: Parcel | None
    ladder: Parcel | None
    whole: Checksum
    literal_bytes: int
    matched_bytes: int
    spent: Spent
    again: bool = False
    base: str = ""
    direct: bool = False
    changed_bytes: int = 0
    upload: OpenUpload | None = None


DeltaTask = Direct | Prove | Sign | Diff | Patch

SeekTask = Sample | Seek


def keepers_of(task: DeltaTask) -> set[Keeper]:
    """The workers that keep what an object has left so far."""
    parcels: list[Parcel | None] = []
    if isinstance(task, Sign | Diff) and task.outline is not None:
        parcels += [task.outline.ops, task.outline.ladder]
    if isinstance(task, Diff):
        parcels.append(task.signature)
    if isinstance(task, Patch):
        parcels += [task.delta, task.ladder]
    return {parcel.at for parcel in parcels if parcel is not None and parcel.at}

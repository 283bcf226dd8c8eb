"""Pure: from pairs to actions, and from actions to shards.

``Planner`` is fed pages of pairs and gives back shards; it never reads a clock or touches a store,
so the same pages always make the same plan, and printing the plan is the dry run.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter

from mover.actions import Action, Copy, Delete, Probe, Refuse
from mover.comparing import Verdict, compare
from mover.listing import PairPage
from mover.model import (
    CopySpec,
    Delta,
    Failure,
    LargeObject,
    Links,
    SmallShard,
    Tally,
)
from mover.naming import all_plain, refusal
from mover.selecting import Selector
from mover.sharding import shard_size, smallest_shard
from transports.model import Capabilities, Entry, Kind

_size, _mtime_ns = attrgetter("size"), attrgetter("mtime_ns")

SHARD_OBJECTS = 1000
"""Objects in a shard: one transaction of the queue (about a millisecond) for a thousand objects."""

SHARD_BYTES = 64 * 1024 * 1024
"""Bytes in a shard: what a killed worker may have to look at again."""


SHARD_OBJECTS_MIN = 50
SHARD_BYTES_MIN = 4 * 1024 * 1024
"""The smallest shards, at a job's beginning and end: a queue's step for less costs more than it moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the planner needs to know of a job: the wishes, and both stores' abilities."""

    spec: CopySpec
    source: Capabilities
    target: Capabilities
    selector: Selector
    delete: bool = False

    @classmethod
    def of(
        cls,
        spec: CopySpec,
        source: Capabilities,
        target: Capabilities,
        now_s: float,
        *,
        delete: bool = False,
    ) -> "Policy":
        """The policy of a job that was first run at ``now_s``, from which ages count back.

        With ``delete`` the extras of the target are planned too.
        """
        selector = spec.selection.compile(now_s)
        return cls(spec=spec, source=source, target=target, selector=selector, delete=delete)

    def decide(self, source: Entry, target: Entry | None) -> Action | None:
        """The action for one pair; None when there is nothing to do."""
        reason = refusal(source, self.source, self.target, self.spec.links)
        if reason:
            return Refuse(source.key, reason)
        if target is None:
            return Copy(source, seeks=self._seeks(source))
        if self.spec.ignore_existing:
            return None
        verdict = compare(
            source,
            target,
            self.spec.compare,
            target_is_local=self.target.local,
            source_is_local=self.source.local,
        )
        if verdict is Verdict.SAME:
            return None
        if verdict is not Verdict.DIFFERENT:
            return Probe(source, target)
        return Copy(source, self._basis(source, target))

    def _basis(self, source: Entry, target: Entry) -> Entry | None:
        """The target's version of a large object, for a job that may send differences."""
        is_large = source.size > self.spec.split_bytes
        wanted = self.spec.delta is not Delta.NEVER and is_large and target.size > 0
        return target if wanted and target.kind is Kind.OBJECT else None

    def _seeks(self, source: Entry) -> bool:
        """Whether a basis of a new object may be sought under other names."""
        is_large = source.size > self.spec.split_bytes
        return self.spec.fuzzy and is_large and source.kind is Kind.OBJECT

    def wants(self, entry: Entry) -> bool:
        """Whether the filters let this entry take part; links that are to be skipped do not.

        An object whose size nobody tells counts as empty for ``--min-size`` and ``--max-size``.
        """
        if entry.kind is Kind.SYMLINK and self.spec.links is Links.SKIP:
            return False
        return self.selector.wants(entry.key, max(entry.size, 0), entry.mtime_ns)


@dataclass(slots=True)
class Planned:
    """What a page of pairs came to: shards to enqueue, and what needs no task."""

    small: list[SmallShard] = field(default_factory=list)
    large: list[LargeObject] = field(default_factory=list)
    deletes: list[Entry] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def has_work(self) -> bool:
        return bool(self.small or self.large)


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """How large a shard may be: whichever is reached first closes it."""

    objects: int = SHARD_OBJECTS
    bytes: int = SHARD_BYTES

    @classmethod
    def towards_end(cls, waiting_tasks: int, slots: int) -> "ShardLimits":
        """Smaller shards where fewer tasks wait than the fleet has slots; see ``shard_size``."""

        def fitting(largest: int, smallest: int) -> int:
            least = smallest_shard(slots, largest=largest, smallest=smallest)
            return shard_size(waiting_tasks, slots, largest=largest, smallest=least)

        return cls(fitting(SHARD_OBJECTS, SHARD_OBJECTS_MIN), fitting(SHARD_BYTES, SHARD_BYTES_MIN))


class Planner:
    """Turns pages of pairs into actions, and packs a page's actions into shards.

    ``limits`` may be changed between two pages.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.limits = ShardLimits()

    def actions(self, page: PairPage) -> Iterator[Action | None]:
        """The actions of a page in key order; None stands for a pair that is the same already."""
        policy = self._policy
        wants, decide = policy.wants, policy.decide
        pairs = page.pairs
        for number, (source, target) in enumerate(pairs, 1):
            if not wants(source):
                continue
            if (
                source.kind is Kind.DIRECTORY
                and number < len(pairs)
                and self._implied(source, pairs[number][0])
            ):
                yield None
            else:
                yield decide(source, target)
        if policy.delete:
            yield from (Delete(entry) for entry in page.extras if wants(entry))

    def feed(self, page: PairPage) -> Planned:
        """Plan a page. Nothing is carried to the next one, so a checkpoint after it is exact."""
        return self._feed_new(page) or self._feed_any(page)

    def _feed_new(self, page: PairPage) -> Planned | None:
        """Plan a page of small objects that are all to be copied; None for any other page.

        Most pages of a first copy are such: nothing is decided or made for each of their objects.
        """
        policy, sources = self._policy, page.sources
        if not sources or page.extras or any(page.targets):
            return None
        sizes = list(map(_size, sources))
        smallest, largest = min(sizes), max(sizes)
        if smallest < 0 or largest > policy.spec.split_bytes:
            return None
        times_ns = map(_mtime_ns, sources)
        if not policy.selector.wants_all((smallest, largest), times_ns):
            return None
        if not all_plain(sources, policy.target):
            return None
        planned = Planned()
        planned.tally.planned_objects = len(sources)
        planned.tally.planned_bytes = sum(sizes)
        planned.small = [
            SmallShard(copies=list(sources[start:stop]), probes=[])
            for start, stop in _runs(sizes, self.limits)
        ]
        return planned

    def _feed_any(self, page: PairPage) -> Planned:
        planned = Planned()
        tally = planned.tally
        shard = _Packer(planned.small, self.limits)
        for action in self.actions(page):
            count_action(tally, action)
            if isinstance(action, Copy):
                size = action.entry.size
                if size > self._policy.spec.split_bytes or size < 0:
                    # Or of unknown size.
                    large = LargeObject(entry=action.entry, basis=action.basis, seeks=action.seeks)
                    planned.large.append(large)
                else:
                    shard.copies.append(action.entry)
                    shard.grow(size)
            elif isinstance(action, Probe):
                shard.probes.append((action.source, action.target))
                shard.grow(max(action.source.size, 0))
            elif isinstance(action, Refuse):
                shard.refused.append(Failure(action.key, "Refused", action.reason))
                shard.grow(0)
            elif isinstance(action, Delete):
                planned.deletes.append(action.entry)
        shard.flush()
        return planned

    def _implied(self, marker: Entry, following: Entry) -> bool:
        """A folder marker before its own content says nothing new to a file system."""
        return self._policy.target.has_directories and following.key.startswith(marker.key)


def _runs(sizes: Sequence[int], limits: ShardLimits) -> Iterator[tuple[int, int]]:
    """Where ``_Packer`` would begin and end its shards of so large objects, told without a loop."""
    totals = list(accumulate(sizes))
    start = before = 0
    while start < len(sizes):
        full = bisect_left(totals, before + limits.bytes, start) + 1
        stop = min(full, start + limits.objects, len(sizes))
        yield start, stop
        start, before = stop, totals[stop - 1]


class _Packer:
    """Fills shards up to the limits and appends them to ``shards``."""

    def __init__(self, shards: list[SmallShard], limits: ShardLimits) -> None:
        self._shards = shards
        self._limits = limits
        self._start()

    def _start(self) -> None:
        self._bytes = 0
        self._objects = 0
        self.copies: list[Entry] = []
        self.probes: list[tuple[Entry, Entry]] = []
        self.refused: list[Failure] = []

    def grow(self, size: int) -> None:
        """Count what was just appended, and close the shard when it is full."""
        self._bytes += size
        self._objects += 1
        if self._objects >= self._limits.objects or self._bytes >= self._limits.bytes:
            self.flush()

    def flush(self) -> None:
        if self.copies or self.probes or self.refused:
            self._shards.append(
                SmallShard(copies=self.copies, probes=self.probes, refused=self.refused)
            )
        self._start()


def count_action(tally: Tally, action: Action | None) -> None:
    """Add one action of a plan to the counts of what is planned."""
    if action is None:
        tally.skipped_objects += 1
        return
    tally.planned_objects += 1
    if isinstance(action, Copy):
        tally.planned_bytes += max(action.entry.size, 0)
    elif isinstance(action, Probe):
        tally.planned_bytes += max(action.source.size, 0)
    elif isinstance(action, Delete):
        tally.planned_deletes += 1

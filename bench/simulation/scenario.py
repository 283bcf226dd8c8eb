"""What is simulated: the fleet, the data, the rules of the product, and what things cost. Values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mover.feeding import AHEAD_POLL_S, TASKS_AHEAD
from mover.fleet import look_pause_s
from mover.planning import ShardLimits
from mover.pools import LISTING
from mover.ranging import CUT_EVERY_PAGES, RANGES
from mover.settings import ATTEMPTS_MAX, FLEET_POLICY, listing_lane
from mover.sharding import first_ranges, packs_payloads, tasks_ahead
from scheduler.model import HEARD_S
from scheduler.worker_policy import LanePolicy, idle_pause_s, reap_pause_s

PAGE_OBJECTS = 1000
"""Keys of a page, as every S3 listing has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Microseconds of a queue server's one thread; measured with Redis 6.2 (docs/scaling.md).

    ``task_us`` is a script that enqueues, claims or finishes one task with a short payload,
    ``more_us`` each further task of the same script, ``payload_us_per_kb`` what a payload costs on
    its way in, and again on its way out.
    """

    task_us: float = 85.0
    more_us: float = 15.0
    payload_us_per_kb: float = 1.1
    empty_us: float = 54.0
    small_us: float = 25.0
    extend_us: float = 65.0
    held_us: float = 10.0
    reap_us: float = 50.0
    reap_us_per_leased: float = 0.064
    beats_us_per_worker: float = 0.25


PACKED_SHARE = 0.36
"""What zstd at level 1 leaves of a thousand entries."""


def _ahead(slots: int) -> int:
    return tasks_ahead(slots, least=TASKS_AHEAD)


def _ranges(slots: int) -> int:
    return first_ranges(slots, least=RANGES)


def _packed(slots: int) -> float:
    return PACKED_SHARE if packs_payloads(slots) else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The product's numbers, taken from where it keeps them; changed only to try another rule.

    ``tasks_ahead`` says how many tasks may be open for a fleet of so many slots, ``first_ranges``
    how many ranges its first listing is cut into, ``limits`` how large a shard may be where so many
    tasks wait. ``stats_with_advance``: the answer of ``advance`` brings the counts that a listing
    else asks for. ``packed`` is the share that is left of a payload in the queue of such a fleet.
    """

    moving: LanePolicy = FLEET_POLICY.lanes[0]
    listing: LanePolicy = listing_lane(FLEET_POLICY, (LISTING,))
    lease_s: float = FLEET_POLICY.lease_s
    beat_every_s: float = FLEET_POLICY.beat_every_s
    first_ranges: Callable[[int], int] = _ranges
    cut_every_pages: int = CUT_EVERY_PAGES
    heard_s: float = HEARD_S
    ahead_poll_s: float = AHEAD_POLL_S
    attempts_max: int = ATTEMPTS_MAX
    tasks_ahead: Callable[[int], int] = _ahead
    limits: Callable[[int, int], ShardLimits] = ShardLimits.towards_end
    packed: Callable[[int], float] = _packed
    stats_with_advance: bool = True
    idle_pause_s: Callable[[LanePolicy, int], float] = idle_pause_s
    reap_pause_s: Callable[[float, int], float] = reap_pause_s
    look_pause_s: Callable[[int], float] = look_pause_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """How long stores take, and what a worker can carry; times in seconds, sizes in bytes.

    ``sigma``s are of logarithms, 0 for no variance. A worker has ``cpu_per_object_s`` and
    ``bytes_per_s`` for all its tasks together; ``lanes`` and ``connection_bytes_per_s`` bound one.
    """

    latency_s: float = 0.02
    latency_sigma: float = 0.6
    page_s: float = 0.035
    page_sigma: float = 0.3
    page_cpu_s: float = 0.008
    round_trip_s: float = 0.0005
    cpu_per_object_s: float = 0.0004
    bytes_per_s: float = 1e9
    connection_bytes_per_s: float = 100e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The objects: log-normal small ones, and a share of large ones with a Pareto tail."""

    objects: int = 1_000_000
    median_bytes: float = 16 * 1024
    sigma: float = 1.5
    large_share: float = 1e-5
    large_alpha: float = 1.2
    large_max_bytes: int = 1 << 40
    single_bytes: int = 0
    """More than 0: the job is this one large object, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. The same scenario gives the same run, to the last event.

    ``lost`` is the share of the workers that are killed, all at ``lost_at_s`` or, with
    ``lost_for_s``, one after the other over that time. ``spread`` makes speeds differ by up to that
    factor either way; a share of ``stragglers`` works at a tenth of its speed. A share of
    ``failing`` tasks raises once in a while and is retried.
    """

    workers: int = 100
    seed: int = 1
    lost: float = 0.0
    lost_at_s: float = 0.0
    lost_for_s: float = 0.0
    spread: float = 1.0
    stragglers: float = 0.0
    failing: float = 0.0
    join_s: float = 1.0
    data: Data = field(default_factory=Data)
    stores: Stores = field(default_factory=Stores)
    rules: Rules = field(default_factory=Rules)
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        if self.workers < 1 or not 0 <= self.lost < 1 or self.spread < 1:
            raise ValueError("A fleet needs a worker that stays, and a spread of 1 or more")
        if self.data.objects < 1 and not self.data.single_bytes:
            raise ValueError("There is nothing to move")

"""Rules beside those that the product has: the constants it had, and what docs/scaling.md proposes."""

from __future__ import annotations

from dataclasses import replace

from bench.simulation.scenario import Rules
from mover.feeding import TASKS_AHEAD
from mover.fleet import LOOK_EVERY_S
from mover.planning import (
    SHARD_BYTES,
    SHARD_BYTES_MIN,
    SHARD_OBJECTS,
    SHARD_OBJECTS_MIN,
    ShardLimits,
)
from mover.ranging import RANGES
from mover.sharding import shard_size
from scheduler.leases import RENEWALS_PER_LEASE


def _constant_limits(waiting: int, slots: int) -> ShardLimits:
    return ShardLimits(
        shard_size(waiting, slots, largest=SHARD_OBJECTS, smallest=SHARD_OBJECTS_MIN),
        shard_size(waiting, slots, largest=SHARD_BYTES, smallest=SHARD_BYTES_MIN),
    )


GROWN = replace(
    Rules(),
    packed=lambda _: 1.0,
    stats_with_advance=False,
    idle_pause_s=lambda policy, _: policy.idle_poll_s,
    reap_pause_s=lambda lease_s, _: lease_s / RENEWALS_PER_LEASE,
    look_pause_s=lambda _: LOOK_EVERY_S,
)
"""The numbers that grow with the fleet, and nothing that came after them."""

CONSTANTS = replace(
    GROWN,
    limits=_constant_limits,
    tasks_ahead=lambda _: TASKS_AHEAD,
    first_ranges=lambda _: RANGES,
)
"""The same numbers for every fleet, as the product had them at first."""

PACKED = replace(GROWN, packed=Rules().packed)
"""And shards that a large fleet compresses in the queue."""

COUNTED = replace(PACKED, stats_with_advance=True)
"""And a listing that is told the counts with each page. The product: idle workers ask less, too."""

NAMED = {
    "product": Rules(),
    "constants": CONSTANTS,
    "grown": GROWN,
    "packed": PACKED,
    "counted": COUNTED,
}

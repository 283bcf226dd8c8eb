"""Rules beside those that the product has: the constants it had, and what docs/scaling.md proposes."""

from __future__ import annotations

from dataclasses import replace

from bench.simulation.scenario import Rules
from mover.feeding import TASKS_AHEAD
from mover.planning import (
    SHARD_BYTES,
    SHARD_BYTES_MIN,
    SHARD_OBJECTS,
    SHARD_OBJECTS_MIN,
    ShardLimits,
)
from mover.ranging import RANGES
from mover.sharding import shard_size


def _constant_limits(waiting: int, slots: int) -> ShardLimits:
    return ShardLimits(
        shard_size(waiting, slots, largest=SHARD_OBJECTS, smallest=SHARD_OBJECTS_MIN),
        shard_size(waiting, slots, largest=SHARD_BYTES, smallest=SHARD_BYTES_MIN),
    )


GROWN = replace(Rules(), packed=lambda _: 1.0, stats_with_advance=False)
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

PROPOSED = replace(
    Rules(),
    idle_poll_s=2.0,
    listing_poll_s=4.0,
    reapers_per_worker=0.1,
    beats_per_worker=0.5,
    looks_per_s=0.25,
)
"""And an idle worker asks less often, its two lanes leave one sign of life every two seconds, look
for new jobs every four, and reap once in a hundred seconds each: of a thousand, ten a second."""

NAMED = {
    "product": Rules(),
    "constants": CONSTANTS,
    "grown": GROWN,
    "packed": PACKED,
    "proposed": PROPOSED,
}

"""Numbers of the engine that are not a user's choice, in one place, each with its reason."""

from scheduler.worker_policy import LanePolicy, WorkerPolicy

MIB = 1024 * 1024

WORKER_POLICY = WorkerPolicy(slots=4, lease_s=30.0, grace_s=5.0)
"""Four tasks at a time let the tail of one shard overlap the next; a worker that says nothing for
half a minute has lost its tasks; a drain lets running tasks end for five seconds."""

FLEET_POLICY = WorkerPolicy(slots=4, lease_s=30.0, grace_s=20.0, idle_poll_s=0.5)
"""The same for a worker of a fleet: it asks a server that a thousand others ask too, and a platform
that moves pods gives half a minute to leave."""

LISTING_SLOTS = 4
"""Listing tasks that one process of a fleet works on at a time: each waits for its store most of
the time, and eight ranges keep two workers busy."""


def listing_lane(policy: WorkerPolicy, pools: tuple[str, ...]) -> LanePolicy:
    """The lane of listing tasks beside a worker's own; it may wait twice as long for its rarer tasks."""
    return LanePolicy(
        slots=LISTING_SLOTS,
        pools=pools,
        idle_poll_s=policy.idle_poll_s,
        asks_per_s_max=policy.asks_per_s_max / 2,
    )


JOB_TTL_S = 7 * 86400.0
"""How long a job that has ended stays in a fleet's queue, to be shown and retried."""

ATTEMPTS_MAX = 50
"""Attempts of a task whose workers die: a job that is killed again and again must not lose its work
for it."""

OBJECT_ATTEMPTS_MAX = 8
"""Attempts of a task whose store fails for now. Each has been patient within its requests, about a
minute with the default policy, so that a store may be unwell for some eight minutes."""

STORE_WISH_MAX_S = 600.0
"""The longest that a task waits because the store said so (Retry-After) before its next attempt."""

BUDGET_BYTES = 128 * MIB
"""Payload bytes that one process holds in memory at a time: sixteen parts of 8 MiB."""

"""Numbers of the engine that are not a user's choice, in one place, each with its reason."""

from scheduler.worker import WorkerPolicy

MIB = 1024 * 1024

WORKER_POLICY = WorkerPolicy(slots=4, lease_s=30.0, grace_s=5.0)
"""Four tasks at a time let the tail of one shard overlap the next; a worker that says nothing for
half a minute has lost its tasks; a drain lets running tasks end for five seconds."""

ATTEMPTS_MAX = 50
"""Attempts of a task. Objects fail inside a task; only a process that dies or a fault of our own
costs an attempt, and a job that is killed again and again must not lose its work for it."""

BUDGET_BYTES = 128 * MIB
"""Payload bytes that one process holds in memory at a time: sixteen parts of 8 MiB."""

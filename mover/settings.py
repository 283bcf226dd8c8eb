"""Numbers of the engine that are not a user's choice, in one place, each with its reason."""

MIB = 1024 * 1024

LEASE_S = 30.0
"""A worker that says nothing for this long has lost its tasks. Renewed at a third of it."""

TASK_SLOTS = 4
"""Tasks that one process runs at a time: enough that the tail of one shard overlaps the next."""

ATTEMPTS_MAX = 50
"""Attempts of a task. Objects fail inside a task; only a process that dies or a fault of our own
costs an attempt, and a job that is killed again and again must not lose its work for it."""

BUDGET_BYTES = 128 * MIB
"""Payload bytes that one process holds in memory at a time: sixteen parts of 8 MiB."""

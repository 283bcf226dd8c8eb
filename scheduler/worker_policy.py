"""How a worker behaves, and how its work ended: values."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.model import ANY_POOL
from scheduler.retries import RetryPolicy

POLL_MIN_S = 0.05
"""The first pause of an idle worker; it doubles up to ``idle_poll_s``. So never over 20 a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """How a worker behaves; times in seconds.

    ``slots`` tasks run at once, of the ``pools`` that the worker has joined. After a drain the
    running ones have ``grace_s`` to end by themselves. A store that is away for ``patience_s`` on
    end is given up. One that does not obey the job's state goes on when the job is paused or
    cancelled: it cleans up.
    """

    slots: int = 2
    lease_s: float = 30.0
    idle_poll_s: float = 0.1
    grace_s: float = 10.0
    beat_every_s: float = 1.0
    patience_s: float = 300.0
    pools: tuple[str, ...] = (ANY_POOL,)
    obeys_job_state: bool = True
    retries: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if self.slots < 1 or self.lease_s <= 0 or self.idle_poll_s < POLL_MIN_S:
            raise ValueError(
                f"A worker needs a slot, a lease, and pauses of {POLL_MIN_S} s or more: {self}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTally:
    """How the leases of a worker ended. A retry that was the last attempt counts as retried."""

    done: int = 0
    retried: int = 0
    released: int = 0
    discarded: int = 0
    lost: int = 0

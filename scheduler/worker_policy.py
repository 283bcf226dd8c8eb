"""How a worker behaves, and how its work ended: values."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.leases import RENEWALS_PER_LEASE
from scheduler.model import ANY_POOL
from scheduler.retries import RetryPolicy

POLL_MIN_S = 0.05
"""The first pause of an idle lane; it doubles up to ``idle_pause_s``. So never over 20 a second."""

POLL_MAX_S = 4.0
"""However large the fleet, it makes no idle lane wait longer before it asks again."""

REAPS_PER_S_MAX = 10.0
"""How often a whole fleet reaps, together: a reap reads every lease that is out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePolicy:
    """Tasks of ``pools``, ``slots`` of them at a time.

    An idle lane asks again after ``idle_poll_s`` seconds, or later: all lanes of this kind in a fleet
    together ask no more than ``asks_per_s_max`` times a second.
    """

    slots: int
    pools: tuple[str, ...]
    idle_poll_s: float = 0.1
    asks_per_s_max: float = 500.0


def idle_pause_s(policy: LanePolicy, workers: int) -> float:
    """The longest pause of an idle lane in a fleet of so many workers, in seconds."""
    return max(policy.idle_poll_s, min(workers / policy.asks_per_s_max, POLL_MAX_S))


def reap_pause_s(lease_s: float, workers: int) -> float:
    """The mean pause between two reaps of one worker among so many, in seconds.

    A third of a lease; longer where so many others reap too.
    """
    return max(lease_s / RENEWALS_PER_LEASE, workers / REAPS_PER_S_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """How a worker behaves; times in seconds.

    ``slots`` tasks run at once, of the ``pools`` that the worker has joined. After a drain the
    running ones have ``grace_s`` to end by themselves. A store that is away for ``patience_s`` on
    end is given up. One that does not obey the job's state goes on when the job is paused or
    cancelled: it cleans up. Lanes ``beside`` the first have slots and pools of their own, so that
    neither kind of task waits for the other.
    """

    slots: int = 2
    lease_s: float = 30.0
    idle_poll_s: float = 0.1
    asks_per_s_max: float = 500.0
    grace_s: float = 10.0
    beat_every_s: float = 1.0
    patience_s: float = 300.0
    pools: tuple[str, ...] = (ANY_POOL,)
    obeys_job_state: bool = True
    beside: tuple[LanePolicy, ...] = ()
    retries: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if self.slots < 1 or self.lease_s <= 0 or self.idle_poll_s < POLL_MIN_S:
            raise ValueError(
                f"A worker needs a slot, a lease, and pauses of {POLL_MIN_S} s or more: {self}"
            )

    @property
    def lanes(self) -> tuple[LanePolicy, ...]:
        """All lanes, the first one first."""
        first = LanePolicy(
            slots=self.slots,
            pools=self.pools,
            idle_poll_s=self.idle_poll_s,
            asks_per_s_max=self.asks_per_s_max,
        )
        return (first, *self.beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTally:
    """How the leases of a worker ended. A retry that was the last attempt counts as retried."""

    done: int = 0
    retried: int = 0
    released: int = 0
    discarded: int = 0
    lost: int = 0

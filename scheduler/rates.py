"""The port of shared rates: the part of a task store that a limit needs, and nothing more.

Every ``TaskStore`` is one. A limit that outlives a job or is shared by several (a link) lives in a
store of its own, which needs no tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod


class RateStore(ABC):
    """Buckets of shared rates, and small values that steer them. The rules of ``store`` hold."""

    @abstractmethod
    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        """Book ``amount`` of a rate that all workers share; return the seconds to wait first.

        Bookings are granted in the order of the calls, and never sum to more than ``burst`` above
        the rate; see ``budgets.book`` for the arithmetic, for clocks that step, and for rates
        that change. All callers of a bucket name the same rate, or change it together.

        A negative amount gives back tokens of earlier bookings that were not used, and returns
        zero. Who waits does not wait less for it; who comes later does. What comes back when
        nobody is waiting any more is forfeited: it would be a burst. Repeating a call gives back
        twice, so a call whose outcome is unknown is not repeated.

        ``ValueError`` for a rate that is not positive.
        """

    @abstractmethod
    async def set_control(self, name: str, value: bytes | None) -> None:
        """Set a small value that steers the job (``JOB_STATE``, a live limit); None removes it."""

    @abstractmethod
    async def get_control(self, name: str) -> bytes | None:
        """The value set last, or None."""

    async def set_rate(self, bucket: str, text: bytes | None) -> None:
        """Say what the rate of a bucket is for everybody, as people write it; None takes it back.

        The one that was set last holds. Users of the bucket follow ``rate_control(bucket)``.
        """
        await self.set_control(rate_control(bucket), text)

    async def get_rate(self, bucket: str) -> bytes | None:
        """The rate of a bucket that was set last, as it was written; None if there is none."""
        return await self.get_control(rate_control(bucket))


def rate_control(bucket: str) -> str:
    """The control that holds the live rate of a bucket."""
    return f"rate:{bucket}"

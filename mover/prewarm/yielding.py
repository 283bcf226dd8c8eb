"""Pure: how much a prewarm leaves to others, from how long a light read takes."""

from statistics import median
from typing import Final

IDLE_PROBES: Final = 40
"""Probes before the warming begins: what a light read takes on an idle mount."""

SLOW_SHARE: Final = 0.03
"""Of the probes so many may be slow: others care for their slow reads, the 95th percentile."""

DOWN: Final = 0.8
UP: Final = DOWN ** (-SLOW_SHARE / (1 - SLOW_SHARE))
"""A step down for a slow probe, and one up for any other: they cancel out where ``SLOW_SHARE`` of the probes is slow
(the stochastic approximation of a quantile, Robbins and Monro 1951)."""

UP_ALONE: Final = 1.06
ALONE_PROBES: Final = 150
"""After so many probes in a row that were not slow nobody seems to be there, and it grows faster."""

CEILING_MIN: Final = 0.1
"""The trickle: one reader that works for a tenth of the time."""

CEILING_START: Final = 0.25
"""It begins with little: until the first probes nobody knows what it does to others."""

SPREAD_MAX: Final = 2.5
"""On an idle mount the slow ones among light reads take so many times as long as the middle one, at the most."""

FLOOR_S: Final = 0.0002
"""Faster than this a mount is never taken to be: the clock and the scheduler are not finer."""


class Yielder:
    """The most readers that may work, ``ceiling``, for what the probes say; below 1 a share of the time.

    ``factor`` is by how much the slow ones among light reads may become slower than on the idle mount.
    """

    def __init__(self, *, factor: float, most: int) -> None:
        self._factor = factor
        self._most = float(most)
        self._idle: list[float] = []
        self._quick = 0
        self.ceiling = min(CEILING_START, float(most))

    @property
    def knows_idle(self) -> bool:
        return len(self._idle) >= IDLE_PROBES

    @property
    def idle_s(self) -> float:
        """What the slow ones take on the idle mount, in seconds; 0 where nothing was probed.

        The fifth from the slowest, a 90th percentile: a little less than others may see, so that they keep what they were
        promised. And no more than some middle ones together, because others may
        have been at work already.
        """
        if not self._idle:
            return 0.0
        slow_s = sorted(self._idle)[-5:][0]
        return max(min(slow_s, SPREAD_MAX * median(self._idle)), FLOOR_S)

    def probed_idle(self, latency_s: float) -> None:
        """A probe before anything was read."""
        self._idle.append(latency_s)

    def probed(self, latency_s: float, *, readers: int) -> None:
        """A probe while ``readers`` were at work."""
        if not self._idle:
            return
        if latency_s > self._factor * self.idle_s:
            # From what runs, not from what might: a ceiling far above would need many steps.
            self.ceiling = max(CEILING_MIN, min(self.ceiling, float(max(readers, 1))) * DOWN)
            self._quick = 0
            return
        self._quick += 1
        self.ceiling = min(
            self._most, self.ceiling * (UP_ALONE if self._quick > ALONE_PROBES else UP)
        )


def pause_s(worked_s: float, ceiling: float) -> float:
    """How long a reader rests after it has worked so long, that it works ``ceiling`` of the time."""
    return worked_s * (1 / ceiling - 1) if ceiling < 1 else 0.0

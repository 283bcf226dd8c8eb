"""Pure: how much a prewarm leaves to others, from how long a light read takes."""

from collections import deque
from statistics import median
from typing import Final

IDLE_PROBES: Final = 8
"""Probes before the warming begins; their median is what a light read takes on an idle mount."""

RECENT_PROBES: Final = 3
CEILING_MIN: Final = 0.05
"""The trickle: one reader that works for a twentieth of the time."""

CEILING_START: Final = 2.0
"""It begins with few: until the first probes nobody knows what they do to others."""

FLOOR_S: Final = 0.0002
"""Faster than this a mount is never taken to be: the clock and the scheduler are not finer."""


class Yielder:
    """The most readers that may work, ``ceiling``, for what the probes say; below 1 a share of the time.

    ``factor`` is by how much a light read may become slower than on the idle mount. The ceiling is halved
    where it is slower than that, and grows by a quarter where it is well below. It begins with few.
    """

    def __init__(self, *, factor: float, most: int) -> None:
        self._factor = factor
        self._most = float(most)
        self._idle: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT_PROBES)
        self.ceiling = min(CEILING_START, float(most))

    @property
    def knows_idle(self) -> bool:
        return len(self._idle) >= IDLE_PROBES

    @property
    def idle_s(self) -> float:
        """The idle mount's latency in seconds; 0 where nothing was probed."""
        return max(median(self._idle), FLOOR_S) if self._idle else 0.0

    def probed_idle(self, latency_s: float) -> None:
        """A probe before anything was read."""
        self._idle.append(latency_s)

    def probed(self, latency_s: float, *, readers: int) -> None:
        """A probe while ``readers`` were at work."""
        if not self._idle:
            return
        self._recent.append(latency_s)
        recent_s = median(self._recent)
        allowed_s = self._factor * self.idle_s
        # Others care for their slow reads: one that is slower than the slow ones of an idle mount is enough.
        if recent_s > allowed_s or latency_s > self._factor * max(self._idle):
            # From what runs, not from what might: a ceiling far above would need many halvings.
            self.ceiling = max(CEILING_MIN, min(self.ceiling, float(max(readers, 1))) / 2)
        elif max(self._recent) <= max(self._idle):
            self.ceiling = min(self._most, self.ceiling * 1.25)


def pause_s(worked_s: float, ceiling: float) -> float:
    """How long a reader rests after it has worked so long, that it works ``ceiling`` of the time."""
    return worked_s * (1 / ceiling - 1) if ceiling < 1 else 0.0

"""Pure: how much to ask the kernel for at once, by what such reads were seen to bring."""

import threading
from collections.abc import Sequence
from typing import Final

KIB: Final = 1024
SIZES: Final = (256 * KIB, 1024 * KIB, 2048 * KIB)
"""Each thread has a buffer of the largest that it has used; beyond it nothing was gained on any file system tried."""

TRY_EVERY: Final = 8
"""One run in so many tries another size: what is measured once may not hold an hour later."""

GAIN_MIN: Final = 1.05
"""Another size must bring so much more, or the known one stays: less is noise."""

WEIGHT: Final = 0.25
"""Of the last run among those before it (an exponentially weighted mean)."""


class ReadSizes:
    """The size that brings most, ``best``, of some sizes in bytes. All threads of a place share it."""

    def __init__(self, sizes: Sequence[int] = SIZES) -> None:
        self._sizes = tuple(sizes)
        self._rates = dict.fromkeys(self._sizes, 0.0)
        self._turn = threading.Lock()
        self._runs = 0
        self.best = self._sizes[len(self._sizes) // 2]

    def choose(self) -> int:
        """The size for the next run: mostly the best one."""
        with self._turn:
            self._runs += 1
            if self._runs % TRY_EVERY:
                return self.best
            return self._sizes[self._runs // TRY_EVERY % len(self._sizes)]

    def measured(self, size: int, rate: float) -> None:
        """A run with reads of this size brought so many bytes per second."""
        with self._turn:
            known = self._rates[size]
            self._rates[size] = known + WEIGHT * (rate - known) if known else rate
            most = max(self._sizes, key=lambda each: self._rates[each])
            if self._rates[most] > GAIN_MIN * self._rates[self.best]:
                self.best = most

"""Pure: how many readers pay. More are tried for as long as each added one brings something."""

from typing import Final

GAIN_MIN: Final = 0.1
"""A step up is kept where the throughput rises by this share of what the readers rose by: half as many
readers more must bring 5 %."""

LOSS_MAX: Final = 0.03
"""A step down is kept where it costs less than this: readers that bring nothing are given back."""

STEP: Final = 1.5
HOLD_WINDOWS: Final = 8


class Climber:
    """The number of readers, ``readers``, for what was measured; from ``least`` to ``most``.

    Tell it of each window of time in which all of its readers were busy. It climbs while that pays,
    goes back where it does not, rests there, and then tries both ways anew in turn.
    """

    def __init__(self, *, start: int, most: int, least: int = 1) -> None:
        self.most = most
        self.readers = min(max(start, least), most)
        self._least = least
        self._known = -1
        self._known_rate = 0.0
        self._rests = 0
        self._upward = True

    def measured(self, rate: float) -> None:
        """A window ended in which this much (in any unit of work per second) was read."""
        if self._rests > 0:
            self._rests -= 1
            # What is known grows old: the mean forgets slowly.
            self._known_rate = (3 * self._known_rate + rate) / 4
        elif self._known in (-1, self.readers) or self._pays(rate):
            self._known, self._known_rate = self.readers, rate
            self._step()
        else:
            self._back()

    def _pays(self, rate: float) -> bool:
        if self._known_rate <= 0:
            return self.readers < self._known or rate > 0
        gain = rate / self._known_rate - 1
        if self.readers > self._known:
            return gain >= GAIN_MIN * (self.readers / self._known - 1)
        return gain >= -LOSS_MAX

    def _step(self) -> None:
        wanted = (
            max(self.readers + 1, round(self.readers * STEP))
            if self._upward
            else min(self.readers - 1, round(self.readers / STEP))
        )
        wanted = min(max(wanted, self._least), self.most)
        if wanted == self.readers:
            self._rest()
        self.readers = wanted

    def _back(self) -> None:
        self.readers = self._known
        self._rest()

    def _rest(self) -> None:
        self._rests = HOLD_WINDOWS
        self._upward = not self._upward

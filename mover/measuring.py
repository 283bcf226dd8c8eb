"""Pure: how quick the link and the stores of one job are, from what its own requests have reached.

Each process keeps samples of what it did (``Gauge``), and tells its estimates with its signs of life.
What all have told is put together the same way by everybody (``Measured.of``), so all decide alike.
An estimate is the median of samples, weighed by their bytes and by how fresh they are: a few that are
far off do not move it, and it never leaves the range of its samples.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

SAMPLES_KEPT: Final = 32

HALF_LIFE_S: Final = 60.0
"""A sample so much older than the newest weighs half of it: links are busier at some hours."""

LINK_PRIOR: Final = 25e6
"""What a link carries of which nothing is known, in bytes per second: 200 Mbit/s.

Wrong guesses do not cost alike. Where the link is quicker, an object is signed and scanned for nothing,
near by: some seconds a GiB. Where it is slower, an object is sent whole of which little has changed:
seven minutes a GiB at 20 Mbit/s. So the guess is lower than most links between regions are. Nor
would a higher one be put right as soon: differences bring samples too, once they have a MiB.
"""


class Way(Enum):
    """What is measured; the values are the places in a worker's estimates, and stay."""

    OUT = 0  # over the link, towards the target
    BACK = 1  # over the link, towards the source
    SOURCE_READ = 2  # near the source
    TARGET_READ = 3  # near the target, as the following
    TARGET_WRITE = 4
    TARGET_COPY = 5  # by the store itself


class Estimate(NamedTuple):
    """Bytes per second, and the bytes that it stands on; of nothing, zeros."""

    rate: float
    weight: float


class _Sample(NamedTuple):
    rate: float
    size_bytes: int
    at_s: float


class Gauge:
    """What one process has reached. ``clock`` gives seconds; only differences of them matter."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: dict[Way, deque[_Sample]] = {way: deque(maxlen=SAMPLES_KEPT) for way in Way}

    def note(self, way: Way, size_bytes: int, seconds: float) -> None:
        """Take a sample: so many bytes in so many seconds, both more than nothing."""
        sample = _Sample(size_bytes / seconds, size_bytes, self._clock())
        self._samples[way].append(sample)

    def estimates(self) -> list[Estimate]:
        """The estimate of each way, in the order of their values."""
        return [_estimate(self._samples[way]) for way in Way]


def _estimate(samples: Sequence[_Sample]) -> Estimate:
    if not samples:
        return Estimate(0.0, 0.0)
    newest_s = samples[-1].at_s
    weighed = [
        Estimate(each.rate, each.size_bytes * 0.5 ** ((newest_s - each.at_s) / HALF_LIFE_S))
        for each in samples
    ]
    return Estimate(_median(weighed), sum(each.weight for each in weighed))


def _median(weighed: Iterable[Estimate]) -> float:
    """The rate at half of the weight; the lower one of two."""
    ordered = sorted(weighed)
    half = sum(each.weight for each in ordered) / 2
    below = 0.0
    for each in ordered:
        below += each.weight
        if below >= half:
            return each.rate
    return ordered[-1].rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of the rates of a job, in bytes per second; None of what nobody has seen.

    ``limit`` is what the link may carry at most, as somebody has said. Rates are what one worker
    reaches: with many busy on many objects, both ways of sending one have their share of workers.
    """

    limit: float | None = None
    out: float | None = None
    back: float | None = None
    source_read: float | None = None
    target_read: float | None = None
    target_write: float | None = None
    target_copy: float | None = None

    @classmethod
    def of(cls, told: Iterable[Sequence[Estimate]]) -> "Measured":
        """Put together the estimates of all workers. What cannot be is passed over."""
        workers = list(told)
        rates: list[float | None] = []
        for way in Way:
            known = [each[way.value] for each in workers if len(each) > way.value]
            weighed = [each for each in known if each.rate > 0 and each.weight > 0]
            rates.append(_median(weighed) if weighed else None)
        out, back, source_read, target_read, target_write, target_copy = rates
        return cls(
            out=out,
            back=back,
            source_read=source_read,
            target_read=target_read,
            target_write=target_write,
            target_copy=target_copy,
        )

    def limited(self, limit: float | None) -> "Measured":
        """The same where a link may carry so many bytes per second at most."""
        return replace(self, limit=limit)

    @property
    def link(self) -> float | None:
        """What the link carries, where something is known of it.

        What goes to the target matters most; until something has, what came from there stands for it.
        A limit alone bounds the guess: who allows ten gigabits need not have them.
        """
        reached = self.out or self.back
        if self.limit is None:
            return reached
        return min(self.limit, reached or LINK_PRIOR)

    def named(self) -> dict[str, int]:
        """What has been measured, by name, in whole bytes per second."""
        rates = {
            "link": self.out,
            "link_back": self.back,
            "source_read": self.source_read,
            "target_read": self.target_read,
            "target_write": self.target_write,
            "target_copy": self.target_copy,
        }
        return {name: round(rate) for name, rate in rates.items() if rate is not None}

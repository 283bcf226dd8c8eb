"""Chance: one seeded source, and the distributions that stand for a thousand requests at once.

No event is spent on an object. A shard's time is drawn from the distribution of the sum of its
requests (by the central limit theorem), plus the last request of each lane, of which the slowest
counts (drawn exactly: the largest of L is the quantile at the L-th root of a uniform number).
"""

from __future__ import annotations

import math
import random
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.simulation.scenario import Data, Scenario

_NORMAL = NormalDist()
_TINY = 1e-12


class LogNormal:
    """A log-normal quantity by its mean, with sums and maxima drawn in one step."""

    def __init__(self, mean: float, sigma: float, rng: random.Random) -> None:
        self.mean = mean
        self._sigma = sigma
        self._mu = math.log(mean) - sigma * sigma / 2
        self._deviation = mean * math.sqrt(math.expm1(sigma * sigma))
        self._rng = rng

    def one(self) -> float:
        return self._rng.lognormvariate(self._mu, self._sigma) if self._sigma else self.mean

    def total(self, count: int) -> float:
        """The sum of ``count`` draws, never below a tenth of its mean."""
        if count <= 0:
            return 0.0
        mean = count * self.mean
        if not self._sigma:
            return mean
        return max(mean / 10, self._rng.gauss(mean, math.sqrt(count) * self._deviation))

    def slowest(self, count: int) -> float:
        """The largest of ``count`` draws."""
        if not self._sigma:
            return self.mean
        place = max(_TINY, self._rng.random() ** (1 / count))
        return math.exp(self._mu + self._sigma * _NORMAL.inv_cdf(min(place, 1 - _TINY)))

    def on_lanes(self, count: int, lanes: int) -> float:
        """How long ``lanes`` take for ``count`` requests when each takes the next as it is free."""
        lanes = min(lanes, count)
        if lanes < 1:
            return 0.0
        return self.total(count - lanes) / lanes + self.slowest(lanes)


class Sizes:
    """Sizes of objects: what a page of them weighs, and which of them are large."""

    def __init__(self, data: Data, split_bytes: int, rng: random.Random) -> None:
        mean = data.median_bytes * math.exp(data.sigma * data.sigma / 2)
        self._small = LogNormal(mean, data.sigma, rng)
        self._data = data
        self._split_bytes = split_bytes
        self._rng = rng
        self._until_large = self._gap()

    def page(self, objects: int) -> tuple[int, int, list[int]]:
        """How many of a page are small, their bytes together, and the sizes of the large ones."""
        large = []
        self._until_large -= objects
        while self._until_large < 0:
            large.append(self._large())
            self._until_large += 1 + self._gap()
        small = max(0, objects - len(large))
        return small, round(self._small.total(small)), large[:objects]

    def _gap(self) -> int:
        share = self._data.large_share
        if share <= 0:
            return 1 << 62
        return int(math.log(1 - self._rng.random()) / math.log1p(-share)) if share < 1 else 0

    def _large(self) -> int:
        size = self._split_bytes * (1 - self._rng.random()) ** (-1 / self._data.large_alpha)
        return int(min(size, self._data.large_max_bytes)) + 1


def speeds(scenario: Scenario, rng: random.Random) -> list[float]:
    """The speed of each worker: log-uniform over the spread, a tenth of that for stragglers."""
    bound = math.log(scenario.spread)
    drawn = [
        math.exp(rng.uniform(-bound, bound)) if bound else 1.0 for _ in range(scenario.workers)
    ]
    slow = rng.sample(range(scenario.workers), round(scenario.stragglers * scenario.workers))
    for number in slow:
        drawn[number] /= 10
    return drawn

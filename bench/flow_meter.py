"""Bytes over time, in bins of 10 ms, and the rates that a throttle is judged by. Pure."""

from __future__ import annotations

from itertools import accumulate

BIN_S = 0.01


class Meter:
    """Counts bytes of one direction. Times are seconds of one monotonic clock, never decreasing."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self.total_bytes = 0

    def record(self, now_s: float, size_bytes: int) -> None:
        place = int(now_s / BIN_S)
        self._bins[place] = self._bins.get(place, 0) + size_bytes
        self.total_bytes += size_bytes

    def clear(self) -> None:
        self._bins.clear()
        self.total_bytes = 0

    def bins(self) -> list[tuple[float, int]]:
        """(start in seconds, bytes) of every bin from the first with bytes to the last."""
        snapshot = dict(self._bins)
        if not snapshot:
            return []
        span = range(min(snapshot), max(snapshot) + 1)
        return [(place * BIN_S, snapshot.get(place, 0)) for place in span]

    def window_rates(self, window_s: float, *, skip_s: float = 0.0) -> list[float]:
        """Bytes per second over every whole window of ``window_s``, one starting in each bin.

        The first ``skip_s`` seconds are left out. Empty when less than one window was recorded.
        """
        counts = [count for _, count in self.bins()][round(skip_s / BIN_S) :]
        width = round(window_s / BIN_S)
        sums = [0, *accumulate(counts)]
        return [
            (sums[end] - sums[end - width]) / (width * BIN_S) for end in range(width, len(sums))
        ]

    def rate_between(self, from_s: float, to_s: float) -> float:
        """Bytes per second in a stretch of the meter's own clock, in whole bins."""
        places = range(round(from_s / BIN_S), round(to_s / BIN_S))
        counts = dict(self._bins)
        return sum(counts.get(place, 0) for place in places) / (len(places) * BIN_S)

    def burst_bytes(self, rate_bytes_per_s: float) -> float:
        """The most bytes that any stretch of time had above what the rate allows for it.

        That is the depth which a token bucket of this rate must have to let this traffic pass.
        """
        deepest = level = 0.0
        for _, count in self.bins():
            level = max(0.0, level + count)
            deepest = max(deepest, level)
            level = max(0.0, level - rate_bytes_per_s * BIN_S)
        return deepest

"""The queue's server: one thread that works off commands in the order in which they come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.simulation.clock import Clock


@dataclass(slots=True)
class Load:
    """What was asked of the server: calls and microseconds by verb, and the busiest second."""

    calls: Counter[str] = field(default_factory=Counter)
    busy_us: Counter[str] = field(default_factory=Counter)
    peak_calls: Counter[str] = field(default_factory=Counter)
    peak_calls_all: int = 0
    peak_busy_us: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0


class Server:
    """Answers come late where more is asked than one thread can do: saturation is not assumed."""

    def __init__(self, clock: Clock, round_trip_s: float) -> None:
        self._clock = clock
        self._round_trip_s = round_trip_s
        self._free_at_s = 0.0
        self._second = 0
        self._calls: Counter[str] = Counter()
        self._busy_us = 0.0
        self.load = Load()

    def ask(self, verb: str, cost_us: float, *, calls: int = 1, round_trips: int = 1) -> float:
        """Charge calls of one kind (``cost_us`` together); the time of their last answer."""
        now_s = self._clock.now_s
        if int(now_s) != self._second:
            self._turn(int(now_s))
        self._calls[verb] += calls
        self._busy_us += cost_us
        self.load.busy_us[verb] += cost_us  # type: ignore[assignment]  # counts microseconds
        self._free_at_s = max(now_s, self._free_at_s) + cost_us * 1e-6
        return self._free_at_s + round_trips * self._round_trip_s

    def _turn(self, second: int) -> None:
        load = self.load
        load.calls.update(self._calls)
        for verb, calls in self._calls.items():
            load.peak_calls[verb] = max(load.peak_calls[verb], calls)
        load.peak_calls_all = max(load.peak_calls_all, sum(self._calls.values()))
        load.peak_busy_us = max(load.peak_busy_us, self._busy_us)
        self._calls.clear()
        self._busy_us = 0.0
        self._second = second

    def close(self) -> Load:
        """Close the last second, and give the load."""
        self._turn(self._second)
        return self.load

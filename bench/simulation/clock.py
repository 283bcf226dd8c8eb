"""Virtual time: a heap of what happens next."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Clock:
    """Runs what was planned in the order of its time; equal times in the order of planning."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0
        self._planned: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []

    def at(self, at_s: float, act: Callable[..., None], *arguments: object) -> None:
        """Call ``act`` at a time; one that has passed means now, after what is planned for now."""
        self.events += 1
        heapq.heappush(self._planned, (max(at_s, self.now_s), self.events, act, arguments))

    def run(self, is_over: Callable[[], bool]) -> None:
        """Go on until ``is_over``. Raises ``RuntimeError`` when nothing is left to happen before."""
        planned, pop = self._planned, heapq.heappop
        while not is_over():
            if not planned:
                raise RuntimeError(
                    f"Nothing more happens after {self.now_s:.3f} s, and work is left"
                )
            self.now_s, _, act, arguments = pop(planned)
            act(*arguments)

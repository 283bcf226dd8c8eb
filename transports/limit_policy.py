"""How many calls may be under way at once, found out while they run. Pure.

No number is right for every store, so none has to be set: ``AdaptiveLimit`` starts at what the store's capabilities
say, raises the limit step by step for as long as that brings throughput, goes back when it does not, and halves it
when the store asks to slow down. It is a hill climb with additive increase and multiplicative decrease (Chiu and Jain
1989), on throughput and not on loss. At first its steps double, for as long as each brings its share: from 16 to 128
takes six seconds.

What it hears: how much comes through, how long calls take, refusals (429, 503) and timeouts. It is bounded by the
ceiling of the store's capabilities.
"""

from dataclasses import dataclass
from typing import Final

from transports.model import Capabilities

CALL_BYTES: Final = 64 * 1024
"""What a call costs beside its bytes, in bytes: a round trip of about a millisecond at the rate of one ordinary
connection. It makes many small objects and few large ones one sum."""

HOLD_MAX_S: Final = 60.0
"""The longest rest between two attempts to go higher that brought nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    """Bounds and pace of the climb. ``minimum == maximum`` is a fixed limit.

    A decision is due every ``interval_s``, when at least as many calls have ended as may run. ``gain_min`` is the part
    by which throughput must rise for a step to be kept.
    """

    start: int
    maximum: int
    minimum: int = 1
    interval_s: float = 1.0
    gain_min: float = 0.03
    hold_s: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.start <= self.maximum:
            raise ValueError(
                f"a limit starts between its bounds: {self.minimum} <= {self.start} <="
                f" {self.maximum} does not hold"
            )

    @classmethod
    def fixed(cls, calls: int) -> "LimitPolicy":
        """A limit that stays at ``calls``."""
        return cls(start=calls, minimum=calls, maximum=calls)

    @classmethod
    def of(cls, capabilities: Capabilities) -> "LimitPolicy":
        """The bounds that a store states for itself."""
        start, maximum = capabilities.concurrency_start, capabilities.concurrency_max
        return cls(start=min(start, maximum), maximum=maximum)


class AdaptiveLimit:
    """The limit and the decisions on it. Pure: it is told the time and what happened."""

    def __init__(self, policy: LimitPolicy) -> None:
        self.policy = policy
        self.value = policy.start
        self._step = max(1, policy.start // 4)
        self._is_quick = True  # steps double until one does not bring its share
        self._adapts = policy.minimum < policy.maximum
        self._climbing = False  # the last decision was a step up, on trial
        self._rate = 0.0  # bytes/s of the last window whose limit was kept
        self._best_pace_s = 0.0  # seconds per byte when the store was at its quickest
        self._hold_s = policy.hold_s
        self._hold_until_s = 0.0
        self._deaf_until_s = float("-inf")
        # The window that the next decision looks at.
        self._since_s = 0.0
        self._calls = self._bytes = 0
        self._latency_s, self._saturated = 0.0, False

    def note(
        self, now_s: float, *, size_bytes: int, calls: int, latency_s: float, saturated: bool
    ) -> None:
        """A call ended well. ``saturated``: all slots were taken when it did."""
        if not self._adapts:
            return
        if not self._calls:
            self._since_s = now_s - latency_s
        self._calls += 1
        self._bytes += size_bytes + calls * CALL_BYTES
        self._latency_s += latency_s
        self._saturated = self._saturated or saturated
        if now_s - self._since_s >= self.policy.interval_s and self._calls >= self.value:
            self._decide(now_s)
            self._start_window(now_s)

    def throttled(self, now_s: float) -> None:
        """The store asked to slow down, or a call timed out, here or at another process. Halves once per interval."""
        if not self._adapts or now_s < self._deaf_until_s:
            return
        self._go_slowly()
        self.value = max(self.policy.minimum, self.value // 2)
        self._climbing = False
        self._rate = 0.0
        self._hold_until_s = now_s + self._hold_s
        self._deaf_until_s = (
            now_s + self.policy.interval_s
        )  # calls under way at the old limit say nothing new
        self._start_window(now_s)

    def _go_slowly(self) -> None:
        self._is_quick = False
        self._step = max(1, self.policy.start // 4)

    def _start_window(self, now_s: float) -> None:
        self._since_s = now_s
        self._calls = self._bytes = 0
        self._latency_s = 0.0
        self._saturated = False

    def _decide(self, now_s: float) -> None:
        """One step.

        1. The limit was not what limited: nothing is learned.
        2. A step up is on trial and brought nothing: take it back, and rest, longer each time.
        3. A step up brought something: keep it, and try the next.
        4. At rest or at the ceiling: the store has become much slower and brings less: a step down.
        5. The rest is over: try a step up.
        """
        rate = self._bytes / (now_s - self._since_s)
        pace_s = self._latency_s / self._bytes
        quickest = self._best_pace_s == 0.0 or pace_s < self._best_pace_s
        self._best_pace_s = pace_s if quickest else self._best_pace_s
        if not self._saturated:
            return
        if self._climbing and rate < self._rate * (1.0 + self._gain_due()):
            self.value = max(self.policy.minimum, self.value - self._step)
            self._climbing = False
            self._go_slowly()
            self._hold_until_s = now_s + self._hold_s
            self._hold_s = min(HOLD_MAX_S, self._hold_s * 2)
            return
        if self._climbing:
            self._hold_s = self.policy.hold_s
            self._step *= 2 if self._is_quick else 1
        elif now_s < self._hold_until_s or self.value >= self.policy.maximum:
            if pace_s > 4.0 * self._best_pace_s and rate < 0.7 * self._rate:
                self.value = max(self.policy.minimum, self.value - self._step)
                self._rate = rate
                self._hold_until_s = now_s + self._hold_s
            self._rate = max(self._rate, rate)
            return
        self._rate = rate
        self._climbing = self.value < self.policy.maximum
        self._step = min(self._step, max(1, self.policy.maximum - self.value))
        self.value += self._step if self._climbing else 0

    def _gain_due(self) -> float:
        """What the step on trial must have brought.

        A wide one may end far beyond the best limit and still bring a little, so it must bring half of its share.
        """
        if not self._is_quick:
            return self.policy.gain_min
        share = self._step / max(1, self.value - self._step)
        return max(self.policy.gain_min, 0.5 * share)

"""The values of a benchmark run, their arithmetic, and their form as JSON."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from bench.machine import Machine

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One timed run of one tool. ``problem`` says why it does not count, or is ``None``."""

    repeat: int
    wall_s: float
    cpu_user_s: float
    cpu_system_s: float
    rss_peak_bytes: int
    processes_peak: int
    # CPU of the whole machine meanwhile: the tool, the server, and whoever else was there.
    machine_busy_s: float
    # Cores that were busy in the pause right before, when only strangers had reason to work.
    foreign_cores: float
    exit_code: int
    problem: str | None = None
    note: str = ""

    @property
    def cpu_s(self) -> float:
        """User and system time of all processes of the tool."""
        return self.cpu_user_s + self.cpu_system_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One trial before the repeats; the setting with the lowest wall time was kept."""

    setting: str
    wall_s: float
    cpu_s: float
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All runs of one tool in one scenario, or the reason why there are none."""

    tool: str
    setting: str
    samples: tuple[Sample, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    not_applicable: str | None = None

    @property
    def good(self) -> tuple[Sample, ...]:
        """The samples that count."""
        return tuple(sample for sample in self.samples if sample.problem is None)

    @property
    def failure(self) -> str | None:
        """The first problem of the series; a tool that failed once has no result."""
        return next((one.problem for one in self.samples if one.problem is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """All series of one scenario, taken interleaved on the same data."""

    name: str
    objects: int
    size_bytes: int
    series: tuple[Series, ...]

    def of(self, tool: str) -> Series | None:
        """Return the series of a tool, or ``None``."""
        return next((one for one in self.series if one.tool == tool), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run of the benchmark; what a result file holds."""

    schema_version: int
    started_at: str  # ISO 8601, UTC
    seed: int
    scale: float
    repeats: int
    storage: str  # "ram" or "disk": what the trees and the server's data lay on
    machine: Machine
    versions: dict[str, str]
    scenarios: tuple[ScenarioResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median with the ends of its sample and the median absolute deviation."""

    median: float
    lowest: float
    highest: float
    mad: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Self:
        """Summarise at least one number; ``statistics.StatisticsError`` for none."""
        ordered = sorted(numbers)
        middle = statistics.median(ordered)
        return cls(
            median=middle,
            lowest=ordered[0],
            highest=ordered[-1],
            mad=statistics.median(abs(number - middle) for number in ordered),
        )


Metric = Callable[[Sample], float]


def wall_of(sample: Sample) -> float:
    """The metric of wall seconds."""
    return sample.wall_s


def cpu_of(sample: Sample) -> float:
    """The metric of CPU seconds."""
    return sample.cpu_s


def rss_of(sample: Sample) -> float:
    """The metric of peak memory, in bytes."""
    return float(sample.rss_peak_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ours over theirs: of the medians, and the ends of the ratios taken repeat by repeat."""

    peer: str
    of_medians: float
    lowest: float
    highest: float


def ratio(ours: Series, theirs: Series, metric: Metric) -> Ratio | None:
    """Compare two series of one scenario; ``None`` where either has no result.

    The ends come from pairs of the same repeat: neighbours in time shared the machine's mood.
    """
    if ours.failure or theirs.failure or not ours.good or not theirs.good:
        return None
    divisor = Spread.of(metric(one) for one in theirs.good).median
    by_repeat = {one.repeat: metric(one) for one in theirs.good}
    pairs = [
        metric(one) / by_repeat[one.repeat] for one in ours.good if by_repeat.get(one.repeat, 0) > 0
    ]
    if divisor <= 0 or not pairs:
        return None
    return Ratio(
        peer=theirs.tool,
        of_medians=Spread.of(metric(one) for one in ours.good).median / divisor,
        lowest=min(pairs),
        highest=max(pairs),
    )


def ratio_to_best(
    result: ScenarioResult, metric: Metric, *, ours: str, peers: Sequence[str]
) -> Ratio | None:
    """Compare our series with the peer that is best in this very metric."""
    mine = result.of(ours)
    rivals = [one for one in result.series if one.tool in peers and not one.failure and one.good]
    if mine is None or not rivals:
        return None
    best = min(rivals, key=lambda one: Spread.of(metric(sample) for sample in one.good).median)
    return ratio(mine, best, metric)


class UnreadableResults(ValueError):
    """A file is not a result file of this schema."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a result file of schema {SCHEMA_VERSION}: {reason}")
        self.path = path
        self.reason = reason


def save(results: Results, path: Path) -> None:
    """Write results as JSON, at once: a reader never sees half a file. Raises ``OSError``."""
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(text + b"\n")
    partial.replace(path)


def load(path: Path) -> Results:
    """Read a result file. Raises ``OSError`` or ``UnreadableResults``."""
    try:
        results = msgspec.json.decode(path.read_bytes(), type=Results)
    except msgspec.MsgspecError as error:
        raise UnreadableResults(path, str(error)) from error
    if results.schema_version != SCHEMA_VERSION:
        raise UnreadableResults(path, f"its schema is {results.schema_version}")
    return results

"""What is measured: the named scenarios, their data, and the goals they are held against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.datasets import DatasetSpec, FixedSizes, LogNormalSizes

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
MB = 1_000_000


class Direction(StrEnum):
    """Where the bytes go; the values are written into result files."""

    DOWN = "down"  # store to disk
    UP = "up"  # disk to store
    ACROSS = "across"  # bucket to bucket, through the client
    AGAIN = "again"  # store to disk when the disk already has everything
    LISTING = "listing"  # compare two equal listings that exist only as generated pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Upper bounds; a ratio is ours over the best peer of the same run, ``None`` is no bound."""

    wall_ratio_max: float | None = None
    cpu_ratio_max: float | None = None
    rss_bytes_max: int | None = None
    rss_growth_bytes_max: int | None = None  # above the peak of the scenario `rss_growth_from`
    rss_growth_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One line of the benchmark: a direction, the data, and what the mover must reach."""

    name: str
    summary: str
    direction: Direction
    dataset: DatasetSpec
    goal: Goal
    tls: bool = False


SMALL = DatasetSpec(
    name="small", count=20_000, sizes=FixedSizes(size_bytes=16 * KIB), files_per_directory=500
)
LARGE = DatasetSpec(
    name="large", count=4, sizes=FixedSizes(size_bytes=GIB), files_per_directory=4, scale_sizes=True
)
# Median 64 KiB with sigma 2 is a home directory's shape: many tiny files, bytes in a few large ones.
MIXED = DatasetSpec(
    name="mixed",
    count=3_000,
    sizes=LogNormalSizes(median_bytes=64 * KIB, sigma=2.0, largest_bytes=256 * MIB),
    files_per_directory=100,
)
TINY = DatasetSpec(
    name="tiny", count=100_000, sizes=FixedSizes(size_bytes=100), files_per_directory=1_000
)
KEYS_10K = DatasetSpec(
    name="keys-10k", count=10_000, sizes=FixedSizes(size_bytes=4 * KIB), files_per_directory=1
)
KEYS_1M = DatasetSpec(
    name="keys-1m", count=1_000_000, sizes=FixedSizes(size_bytes=4 * KIB), files_per_directory=1
)

_SMALL_GOAL = Goal(wall_ratio_max=0.8, cpu_ratio_max=0.6, rss_bytes_max=250 * MB)
_SMALL_TLS_GOAL = Goal(wall_ratio_max=0.7, cpu_ratio_max=0.5)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="small-down",
        summary="20,000 × 16 KiB, store to disk",
        direction=Direction.DOWN,
        dataset=SMALL,
        goal=_SMALL_GOAL,
    ),
    Scenario(
        name="small-up",
        summary="20,000 × 16 KiB, disk to store",
        direction=Direction.UP,
        dataset=SMALL,
        goal=_SMALL_GOAL,
    ),
    Scenario(
        name="large-down",
        summary="4 × 1 GiB, store to disk",
        direction=Direction.DOWN,
        dataset=LARGE,
        goal=Goal(wall_ratio_max=1.0, cpu_ratio_max=1.0, rss_bytes_max=400 * MB),
    ),
    Scenario(
        name="large-up",
        summary="4 × 1 GiB, disk to store",
        direction=Direction.UP,
        dataset=LARGE,
        goal=Goal(wall_ratio_max=0.7, cpu_ratio_max=0.8, rss_bytes_max=400 * MB),
    ),
    Scenario(
        name="small-across",
        summary="20,000 × 16 KiB, bucket to bucket through the client",
        direction=Direction.ACROSS,
        dataset=SMALL,
        goal=Goal(wall_ratio_max=0.8, cpu_ratio_max=0.6),
    ),
    Scenario(
        name="large-across",
        summary="4 × 1 GiB, bucket to bucket through the client",
        direction=Direction.ACROSS,
        dataset=LARGE,
        goal=Goal(wall_ratio_max=0.9, cpu_ratio_max=1.0),
    ),
    Scenario(
        name="mixed-down",
        summary="3,000 files of log-normal size, store to disk",
        direction=Direction.DOWN,
        dataset=MIXED,
        goal=Goal(),
    ),
    Scenario(
        name="mixed-up",
        summary="3,000 files of log-normal size, disk to store",
        direction=Direction.UP,
        dataset=MIXED,
        goal=Goal(),
    ),
    Scenario(
        name="again",
        summary="100,000 × 100 B, store to disk, nothing to do",
        direction=Direction.AGAIN,
        dataset=TINY,
        goal=Goal(wall_ratio_max=1.0, cpu_ratio_max=1.0),
    ),
    Scenario(
        name="small-down-tls",
        summary="20,000 × 16 KiB, store to disk, over TLS",
        direction=Direction.DOWN,
        dataset=SMALL,
        tls=True,
        goal=_SMALL_TLS_GOAL,
    ),
    Scenario(
        name="small-up-tls",
        summary="20,000 × 16 KiB, disk to store, over TLS",
        direction=Direction.UP,
        dataset=SMALL,
        tls=True,
        goal=_SMALL_TLS_GOAL,
    ),
    Scenario(
        name="large-down-tls",
        summary="4 × 1 GiB, store to disk, over TLS",
        direction=Direction.DOWN,
        dataset=LARGE,
        tls=True,
        goal=Goal(),
    ),
    Scenario(
        name="large-up-tls",
        summary="4 × 1 GiB, disk to store, over TLS",
        direction=Direction.UP,
        dataset=LARGE,
        tls=True,
        goal=Goal(),
    ),
    Scenario(
        name="listing-10k",
        summary="compare two equal listings of 10,000 keys (generated)",
        direction=Direction.LISTING,
        dataset=KEYS_10K,
        goal=Goal(),
    ),
    Scenario(
        name="listing-1m",
        summary="compare two equal listings of 1,000,000 keys (generated)",
        direction=Direction.LISTING,
        dataset=KEYS_1M,
        goal=Goal(rss_growth_bytes_max=50 * MB, rss_growth_from="listing-10k"),
    ),
)


class UnknownScenario(ValueError):
    """The command line names a scenario that does not exist."""

    def __init__(self, name: str) -> None:
        known = ", ".join(scenario.name for scenario in SCENARIOS)
        super().__init__(f"No scenario is named {name!r}; there are: {known}")
        self.name = name


def choose(names: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Return the named scenarios in the table's order, or all of them for no name.

    Raises ``UnknownScenario`` for a name that is not in the table.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            raise UnknownScenario(name)
    return tuple(scenario for scenario in SCENARIOS if not names or scenario.name in names)

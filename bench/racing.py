"""What races of tools have in common: turns, figures, and what a tool that did not do its work is."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from bench.metering import Weight


class Failed(RuntimeError):
    """A tool did not do what it was asked to do, so its figures mean nothing."""


def add_arguments(parser: argparse.ArgumentParser, *, repeats: int) -> None:
    """Add how often each tool runs, and on how much data."""
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the data, as in 0.1")


def check(arguments: argparse.Namespace) -> None:
    """Raise ``ValueError`` for values that make no sense."""
    if arguments.repeats < 1 or arguments.scale <= 0:
        raise ValueError("--repeats must be at least 1, and --scale above 0")


def in_turns(names: Sequence[str], repeats: int) -> Iterator[str]:
    """Every name so often, in an order that rotates, so that none always comes first."""
    for repeat in range(repeats):
        start = repeat % len(names)
        yield from (*names[start:], *names[:start])


def spread(values: Sequence[float]) -> str:
    """``median (least-most)``."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def wall_s(weights: Iterable[Weight]) -> float:
    """The median wall time."""
    return statistics.median(each.wall_s for each in weights)


def cpu_s(weights: Iterable[Weight]) -> float:
    """The median processor time, user and system."""
    return statistics.median(each.cpu_user_s + each.cpu_system_s for each in weights)


def figures(weights: Sequence[Weight]) -> list[str]:
    """Wall and processor time, for a row of a table."""
    return [
        spread([each.wall_s for each in weights]),
        spread([each.cpu_user_s + each.cpu_system_s for each in weights]),
    ]

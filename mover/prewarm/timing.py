"""Pure: what the times of reads say of where the bytes came from."""

from collections.abc import Sequence
from statistics import median
from typing import Final

APART_MIN: Final = 3.0
"""First reads must take this many times as long as the middle one of the sample, or nothing is said."""


def verdict(first_s: float, times_s: Sequence[float]) -> list[bool] | None:
    """For each read of a sample whether it was slow, as first reads are; None where nobody can tell.

    ``first_s`` is what the middle one of the first reads took, 0 where there were none.
    """
    if not times_s or first_s <= 0 or first_s < APART_MIN * median(times_s):
        return None
    # Half-way between the two on a scale of ratios.
    border_s = (first_s * median(times_s)) ** 0.5
    return [time_s > border_s for time_s in times_s]

"""Pure: how a job is cut up, so that many workers share it and end together.

A listing is cut at keys: ``(a, c]`` at ``b`` becomes ``(a, b]`` and ``(b, c]``, so whatever the
points, the ranges hold every key exactly once. Points only decide how even the ranges are, which is
why they may be guesses (``bisecting``): a key need not exist to be a point.

What is planned is cut into shards whose size follows what waits in the queue and how large the
fleet is.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

PIECES_MAX: Final = 8
"""Pieces that a shard under way is cut into at a time; each may be cut again."""

PIECE_S: Final = 0.25
PIECE_OBJECTS_MIN: Final = 8
"""The smallest piece: less work than this, or fewer objects, are not worth a step of the queue."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys after ``after``, up to and with ``upto``; None is the end of everything."""

    after: str = ""
    upto: str | None = None

    def __post_init__(self) -> None:
        if self.upto is not None and self.upto <= self.after:
            raise ValueError(f"no such key range: after {self.after!r} up to {self.upto!r}")

    @property
    def stop_at(self) -> str | None:
        """The exclusive bound of a listing: the key that comes right after ``upto``."""
        return None if self.upto is None else self.upto + "\0"

    def contains(self, key: str) -> bool:
        """Whether a key is in the range."""
        return key > self.after and (self.upto is None or key <= self.upto)

    def split(self, points: Iterable[str]) -> "list[KeyRange]":
        """Cut at every point that lies inside; without one, the range itself."""
        inside = sorted({each for each in points if self.contains(each) and each != self.upto})
        bounds = [self.after, *inside, self.upto]
        return [KeyRange(low or "", high) for low, high in pairwise(bounds)]


def piece_size(left: int, per_s: float) -> int:
    """How many objects of a shard under way to keep, for a fleet in which nothing waits.

    The rest goes into pieces of the same size: a few, of no less than ``PIECE_S`` of work. Returns
    ``left`` where that is too little to be cut.
    """
    smallest = max(PIECE_OBJECTS_MIN, math.ceil(per_s * PIECE_S))
    pieces = min(PIECES_MAX, left // smallest)
    return left if pieces < 2 else -(-left // pieces)


def shard_size(open_tasks: int, slots: int, *, largest: int, smallest: int) -> int:
    """How large the next shard should be, so that a job's last minute has no straggler.

    While there is more waiting than the slots of the fleet can take, shards are as large as they
    may be; where there is less, a shard is cut into pieces for those who would have nothing to do
    (guided self-scheduling, Polychronopoulos and Kuck, 1987).
    """
    if slots < 1 or open_tasks >= slots:
        return largest
    return max(smallest, largest // -(-slots // max(open_tasks, 1)))


SLOTS_WHOLE: Final = 2000
"""A fleet of so many slots (five hundred workers) is given whole shards only."""


def smallest_shard(slots: int, *, largest: int, smallest: int) -> int:
    """The least that a shard may be cut down to for a fleet of so many slots.

    It grows with the fleet, because a fleet works off objects as fast as it is large, and the queue
    bears the same number of steps a second whoever asks. Cut to the least for a thousand workers, a
    job asked for twenty times the steps, the queue was busy with them, the listing waited for the
    queue, and the workers, who still had nothing to do, were the reason to cut on
    (docs/scaling.md).
    """
    return min(largest, max(smallest, largest * slots // SLOTS_WHOLE))


def tasks_ahead(slots: int, *, least: int) -> int:
    """How many tasks may be open before planning waits: one at work and one waiting for each slot."""
    return max(least, 2 * slots)


PACKING_SLOTS: Final = 400


def packs_payloads(slots: int) -> bool:
    """Whether a fleet of so many slots (from a hundred workers on) compresses its shards.

    A shard of a thousand objects then costs the fleet 0.36 ms more, a thousandth of what moving them
    costs, and the queue's one thread 0.12 less, a quarter of what the shard costs it. A small fleet
    leaves that thread idle, and its planners have better things to do (docs/scaling.md).
    """
    return slots >= PACKING_SLOTS


def first_ranges(slots: int, *, least: int) -> int:
    """How many ranges a long listing is first cut into: one for every sixteen slots.

    A worker of four slots moves up to 2,500 small objects a second; a range, with a page of a
    thousand keys in 40 ms, brings 25,000. One range for four workers is twice what they need.
    """
    return max(least, slots // 16)

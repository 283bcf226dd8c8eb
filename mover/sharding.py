"""Pure: how a job is cut up, so that many workers share it and end together.

Two cuts. ``KeyRange`` cuts a listing: ranges of keys that several workers list side by side. Where
to cut is guessed (``bisecting``); that nothing is lost or doubled holds for any guess.
``shard_limits`` cuts what is planned: large shards first, and smaller ones towards the end, so that
no worker is left alone with a large one in the last minute.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mover.planning import DEFAULT_LIMITS, ShardLimits

SMALLEST: Final = ShardLimits(objects=50, size_bytes=4 * 1024 * 1024)
"""Below this a shard is quicker to do than to hand out."""

ROUNDS_LEFT: Final = 2
"""A shard is this part of a slot's even share of what is left. Polychronopoulos and Kuck (1987)
take the whole share; half of it (Hummel's factoring, 1992) leaves room for shards that turn out
slower than others."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys of a prefix after ``after``, up to and with ``upto``; None is to the end.

    Keys compare as ``str``, which is how listings are ordered (``Capabilities.ordered``).
    """

    after: str = ""
    upto: str | None = None

    def __post_init__(self) -> None:
        if self.upto is not None and self.upto <= self.after:
            raise ValueError(f"no such key range: after {self.after!r} up to {self.upto!r}")

    @property
    def stop_at(self) -> str | None:
        """The bound for ``Transport.list(stop_at=)``: the first text after ``upto``."""
        return None if self.upto is None else self.upto + "\0"

    def contains(self, key: str) -> bool:
        """Whether a key of the prefix lies in this range."""
        return self.after < key and (self.upto is None or key <= self.upto)

    def split(self, points: Iterable[str]) -> list["KeyRange"]:
        """Cut behind each of these points: ranges in order, without a gap and without overlap.

        Points that are not inside the range, and repeated ones, cut nothing.
        """
        cuts = sorted(
            {
                point
                for point in points
                if self.after < point and (self.upto is None or point < self.upto)
            }
        )
        bounds: list[str | None] = [self.after, *cuts, self.upto]
        return [KeyRange(after or "", upto) for after, upto in pairwise(bounds)]


def shard_limits(
    *,
    left_objects: int | None,
    left_bytes: int | None,
    slots: int,
    largest: ShardLimits = DEFAULT_LIMITS,
) -> ShardLimits:
    """How large the next shard should be.

    ``left_objects`` and ``left_bytes`` are what is planned and not yet cut, None while that is not
    known. ``slots`` is the number of shards that the fleet works on at a time. Of a job as large
    as the fleet is wide each slot gets something at once; of a larger one the first shards are the
    largest, and each later one is smaller.
    """
    return ShardLimits(
        objects=_share(left_objects, slots, SMALLEST.objects, largest.objects),
        size_bytes=_share(left_bytes, slots, SMALLEST.size_bytes, largest.size_bytes),
    )


def _share(left: int | None, slots: int, smallest: int, largest: int) -> int:
    if left is None:
        return largest
    share = -(-left // (ROUNDS_LEFT * max(1, slots)))
    return min(max(share, smallest), largest)

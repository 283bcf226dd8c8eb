"""Pure: what fits into a cache directory, and what goes from it to make room.

Whoever was not used longest goes first. A file was used when a job said so, or when its file system says so;
the second costs a look at the file, so it is only asked of files that may be next.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

MARGIN_SHARE = 100
MARGIN_BYTES_MAX = 1 << 30
"""A disk keeps a hundredth of itself free, at most one GiB: others write to it too."""


class Candidate(NamedTuple):
    """A file that may go: nobody who runs needs it. ``used_ns`` is when a job said that it needs it."""

    number: int
    path: bytes
    size: int
    used_ns: int


class Room(NamedTuple):
    """What a cache directory holds and may hold, in bytes.

    ``capacity`` is what it may hold in all, 0 for no bound; ``held`` is what its files take, ``reserved`` what is
    on its way. ``free`` and ``disk`` are of the file system, as it has them now.
    """

    capacity: int
    held: int
    reserved: int
    free: int
    disk: int

    @property
    def margin(self) -> int:
        return min(MARGIN_BYTES_MAX, self.disk // MARGIN_SHARE)

    @property
    def left(self) -> int:
        """What may come without anything going; below 0 where there is too much already."""
        # What is on its way may lie on the disk in part: it is counted twice rather than never.
        on_disk = self.free - self.margin - self.reserved
        if not self.capacity:
            return on_disk
        return min(self.capacity - self.held - self.reserved, on_disk)

    @property
    def most(self) -> int:
        """What could be held in all, were nothing else here; of the disk, what others left."""
        on_disk = max(0, self.free + self.held - self.margin)
        return min(self.capacity, on_disk) if self.capacity else on_disk


def admitted(sizes: Sequence[int], room_bytes: int) -> list[int]:
    """Which of these fit together, by their places: each, in order, that still fits."""
    found = []
    for place, size in enumerate(sizes):
        if size <= room_bytes:
            found.append(place)
            room_bytes -= size
    return found


def victims(
    candidates: Iterable[Candidate], last_read_ns: Callable[[Candidate], int], wanted_bytes: int
) -> list[Candidate]:
    """The least recently used files that together have ``wanted_bytes``, or all of them.

    ``candidates`` come in the order of ``used_ns``, and no more of them are taken than need be.
    ``last_read_ns`` is asked at most once of each. What is returned has the later time of the two.
    """
    found: list[Candidate] = []
    if wanted_bytes <= 0:
        return found
    coming = iter(candidates)
    following = next(coming, None)
    known: list[tuple[int, bytes, Candidate]] = []
    while wanted_bytes > 0 and (known or following is not None):
        # One that is not known yet was used at ``used_ns`` at the earliest.
        while following is not None and (not known or following.used_ns <= known[0][0]):
            used_ns = max(following.used_ns, last_read_ns(following))
            exact = following._replace(used_ns=used_ns)
            heapq.heappush(known, (used_ns, following.path, exact))
            following = next(coming, None)
        _, _, oldest = heapq.heappop(known)
        found.append(oldest)
        wanted_bytes -= oldest.size
    return found

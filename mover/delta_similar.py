"""Pure: which objects of a target may be like one that it lacks, by what listings tell.

A target may have any number of objects, so only its largest are remembered, in a *roster* of at most
``ROSTER_OBJECTS``. Who asks it gets a few names, however many there are: what is alike in size, in
name, or in both, the likeliest first. Whether they really are alike, bytes must tell.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappush, heapreplace
from itertools import islice
from typing import Final

from transports.model import Entry, Kind

ROSTER_OBJECTS: Final = 20_000
"""Objects of a target that are remembered: the largest, and of equal size those listed first."""

CANDIDATES: Final = 4
"""Objects that are looked at for one that is new."""

NEIGHBOURS: Final = 16
"""Entries of each order of the roster that are weighed for one object."""

APART: Final = 4
"""An object of less than a quarter or more than four times the size is no candidate: of the one too
little could come, of the other too much would be signed."""

_NUMBER: Final = re.compile(r"\d+")


class RosterMaker:
    """Gathers the largest objects of a listing, of more than ``more_than_bytes``."""

    def __init__(self, more_than_bytes: int, *, count_max: int = ROSTER_OBJECTS) -> None:
        self._more_than_bytes = more_than_bytes
        self._count_max = count_max
        self._seen = 0
        self._heap: list[tuple[int, int, Entry]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, page: Iterable[Entry]) -> None:
        """Take the next entries of the listing."""
        for entry in page:
            if entry.size <= self._more_than_bytes or entry.kind is not Kind.OBJECT:
                continue
            self._seen += 1
            item = (entry.size, -self._seen, entry)  # of equal ones the latest goes first
            if len(self._heap) < self._count_max:
                heappush(self._heap, item)
            elif item > self._heap[0]:
                heapreplace(self._heap, item)

    def finish(self) -> "Roster":
        """The roster of what was listed."""
        return Roster(entry for _, _, entry in self._heap)


class Roster:
    """Objects in the orders in which like ones stand beside each other. Immutable."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        self._by_size = _ordered(entries, _size_order)
        self._by_leaf: dict[str, list[_Keyed]] = {}
        self._by_family: dict[str, list[_Keyed]] = {}
        for entry in entries:
            leaf = leaf_of(entry.key)
            self._by_leaf.setdefault(leaf, []).append((_size_order(entry), entry))
            self._by_family.setdefault(family_of(leaf), []).append((_name_order(entry), entry))
        for groups in (self._by_leaf, self._by_family):
            for group in groups.values():
                group.sort()

    def candidates(self, wanted: Entry, *, count_max: int = CANDIDATES) -> list[Entry]:
        """The objects that are likeliest to be like ``wanted``, the best first.

        ``wanted`` has the key that it will have at the target.
        """
        leaf = leaf_of(wanted.key)
        orders = (
            (self._by_size, _size_order(wanted)),
            (self._by_leaf.get(leaf, ()), _size_order(wanted)),
            (self._by_family.get(family_of(leaf), ()), _name_order(wanted)),
        )
        near = {
            entry
            for order, place in orders
            for entry in _around(order, place, NEIGHBOURS)
            if entry.key != wanted.key and _may_serve(wanted, entry)
        }
        return sorted(near, key=lambda entry: (-likeness(wanted, entry), entry.key))[:count_max]


def likeness(wanted: Entry, other: Entry) -> float:
    """How much two entries look as if they had the same content, or nearly; 0 to 12.

    Equal size and ETag weigh most. A name weighs as much as an equal size, because pieces of one
    size need have nothing in common.
    """
    same_size = wanted.size == other.size
    leaf, other_leaf = leaf_of(wanted.key), leaf_of(other.key)
    return (
        5.0 * (same_size and wanted.etag == other.etag != "")
        + 2.0 * same_size
        + 2.0 * (leaf == other_leaf)
        + 1.0 * (family_of(leaf) == family_of(other_leaf))
        + 1.0 * _common_share(leaf, other_leaf)
        + 1.0 * min(wanted.size, other.size) / max(wanted.size, other.size, 1)
    )


def leaf_of(key: str) -> str:
    """The last name of a key."""
    return key.rpartition("/")[2]


def family_of(leaf: str) -> str:
    """A name without its numbers and case: shards, versions and dates of one thing share it."""
    return _NUMBER.sub("#", leaf).lower()


_Keyed = tuple[tuple[object, ...], Entry]
"""An entry behind what it is ordered by."""


def _ordered(
    entries: Iterable[Entry], order: Callable[[Entry], tuple[object, ...]]
) -> list[_Keyed]:
    return sorted((order(entry), entry) for entry in entries)


def _size_order(entry: Entry) -> tuple[object, ...]:
    return entry.size, leaf_of(entry.key), entry.key


def _name_order(entry: Entry) -> tuple[object, ...]:
    return leaf_of(entry.key), entry.key


def _around(order: Sequence[_Keyed], place: tuple[object, ...], count: int) -> Iterator[Entry]:
    """The entries on both sides of where ``place`` would stand, ``count`` in all at most."""
    at = bisect_left(order, (place,))
    first = max(0, min(at - count // 2, len(order) - count))
    return (entry for _, entry in islice(order, first, first + count))


def _may_serve(wanted: Entry, other: Entry) -> bool:
    return other.size <= wanted.size * APART and wanted.size <= other.size * APART


def _common_share(one: str, other: str) -> float:
    """What of the longer name is the same at the beginnings and at the ends of both."""
    shorter, longer = sorted((one, other), key=len)
    before = _common(shorter, longer)
    after = _common(shorter[before:][::-1], longer[::-1])
    return (before + after) / max(len(longer), 1)


def _common(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count

"""Does it fit: what a dataset needs on each node beside what its cache can hold, and what of it is taken if not."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

from mover.units import format_bytes

FIT_SHARE: Final = 0.97
"""Of the room of a cache, what is taken by a part of a dataset that is chosen by names: their sizes differ."""

_HASHES: Final = 2**64


class Cache(NamedTuple):
    """A cache of one node: where it is there, and what it can hold; 0 where nobody says."""

    where: str
    capacity_bytes: int

    def holds(self, size: int) -> bool:
        """Whether a file is not larger than all of it."""
        return not self.capacity_bytes or size <= self.capacity_bytes


class Part(NamedTuple):
    """What of a dataset each node reads (1.0: all that it shall have), and why not all; "" where it is all."""

    fractions: Mapping[str, float] = MappingProxyType({})
    why: str = ""

    @property
    def is_nothing(self) -> bool:
        return bool(self.why) and not any(self.fractions.values())

    def leaves(self, name: str, size: int, caches: Mapping[str, Cache]) -> set[str]:
        """The nodes that leave a file out, of those whose caches these are."""
        if not self.why:
            return set()
        return {
            node
            for node, cache in caches.items()
            if not cache.holds(size) or not is_taken(name, self.fractions.get(node, 1.0))
        }


@dataclass(slots=True)
class Rooms:
    """What every cache (by where it is) has to hold on every node, beside what it can."""

    capacity_bytes: dict[tuple[str, str], int] = field(default_factory=dict)
    needed: Counter[tuple[str, str]] = field(default_factory=Counter)
    hopeless: Counter[tuple[str, str]] = field(default_factory=Counter)

    def need(self, caches: Mapping[str, Cache], nodes: Sequence[str], size: int) -> None:
        """Count so many bytes for these nodes, each of which has a cache of its own.

        What is larger than the whole cache is in nobody's way.
        """
        for node in nodes:
            cache = caches[node]
            key = cache.where, node
            self.capacity_bytes[key] = cache.capacity_bytes
            (self.needed if cache.holds(size) else self.hopeless)[key] += size

    @property
    def is_enough(self) -> bool:
        return not self.hopeless and all(self._share(key) >= 1.0 for key in self.needed)

    def fraction(self, node: str) -> float:
        """What part of all that is not larger than a whole cache a node can hold: 1.0 for all of it."""
        worst = min((self._share(key) for key in self.needed if key[1] == node), default=1.0)
        return 1.0 if worst >= 1.0 else worst * FIT_SHARE

    def shortage(self) -> str:
        """What does not fit, in one line with numbers; of the fullest cache."""
        total = self.needed + self.hopeless
        worst = max(total, key=lambda key: total[key] / (self.capacity_bytes[key] or math.inf))
        needed, capacity = total[worst], self.capacity_bytes[worst]
        return (
            f"the dataset needs {format_bytes(needed)} on node {worst[1]}, and the cache"
            f" {worst[0]} can hold {format_bytes(capacity)}"
        )

    def _share(self, key: tuple[str, str]) -> float:
        needed, capacity_bytes = self.needed[key], self.capacity_bytes[key]
        return capacity_bytes / needed if needed and capacity_bytes else 1.0


def is_taken(name: str, fraction: float) -> bool:
    """Whether a file belongs to the part of a dataset that is taken: chosen by its name, the same in every run."""
    if fraction >= 1.0:
        return True
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * _HASHES

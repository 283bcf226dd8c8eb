"""Does it fit: what a dataset needs on each node beside what its cache can hold, and what of it is taken if not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from mover.units import format_bytes

FIT_SHARE: Final = 0.97
"""Of the room of a cache, what is taken by a part of a dataset that is chosen by names: their sizes differ."""

_HASHES: Final = 2**64


@dataclass(slots=True)
class Rooms:
    """What every cache (by where it is) has to hold on every node, beside what it can."""

    capacity_bytes: dict[str, int] = field(default_factory=dict)
    needed: Counter[tuple[str, str]] = field(default_factory=Counter)
    hopeless: Counter[tuple[str, str]] = field(default_factory=Counter)

    def need(self, where: str, capacity_bytes: int, nodes: Sequence[str], size: int) -> None:
        """Count so many bytes for these nodes; what is larger than the whole cache is in nobody's way."""
        self.capacity_bytes[where] = capacity_bytes
        counts = self.hopeless if size > capacity_bytes else self.needed
        for node in nodes:
            counts[where, node] += size

    @property
    def is_enough(self) -> bool:
        return not self.hopeless and self.fraction >= 1.0

    @property
    def fraction(self) -> float:
        """What part of all that is not larger than a whole cache can be held everywhere: 1.0 for all of it."""
        worst = min((self._share(key) for key in self.needed), default=1.0)
        return 1.0 if worst >= 1.0 else worst * FIT_SHARE

    def shortage(self) -> str:
        """What does not fit, in one line with numbers; of the fullest cache."""
        total = self.needed + self.hopeless
        where, node = max(total, key=lambda key: total[key] / self.capacity_bytes[key[0]])
        needed, capacity = total[where, node], self.capacity_bytes[where]
        return (
            f"the dataset needs {format_bytes(needed)} on node {node}, and the cache"
            f" {where} can hold {format_bytes(capacity)}"
        )

    def _share(self, key: tuple[str, str]) -> float:
        needed = self.needed[key]
        return self.capacity_bytes[key[0]] / needed if needed else 1.0


def is_taken(name: str, fraction: float) -> bool:
    """Whether a file belongs to the part of a dataset that is taken: chosen by its name, the same in every run."""
    if fraction >= 1.0:
        return True
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * _HASHES

"""A sorted list of keys that answers the looks of a search, and counts them."""

from __future__ import annotations

import hashlib
import random
import uuid
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from mover.bisecting import FirstAfter, Look, Search, Steps, find_points
from mover.sharding import KeyRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class SortedStore:
    """``looks`` counts what was asked, ``rounds`` how often looks went together."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = sorted(keys)
        self.looks = 0
        self.rounds = 0

    def points(
        self, wanted: int, *, prefix: str = "", span: KeyRange | None = None, limit: int = 1000
    ) -> list[str]:
        return self.run(find_points(Search(limit=limit), prefix, span or KeyRange(), wanted))

    def run(self, steps: Steps[list[str]]) -> list[str]:
        try:
            looks = next(steps)
            while True:
                self.looks += len(looks)
                self.rounds += 1
                looks = steps.send([self.answer(look) for look in looks])
        except StopIteration as end:
            found: list[str] = end.value
            return found

    def answer(self, look: Look) -> Sequence[str]:
        if isinstance(look, FirstAfter):
            begins = look.key < look.prefix
            place = bisect_left(self.keys, look.prefix) if begins else 0
            place = place if begins else bisect_right(self.keys, look.key)
            found = self.keys[place : place + 1]
            return [key for key in found if key.startswith(look.prefix)]
        names: list[str] = []
        place = bisect_left(self.keys, max(look.prefix, look.start_after))
        while place < len(self.keys) and len(names) < look.limit:
            key = self.keys[place]
            if not key.startswith(look.prefix):
                break
            slash = key.find("/", len(look.prefix))
            name = key[: slash + 1] or key
            if name > look.start_after:
                names.append(name)
            past = name[:-1] + "0"  # the character behind the slash: after all that lies below it
            place = bisect_right(self.keys, key) if slash < 0 else bisect_left(self.keys, past)
        return names

    def sizes(self, ranges: Sequence[KeyRange]) -> list[int]:
        """The number of keys in each range."""
        bounds = [
            len(self.keys) if each.upto is None else bisect_right(self.keys, each.upto)
            for each in ranges
        ]
        return [stop - start for start, stop in zip([0, *bounds], bounds, strict=False)]


def _hex(number: int) -> str:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def _uuids(count: int) -> list[str]:
    rng = random.Random(7)
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)]


COUNT = 20_000

KEY_SETS: dict[str, list[str]] = {
    "decimal": [f"obj-{n:07}" for n in range(COUNT)],
    "decimal-of-an-odd-count": [f"{n:07}" for n in range(15_000)],
    "decimal-and-extension": [f"img.{n:06}.png" for n in range(COUNT)],
    "unpadded": [f"f{n}" for n in range(10_000)],
    "hex": [_hex(n) for n in range(COUNT)],
    "upper-hex": [_hex(n).upper() for n in range(COUNT)],
    "uuid": _uuids(COUNT),
    "two-kinds": [f"{kind}_{n:05}" for kind in ("img", "vid") for n in range(COUNT // 2)],
    "few-large-directories": [f"d{d}/{n:05}" for d in range(10) for n in range(2_000)],
    "some-small-directories": [f"d{d:02}/{n:03}" for d in range(13) for n in range(900)],
    "many-directories": [f"d{d:04}/{n}" for d in range(2_000) for n in range(10)],
    "dates": [
        f"2024/{month:02}/{day:02}/{n:02}"
        for month in range(1, 13)
        for day in range(1, 29)
        for n in range(60)
    ],
    "deep": [f"a/b/c/d/{n:06}" for n in range(COUNT)],
}

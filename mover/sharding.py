"""Pure: ranges of keys, where to cut them, and how to find out.

A listing is cut at keys: ``(a, c]`` at ``b`` becomes ``(a, b]`` and ``(b, c]``, so whatever the
points, the ranges hold every key exactly once. Points only decide how even the ranges are, which is
why they may be guesses: a key need not exist to be a point.

Decisions that need answers from a store are generators: they yield a key, and are sent the first
key after it (or None). So they need no store to be tested, and no event loop.
"""

import bisect
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

HIGHEST: Final = "\U0010ffff"
"""Sorts after every character that a key may hold at its place."""

DIGITS_MAX: Final = 4
"""Characters after the common prefix that interpolation looks at: 10,000 places for decimal names."""

LEVELS_MAX: Final = 2
"""Characters of the last key that are searched for: a hundredth of a decimal range is near enough."""

WIDENINGS_MAX: Final = 3
"""Guesses of an alphabet: digits, then hexadecimal, then what it takes."""

_ALPHABETS: Final = (
    "0123456789",
    "0123456789abcdef",
    "0123456789ABCDEF",
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
)

Search = Generator[str, str | None, str | None]
"""Yields a key, is sent the first key after it, and returns what it was looking for."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys after ``after``, up to and with ``upto``; None is the end of everything."""

    after: str = ""
    upto: str | None = None

    @property
    def stop_at(self) -> str | None:
        """The exclusive bound of a listing: the key that comes right after ``upto``."""
        return None if self.upto is None else self.upto + "\0"

    def holds(self, key: str) -> bool:
        """Whether a key is in the range."""
        return key > self.after and (self.upto is None or key <= self.upto)

    def split(self, points: Sequence[str]) -> "list[KeyRange]":
        """Cut at every point that lies inside; without one, the range itself."""
        inside = sorted({point for point in points if self.holds(point) and point != self.upto})
        bounds = [self.after, *inside, self.upto]
        return [KeyRange(low or "", high) for low, high in pairwise(bounds)]


def even_points(names: Sequence[str], wanted: int) -> list[str]:
    """``wanted - 1`` of the names, in order, that divide them evenly."""
    return [names[len(names) * number // wanted] for number in range(1, wanted)] if names else []


def alphabet_of(characters: set[str]) -> str:
    """The smallest usual alphabet that has all these characters; else everything between them."""
    for alphabet in _ALPHABETS:
        if characters <= set(alphabet):
            return alphabet
    low, high = ord(min(characters)), ord(max(characters))
    return "".join(map(chr, range(low, min(high, low + 255) + 1)))


def points_between(low: str, high: str, wanted: int, seen: Sequence[str]) -> list[str]:
    """``wanted - 1`` keys that divide the names between two keys evenly, if names are spread evenly.

    Linear interpolation in mixed radix: the characters after the common prefix are digits, each of
    the alphabet that the seen keys have at its place.
    """
    start = len(common_prefix(low, high))
    alphabets = _alphabets([low, high, *seen], low[:start], start)
    first, last = _number(low, start, alphabets), _number(high, start, alphabets)
    points = []
    for number in range(1, wanted):
        digits = _digits(first + (last - first) * number // wanted, alphabets)
        points.append(low[:start] + digits)
    return points


def common_prefix(one: str, other: str) -> str:
    """The longest text that both begin with."""
    length = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        length += 1
    return one[:length]


def _alphabets(keys: Sequence[str], prefix: str, start: int) -> list[str]:
    of_prefix = [key for key in keys if key.startswith(prefix)]
    alphabets = []
    for place in range(start, start + DIGITS_MAX):
        characters = {key[place] for key in of_prefix if len(key) > place}
        if not characters:
            break
        alphabets.append(alphabet_of(characters))
    return alphabets or [alphabet_of({"0", "z"})]


def _number(key: str, start: int, alphabets: list[str]) -> int:
    number = 0
    for place, alphabet in enumerate(alphabets, start):
        digit = bisect.bisect_left(alphabet, key[place]) if len(key) > place else 0
        number = number * len(alphabet) + min(digit, len(alphabet) - 1)
    return number


def _digits(number: int, alphabets: list[str]) -> str:
    digits = []
    for alphabet in reversed(alphabets):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return "".join(reversed(digits))


def find_last(known: str, prefix: str, seen: Sequence[str]) -> Search:
    """Find about where the keys with ``prefix`` end, from a key that is known to exist.

    Returns a key that is not far below the last one, or None when nothing comes after ``known``.
    First the shortest beginning of ``known`` is found that some later key does not share, then the
    next characters are searched for, each by halving its alphabet: a dozen questions for a million
    decimal names.
    """
    shared = yield from _shared_length(known, prefix)
    base, best = known[:shared], known
    for _ in range(LEVELS_MAX):
        characters = {
            key[len(base)]
            for key in (*seen, known, best)
            if len(key) > len(base) and key.startswith(base)
        }
        alphabet = yield from _wide_enough(base, characters)
        character, found = yield from _last_character(base, alphabet)
        best = max(best, found)
        base += character
    return best if best > known else None


def _wide_enough(base: str, characters: set[str]) -> Generator[str, str | None, str]:
    """An alphabet of what follows ``base``: of the characters seen, and of what comes after them."""
    alphabet = alphabet_of(characters or {"0"})
    for _ in range(WIDENINGS_MAX):
        beyond = yield base + alphabet[-1] + HIGHEST
        if beyond is None or not beyond.startswith(base):
            break
        characters = characters | {beyond[len(base)]}
        alphabet = alphabet_of(characters)
    return alphabet


def _shared_length(known: str, prefix: str) -> Generator[str, str | None, int]:
    """How much of ``known`` all later keys share: the longest beginning that nothing goes beyond."""
    low, high = len(prefix), len(known)
    while low < high:
        middle = (low + high + 1) // 2
        beyond = yield known[:middle] + HIGHEST
        if beyond is None:
            low = middle
        else:
            high = middle - 1
    return low


def _last_character(base: str, alphabet: str) -> Generator[str, str | None, tuple[str, str]]:
    """The greatest character that follows ``base`` in some key, and a key that has it (or "")."""
    character, found = alphabet[0], ""
    low, high = 0, len(alphabet)
    while low < high:
        middle = (low + high) // 2
        # The first key at or after base + character: no key ends in NUL before it.
        answer = (
            yield base + alphabet[middle] if middle == 0 else base + alphabet[middle - 1] + HIGHEST
        )
        if answer is not None and answer.startswith(base) and len(answer) > len(base):
            found, character = max(found, answer), answer[len(base)]
            low = max(bisect.bisect_right(alphabet, character), middle + 1)
        else:
            high = middle
    return character, found


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


def first_ranges(slots: int, *, least: int) -> int:
    """How many ranges a long listing is first cut into: one for every sixteen slots.

    A worker of four slots moves up to 2,500 small objects a second; a range, with a page of a
    thousand keys in 40 ms, brings 25,000. One range for four workers is twice what they need.
    """
    return max(least, slots // 16)

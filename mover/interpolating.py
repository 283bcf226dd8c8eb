"""Pure: the key at a fraction of a range, read off the keys that have been seen of it.

Names that people and programs give are numbers more often than not: padded decimals, hex, base64,
UUIDs. In the places where they differ they use one set of characters, more or less evenly. So a
range between two keys is a range between two numbers of mixed radix, and the key at a fraction of
it is found by linear interpolation.

Keys compare as ``str``, as listings are ordered. A wrong guess costs balance, never correctness:
any text whatever may cut a listing.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

_DIGITS: Final = "0123456789"
_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER: Final = _UPPER.lower()

ALPHABETS: Final = (
    _DIGITS,
    _DIGITS + _LOWER[:6],
    _DIGITS + _UPPER[:6],
    _LOWER,
    _UPPER,
    _DIGITS + _LOWER,
    _DIGITS + _UPPER,
    _UPPER + _LOWER,
    _DIGITS + _UPPER + _LOWER,
    "".join(sorted(_DIGITS + _UPPER + _LOWER + "-_")),
    "".join(map(chr, range(0x20, 0x7F))),
)
"""From narrow to wide, each in the order of its characters."""

WIDTH_MAX: Final = 8
"""Places that interpolation looks at; more do not show in the balance."""

_RADIX_MAX: Final = 1 << 48
"""Values stay below this, so that a float holds them exactly."""


def common_length(one: str, other: str) -> int:
    """How many characters two keys have in common at their beginning."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def narrowest(characters: set[str]) -> str:
    """The narrowest alphabet that has all of these characters, in order."""
    for alphabet in ALPHABETS:
        if characters.issubset(alphabet):
            return alphabet
    return "".join(sorted(characters))


def alphabet_at(samples: Sequence[str], place: int) -> str:
    """The characters to be expected at a place of keys like these; "" when they all end before it.

    A few samples show few characters of one place, so the places around it are asked as well: the
    run of letters and digits that it lies in, where all samples agree on its borders.
    """
    column = _column(samples, place)
    if not column or _is_border(column):
        return "".join(column)
    pool: set[str] = set()
    for step in (1, -1):
        at = place
        while at >= 0 and (near := _column(samples, at)) and not _is_border(near):
            if len(near) > 1:
                pool |= near
            at += step
    # Other signs than those of base64 stand between parts of a name: they are none of its digits.
    pool = {each for each in pool if each.isalnum() or each in "-_" or each in column} or column
    alphabet = narrowest(pool)
    # A place that never changes and does not fit in is a letter between numbers.
    return "".join(column) if len(column) == 1 and not column <= set(alphabet) else alphabet


def _column(samples: Sequence[str], place: int) -> set[str]:
    return {key[place] for key in samples if len(key) > place}


def _is_border(column: set[str]) -> bool:
    return len(column) == 1 and not next(iter(column)).isalnum()


def interpolate(
    first: str, last: str, fractions: Sequence[float], samples: Sequence[str]
) -> list[str]:
    """The keys at these fractions of the range from ``first`` to ``last``, in the same order.

    ``last`` may be the beginning of the last key only. ``samples`` are keys of the range.
    """
    start = common_length(first, last)
    alphabets: list[str] = []
    radix = 1
    for place in range(start, start + WIDTH_MAX):
        seen = {text[place] for text in (first, last) if len(text) > place}
        alphabet = "".join(sorted(seen | set(alphabet_at(samples, place))))
        if not alphabet or radix * len(alphabet) > _RADIX_MAX:
            break
        alphabets.append(alphabet)
        radix *= len(alphabet)
    low = _value(first[start:], alphabets, lowest=True)
    high = _value(last[start:], alphabets, lowest=False) + 1
    return [
        first[:start] + _text(low + int(fraction * (high - low)), alphabets)
        for fraction in fractions
    ]


def _value(text: str, alphabets: Sequence[str], *, lowest: bool) -> int:
    """The number that a text is; where it is too short, its lowest or highest continuation's."""
    value = 0
    for place, alphabet in enumerate(alphabets):
        if place < len(text):
            digit = min(bisect_left(alphabet, text[place]), len(alphabet) - 1)
        else:
            digit = 0 if lowest else len(alphabet) - 1
        value = value * len(alphabet) + digit
    return value


def _text(value: int, alphabets: Sequence[str]) -> str:
    digits = []
    for alphabet in reversed(alphabets):
        value, digit = divmod(value, len(alphabet))
        digits.append(digit)
    digits.reverse()
    while len(digits) > 1 and not digits[-1]:
        digits.pop()  # the lowest continuation says nothing
    return "".join(alphabet[digit] for alphabet, digit in zip(alphabets, digits, strict=False))

"""Keys that stand for numbers, so that the product's own search and cuts run on them unchanged."""

from __future__ import annotations

from mover.bisecting import FirstAfter, Look, Search, find_points
from mover.sharding import KeyRange
from mover.splitting import NAMES_MAX

WIDTH = 12


def name_of(number: int) -> str:
    """The key of an object, the numbers in order; below 0 there is the beginning of everything."""
    return f"{number:0{WIDTH}d}" if number >= 0 else ""


def last_at(key: str) -> int:
    """The number of the last key that is not after ``key`` (of decimal digits, maybe fewer)."""
    value = int(key.ljust(WIDTH, "0")) if key else 0
    return value if len(key) >= WIDTH else value - 1


def first_after(key: str, count: int) -> str | None:
    """What a store with ``count`` such keys answers: its first key after ``key``."""
    digits = key[:WIDTH]
    places = next((at for at, each in enumerate(digits) if each > "9"), len(digits))
    if places < len(digits):  # beyond everything that begins with these digits
        number = (int(digits[:places] or "0") + 1) * 10 ** (WIDTH - places) if places else count
    elif len(digits) < WIDTH:
        number = int(digits.ljust(WIDTH, "0"))
    else:
        number = int(digits) + 1
    return name_of(number) if number < count else None


def cut(
    after: int, upto: int | None, *, wanted: int, count: int
) -> tuple[list[tuple[int, int | None]], int]:
    """Cut the numbers after one up to another, as ``mover.splitting`` cuts a flat range of keys.

    Returns the ranges, and how many turns of questions to the store that took.
    """
    span = KeyRange(name_of(after), None if upto is None else name_of(upto))
    seen = [name_of(each) for each in range(max(0, after - 9), after + 1)]
    steps = find_points(Search(limit=NAMES_MAX, seen=seen), "", span, wanted)
    turns = 0
    try:
        looks = next(steps)
        while True:
            turns += 1
            looks = steps.send([_answer(look, count) for look in looks])
    except StopIteration as end:
        ranges = span.split(end.value)
    return [_numbers(each, after) for each in ranges], turns


def _numbers(span: KeyRange, after: int) -> tuple[int, int | None]:
    low = after if span.after == name_of(after) else last_at(span.after)
    return low, None if span.upto is None else last_at(span.upto)


def _answer(look: Look, count: int) -> list[str]:
    if isinstance(look, FirstAfter):
        key = first_after(look.key, count)
        return [] if key is None or not key.startswith(look.prefix) else [key]
    first = max(last_at(look.start_after) + 1 if look.start_after else 0, last_at(look.prefix) + 1)
    names = (name_of(number) for number in range(first, min(first + look.limit, count)))
    return [name for name in names if name.startswith(look.prefix)]

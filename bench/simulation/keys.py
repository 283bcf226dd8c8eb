"""Keys that stand for numbers, so that the product's own search and cuts run on them unchanged."""

from __future__ import annotations

from mover.sharding import KeyRange, find_last, points_between

WIDTH = 12


def name_of(number: int) -> str:
    """The key of an object, the numbers in order; below 0 there is the beginning of everything."""
    return f"{number:0{WIDTH}d}" if number >= 0 else ""


def last_at(key: str) -> int:
    """The number of the last key that is not after ``key`` (of decimal digits, maybe fewer)."""
    value = int(key.ljust(WIDTH, "0"))
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

    Returns the ranges, and how many questions to the store that took.
    """
    low = first_after(name_of(after), count) if after >= 0 else name_of(0)
    span = KeyRange(name_of(after), None if upto is None else name_of(upto))
    questions = 2  # the names of the level, and the first key
    if low is None or not span.holds(low):
        return [(after, upto)], questions
    seen = [name_of(each) for each in range(max(0, after - 9), after + 1)]
    high = span.upto
    if high is None:
        high, asked = _found_last(low, seen, count)
        questions += asked
    if high is None or high <= low:
        return [(after, upto)], questions
    ranges = span.split(points_between(low, high, wanted, seen))
    return [_numbers(each, after) for each in ranges], questions


def _numbers(span: KeyRange, after: int) -> tuple[int, int | None]:
    low = after if span.after == name_of(after) else last_at(span.after)
    return low, None if span.upto is None else last_at(span.upto)


def _found_last(low: str, seen: list[str], count: int) -> tuple[str | None, int]:
    search = find_last(low, "", seen)
    asked = 0
    try:
        question = next(search)
        while True:
            asked += 1
            question = search.send(first_after(question, count))
    except StopIteration as end:
        found: str | None = end.value
        return found, asked

"""Pure: what to ask a store in order to cut a range of keys, and where to cut by the answers.

Each search is a generator of steps: it yields looks that do not depend on each other, is sent their
answers, and returns points to cut at. It knows no store, so that a sorted list can answer it in a
test, and whoever runs it decides how many looks are under way at a time.

1. *Trees.* Names directly under a prefix count as equally large, a directory as much as several
   objects. Where a cut falls well inside of a directory, the search goes on in there.
2. *Flat prefixes*, of which one look does not show all names. What all keys have in common is found
   by asking for a key beyond it, the last key by asking place by place for one beyond a character;
   between first and last the cuts are interpolated. Where the cuts then turn out to lie in gaps,
   the ranges that do hold keys are cut again.

All of it is guesswork on how keys are spread; any answer, however old or wrong, leads to points
that cut a range correctly.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias, TypeVar

from mover.interpolating import alphabet_at, common_length, interpolate, narrowest
from mover.sharding import KeyRange

T = TypeVar("T")

BEYOND: Final = "\U0010ffff"
"""Behind a text, this sorts after every key that begins with the text: no name has it."""

TOLERANCE: Final = 0.1
"""How far off a cut may be, as a part of one range, before a closer look is taken."""

DIRECTORY_WEIGHT: Final = 16
"""A directory counts as so many objects beside it; nothing but a listing would tell."""

DEPTH_MAX: Final = 3
"""Levels of a tree at which a search branches."""

CHAIN_MAX: Final = 16
"""Directories that hold nothing but a directory are passed, so many of them."""

FAN_OUT: Final = 3
"""Looks at a time where one after the other would do: a quarter is left instead of a half."""

PLACES_MAX: Final = 4
"""Places of the last key that are looked for."""

TURNS_MAX: Final = 6
"""Turns of looks for one place of it, and for what all keys have in common."""


@dataclass(frozen=True, slots=True)
class FirstAfter:
    """Asks for the first key after ``key`` with ``prefix``; the answer has one key or none."""

    key: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Children:
    """Asks for at most ``limit`` names directly under ``prefix`` after ``start_after``."""

    prefix: str
    start_after: str
    limit: int


Look: TypeAlias = FirstAfter | Children
Steps: TypeAlias = Generator[list[Look], list[Sequence[str]], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What holds for a whole search.

    ``limit`` is how many names a ``Children`` may bring; an answer with as many is not all. ``seeks`` says
    whether ``FirstAfter`` may be asked. ``whole`` is the number of keys that are not worth a cut.
    ``seen`` are keys of the range that somebody has listed already.
    """

    limit: int
    seeks: bool = True
    whole: int = 1000
    seen: Sequence[str] = ()


def together(searches: Sequence[Steps[T]]) -> Steps[list[T]]:
    """Run searches side by side, their looks in one list; the results in the searches' order."""
    results: dict[int, T] = {}
    asking: dict[int, list[Look]] = {}
    answers: dict[int, list[Sequence[str]] | None] = dict.fromkeys(range(len(searches)))
    while answers:
        for place, answer in answers.items():
            try:
                search = searches[place]
                asking[place] = next(search) if answer is None else search.send(answer)
            except StopIteration as end:
                asking.pop(place, None)
                results[place] = end.value
        if not asking:
            break
        given = iter((yield [look for looks in asking.values() for look in looks]))
        answers = {place: [next(given) for _ in looks] for place, looks in asking.items()}
    return [results[place] for place in range(len(searches))]


def find_points(search: Search, prefix: str, span: KeyRange, wanted: int) -> Steps[list[str]]:
    """Points that cut ``span`` of ``prefix`` into about ``wanted`` ranges of about equal size."""
    if wanted <= 1:
        return []
    if not span.after.startswith(prefix):
        if span.after > prefix:
            return []  # all keys of the prefix sort before the range
        span = KeyRange("", span.upto)
    if span.after and span.upto is not None:
        common = span.upto[: common_length(span.after, span.upto)]
        prefix = max(prefix, common, key=len)  # all keys of the range begin with it
    fractions = [number / wanted for number in range(1, wanted)]
    return (yield from _in_tree(search, prefix, span, fractions, share=float(wanted)))


# -- trees ---------------------------------------------------------------------------------------


def _in_tree(
    search: Search,
    prefix: str,
    span: KeyRange,
    fractions: Sequence[float],
    *,
    share: float,
    depth: int = 0,
    chain: int = 0,
) -> Steps[list[str]]:
    """Points at fractions of what ``span`` has under ``prefix``: as much as ``share`` ranges."""
    (found,) = yield [Children(prefix, span.after, search.limit)]
    if len(found) >= search.limit:
        if not search.seeks:
            return []
        return (yield from _in_flat(search, prefix, span, fractions, found, share=share))
    names = _names_within(found, prefix, span)
    if not depth + chain and len(names) <= search.whole and not any(map(_is_directory, names)):
        return []
    if len(names) == 1 and _is_directory(names[0]) and chain < CHAIN_MAX:
        deeper = _in_tree(
            search, names[0], span, fractions, share=share, depth=depth, chain=chain + 1
        )
        return (yield from deeper)
    points, inner = _pick(names, fractions, share=share, deepest=depth >= DEPTH_MAX)
    total = sum(map(_weight, names))
    searches = [
        _in_tree(search, name, span, inside, share=share * _weight(name) / total, depth=depth + 1)
        for name, inside in inner.items()
    ]
    results = (yield from together(searches)) if searches else []
    for name, result in zip(inner, results, strict=True):
        points += result or [name]  # a directory that cannot be cut is cut off
    return points


def _names_within(found: Sequence[str], prefix: str, span: KeyRange) -> list[str]:
    """The names that the range has a part of, the directory that it begins inside of included."""
    names = [name for name in found if span.upto is None or name < span.upto]
    slash = span.after.find("/", len(prefix))
    if span.after.startswith(prefix) and slash >= 0:
        around = span.after[: slash + 1]
        names = [around, *(name for name in names if name != around)]
    return names


def _is_directory(name: str) -> bool:
    return name.endswith("/")


def _weight(name: str) -> int:
    return DIRECTORY_WEIGHT if name.endswith("/") else 1


def _pick(
    names: Sequence[str], fractions: Sequence[float], *, share: float, deepest: bool
) -> tuple[list[str], dict[str, list[float]]]:
    """Cut between names where that is close enough; else the fractions of names to look into.

    A cut at a name leaves a directory whole on its right side, since it sorts before its content.
    """
    points: list[str] = []
    inner: dict[str, list[float]] = {}
    ends = list(accumulate(map(_weight, names)))
    for fraction in fractions:
        at = fraction * (ends[-1] if ends else 0)
        place = next((n for n, end in enumerate(ends) if at < end), len(names) - 1)
        if place < 0:
            break
        inside = (at - ends[place]) / _weight(names[place]) + 1.0
        off = min(inside, 1.0 - inside) * _weight(names[place]) * share / ends[-1]
        if off > TOLERANCE and _is_directory(names[place]) and not deepest:
            inner.setdefault(names[place], []).append(inside)
            continue
        border = place + (inside >= 0.5)
        if 0 < border < len(names):
            points.append(names[border])
    return points, inner


# -- flat prefixes -------------------------------------------------------------------------------


def _in_flat(
    search: Search,
    prefix: str,
    span: KeyRange,
    fractions: Sequence[float],
    found: Sequence[str],
    *,
    share: float,
    again: bool = True,
) -> Steps[list[str]]:
    """Points at fractions of the keys that ``span`` has under a prefix with very many names.

    ``found`` are some of the names.
    """
    flat = _Flat(prefix, span, [*found, *search.seen])
    if not flat.samples:
        flat.learn((yield [FirstAfter(span.after, prefix)]))
    if not flat.samples:
        return []
    yield from flat.find_stem()
    yield from flat.find_last(share)
    first, samples = flat.samples[0], flat.samples
    points = interpolate(first, flat.last, fractions, samples)
    if len(points) < 3:
        return points
    found_keys = yield [FirstAfter(point, prefix) for point in points]
    kept = _apart(points, found_keys, span)
    if not again or len(kept) + 1 > len(fractions) / 2:
        return kept
    # Most cuts fell into gaps. What lies between those that did not is cut by itself.
    ranges = span.split(kept)
    each = (len(fractions) + 1) // len(ranges)
    inside = [number / each for number in range(1, each)]
    bare = Search(limit=search.limit)
    searches = [
        _in_flat(bare, prefix, part, inside, (), share=float(each), again=False) for part in ranges
    ]
    results = yield from together(searches)
    return [*kept, *(point for result in results for point in result)]


def _apart(points: Sequence[str], following: Sequence[Sequence[str]], span: KeyRange) -> list[str]:
    """The points between which keys were found: of some in one gap the last."""
    kept: dict[str, str] = {}
    for point, answer in zip(points, following, strict=True):
        if answer and span.contains(answer[0]):
            kept[answer[0]] = point
    return list(kept.values())


class _Flat:
    """What is known of the keys under one prefix in one range.

    ``samples`` are sorted keys (or beginnings of keys) of it; ``last`` begins the last key.
    """

    def __init__(self, prefix: str, span: KeyRange, known: Iterable[str]) -> None:
        self.prefix = prefix
        self.span = span
        self.samples: list[str] = []
        self.last = ""
        self.learn([known])

    def learn(self, answers: Iterable[Iterable[str]]) -> None:
        """Add keys to the samples. What is not of this range is ignored."""
        self.samples = sorted(
            {
                *self.samples,
                *(
                    key
                    for answer in answers
                    for key in answer
                    if key.startswith(self.prefix) and self.span.contains(key)
                ),
            }
        )

    def find_stem(self) -> Steps[None]:
        """Find what all keys of the range have in common, and make it the beginning of ``last``."""
        first = self.samples[0]
        shared = len(self.prefix)
        if self.span.upto is not None:
            shared = max(shared, common_length(first, self.span.upto))
        longest = common_length(first, self.samples[-1])
        for _ in range(TURNS_MAX):
            if shared >= longest:
                break
            lengths = spread(range(shared + 1, longest + 1), FAN_OUT)
            answers = yield [FirstAfter(first[:n] + BEYOND, self.prefix) for n in lengths]
            self.learn(answers)
            for length, answer in zip(lengths, answers, strict=True):
                if not (answer and self.span.contains(answer[0])):
                    shared = max(shared, length)  # nothing lies beyond this beginning: all have it
            longest = max(shared, min(longest, common_length(first, self.samples[-1])))
        self.last = first[:longest]

    def find_last(self, share: float) -> Steps[None]:
        """Find the last key, place by place, as far as ``share`` ranges make it worth while."""
        fineness = share
        for place in range(len(self.last), len(self.last) + PLACES_MAX):
            yield from self._find_character(place)
            if len(self.last) <= place or fineness <= TOLERANCE:
                return
            first, alphabet = self.samples[0], self._alphabet(place)
            steps = alphabet.index(self.last[place]) + 1
            if len(first) > place == common_length(first, self.last):
                steps -= alphabet.index(first[place])
            fineness /= max(1, steps)
            if fineness <= TOLERANCE:
                return

    def _alphabet(self, place: int) -> str:
        column = {key[place] for key in self.samples if len(key) > place}
        known = alphabet_at(self.samples, place)
        return "".join(sorted(column | set(known)))

    def _find_character(self, place: int) -> Steps[None]:
        """Add the last character that keys with the beginning ``last`` have at ``place``."""
        if not self._alphabet(place):
            self.learn((yield [FirstAfter(self.last, self.last)]))
        alphabet = self._alphabet(place)
        if not alphabet:
            return  # all keys end before it
        top, closed = len(alphabet), False  # nothing known lies at ``top`` and beyond
        for _ in range(TURNS_MAX):
            low = max(0, bisect_right(alphabet, self._best(place)) - 1)
            if closed and low + 1 >= top:
                break
            # Mostly the range uses its whole alphabet: at first its last two characters tell.
            places = spread(range(low, top - 1), FAN_OUT) if closed else range(low, top)[-2:]
            asked = [alphabet[each] for each in places]
            looks: list[Look] = [FirstAfter(self.last + c + BEYOND, self.last) for c in asked]
            self.learn((yield looks))
            best = self._best(place)
            top = min([top, *(alphabet.index(c) + 1 for c in asked if best <= c)])
            closed = best <= alphabet[-1]
            if not closed:
                column = {key[place] for key in self.samples if len(key) > place}
                alphabet = narrowest(column | set(alphabet))
                top = len(alphabet)
        self.last += self._best(place)

    def _best(self, place: int) -> str:
        """The highest character known at ``place`` of keys that begin with ``last``."""
        return max(
            (key[place] for key in self.samples if len(key) > place and key.startswith(self.last)),
            default="",
        )


def spread(places: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of these places, evenly spread."""
    if len(places) <= count:
        return list(places)
    return [places[(2 * number + 1) * len(places) // (2 * count)] for number in range(count)]

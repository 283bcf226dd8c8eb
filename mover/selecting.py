"""The verdict on one key: whether it is taken.

Belongs here: applying a compiled selection to a stream of keys, fast. Pure.

Rules have rsync's meaning: the first that matches decides, what no rule matches is taken, and an
excluded directory hides all below it. rsync meets directories on its walk; keys come flat, so a
:class:`Selector` judges every parent of a key from the top and remembers the verdicts.
"""

from __future__ import annotations

import bisect
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from mover.patterns import Pattern

DIRECTORY_COUNT_MAX: Final = 4_096
"""Directories that a selector remembers. Sorted keys need only those on one path; the rest serves
two listings that are read side by side."""

BELOW_COUNT_MAX: Final = 256
"""Sets of rules that a selector keeps compiled; most trees know a handful."""

ANY_TIME_NS: Final = (-(2**63), 2**63)
"""The range of times within which every entry's time lies."""

_Match = Callable[[str], re.Match[str] | None]
_Ruling = tuple[bool, Pattern]
"""A rule as it is applied: whether it includes, and what it matches."""


class _Choice(NamedTuple):
    """One leaf of one rule; choices stand in the order of their rules."""

    include: bool
    name: str
    of_files: bool
    of_directories: bool


class _Below(NamedTuple):
    """What decides on the names directly below some directory; None where every name is taken."""

    files: _Match | None
    directories: _Match | None


class Selector:
    """Says of each key whether it is taken; built by ``Selection.compile``.

    ``literal_prefix`` begins every key that can be taken, so that a listing may start there. It
    remembers at most :data:`DIRECTORY_COUNT_MAX` directories and holds a name list whole and
    sorted. One selector serves one thread.
    """

    __slots__ = (
        "_belows",
        "_choices",
        "_conditions",
        "_directories",
        "_last_below",
        "_last_head",
        "_names",
        "_root",
        "_size_max",
        "_size_min",
        "_time_min",
        "_time_stop",
        "literal_prefix",
    )

    def __init__(
        self,
        *,
        rules: Sequence[_Ruling],
        names: list[str] | None,
        size_range: tuple[int, int],
        time_range_ns: tuple[int, int],
    ) -> None:
        """Sizes in bytes with both ends, times in nanoseconds without the second end."""
        self.literal_prefix = max(_names_prefix(names), _rules_prefix(rules), key=len)
        self._names = names
        self._size_min, self._size_max = size_range
        self._time_min, self._time_stop = time_range_ns
        self._choices: list[_Choice] = []
        self._conditions: dict[int, _Match] = {}
        for include, pattern in _deciding(rules):
            self._add(include, pattern)
        self._belows: dict[tuple[int, ...], _Below] = {}
        self._root = self._below("")
        self._directories: dict[str, _Below | None] = {"": self._root}
        # The directory of the last key, apart: sorted keys ask for the same one again and again.
        self._last_head = ""
        self._last_below: _Below | None = self._root

    def wants(self, key: str, size: int, mtime_ns: int) -> bool:
        """Whether an entry is taken; ``key`` is relative to the transfer's root, size in bytes.

        A key that ends in a slash (a folder's marker) is judged by the rules as that directory.
        """
        if not self._size_min <= size <= self._size_max:
            return False
        if not self._time_min <= mtime_ns < self._time_stop:
            return False
        if self._names is not None and not _is_in(self._names, key):
            return False
        if not self._choices:
            return True
        cut = key.rfind("/") + 1
        head = key[:cut]
        if head != self._last_head:
            self._last_below = self._enter(head)
            self._last_head = head
        below = self._last_below
        if below is None:
            return False
        # 1. A marker goes with its directory. 2. No rule here is about files.
        if cut == len(key) or below.files is None:
            return True
        match = below.files(key[cut:])
        # Only includes carry a group, so a match without one is an exclude.
        return match is None or match.lastindex is not None

    def wants_all(self, size_range: tuple[int, int], mtimes_ns: Iterable[int]) -> bool:
        """Whether entries of these sizes (both ends) and times are all taken, whatever their keys.

        The times are looked at only where they matter.
        """
        if self._names is not None or self._choices:
            return False
        if not (self._size_min <= size_range[0] and size_range[1] <= self._size_max):
            return False
        if (self._time_min, self._time_stop) == ANY_TIME_NS:
            return True
        return all(self._time_min <= time_ns < self._time_stop for time_ns in mtimes_ns)

    def wants_directory(self, key_with_slash: str) -> bool:
        """Whether anything below a directory may be taken; if not, a walk need not enter it."""
        if not key_with_slash:
            return True
        if self._names is not None:
            at = bisect.bisect_left(self._names, key_with_slash)
            if at == len(self._names) or not self._names[at].startswith(key_with_slash):
                return False
        return not self._choices or self._enter(key_with_slash) is not None

    def _add(self, include: bool, pattern: Pattern) -> None:
        of_files = () if pattern.directory_only else pattern.leaves
        for leaf in dict.fromkeys((*of_files, *pattern.directory_leaves)):
            if leaf.directory is not None:
                self._conditions[len(self._choices)] = re.compile(leaf.directory, re.DOTALL).match
            self._choices.append(
                _Choice(
                    include=include,
                    name=leaf.name,
                    of_files=leaf in of_files,
                    of_directories=leaf in pattern.directory_leaves,
                )
            )

    def _enter(self, head: str) -> _Below | None:
        """What holds below a directory (``a/b/``), or None where it or a parent is excluded."""
        unknown: list[str] = []
        here = head
        # Up to the nearest parent that is known, then down again: a parent's "no" hides the rest.
        while here and here not in self._directories:
            unknown.append(here)
            here = here[: here.rfind("/", 0, -1) + 1]
        below = self._directories[here] if here else self._root
        for directory in reversed(unknown):
            if below is not None:
                match = below.directories and below.directories(directory[len(here) : -1])
                taken = match is None or match.lastindex is not None
                below = self._below(directory) if taken else None
            if len(self._directories) >= DIRECTORY_COUNT_MAX:
                self._directories.clear()
            self._directories[directory] = below
            here = directory
        return below

    def _below(self, directory: str) -> _Below:
        text = f"/{directory}"
        active = tuple(at for at, match in self._conditions.items() if match(text) is not None)
        below = self._belows.get(active)
        if below is None:
            idle = self._conditions.keys() - set(active)
            choices = [choice for at, choice in enumerate(self._choices) if at not in idle]
            below = _Below(
                files=_first_match([c for c in choices if c.of_files]),
                directories=_first_match([c for c in choices if c.of_directories]),
            )
            if len(self._belows) >= BELOW_COUNT_MAX:
                self._belows.clear()
            self._belows[active] = below
        return below


def _is_in(names: list[str], key: str) -> bool:
    at = bisect.bisect_left(names, key)
    return at < len(names) and names[at] == key


def _deciding(rules: Sequence[_Ruling]) -> Sequence[_Ruling]:
    """The rules that can change a verdict: an include after the last exclude cannot."""
    last = max((at for at, (include, _) in enumerate(rules) if not include), default=-1)
    return rules[: last + 1]


def _first_match(choices: list[_Choice]) -> _Match | None:
    """The choices as one expression, tried in their order; a match by an include sets a group."""
    while choices and choices[-1].include:
        choices.pop()
    runs: list[str] = []
    for include, run in itertools.groupby(choices, key=lambda choice: choice.include):
        runs.append(f"(?:{'|'.join(choice.name for choice in run)}){'()' if include else ''}")
    return re.compile("|".join(runs), re.DOTALL).match if runs else None


def _names_prefix(names: list[str] | None) -> str:
    # Sorted, so what the first and the last share, all share.
    return os.path.commonprefix([names[0], names[-1]]) if names else ""


def _rules_prefix(rules: Sequence[_Ruling]) -> str:
    """What every key begins with if the rules end in excluding all; else empty.

    A key is taken only if its first component (``/*``) or itself (``*``) matches an include that
    stands before that rule, and whatever lies below goes on from there.
    """
    for at, (include, pattern) in enumerate(rules):
        if pattern.matches_all:
            if include:
                break
            return os.path.commonprefix([p.literal_prefix for take, p in rules[:at] if take])
    return ""

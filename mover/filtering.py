"""Which entries a job takes: rules in order, lists of names, sizes and ages.

Belongs here: the value that says what a user asked for, and how rule files read. The verdict on
one key is ``mover.selecting``, what one pattern matches ``mover.patterns``, and the forms of name
lists ``mover.name_lists``. Pure: no file is opened, no clock asked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from mover.name_lists import (
    MalformedLine,
    escape_name,
    read_name_list,
    unescape_name,
    write_name_list,
)
from mover.patterns import parse_pattern
from mover.selecting import ANY_TIME_NS, Selector
from mover.units import SIZE_MAX_BYTES, Malformed, parse_when

RULE_COUNT_MAX: Final = 10_000
"""Most rules of one selection; each costs time on every key, so more must be a slip."""

_LINE: Final = re.compile(r"(\+|-|include|exclude)[ _](.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One include or exclude rule. Raises ``Malformed`` for a pattern that can match nothing."""

    verdict: Literal["include", "exclude"]
    pattern: str

    def __post_init__(self) -> None:
        parse_pattern(self.pattern, what=f"--{self.verdict} pattern")

    def __str__(self) -> str:
        return f"{'+' if self.verdict == 'include' else '-'} {self.pattern}"


def read_rules(text: str, *, file: str, before: Iterable[Rule] = ()) -> tuple[Rule, ...]:
    """The rules ``before`` followed by those of a ``--filter-from`` file's ``text``.

    Lines: ``+ PATTERN``, ``- PATTERN``, ``include PATTERN``, ``exclude PATTERN``; ``!`` drops all
    rules so far, also those ``before``; blank lines and lines that begin with ``#`` or ``;`` are
    skipped. One space stands before the pattern, and every further character belongs to it.
    Raises :class:`~mover.name_lists.MalformedLine` with file, line number, text and remedy.
    """
    rules = list(before)
    for line_number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if not line or line.startswith(("#", ";")):
            continue
        if line == "!":
            rules.clear()
            continue
        try:
            rules.append(_rule(line))
        except Malformed as error:
            raise MalformedLine(
                file=file, line_number=line_number, text=line, remedy=error.remedy
            ) from error
    return tuple(rules)


def _rule(line: str) -> Rule:
    match = _LINE.fullmatch(line)
    if match is None:
        raise Malformed("rule", line, "write '+ PATTERN' or '- PATTERN' (or '!', or a # comment)")
    include = match[1] in ("+", "include")
    return Rule(verdict="include" if include else "exclude", pattern=match[2])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a user asked to take; part of a job's identity. The default takes everything.

    An entry is taken if the rules take it **and** it is in ``names`` (if given) **and** its size
    is within both bounds, ends included **and** it was modified at or after ``newer`` and before
    ``older`` (texts that :func:`mover.units.parse_when` reads). Raises ``Malformed``.
    """

    rules: tuple[Rule, ...] = ()
    names: tuple[str, ...] | None = None
    size_min_bytes: int | None = None
    size_max_bytes: int | None = None
    newer: str | None = None
    older: str | None = None

    def __post_init__(self) -> None:
        if len(self.rules) > RULE_COUNT_MAX:
            raise Malformed(
                "rule count", str(len(self.rules)), f"at most {RULE_COUNT_MAX}; try --files-from"
            )
        low, high = self.size_min_bytes, self.size_max_bytes
        for option, bound in (("--min-size", low), ("--max-size", high)):
            if bound is not None and not 0 < bound <= SIZE_MAX_BYTES:
                raise Malformed(option, str(bound), "write a size above zero, as in 8MiB")
        if low is not None and high is not None and low > high:
            raise Malformed("--min-size", str(low), f"it is above --max-size {high}")
        for option, when in (("--newer", self.newer), ("--older", self.older)):
            if when is not None:
                parse_when(when, 0.0, what=option)

    @property
    def takes_everything(self) -> bool:
        """Whether nothing narrows it, so that a caller need not ask key by key."""
        return self == Selection()

    def compile(self, now_s: float) -> Selector:
        """The matcher, with ages counted back from ``now_s`` (seconds since 1970).

        A resumed job must pass the ``now_s`` of its first run, or ages would select other entries.
        Raises ``Malformed`` where ``newer`` is not before ``older``.
        """
        newer_ns, older_ns = ANY_TIME_NS
        if self.newer is not None:
            newer_ns = parse_when(self.newer, now_s, what="--newer")
        if self.older is not None:
            older_ns = parse_when(self.older, now_s, what="--older")
            if self.newer is not None and newer_ns >= older_ns:
                raise Malformed(
                    "--newer", self.newer, f"nothing is newer than that and older than {self.older}"
                )
        return Selector(
            rules=[(r.verdict == "include", parse_pattern(r.pattern)) for r in self.rules],
            names=None if self.names is None else sorted(set(self.names)),
            size_range=(self.size_min_bytes or 0, self.size_max_bytes or SIZE_MAX_BYTES),
            time_range_ns=(newer_ns, older_ns),
        )

    def to_dict(self) -> dict[str, object]:
        """JSON-able; patterns and names in the escaped form, so that any UTF-8 encoder takes them."""
        return {
            "rules": [escape_name(str(rule)) for rule in self.rules],
            "names": None if self.names is None else write_name_list(self.names),
            "size_min_bytes": self.size_min_bytes,
            "size_max_bytes": self.size_max_bytes,
            "newer": self.newer,
            "older": self.older,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> Selection:
        """The reverse of :meth:`to_dict`. Raises ``Malformed`` for what it did not write."""
        lines, names = record.get("rules", []), _text(record, "names")
        if not isinstance(lines, list):
            raise Malformed("selection's rules", repr(lines), "write a list of '+ PATTERN' lines")
        return cls(
            rules=tuple(_rule(unescape_name(str(line))) for line in lines),
            names=None if names is None else read_name_list(names),
            size_min_bytes=_number(record, "size_min_bytes"),
            size_max_bytes=_number(record, "size_max_bytes"),
            newer=_text(record, "newer"),
            older=_text(record, "older"),
        )

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of :meth:`to_dict`: equal for equal selections, on every host."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _text(record: Mapping[str, object], field: str) -> str | None:
    value = record.get(field)
    if value is None or isinstance(value, str):
        return value
    raise Malformed(f"selection's {field}", repr(value), "write text, or leave it out")


def _number(record: Mapping[str, object], field: str) -> int | None:
    value = record.get(field)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Malformed(f"selection's {field}", repr(value), "write a whole number, or leave it out")

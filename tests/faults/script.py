"""What goes wrong, and when: faults, rules that choose requests, and the seeded choice. Pure."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence


class Side(Enum):
    """Whose body a fault strikes."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The connection is reset (RST) when ``at_byte`` bytes of the body have passed.

    Past the end of the body it strikes at the end. With ``head=True`` the client gets not even the
    answer's head: its request was carried out, and it cannot know.
    """

    at_byte: int = 0
    side: Side = Side.RESPONSE
    head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """The connection is closed in good order after ``at_byte`` bytes of the response's body."""

    at_byte: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An S3 error is answered at once; the store never sees the request."""

    status: int = 503
    code: str = "SlowDown"
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """No byte passes for ``for_s`` seconds once ``at_byte`` bytes of the body have passed."""

    for_s: float
    at_byte: int = 0
    side: Side = Side.RESPONSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """The body passes at ``bytes_per_s``, in small pieces."""

    bytes_per_s: float
    side: Side = Side.RESPONSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One bit of the body arrives wrong; a body that ends before ``at_byte`` stays right."""

    at_byte: int
    bit: int = 0
    side: Side = Side.RESPONSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The request waits ``delay_s`` before the store sees it."""

    delay_s: float


Fault = Reset | Truncate | Answer | Stall | Drip | Flip | Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fault and the requests that it strikes; every condition given must hold.

    ``method`` and ``path`` are regular expressions: the first matches the whole method, the second
    is searched in the whole target, query included, as it stands on the wire. Of the requests that
    match them, counted from 1, ``nth`` keeps some (a range, a set) and ``probability`` a share.
    """

    fault: Fault
    method: str = ".*"
    path: str = ""
    nth: Container[int] | None = None
    probability: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fault that struck: the request's number on this proxy, from 1, and what it asked."""

    number: int
    at_s: float
    fault: Fault
    method: str
    target: str


class Script:
    """Chooses the faults of each request. The same requests in the same order get the same faults.

    A rule's chance depends on the seed, the rule's place and its own count alone, so that adding a
    rule, or a race between two kinds of requests, changes nothing for the others.
    """

    def __init__(self, rules: Sequence[Rule], *, seed: int) -> None:
        self._rules = list(rules)
        self._seed = seed
        self._counts = [0] * len(self._rules)

    def choose(self, *, method: str, target: str) -> list[Fault]:
        """Count one request and return its faults, in the order of the rules."""
        struck: list[Fault] = []
        for place, rule in enumerate(self._rules):
            if not re.fullmatch(rule.method, method) or not re.search(rule.path, target):
                continue
            self._counts[place] += 1
            count = self._counts[place]
            if rule.nth is not None and count not in rule.nth:
                continue
            chance = random.Random(f"{self._seed}/{place}/{count}").random()
            if chance < rule.probability:
                struck.append(rule.fault)
        return struck


def error_body(answer: Answer, *, target: str) -> bytes:
    """The XML that S3 sends with an error."""
    resource = target.partition("?")[0].replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{answer.code}</Code><Message>Please reduce your request rate.</Message>"
        f"<Resource>{resource}</Resource><RequestId>F4ULT</RequestId></Error>"
    ).encode()

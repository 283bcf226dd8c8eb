"""What a gateway's answer says of a byte: it was in the cache, it was not, or nobody knows. Pure.

Looked at in this order, and the first that says something decides: the word that the user named, the status of
a cache that was asked not to fetch, ``Cache-Status`` (RFC 9211), the words that caches put into headers of
their own, ``Age`` (RFC 9111, 5.1). Of a list the last member is the cache that is nearest to us.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple


class Hit(Enum):
    """What one answer says."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class HitHeader(NamedTuple):
    """A header and what its value looks like on a hit; any other value is a miss."""

    name: bytes
    pattern: re.Pattern[str]


NOT_CACHED: Final = b"504"

# X-Cache-Lookup comes behind X-Cache: Squid says HIT there also for what it then fetched anew.
_WORDS_IN: Final = (
    b"x-cache-status",  # nginx and most that are made of it
    b"x-proxy-cache",
    b"cf-cache-status",
    b"cdn-cache",
    b"x-cache",
    b"x-cache-lookup",
)
_SAYING: Final = frozenset({b"cache-status", b"age", *_WORDS_IN})
# STALE, UPDATING and REVALIDATED (nginx): old or asked after, but the bytes come from the cache.
# Compiled at their first use: most gateways say nothing.
_HIT: Final = r"(?<![a-z])(refresh)?hit(?![a-z])|(?<![a-z])(stale|updating|revalidated)(?![a-z])"
_MISS: Final = r"(?<![a-z])(miss|expired|bypass|pass|dynamic|none|uncacheable|denied)(?![a-z])"
_FORWARDED: Final = r";\s*fwd(?![a-z])"
_HIT_PARAMETER: Final = r";\s*hit(?:\s*=\s*\?1)?\s*(?:;|$)"

FASTER: Final = 0.5
"""By what factor the first byte of warmed pieces must come sooner than it did at first."""

TIMES_MIN: Final = 4
"""Fewer times of first bytes say nothing."""


def hit_header(text: str) -> HitHeader | None:
    """Read ``NAME=REGEX``; None for "". Raises ``ValueError`` that says what to write."""
    if not text:
        return None
    name, mark, pattern = text.partition("=")
    if not mark or not pattern or re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) is None:
        raise ValueError(f"{text!r} is not NAME=REGEX, such as X-Cache=^HIT")
    try:
        return HitHeader(name.lower().encode(), re.compile(pattern))
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def hit_of(headers: Mapping[bytes, bytes], named: HitHeader | None = None) -> Hit:
    """Judge one answer. ``headers`` by lower-case name, with ``:status``."""
    if headers.get(b":status") == NOT_CACHED:
        return Hit.NO
    if named is None and _SAYING.isdisjoint(headers):  # it is asked of every answer
        return Hit.UNKNOWN
    if named is not None:
        if named.name not in headers:
            return Hit.UNKNOWN
        value = _text(headers, named.name)
        return Hit.YES if named.pattern.search(value) else Hit.NO
    said = _of_cache_status(_text(headers, b"cache-status"))
    if said is Hit.UNKNOWN:
        said = _of_words(headers)
    if said is not Hit.UNKNOWN:
        return said
    age = _text(headers, b"age").strip()
    # Zero is what some caches write on what they have just fetched.
    return Hit.YES if age.isdecimal() and int(age) > 0 else Hit.UNKNOWN


def came_sooner(first_s: Sequence[float], now_s: Sequence[float]) -> bool:
    """Whether first bytes come so much sooner than at first that they must be from a nearer place.

    Seconds, of the same pieces then and now; medians, because one stall would turn a mean.
    """
    if min(len(first_s), len(now_s)) < TIMES_MIN:
        return False
    return statistics.median(now_s) <= FASTER * statistics.median(first_s)


def _of_cache_status(value: str) -> Hit:
    nearest = _last(value)
    if re.search(_HIT_PARAMETER, nearest, re.I):
        return Hit.YES
    return Hit.NO if re.search(_FORWARDED, nearest, re.I) else Hit.UNKNOWN


def _of_words(headers: Mapping[bytes, bytes]) -> Hit:
    for name in _WORDS_IN:
        if name not in headers:
            continue
        nearest = _last(_text(headers, name))
        if re.search(_HIT, nearest, re.I):
            return Hit.YES
        if re.search(_MISS, nearest, re.I):
            return Hit.NO
    return Hit.UNKNOWN


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()

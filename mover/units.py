"""Quantities as people write them: sizes, rates, durations and instants, read and written.

Belongs here: text in, numbers out, and the reverse. Pure: no clock, no time zone of the host,
no float where an integer is exact. Also the timetable of ``--limit``, which is text of rates.

Every reader raises :class:`Malformed` (a ``ValueError``) with one line that names the value and
what to write instead; nothing is guessed where two readings are common (``50Mb/s``, ``30``).
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import re
from decimal import Decimal
from typing import Final

SIZE_MAX_BYTES: Final = 2**63 - 1
"""The largest size that is accepted: what SQLite and the stores' APIs hold in an integer."""

_NS_PER_S: Final = 1_000_000_000
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

# Bare letters are binary, as in rsync and rclone; a "B" after the letter makes them decimal.
_PREFIXES: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_SIZE: Final = re.compile(r"(\d{1,20}(?:\.\d{1,12})?) ?([kmgtpe]?)(ib|b)?", re.ASCII | re.I)
_BITS: Final = re.compile(
    r"(\d{1,20}(?:\.\d{1,12})?) ?([kmgtp]?)(?:bit/s|bps|bit)", re.ASCII | re.I
)
_COUNT_RATE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(/s|/min|/h)", re.ASCII)
_DURATION: Final = re.compile(
    r"(?:(?P<w>\d{1,9}(?:\.\d{1,9})?)w)?(?:(?P<d>\d{1,9}(?:\.\d{1,9})?)d)?"
    r"(?:(?P<h>\d{1,9}(?:\.\d{1,9})?)h)?(?:(?P<m>\d{1,9}(?:\.\d{1,9})?)(?:min|m(?!s)))?"
    r"(?:(?P<s>\d{1,12}(?:\.\d{1,9})?)s)?(?:(?P<ms>\d{1,12}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
)
_DURATION_S: Final = {
    "w": Decimal(604_800),
    "d": Decimal(86_400),
    "h": Decimal(3_600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)
_STEP: Final = re.compile(
    r"(?:(mon|tue|wed|thu|fri|sat|sun)-)?([01]\d|2[0-3]):([0-5]\d),(\S+)", re.ASCII | re.I
)
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MIN: Final = 1_440
_WEEK_MIN: Final = 7 * _DAY_MIN
_RATE_SECONDS: Final = {"/s": 1, "/min": 60, "/h": 3_600}


class Malformed(ValueError):
    """A value that cannot be read; ``what`` it should be, its ``text`` and the ``remedy``."""

    def __init__(self, what: str, text: str, remedy: str) -> None:
        # repr keeps a hostile value on one line; the cut keeps the line readable.
        shown = repr(text if len(text) <= 120 else text[:117] + "...")
        super().__init__(f"{what} {shown} cannot be used: {remedy}")
        self.what = what
        self.text = text
        self.remedy = remedy


def parse_size(text: str, *, what: str = "size", minimum_bytes: int = 1) -> int:
    """Bytes of ``8MiB``, ``64k``, ``1.5GB`` or ``4096``.

    ``KiB``/``K`` are 1,024 and ``KB`` is 1,000 (as rsync reads them), in any case. A fraction is
    allowed where it comes to whole bytes. Raises :class:`Malformed` below ``minimum_bytes`` and
    above :data:`SIZE_MAX_BYTES`.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise Malformed(what, text, "write a positive number with a unit, as in 8MiB, 64KB or 4096")
    number, prefix, suffix = match.groups(default="")
    size = Decimal(number) * _scale(prefix, suffix)
    if size != size.to_integral_value():
        raise Malformed(what, text, "it is not a whole number of bytes")
    if size < minimum_bytes:
        raise Malformed(what, text, f"it must be at least {minimum_bytes} byte(s)")
    if size > SIZE_MAX_BYTES:
        raise Malformed(what, text, "it is beyond 8 EiB; write a smaller one")
    return int(size)


def parse_rate(text: str, *, what: str = "rate") -> float:
    """Bytes per second of ``50MB/s``, ``60MiB/s`` or ``100Mbit/s``; always above zero.

    The ``/s`` may be left out where a unit stands (``50MiB``). A bare count (``500``, ``500/s``)
    is refused, because it may mean requests: :func:`parse_request_rate` reads those. ``Mb/s`` is
    refused, because it may mean bits or bytes. Raises :class:`Malformed`.
    """
    stripped = text.strip()
    bits = _BITS.fullmatch(stripped)
    if bits is not None:
        rate = Decimal(bits[1]) * 1000 ** _PREFIXES[bits[2].lower()] / 8
    else:
        match = _SIZE.fullmatch(stripped.removesuffix("/s"))
        if match is None:
            raise Malformed(what, text, "write bytes per second above zero, as in 50MiB/s")
        number, prefix, suffix = match.groups(default="")
        if not prefix and not suffix:
            raise Malformed(what, text, f"say of what: {number}B/s, {number}MiB/s")
        if suffix == "b":
            prefix = prefix.upper()
            raise Malformed(what, text, f"say bytes or bits: {prefix}B/s or {prefix}bit/s")
        rate = Decimal(number) * _scale(prefix, suffix)
    if rate < 1:
        raise Malformed(what, text, "it must be at least 1B/s (leave it out for no limit)")
    if rate > SIZE_MAX_BYTES:
        raise Malformed(what, text, "it is beyond 8 EiB/s (leave it out for no limit)")
    return float(rate)


def parse_request_rate(text: str, *, what: str = "request rate") -> float:
    """Requests per second of ``500/s``, ``30/min`` or ``100/h``. Raises :class:`Malformed`."""
    match = _COUNT_RATE.fullmatch(text.strip())
    if match is None:
        raise Malformed(what, text, "write requests per second, as in 500/s")
    rate = Decimal(match[1]) / _RATE_SECONDS[match[2]]
    if rate <= 0:
        raise Malformed(what, text, "it must be above zero (leave it out for no limit)")
    return float(rate)


def parse_duration(text: str, *, what: str = "duration") -> float:
    """Seconds of ``30s``, ``2h``, ``1d12h``, ``1.5h`` or ``250ms``; always above zero.

    Units from large to small: w, d, h, m (or min), s, ms. A bare number is refused: tools differ
    on what it means. Raises :class:`Malformed`.
    """
    seconds = _duration_s(text.strip())
    if seconds is None:
        raise Malformed(what, text, "write numbers with units, largest first: 30s, 2h, 1d12h")
    if seconds <= 0:
        raise Malformed(what, text, "it must be above zero")
    return float(seconds)


def parse_when(text: str, now_s: float, *, what: str = "time") -> int:
    """Nanoseconds since 1970 (UTC) of an age (``2h`` before ``now_s``), a date or an RFC 3339 time.

    A date (``2026-05-04``) is its first instant. A time without a zone is UTC, not the host's
    zone, so that one command line selects the same on every host. Raises :class:`Malformed`.
    """
    stripped = text.strip()
    age_s = _duration_s(stripped)
    if age_s is not None:
        return int((Decimal(now_s) - age_s) * _NS_PER_S)
    match = _INSTANT.fullmatch(stripped)
    if match is None:
        raise Malformed(
            what, text, "write an age (2h, 7d), a date (2026-05-04) or an RFC 3339 time"
        )
    date, clock, fraction, zone = match.groups(default="")
    offset = "+00:00" if zone in ("", "z", "Z") else zone
    try:
        # fromisoformat stops at microseconds; the digits beyond are added below.
        instant = datetime.datetime.fromisoformat(f"{date}T{clock or '00:00'}{offset}")
    except ValueError as error:
        raise Malformed(what, text, "there is no such day or time") from error
    whole_s = (instant - _EPOCH) // datetime.timedelta(seconds=1)
    return whole_s * _NS_PER_S + int(fraction.ljust(9, "0") or "0")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """Rates over the week, in bytes per second; None is no limit. Built by :meth:`parse`.

    ``steps`` holds (minute of the week from Monday 00:00, rate), ordered and without repeats. A
    rate holds from its step to the next one; before the first step of the week holds the last.
    """

    text: str
    steps: tuple[tuple[int, float | None], ...]

    @classmethod
    def parse(cls, text: str, *, what: str = "limit") -> Timetable:
        """One rate (``50MiB/s``), ``off``, or steps: ``08:00,50MiB/s 19:00,off Sat-00:00,off``.

        A step without a weekday holds every day, unless a step with that weekday stands at the
        same minute. Raises :class:`Malformed`.
        """
        words = text.split()
        if not words:
            raise Malformed(what, text, "write a rate (50MiB/s), off, or 08:00,50MiB/s 19:00,off")
        if not any("," in word for word in words):
            return cls(text=text.strip(), steps=((0, _limit(text, what)),))
        daily: dict[int, float | None] = {}
        weekly: dict[int, float | None] = {}
        for word in words:
            match = _STEP.fullmatch(word)
            if match is None:
                raise Malformed(
                    what, word, "write HH:MM,RATE or Mon-HH:MM,RATE, with a space between"
                )
            day, hour, minute, rate = match.groups()
            at = int(hour) * 60 + int(minute)
            at += _WEEKDAYS.index(day.lower()) * _DAY_MIN if day else 0
            known = weekly if day else daily
            if at in known:
                raise Malformed(what, word, "there are two rates for this minute; keep one")
            known[at] = _limit(rate, what)
        steps = {day * _DAY_MIN + at: rate for day in range(7) for at, rate in daily.items()}
        steps.update(weekly)
        return cls(text=" ".join(words), steps=tuple(sorted(steps.items(), key=lambda s: s[0])))

    def rate_at(self, local: datetime.datetime) -> float | None:
        """Bytes per second that hold at the wall-clock time ``local``; None is no limit."""
        # Index -1 wraps: early on Monday the last step of the week still holds.
        return self.steps[self._next_index(local) - 1][1]

    def next_change_s(self, local: datetime.datetime) -> float | None:
        """Seconds from ``local`` until another rate holds, above zero; None if it never changes.

        Exact where ``local`` knows its zone. Without a zone a change of daylight saving is not
        seen, so sleep no longer than an hour on the answer before asking again.
        """
        rate = self.rate_at(local)
        first = self._next_index(local)
        monday = datetime.datetime.combine(
            local.date() - datetime.timedelta(days=local.weekday()),
            datetime.time(tzinfo=local.tzinfo),
        )
        for ahead in range(len(self.steps) + 1):
            weeks, index = divmod(first + ahead, len(self.steps))
            minute, then = self.steps[index]
            if then != rate:
                change = monday + datetime.timedelta(minutes=weeks * _WEEK_MIN + minute)
                return max(_elapsed_s(local, change), 0.001)
        return None

    def _next_index(self, local: datetime.datetime) -> int:
        minute = local.weekday() * _DAY_MIN + local.hour * 60 + local.minute
        return bisect.bisect_right(self.steps, minute, key=lambda step: step[0])


def format_bytes(size_bytes: float) -> str:
    """``1.5 GiB``, ``512 B``: three to four digits and a binary unit, for people."""
    value = float(size_bytes)
    if abs(value) < 1000:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if abs(value) < 999.95:
            return f"{value:.1f} {unit}" if abs(value) < 99.95 else f"{value:.0f} {unit}"
    return f"{value / 1024:.1f} EiB"


def format_rate(rate_bytes_per_s: float) -> str:
    """``50.0 MiB/s``, for people."""
    return f"{format_bytes(rate_bytes_per_s)}/s"


def format_duration(seconds: float) -> str:
    """``0.25s``, ``12.3s``, ``4m05s``, ``2h03m``, ``3d04h``, for people. Negative counts as zero."""
    if seconds < 9.995:
        return f"{max(seconds, 0.0):.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 1_440:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3_600)
    return f"{hours // 24}d{hours % 24:02d}h"


def _scale(prefix: str, suffix: str) -> int:
    base = 1000 if suffix.lower() == "b" and prefix else 1024
    return int(base ** _PREFIXES[prefix.lower()])


def _duration_s(text: str) -> Decimal | None:
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    found = ((unit, number) for unit, number in match.groupdict().items() if number is not None)
    return sum((Decimal(number) * _DURATION_S[unit] for unit, number in found), Decimal(0))


def _limit(text: str, what: str) -> float | None:
    return None if text.strip().lower() == "off" else parse_rate(text, what=what)


def _elapsed_s(start: datetime.datetime, end: datetime.datetime) -> float:
    # Two times of one zone subtract as wall clocks; through UTC the lost or doubled hour counts.
    if start.tzinfo is None:
        return (end - start).total_seconds()
    return (end.astimezone(datetime.UTC) - start.astimezone(datetime.UTC)).total_seconds()

"""Links: named budgets of bytes that several jobs share, as people write them. Pure.

A link stands for something that jobs have in common (a WAN line, a proxy), and its budget counts
every byte that a job moves over the network, up or down alike. Its rate lives in a store outside
of the jobs; a job that names a link with a rate sets the rate for all that use the link.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mover.units import Malformed, Timetable

LINK_NAME_MAX: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII | re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A named budget and the rate that it is to have."""

    name: str
    timetable: Timetable

    @property
    def bucket(self) -> str:
        """The bucket of the link in the store of rates."""
        return link_bucket(self.name)

    @property
    def text(self) -> bytes:
        """The rate as it is set for all users of the link (``RateStore.set_rate``)."""
        return self.timetable.text.encode()


def link_bucket(name: str) -> str:
    """The bucket of a link in a store of rates, apart from those of a job itself."""
    return f"link:{name}"


def check_link_name(name: str, *, what: str = "--link") -> str:
    """Return a name that may stand in a URL and on a command line. Raises ``Malformed``."""
    if _NAME.fullmatch(name) is None:
        remedy = f"a name has 1 to {LINK_NAME_MAX} letters, digits, dots, dashes and underscores"
        raise Malformed(what, name, f"{remedy}, and begins with a letter or digit")
    return name


def parse_links(texts: Iterable[str], *, what: str = "--link") -> dict[str, str]:
    """Names and rates of ``wan=50MB/s``, in the order given; a rate is as in ``Timetable``.

    Raises ``Malformed`` for a missing rate, a bad name or rate, and a name that comes twice.
    """
    rates: dict[str, str] = {}
    for text in texts:
        name, equals, rate = text.partition("=")
        if not equals:
            raise Malformed(what, text, "write NAME=RATE, as in wan=50MB/s")
        name = check_link_name(name.strip(), what=what)
        if name in rates:
            raise Malformed(what, text, f"{name} has a rate already; keep one")
        rates[name] = Timetable.parse(rate, what=f"{what} {name}").text
    return rates


def links_of(rates: Mapping[str, str], *, what: str = "--link") -> tuple[Link, ...]:
    """The links of a request, in the order of their names. Raises ``Malformed``.

    Every job asks links in this order: see ``scheduler.quota.CombinedTake``.
    """
    return tuple(
        Link(
            name=check_link_name(name, what=what),
            timetable=Timetable.parse(rate, what=f"{what} {name}"),
        )
        for name, rate in sorted(rates.items())
    )


class LinkRate:
    """The rate of a link now: what was set for all, or else what this job asked for.

    ``now`` gives the local time, for timetables. Call it for bytes per second; None is no limit.
    """

    def __init__(
        self, timetable: Timetable | None, *, now: Callable[[], datetime.datetime]
    ) -> None:
        self._asked = timetable
        self._now = now
        self._set: Timetable | None = None

    def __call__(self) -> float | None:
        timetable = self._set or self._asked
        return None if timetable is None else timetable.rate_at(self._now())

    @property
    def is_known(self) -> bool:
        """Whether anybody has said what the rate is (``off`` is a rate, too)."""
        return (self._set or self._asked) is not None

    def hear(self, text: bytes | None) -> None:
        """Take over what the store says. A text that cannot be read leaves the rate as it is."""
        if text is None:
            self._set = None
            return
        try:
            self._set = Timetable.parse(text.decode(), what="link")
        except ValueError:  # also of a decoding that fails
            return

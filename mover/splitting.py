"""Cut a range of keys of a store, so that several workers list it side by side.

What to ask is decided in ``bisecting``; this runs the looks, a few at a time, and cuts. It costs one
request for a tree whose top level has many names, about two dozen for a flat prefix, five to nine a
range where few directories hold very many names each, and never more than ``REQUESTS_PER_RANGE``.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from mover.bisecting import FirstAfter, Look, Search, find_points
from mover.sharding import KeyRange
from transports.base import Transport
from transports.errors import TransportError

LOOKS_AT_A_TIME: Final = 8

REQUESTS_PER_RANGE: Final = 16

NAMES_MAX: Final = 1000
"""Names of one look where a store gives pages of them."""

WHOLE_NAMES_MAX: Final = 10_000_000
"""Names of one look where a directory is read whole anyway, as its listing will do."""


async def split_range(
    transport: Transport, prefix: str, span: KeyRange, *, wanted: int, seen: Sequence[str] = ()
) -> list[KeyRange]:
    """Cut ``span`` of ``prefix`` into about ``wanted`` ranges of about equal size, in order.

    ``seen`` are keys of it that somebody has listed. Returns ``[span]`` where it is not worth a cut,
    where the store cannot tell or will not, or where there is nothing: what is wrong with a
    prefix is for its listing to report.
    """
    cheap = transport.capabilities.seeks and not transport.capabilities.has_directories
    search = Search(
        limit=NAMES_MAX if cheap else WHOLE_NAMES_MAX,
        seeks=transport.capabilities.seeks,
        seen=seen,
    )
    steps = find_points(search, prefix, span, wanted)
    left = REQUESTS_PER_RANGE * wanted
    try:
        looks = next(steps)
        while True:
            left -= len(looks)
            # A search that went too far is told that there is nothing more, and ends with a guess.
            answers: list[Sequence[str]] = [()] * len(looks)
            if left >= 0:
                answers = await _look_together(transport, looks)
            looks = steps.send(answers)
    except StopIteration as end:
        return span.split(_sendable(point) for point in end.value)
    except TransportError:
        return [span]  # what is worth telling, the listing itself will tell
    finally:
        steps.close()


async def _look_together(transport: Transport, looks: Sequence[Look]) -> list[Sequence[str]]:
    """The answers in the order of the looks; the first error ends them all."""
    answers: dict[int, Sequence[str]] = {}
    waiting = iter(enumerate(looks))

    async def lane() -> None:
        for place, look in waiting:
            answers[place] = await _look(transport, look)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(min(LOOKS_AT_A_TIME, len(looks))):
                group.create_task(lane(), name=f"look-{number}")
    except* TransportError as failed:
        error = failed.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [answers[place] for place in range(len(looks))]


async def _look(transport: Transport, look: Look) -> Sequence[str]:
    if isinstance(look, FirstAfter):
        key = await transport.first_after(look.key, look.prefix)
        return () if key is None else (key,)
    return await transport.children(look.prefix, start_after=look.start_after, limit=look.limit)


def _sendable(point: str) -> str:
    """As much of a point as every store can be sent: a file's name need not be valid Unicode."""
    return next((point[:n] for n, c in enumerate(point) if "\ud800" <= c <= "\udfff"), point)

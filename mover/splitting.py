"""Ask a store where to cut a range of keys, in few requests."""

from collections.abc import Sequence

from mover.sharding import (
    KeyRange,
    Search,
    common_prefix,
    even_points,
    find_last,
    points_between,
)
from transports.base import Transport
from transports.errors import NotFound

CHILDREN_MAX = 1000
"""Names of one level that one request may bring; a level with more is cut like a flat one."""

DEPTH_MAX = 8
"""Levels with a single directory that are passed through."""


async def split_range(
    transport: Transport, prefix: str, span: KeyRange, *, wanted: int, seen: Sequence[str] = ()
) -> list[KeyRange]:
    """Cut a range into about ``wanted`` ranges that hold about the same number of keys.

    ``seen`` are some keys of the range or of just before it, in order. Where the tree has
    directories, the range is cut between them; a flat one is cut by interpolating between its keys.
    Returns the range itself where nothing is left to cut. Raises what the store raises, but for
    ``NotFound``: then there is nothing to cut.
    """
    try:
        points = await _between_directories(transport, prefix, span, wanted)
        if not points:
            points = await _between_keys(transport, prefix, span, wanted, seen)
    except NotFound:
        return [span]
    return span.split(points)


async def _between_directories(
    transport: Transport, prefix: str, span: KeyRange, wanted: int
) -> list[str]:
    level = prefix[: prefix.rfind("/") + 1]
    for _ in range(DEPTH_MAX):
        names = await transport.children(level, limit=CHILDREN_MAX)
        within = [name for name in names if name.startswith(prefix) and span.holds(name)]
        directories = [name for name in within if name.endswith("/")]
        if len(names) >= CHILDREN_MAX or not directories:
            return []
        if len(directories) >= wanted:
            return even_points(directories, wanted)
        if len(within) > 1:
            return []
        level = directories[0]
    return []


async def _between_keys(
    transport: Transport, prefix: str, span: KeyRange, wanted: int, seen: Sequence[str]
) -> list[str]:
    low = await transport.first_after(span.after, prefix)
    if low is None or not span.holds(low):
        return []
    high = span.upto
    if high is None:
        high = await _answered(transport, prefix, find_last(low, prefix, seen))
    if high is None or high <= low:
        return []
    shared = common_prefix(low, high)
    nearby = [key for key in seen if key.startswith(shared)]
    return points_between(low, high, wanted, nearby)


async def _answered(transport: Transport, prefix: str, search: Search) -> str | None:
    """Run a search to its end with answers from the store."""
    try:
        question = next(search)
        while True:
            question = search.send(await transport.first_after(question, prefix))
    except StopIteration as end:
        found: str | None = end.value
        return found

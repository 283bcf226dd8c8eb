"""Merge-join of two ordered listings, a page at a time.

Both sides come in the order of their keys, so a page of the source is paired with the target's
entries up to the page's last key; memory holds a page of each side, never a listing.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from transports.model import Entry


@dataclass(frozen=True, slots=True)
class PairPage:
    """A page of pairs: each source entry with its target or None; and the target's extra entries."""

    pairs: list[tuple[Entry, Entry | None]]
    extras: list[Entry]
    last_key: str


async def merge(
    source: AsyncIterator[Sequence[Entry]],
    target: AsyncIterator[Sequence[Entry]],
    *,
    extras: bool = True,
) -> AsyncIterator[PairPage]:
    """Pair two ordered listings by key.

    Extras come in order, each on the page whose keys surround it, the rest on pages without pairs;
    without ``extras`` the target is not listed beyond the last key of the source. The listings are
    the caller's to close. An error of either listing passes through: no page is invented to cover a gap.
    """
    waiting: dict[str, Entry] = {}
    reached = ""
    more = True
    async for page in source:
        last = page[-1].key
        while more and reached < last:
            targets = await anext(target, None)
            if targets is None:
                more = False
            else:
                waiting.update((entry.key, entry) for entry in targets)
                reached = targets[-1].key
        if not waiting:
            yield PairPage([(entry, None) for entry in page], [], last)
            continue
        take = waiting.pop
        pairs = [(entry, take(entry.key, None)) for entry in page]
        left_over = [entry for key, entry in waiting.items() if key < last]
        for entry in left_over:
            del waiting[entry.key]
        yield PairPage(pairs, left_over, last)
    if not extras:
        return
    if waiting:
        yield PairPage([], list(waiting.values()), reached)
    if more:
        async for targets in target:
            yield PairPage([], list(targets), targets[-1].key)

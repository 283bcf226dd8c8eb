"""Merge-join of two ordered listings, a page at a time.

Both sides come in the order of their keys, so a page of the source is paired with the target's
entries up to the page's last key; memory holds a page of each side, never a listing.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from transports.model import Entry

_by_key = attrgetter("key")

WAITING_ENTRIES_MAX = 10_000
"""Entries of the target held between two of the source; more are handed on without waiting for it."""


@dataclass(frozen=True, slots=True)
class PairPage:
    """A page of pairs: each source entry with its target or None; and the target's extra entries.

    ``targets`` is empty where the target has nothing for any of the sources. Most pages of a first
    copy are such, and their pairs need not be made.
    """

    sources: Sequence[Entry]
    targets: Sequence[Entry | None]
    extras: Sequence[Entry]
    last_key: str

    @property
    def pairs(self) -> list[tuple[Entry, Entry | None]]:
        """The pairs in the order of their keys; made anew by every call."""
        targets = self.targets or [None] * len(self.sources)
        return list(zip(self.sources, targets, strict=True))

    def up_to(self, key: str) -> "PairPage":
        """The page without what sorts after a key, which is its last key then."""
        if self.last_key <= key:
            return self
        count = bisect_right(self.sources, key, key=_by_key)
        extras = [entry for entry in self.extras if entry.key <= key]
        return PairPage(self.sources[:count], self.targets[:count], extras, key)


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
                break
            waiting.update((entry.key, entry) for entry in targets)
            reached = targets[-1].key
            if len(waiting) > WAITING_ENTRIES_MAX and reached < last:
                count = bisect_right(page, reached, key=_by_key)
                yield _paired(page[:count], waiting, reached)
                page = page[count:]
        if not waiting:
            yield PairPage(page, (), (), last)
            continue
        yield _paired(page, waiting, last)
    if not extras:
        return
    if waiting:
        yield PairPage((), (), list(waiting.values()), reached)
    if more:
        async for targets in target:
            yield PairPage((), (), list(targets), targets[-1].key)


def _paired(page: Sequence[Entry], waiting: dict[str, Entry], last: str) -> PairPage:
    """The page of all that is known up to ``last``; its entries leave ``waiting``."""
    take = waiting.pop
    paired = [take(entry.key, None) for entry in page]
    left_over = [entry for key, entry in waiting.items() if key <= last]
    for entry in left_over:
        del waiting[entry.key]
    return PairPage(page, paired, left_over, last)

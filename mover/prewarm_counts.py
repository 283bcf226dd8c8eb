"""What one process has done for a prewarm, for progress only; the results in the queue are what counts."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from mover.prewarm.model import Residence, WarmShard
from mover.prewarm.summing import add_row, without_looks


class Underway:
    """Bytes of one shard that have come while it is being read: never more than it has."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = threading.Lock()
        self.bytes = 0

    def told(self, size: int) -> None:
        """So many more bytes have come; from any thread."""
        with self._turn:
            self.bytes = min(self._most, self.bytes + size)


@dataclass(slots=True, kw_only=True)
class WarmCounts:
    """Beside what was copied: what is under way, what need not be read, and what was seen in the caches.

    ``seen`` is what this process has seen, by node, in the round of number ``round``.
    """

    skipped_bytes: int = 0
    round: int = 0
    _rows: dict[str, Residence] = field(default_factory=dict)
    _underway: set[Underway] = field(default_factory=set)

    @contextlib.contextmanager
    def underway(self, task: WarmShard) -> Iterator[Underway]:
        """Count what comes of a shard until it has come to its end, whatever that is.

        Only the first round's is counted: what is read again was counted.
        """
        size = sum(max(piece.size, 0) for piece in task.pieces)
        underway = Underway(size if task.round == 0 else 0)
        self._underway.add(underway)
        try:
            yield underway
        finally:
            self._underway.discard(underway)

    @property
    def moving_bytes(self) -> int:
        """What has come of shards that have not come to their ends."""
        return sum(each.bytes for each in self._underway)

    @property
    def seen(self) -> list[Residence]:
        return list(self._rows.values())

    def saw(self, round_: int, row: Residence, *, reads: bool) -> None:
        """Add what a task has seen; with ``reads`` what it has found missing is read as well."""
        if round_ > self.round:
            self.round = round_
            self._rows = {name: without_looks(each) for name, each in self._rows.items()}
        add_row(self._rows, row if round_ == self.round else without_looks(row))
        if round_ == 0:
            self.skipped_bytes += row.before_bytes if reads else row.bytes

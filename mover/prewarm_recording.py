"""Write a prewarm's manifest while it runs: a segment for each shard, by the node that did it.

Where a target is loaded in one go its rows are written while the cache loads (``PageRecord``).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mover.errors import Rejected
from mover.manifest import Deed, Row
from mover.prewarm_places import Place
from mover.prewarm_rows import rows_of
from mover.recording import ManifestWriter, now_ms
from scheduler.model import Lease
from transports.base import Transport
from transports.model import Entry

SEGMENT_ROWS: Final = 10_000
"""Rows of a segment of a target that is loaded in one go: some 250 kB of disk, and a tenth of a second of loading."""


@dataclass(slots=True, kw_only=True)
class WarmRecorder:
    """The manifest of one prewarm as one process writes it; it is the caller's to close the transport.

    With no ``transport`` nothing is written. ``source`` and ``target`` are the job's, for people.
    ``is_asked_for`` says that somebody named the place; ``note`` hears a line for a person. ``clock`` gives
    seconds since 1970. Every verb that writes raises ``TransportError`` when retries did not help.
    """

    transport: Transport | None = None
    job: str = ""
    node: str = ""
    source: str = ""
    target: str = ""
    is_asked_for: bool = True
    note: Callable[[str], None] = lambda line: None
    clock: Callable[[], float] = time.time
    _last_ms: int = field(default=0, init=False)

    @property
    def writes(self) -> bool:
        return self.transport is not None

    async def begin(self, worker: str) -> None:
        """Note that a run starts here. Raises ``Rejected`` where the place cannot be written, ``Incomplete``.

        Where nobody asked for that place, the job goes on without a record instead.
        """
        if self.transport is None:
            return
        try:
            await self._writer(self.transport, self.source, self.target, "").begin(worker)
        except Rejected as error:
            if self.is_asked_for:
                raise
            self.transport = None
            self.note(f"{error}; without it an eviction goes by the specification")

    async def write(self, place: Place, source: str, rows: Sequence[Row], lease: Lease) -> None:
        """Write the segment of one run of a task on one target; whole and durable when this returns.

        ``source`` is the target as it was asked for.
        """
        if self.transport is None or not rows:
            return
        writer = self._writer(self.transport, source, place.keeps_at, place.nature.judge)
        await writer.write(
            rows, task=int(lease.task_id), generation=lease.generation, worker=lease.worker_id
        )

    def pages(self, place: Place, source: str, lease: Lease, deed: Deed) -> "PageRecord":
        """A record of files with which one thing is done, to be given pages of them."""
        return PageRecord(self, place, source, lease, deed)

    def now_ms(self) -> int:
        """The time that rows are stamped with."""
        return now_ms(self.clock)

    def _writer(self, transport: Transport, source: str, target: str, judge: str) -> ManifestWriter:
        return ManifestWriter(
            transport,
            job=self.job,
            source=source,
            target=target,
            node=self.node,
            judge=judge,
            clock=self._tick,
        )

    def _tick(self) -> float:
        # Segments are named by their time: one task may write two within a millisecond.
        self._last_ms = max(self.now_ms(), self._last_ms + 1)
        return self._last_ms / 1000


@dataclass(slots=True)
class PageRecord:
    """Rows of pages of files, written a segment at a time while the cache loads. End it with ``end``."""

    _recorder: WarmRecorder
    _place: Place
    _source: str
    _lease: Lease
    _deed: Deed
    _rows: list[Row] = field(default_factory=list, init=False)

    async def add(self, page: Sequence[Entry]) -> None:
        """Take a page of files that the cache is told to load, or has. A cancel loses it."""
        if not self._recorder.writes:
            return
        self._rows += rows_of(page, self._deed, self._recorder.now_ms())
        if len(self._rows) >= SEGMENT_ROWS:
            await self.end()

    async def end(self) -> None:
        """Write what is left; all rows are durable when this returns."""
        rows, self._rows = self._rows, []
        await self._recorder.write(self._place, self._source, rows, self._lease)

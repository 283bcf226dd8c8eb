"""Read what a former prewarm's manifest says of one node: which files of a target are that job's own there."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from mover.beside import alone
from mover.ends import closing_pages
from mover.manifest import SUFFIX, Segment, readable
from mover.prewarm_rows import is_own, standing
from mover.recalling import RowSpill, read_segment
from transports.base import Transport
from transports.errors import NotFound
from transports.model import Entry

TOGETHER: Final = 8
"""Segments in memory at a time: about a MB each."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a manifest says of one target on one node. ``is_there`` says that this node has written any of it."""

    is_there: bool
    _spill: RowSpill

    def own(self, entries: Sequence[Entry], brought: Collection[str]) -> list[Entry]:
        """Those of these files that the job warmed here, and that have not changed since.

        ``brought`` are keys of files that the cache knows to come from the job's own target.
        """
        return [
            entry
            for entry in entries
            if is_own(self._spill.get(entry.key), entry, brought=entry.key in brought)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerJob:
    """The manifest of a former job, as one node reads it; ``transport`` is its root, None where there is none."""

    job: str
    node: str
    transport: Transport | None

    @asynccontextmanager
    async def listed(self, source: str) -> AsyncGenerator[Listed, None]:
        """Read the rows of a target, as it was asked for. They lie in a temporary file until the block is left.

        Raises ``Damaged`` for a segment that is not whole, ``TransportError``.
        """
        with RowSpill(standing) as spill:
            is_there = False
            if self.transport is not None:
                is_there = await self._fill(self.transport, source, spill)
            yield Listed(is_there, spill)

    async def _fill(self, manifest: Transport, source: str, spill: RowSpill) -> bool:
        """Add all rows of this node and target; whether the node has written any segment."""
        is_there = False
        with suppress(NotFound):
            async with closing_pages(manifest.list(f"{self.job}/")) as pages:
                async for page in pages:
                    is_there = await self._take(manifest, page, source, spill) or is_there
        return is_there

    async def _take(
        self, manifest: Transport, page: Sequence[Entry], source: str, spill: RowSpill
    ) -> bool:
        """Add the rows of these segments in the order of their names, which is that of time."""
        entries, is_there = [entry for entry in page if entry.key.endswith(SUFFIX)], False
        for at in range(0, len(entries), TOGETHER):
            for segment in await alone(_read(manifest, entries[at : at + TOGETHER])):
                if segment.header.node != readable(self.node):
                    continue
                is_there = True
                if segment.header.source == readable(source):
                    spill.add(segment.rows)
        return is_there


async def _read(manifest: Transport, entries: Sequence[Entry]) -> list[Segment]:
    async with asyncio.TaskGroup() as crew:
        readers = [
            crew.create_task(read_segment(manifest, entry), name=f"segment-{entry.key}")
            for entry in entries
        ]
    return [reader.result() for reader in readers]

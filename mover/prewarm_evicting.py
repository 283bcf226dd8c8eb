"""Free what a node's cache holds of the targets: all of it, or what a former job has warmed and nothing else."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from mover.ends import closing_pages
from mover.manifest import Deed
from mover.model import Failure, Tally, TaskResult
from mover.prewarm.model import Piece, Residence, Round
from mover.prewarm_ground import WarmGround
from mover.prewarm_looking import files_of, missing_of
from mover.prewarm_places import Place
from mover.prewarm_rows import rows_of
from scheduler.model import Lease
from transports.model import Entry

NO_MANIFEST: Final = (
    "node {node} has no manifest of job {job}: its specification says what goes there"
)


class _Going(NamedTuple):
    """Files that are to go; ``is_recorded`` says that the former job's manifest tells so."""

    entries: Sequence[Entry]
    is_recorded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evictor:
    """Frees, or tells what it would free, on this node. ``note`` hears a line for a person."""

    ground: WarmGround
    note: Callable[[str], None]

    async def evict(self, task: Round, lease: Lease) -> TaskResult:
        """Free what is to go. What changed since it was warmed stays, and is no failure.

        A cancel leaves the rest as it was. Raises ``TransportError``; ``Damaged`` for a manifest with a gap.
        """
        result = TaskResult(tally=Tally(), round=task.number)
        for number, source in enumerate(self.ground.spec.targets):
            place = await self.ground.place(number)
            async with aclosing(self._going(number, task.now_s)) as going:
                async for page, is_recorded in going:
                    freed = await place.evict(_whole(page))
                    counts = Tally(copied_objects=freed.read_files, copied_bytes=freed.read_bytes)
                    result.tally.add(counts)
                    result.tally.failed_objects += len(freed.failures)
                    result.failures += [Failure(*each) for each in freed.failures]
                    self.ground.live.add(counts)
                    if is_recorded:
                        await self._record(place, source, page, freed.failures, lease)
        return result

    async def plan(self, on_file: Callable[[str], None], now_s: float | None = None) -> Tally:
        """Count the files that would go, by the same decision, and tell each in a line. Raises as ``evict``."""
        tally = Tally()
        for number in range(len(self.ground.spec.targets)):
            place = await self.ground.place(number)
            pages = self._going(number, time.time() if now_s is None else now_s)
            async with aclosing(pages) as going:
                async for page, _ in going:
                    missing = await missing_of(place, await place.look(_whole(page)))
                    lacking = set(files_of(missing))
                    for entry in page:
                        if entry.key not in lacking:
                            tally.planned_objects += 1
                            tally.planned_bytes += max(entry.size, 0)
                            on_file(f"evict {entry.key} ({entry.size} bytes)")
        return tally

    async def told(self, task: Round) -> TaskResult:
        """What would go from this node, as the result of a task."""
        tally = await self.plan(lambda line: None, task.now_s)
        files, size = tally.planned_objects, tally.planned_bytes
        row = Residence(
            node=self.ground.node,
            files=files,
            bytes=size,
            resident_files=files,
            resident_bytes=size,
        )
        return TaskResult(tally=tally, round=task.number, residency=[row])

    async def _going(self, number: int, now_s: float) -> AsyncGenerator[_Going, None]:
        """What is to go of a target, in pages."""
        spec, former = self.ground.spec, self.ground.former
        selector, place = spec.selection.compile(now_s), await self.ground.place(number)
        async with AsyncExitStack() as stack:
            listed = None
            if former is not None:
                listed = await stack.enter_async_context(former.listed(spec.targets[number]))
                if not listed.is_there:
                    self.note(NO_MANIFEST.format(node=former.node, job=former.job))
                    listed = None
            walk = closing_pages(place.walk(selector, metadata=False))
            async for page in await stack.enter_async_context(walk):
                if listed is None:
                    yield _Going(page, is_recorded=False)
                elif own := listed.own(page, await place.brought(page)):
                    yield _Going(own, is_recorded=True)

    async def _record(
        self,
        place: Place,
        source: str,
        page: Sequence[Entry],
        failures: Sequence[tuple[str, str, str]],
        lease: Lease,
    ) -> None:
        """Put down in the former job's manifest what is its own no more."""
        record = self.ground.record
        failed = {key for key, _, _ in failures}
        gone = [entry for entry in page if entry.key not in failed]
        await record.write(place, source, rows_of(gone, Deed.EVICTED, record.now_ms()), lease)


def _whole(entries: Sequence[Entry]) -> list[Piece]:
    return [Piece(entry, 0, max(entry.size, 0)) for entry in entries]

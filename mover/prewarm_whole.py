"""A round of one target on one node, done in one go where the cache can: look at all of it, load all of it.

A cache that has a loader of its own does for a directory in one message what would take a message for every
few hundred files. What it cannot do in one go is left to shards.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mover.beside import running_to_end
from mover.ends import closing_pages
from mover.gathering import PLANNED, planned_first
from mover.manifest import Deed
from mover.model import TALLY_FIELDS, Failure, Tally, TaskResult
from mover.prewarm.model import Metadata, Piece, Residence, Round, Wish
from mover.prewarm_ground import WarmGround
from mover.prewarm_places import Nature, Place
from scheduler.model import Lease
from scheduler.store import TaskStore
from transports.model import Entry

BEHIND_S: Final = 0.2
"""From one look to the next at a cache that still writes what it has loaded."""

SAMPLE_FILES: Final = 8
"""Files that are looked at before all are: milliseconds, where a look at five thousand takes half a second."""

WHOLE_BYTES_MAX: Final = 16 * 1024**3
"""What is loaded in one go: a minute or so, during which no limit can be set."""

HELD_FILES: Final = 200_000
"""Files of a target that are kept from counting them to reading them: some 60 MB; more are listed twice."""


class WholeRound:
    """Tries to do a round in one go; ``run`` does it.

    ``full`` says that no part of the dataset is left out. Where ``run`` gave it up, ``held`` is what it has
    listed, if that is all of it.
    """

    def __init__(
        self, ground: WarmGround, store: TaskStore, task: Round, *, full: bool, lease: Lease
    ) -> None:
        self._ground = ground
        self._spec = ground.spec
        self._store = store
        self._task = task
        self._is_full = full
        self._lease = lease
        self.held: list[Sequence[Entry]] | None = None

    def may_be_one(self, nodes: Sequence[str]) -> bool:
        """Whether a look at all of the target, on this node, is a look at the job."""
        spec = self._spec
        is_here = list(nodes) == [self._ground.node] and len(spec.targets) == 1
        asks = self._task.number == 0 and spec.metadata is not Metadata.NO
        is_all = spec.selection.takes_everything and self._is_full
        return is_here and is_all and not asks and spec.wish is not Wish.EVICT

    async def run(self) -> TaskResult | None:
        """The round's result; None where shards have to do it. Raises ``TransportError``."""
        place = await self._ground.place(0)
        if self._task.number > 0:
            return await self._look(place, await planned_first(self._store))
        self.held = await self._walk(place)
        if self.held is None or not place.nature.loads_whole:
            return None
        planned = _count(self.held)
        if await self._seems_full(place):
            whole = await place.look_whole()
            if whole and whole.is_full and whole.files == planned.planned_objects:
                planned.skipped_objects = planned.planned_objects
                self._ground.live.add(planned)
                await self._record(place, Deed.RESIDENT)
                row = self._row(place.nature, planned, resident=True)
                return TaskResult(tally=planned, residency=[row])
        return await self._load(place, planned)

    async def _seems_full(self, place: Place) -> bool:
        """Whether a few files are resident: what has none of them need not be looked at to be read."""
        pages = [page for page in self.held or [] if page]
        some = pages[:: max(1, len(pages) // SAMPLE_FILES)][:SAMPLE_FILES]
        entries = [page[len(page) // 2] for page in some]
        pieces = [Piece(entry, 0, max(entry.size, 0)) for entry in entries]
        return not (await place.look(pieces)).missing

    async def _look(self, place: Place, planned: Tally) -> TaskResult | None:
        """A round behind the first: its result if everything is resident that was planned."""
        whole = await place.look_whole()
        while whole is not None and not whole.is_full:
            # A cache may write behind what it has loaded: as long as it gets fuller it is left to it.
            before = whole.resident_bytes
            await asyncio.sleep(BEHIND_S)
            whole = await place.look_whole()
            if whole is None or whole.resident_bytes <= before:
                break
        if whole is None or not whole.is_full or whole.files != planned.planned_objects:
            return None  # something is missing, or the dataset has changed since it was walked
        row = self._row(place.nature, planned, resident=True)
        return TaskResult(tally=Tally(), round=self._task.number, residency=[row])

    async def _load(self, place: Place, planned: Tally) -> TaskResult | None:
        """Have all of it loaded, if it fits and is not long in coming: a message that is sent cannot be slowed down."""
        nature = place.nature
        fits = not nature.capacity_bytes or planned.planned_bytes <= nature.capacity_bytes
        is_brief = planned.planned_bytes <= WHOLE_BYTES_MAX
        if not (self._spec.wish is Wish.WARM and fits and is_brief and nature.loads_whole):
            return None
        live = self._ground.live
        before = replace(live)
        live.add(planned)
        await self._store.set_control(PLANNED, b"1")

        def told(files: int, size: int) -> None:
            live.copied_objects = before.copied_objects + files
            live.copied_bytes = before.copied_bytes + min(size, planned.planned_bytes)

        async with running_to_end(lambda: self._record(place, Deed.WARMED)):
            warmed = await place.warm_whole(told)
        if warmed is None:
            for name in TALLY_FIELDS:
                setattr(live, name, getattr(before, name))
            return None
        told(warmed.read_files, warmed.read_bytes)
        planned.copied_objects = planned.planned_objects - len(warmed.failures)
        planned.copied_bytes = warmed.read_bytes
        planned.failed_objects = len(warmed.failures)
        row = self._row(nature, planned, resident=False)
        row.read_bytes, row.origin_bytes = warmed.read_bytes, warmed.origin_bytes
        failures = [Failure(*each) for each in warmed.failures]
        return TaskResult(tally=planned, failures=failures, residency=[row])

    async def _record(self, place: Place, deed: Deed) -> None:
        """Put down what is loaded in one go: the cache does not tell what of it was there before."""
        record = self._ground.record.pages(place, self._spec.targets[0], self._lease, deed)
        for page in self.held or []:
            await record.add(page)
        await record.end()

    async def _walk(self, place: Place) -> list[Sequence[Entry]] | None:
        """All that is there, unless it is too much to keep."""
        held, files = list[Sequence[Entry]](), 0
        selector = self._spec.selection.compile(self._task.now_s)
        async with closing_pages(place.walk(selector, metadata=False)) as pages:
            async for page in pages:
                held.append(page)
                files += len(page)
                if files > HELD_FILES:
                    return None
        return held

    def _row(self, nature: Nature, planned: Tally, *, resident: bool) -> Residence:
        files, size = planned.planned_objects, planned.planned_bytes
        return Residence(
            node=self._ground.node,
            files=files,
            bytes=size,
            resident_files=files if resident else 0,
            resident_bytes=size if resident else 0,
            judge=nature.judge,
            certainty=nature.certainty,
            where=nature.where,
        )


def _count(pages: Sequence[Sequence[Entry]]) -> Tally:
    return Tally(
        planned_objects=sum(len(page) for page in pages),
        planned_bytes=sum(max(entry.size, 0) for page in pages for entry in page),
    )

"""Look for what a large object that the target lacks could be made of: one that has another name there.

1. *Sample*, near the source: what its store tells of the object, and a fingerprint of it.
2. *Seek*, near the target: a few likely objects of the target, chosen by what its listing tells
   (``delta_similar``). One that has the object's checksum is the object; else the one that has most
   of the sampled bytes is the basis of a difference; else the object is copied whole.

Both only read, and may run any number of times. Every candidate is pinned to what it is now. The
planner need not know any of this, and a basis may sort before or after the object: the target is
listed once more, by each process that seeks, when it first does.

An object that the target has in another version takes the same steps, with that one as the only
candidate, where a look at samples is worth while before all of it is signed.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from mover.beside import alone
from mover.copying_large import pin
from mover.delta.garbled import Garbled
from mover.delta_choosing import may_be_sent, may_go_as_difference, sends_difference
from mover.delta_inputs import StoreInput
from mover.delta_sampling import SAMPLE_BYTES, Fingerprint, sampled
from mover.delta_sending import first_sign
from mover.delta_similar import Roster, RosterMaker
from mover.delta_tasks import Patch, Sample, Seek, Sign, Spent
from mover.ends import Ends
from mover.errors import MoverError
from mover.model import LargeObject
from mover.naming import visible
from mover.probing import digest_of
from mover.seeing_out import in_thread
from transports.errors import NotFound, Transient, TransportError
from transports.model import Checksum, Entry, ObjectInfo

LISTED_OBJECTS: Final = 2_000_000
"""Objects of the target that are looked at for the roster; those that sort behind them are no basis."""

SHARE_MIN: Final = 1 / 16
"""What of the sampled bytes a basis must have at least: half a window of eight."""

PROVING: Final = ("crc64nvme", "sha256", "sha1", "md5", "xxh3")
"""Checksums by which two objects of equal size are taken for the same; 32 bits are too few for that."""


class Seeker:
    """Seeks for all objects of one job in one process. Keeps the roster of the target.

    Raises ``TransportError`` where a store is away, or the object cannot be read. A cancel leaves
    nothing.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._roster: Roster | None = None
        self._listing = asyncio.Lock()

    async def sample(self, task: Sample) -> Seek | LargeObject:
        """What is to be told of the object to those near the target."""
        ends, entry = self._ends, task.entry
        info = await pin(ends, entry)
        if task.basis is not None:
            samples = await self._sampled(entry)
            return Seek(entry=entry, told=(), samples=samples, basis=task.basis, again=task.again)
        may_prove = ends.clones and (info.checksums or ends.source.capabilities.local)
        if not info.ranges or not (may_prove or may_go_as_difference(ends.spec)):
            return LargeObject(entry=entry)
        samples = await self._sampled(entry) if may_go_as_difference(ends.spec) else b""
        return Seek(entry=entry, told=info.checksums, samples=samples)

    async def _sampled(self, entry: Entry) -> bytes:
        async with self._ends.budget.reserve(SAMPLE_BYTES):
            return await alone(sampled(StoreInput(self._ends.near_source, entry), entry.size))

    async def seek(self, task: Seek) -> Patch | Sign | LargeObject:
        """What the object is to be made of: a basis, or nothing that is there."""
        ends, entry = self._ends, task.entry
        if task.basis is not None:
            return await self._compared(task, task.basis)
        roster = await self._listed()
        found = await self._looked_at(roster.candidates(ends.at_target(entry)))
        if ends.clones:
            for info in found:
                if whole := await self._proven(task, info):
                    return _all_of(entry, info.entry, whole)
        basis = await self._likest(task, [info.entry for info in found])
        if basis is None:
            return LargeObject(entry=entry)
        return first_sign(ends.spec, LargeObject(entry=entry), basis, await ends.rates())

    async def _compared(self, task: Seek, basis: Entry) -> Sign | LargeObject:
        """How to go on with an object whose old version is there."""
        whole = LargeObject(entry=task.entry, again=task.again)
        try:
            fingerprint = await Fingerprint.read(task.samples, task.entry.size)
        except (Garbled, MoverError):
            return whole
        share = await self._share(fingerprint, basis)
        if share is not None and share < SHARE_MIN:
            return whole
        return first_sign(self._ends.spec, whole, basis, await self._ends.rates())

    # -- candidates ----------------------------------------------------------------------------

    async def _listed(self) -> Roster:
        """The roster; whoever comes while it is made waits for it."""
        async with self._listing:
            if self._roster is None:
                self._roster = await self._list()
            return self._roster

    async def _list(self) -> Roster:
        maker, seen = RosterMaker(self._ends.spec.split_bytes), 0
        try:
            async with aclosing(self._ends.near_target.list()) as pages:  # type: ignore[type-var]
                async for page in pages:
                    maker.add(visible(page))
                    seen += len(page)
                    if seen >= LISTED_OBJECTS:
                        break
        except NotFound:
            pass  # the target has not been made yet
        return await in_thread(maker.finish)

    async def _looked_at(self, candidates: Sequence[Entry]) -> list[ObjectInfo]:
        """The candidates as they are now. One that cannot be had is none."""
        found = []
        for entry in candidates:
            try:
                info = await self._ends.near_target.head(entry.key)
            except Transient:
                raise
            except TransportError:
                continue
            if info.entry.size == entry.size:
                found.append(info)
        return found

    # -- the same bytes ------------------------------------------------------------------------

    async def _proven(self, task: Seek, candidate: ObjectInfo) -> Checksum | None:
        """The checksum of both objects, where their stores tell that it is the same."""
        ends = self._ends
        if candidate.entry.size != task.entry.size:
            return None
        ours = {each.algorithm: each for each in task.told}
        theirs = {each.algorithm: each for each in candidate.checksums}
        shared = next((name for name in PROVING if name in ours and name in theirs), "")
        if shared:
            return await self._sealed(candidate, theirs[shared], ours[shared])
        name = next((name for name in PROVING if name in theirs), "")
        if not name or ends.spec.has_sides or not ends.source.capabilities.local:
            return None  # who is at the target cannot read the source, or not near by
        own = await digest_of(ends, ends.source, task.entry, name)
        return await self._sealed(candidate, theirs[name], Checksum(name, own))

    async def _sealed(
        self, candidate: ObjectInfo, theirs: Checksum, ours: Checksum
    ) -> Checksum | None:
        """The checksum by which the copy is to be proved, which both have."""
        ends = self._ends
        if theirs.hex != ours.hex:
            return None
        if theirs.algorithm == "crc64nvme" or not ends.spec.has_sides:
            return theirs
        crc = await digest_of(ends, ends.near_target, candidate.entry, "crc64nvme")
        return Checksum("crc64nvme", crc)

    # -- bytes that are alike ------------------------------------------------------------------

    async def _likest(self, task: Seek, candidates: Sequence[Entry]) -> Entry | None:
        """The candidate that has most of the sampled bytes, if it is worth a signature."""
        ends, entry = self._ends, task.entry
        source, target = ends.source.capabilities, ends.target.capabilities
        known = await ends.rates()
        worth = [
            each
            for each in candidates
            if may_be_sent(entry, each, source, target)
            and sends_difference(ends.spec, entry, each, known)
        ]
        if not task.samples or not worth:
            return None
        try:
            fingerprint = await Fingerprint.read(task.samples, entry.size)
        except (Garbled, MoverError):
            return None
        best, best_share = None, SHARE_MIN
        for each in worth:
            share = await self._share(fingerprint, each) or 0.0
            if share > best_share:
                best, best_share = each, share
        return best

    async def _share(self, fingerprint: Fingerprint, candidate: Entry) -> float | None:
        near = StoreInput(self._ends.near_target, candidate)
        try:
            async with self._ends.budget.reserve(SAMPLE_BYTES):
                return await alone(fingerprint.share_in(near, candidate.size))
        except Transient:
            raise
        except TransportError:
            return 0.0  # it changed, or is not for us to read


def _all_of(entry: Entry, basis: Entry, whole: Checksum) -> Patch:
    return Patch(
        entry=entry,
        basis=basis,
        delta=None,
        ladder=None,
        whole=whole,
        literal_bytes=0,
        matched_bytes=entry.size,
        spent=Spent(),
    )

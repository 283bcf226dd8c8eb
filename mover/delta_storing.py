"""The flow that patches an object at a store that copies ranges itself: what is unchanged never moves.

The delta is gone through first: it is checked, and where its literals stand is remembered. Then the
store copies long runs of the old object, and the rest is mixed here (``delta_patching``). What each
MiB of the result must be is told by the delta's ladder; a delta without one is carried out once
without writing anything, which reads the old object near by and proves the result.
"""

import asyncio
import secrets
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mover.budget import ByteBudget
from mover.delta import elements
from mover.delta.delta_format import (
    CHANGES_SECTION,
    RAW_SECTION,
    STEP_BYTES,
    DeltaEnd,
    DeltaHead,
)
from mover.delta.delta_reading import DeltaReader, unpacked
from mover.delta.delta_spots import Spot, Spots
from mover.delta_drafts import Draft
from mover.delta_inputs import Input, StoreInput
from mover.delta_ladders import RunningLadder
from mover.delta_making import Making
from mover.delta_noting import HostKeeper
from mover.delta_patches import Counts, Patch, Patched
from mover.delta_patching import Patcher
from mover.delta_refusing import refuse_other_basis, refuse_other_size, wrong_result
from mover.delta_signing import Outcome, Watch
from mover.errors import Damaged
from transports import digests
from transports.errors import AlreadyExists, Changed, Corrupt, NotFound
from transports.model import ByteRange, Checksum, Entry, Presence

if TYPE_CHECKING:
    from transports.base import Transport

BUDGET_BYTES: Final = 128 * 1024 * 1024
SECTIONS_HELD: Final = 16
"""Sections of a MiB that are kept for literals of the same one, which come one after another."""


def copies_ranges(old: StoreInput, target: "Transport") -> bool:
    """Whether the target may copy ranges of this object, as far as is known before it is asked."""
    ours, theirs = target.capabilities, old.transport.capabilities
    return (
        ours.copies_parts
        and ours.copy_domain == theirs.copy_domain != ""
        and (old.size or 0) > ours.part_size_min
    )


class Storing:
    """Patches ``key`` of ``target`` with a seekable ``delta``; its upload is noted in ``notes``."""

    def __init__(
        self,
        old: StoreInput,
        delta: Input,
        target: "Transport",
        key: str,
        watch: Watch,
        *,
        notes: Path | None = None,
    ) -> None:
        self._old = old
        self._delta = delta
        self._target = target
        self._key = key
        self._watch = watch
        self._notes = notes
        self._spots = Spots()
        self._sections: OrderedDict[int, bytes | bytearray] = OrderedDict()
        self._summed_bytes = 0
        self._head: DeltaHead | None = None

    async def run(self) -> Outcome | None:
        """Make the object; None, and nothing done, where no run is long enough to be copied.

        Raises ``MoverError``, ``Garbled``, ``TransportError``: ``Corrupt`` where the parts are not
        what was diffed, ``Changed`` where the old object or what stands at ``key`` was replaced
        meanwhile. Nothing is left then, and after a cancel.
        """
        end = await self._go_through()
        if self._spots.longest_copy < self._target.capabilities.part_size_min:
            return None
        replaces = await self._standing()
        ladder = list(end.ladder) or await self._summed(end)
        self._delta.check_unchanged()
        ops = await asyncio.to_thread(self._spots.ops)
        patch = Patch(
            key=self._key,
            size=end.new_size,
            ops=ops,
            basis=self._old.entry,
            whole=Checksum("crc64nvme", f"{_whole(ladder, end.new_size):016x}"),
            ladder=ladder,
            replaces=replaces,
        )
        try:
            done = await self._patch(patch)
        except Corrupt:
            await refuse_other_basis(self._old, self._head)
            raise
        except AlreadyExists as error:
            raise Changed(f"{self._target.location}{self._key}") from error
        return self._outcome(end, done.counts)

    async def _patch(self, patch: Patch) -> Patched:
        """Patch, going on with an upload that a killed run of the same command has left."""
        keeper = self._notes and HostKeeper.open(self._notes, self._target, self._key)
        try:
            if keeper:
                await keeper.claim(f"{patch.size}-{patch.whole.hex}")
            patcher = Patcher(
                target=self._target,
                near=self._old.transport,
                literals=self._fill,
                budget=ByteBudget(BUDGET_BYTES),
                token=secrets.token_hex(8),
                keeper=keeper or None,
            )
            return await patcher.run(patch)
        finally:
            if keeper:
                keeper.close()

    async def _go_through(self) -> DeltaEnd:
        """Check all of the delta, and remember what it has."""
        reader = DeltaReader()

        async def take(piece: memoryview) -> None:
            for made in reader.feed(piece):
                self._spots.take(made, reader)
            if self._head is None and reader.head is not None:
                self._head = reader.head
                refuse_other_size(self._old, reader.head)
            await asyncio.sleep(0)

        await self._delta.pour(take)
        return reader.finish()

    async def _standing(self) -> Entry | Presence:
        """What the new object takes the place of."""
        try:
            return (await self._target.head(self._key)).entry
        except NotFound:
            return Presence.NONE

    async def _summed(self, end: DeltaEnd) -> list[int]:
        """The ladder of a delta that has none, and the proof that the result is right."""
        draft = _Ladder()
        making = Making(self._old, draft, self._watch, end.new_size)
        reader = DeltaReader()

        async def take(piece: memoryview) -> None:
            for made in reader.feed(piece):
                await making.make(made)
            await asyncio.sleep(0)

        await self._delta.pour(take)
        if making.digest.digest() != end.whole:
            await refuse_other_basis(self._old, self._head)
            raise wrong_result(self._old, making.digest.digest(), end.whole)
        self._summed_bytes = making.copied_bytes + making.changed_bytes
        return draft.ladder.steps()

    # -- what the patcher asks for -------------------------------------------------------------

    async def _fill(self, span: ByteRange, buffer: memoryview) -> None:
        for start, stop, spot in self._spots.within(span.start, span.stop):
            data = await self._bytes_of(spot)
            at = spot.inner + start - spot.start
            buffer[start - span.start : stop - span.start] = data[at : at + stop - start]

    async def _bytes_of(self, spot: Spot) -> bytes | bytearray:
        """What a section makes, read again."""
        place = spot.section
        data = self._sections.pop(place.at, None)
        if data is None:
            payload = await self._delta.read(place.at, place.at + place.size)
            if place.kind == CHANGES_SECTION:
                data = await self._changed(payload)
            else:
                data = payload if place.kind == RAW_SECTION else unpacked(payload)
        self._sections[place.at] = data
        if len(self._sections) > SECTIONS_HELD:
            self._sections.popitem(last=False)
        return data

    async def _changed(self, told: bytes) -> bytearray:
        origin, length = elements.range_of(told)
        data = bytearray(await self._old.read(origin, origin + length))
        try:
            elements.apply(told, data)
        except ValueError as error:
            raise Damaged(f"the delta cannot be used: what it tells of changes, {error}") from error
        return data

    def _outcome(self, end: DeltaEnd, counts: Counts) -> Outcome:
        spots, delta_bytes = self._spots, self._delta.size or 0
        near_bytes = counts.near_bytes + counts.checked_bytes + self._summed_bytes
        return Outcome(
            read_bytes=delta_bytes + near_bytes,
            wire_bytes=delta_bytes,
            literal_bytes=spots.literal_bytes,
            matched_bytes=spots.copied_bytes,
            filled_bytes=spots.filled_bytes,
            changed_bytes=spots.changed_bytes,
            new_bytes=end.new_size,
            ops=end.ops,
            stored_bytes=0 if counts.refused else counts.copied_bytes,
        )


def _whole(ladder: list[int], size: int) -> int:
    """The checksum of the whole object, of those of its steps."""
    starts = range(0, size, STEP_BYTES)
    return digests.combine_crc64nvme_parts(
        [(step, min(STEP_BYTES, size - start)) for step, start in zip(ladder, starts, strict=True)]
    )


class _Ladder(Draft):
    """Writes nothing, and keeps the checksum of each MiB of what it was given."""

    name = "the ladder"

    def __init__(self) -> None:
        self.ladder = RunningLadder()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.ladder.update(data)

    async def publish(self) -> None:
        """There is nothing to publish."""

"""What is remembered of the upload of a patch, so that whoever patches next goes on with it.

An upload outlives its process; its name does not, unless somebody keeps it. With it are kept the parts
that were proved, since many stores tell only the ETag of a part. Whoever comes next makes the same plan of
the same delta, and takes over the parts of which the store tells the checksum that the plan demands, or
the ETag that was noted when they were proved.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mover.delta.parting import Part
from mover.delta_ladders import Ladder
from mover.delta_tasks import OpenUpload
from transports.model import ByteRange, PartReceipt

NOTE_EVERY_S: Final = 2.0
"""How often progress is noted in a queue: what a patch that dies may have to do again."""

NOTE_SHARE: Final = 0.005
"""Seconds between notes for each part: to note ten thousand of them is most of a megabyte."""


class Keeper(ABC):
    """Keeps the name of an upload beyond the process. ``left`` is what was kept before it."""

    every_s: float = NOTE_EVERY_S
    left: OpenUpload | None = None

    outlives_failure: bool = False
    """Whether somebody goes on after a failure for now or a cancel; else the upload is dropped then."""

    @abstractmethod
    async def keep(self, upload: OpenUpload) -> bool:
        """Keep this in the place of what was kept; False where it was not worth it."""

    @abstractmethod
    async def forget(self) -> None:
        """The upload is finished or dropped: its name is of no use any more."""


class Upkeep:
    """Notes the parts of one upload with a keeper, now and then. ``is_kept`` once they are."""

    def __init__(self, keeper: Keeper, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keeper = keeper
        self._clock = clock
        self._noted_at_s = clock()
        self._is_noting = False
        self.is_kept = False

    async def begun(self, upload_id: str, parts: Sequence[PartReceipt]) -> None:
        """An upload was opened, or taken over with parts that are there: then its name is kept already."""
        left = self._keeper.left
        if left is not None and left.upload_id == upload_id:
            self.is_kept = True
            return
        self.is_kept = await self._keeper.keep(OpenUpload(upload_id=upload_id, parts=list(parts)))

    async def landed(self, upload_id: str, parts: Sequence[PartReceipt]) -> None:
        """These parts are there and proved by now."""
        pause_s = max(self._keeper.every_s, NOTE_SHARE * len(parts))
        if self._is_noting or self._clock() - self._noted_at_s < pause_s:
            return
        self._is_noting = True
        try:
            kept = await self._keeper.keep(OpenUpload(upload_id=upload_id, parts=list(parts)))
            self.is_kept = self.is_kept or kept
        finally:
            self._is_noting = False
            self._noted_at_s = self._clock()


def kept_parts(
    plan: Sequence[Part],
    ladder: Ladder,
    listed: Iterable[PartReceipt],
    noted: Iterable[PartReceipt],
) -> list[PartReceipt]:
    """The parts of a plan that an upload has already, as the store lists them; checksums filled in."""
    there = {each.number: each for each in listed}
    notes = {each.number: each for each in noted}
    kept = []
    for number, part in enumerate(plan, start=1):
        span = ByteRange(part.start, part.stop)
        found, expected = there.get(number), ladder.crc(span)
        if found is None or expected is None or found.size != len(span):
            continue
        if found.start not in (-1, span.start):  # not every store tells where a part begins
            continue
        wanted = PartReceipt(number, span.start, found.size, found.etag, f"{expected:016x}")
        if found.crc64nvme == wanted.crc64nvme or _is_as_noted(found, wanted, notes.get(number)):
            kept.append(wanted)
    return kept


def _is_as_noted(found: PartReceipt, wanted: PartReceipt, note: PartReceipt | None) -> bool:
    return not found.crc64nvme and bool(found.etag) and note == wanted

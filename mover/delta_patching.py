"""Build a new object at a store from an old one that is there: copied ranges, near reads, literals.

1. *Plan*: parts from the operations and the store's arithmetic (``delta.parting``).
2. *Parts*: the store copies what is long enough; the rest is mixed here, within the byte budget.
3. *Proof*: each part's checksum is known before the object is: the store's for what it copied, else
   by reading that range of the basis near by. A part that is not what the ladder says holds a false
   match: it is found to the MiB, and those bytes are sent in a second round.
4. *Finish*: the checksum of the whole goes along, and what the object replaces.

Every round has an upload of its own, dropped when it does not end well, by a cancel too; but for the
first one where somebody keeps its name and goes on with it (``delta_keeping``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mover.budget import ByteBudget
from mover.delta.model import Op, OpKind, unpack_ops
from mover.delta.parting import (
    MIB,
    NearRead,
    Part,
    PartLimits,
    near_reads,
    pieces_of,
    plan_composed,
    plan_parts,
)
from mover.delta_keeping import Keeper, Upkeep, kept_parts
from mover.delta_ladders import Ladder, as_literals, merged, split_at
from mover.delta_patches import (
    Counts,
    Passing,
    Patch,
    Patched,
    Unseen,
    check_ops,
    composes_whole,
    fill_with,
    limits_for,
    slice_of,
)
from mover.delta_tasks import OpenUpload
from transports import digests
from transports.base import Transport
from transports.errors import Corrupt, Invalid, NotFound, Transient, TransportError, Unsupported
from transports.model import (
    ByteRange,
    PartReceipt,
    PartSpec,
    Receipt,
)
from transports.undoing import undone_if_cancelled

Fill = Callable[[ByteRange, memoryview], Awaitable[None]]
"""Fills a buffer with these bytes of the new object, as ``Transport.read_into`` does of an entry."""

LANES = 8
"""Parts in flight; the byte budget and the store's limit bound them as well."""

READ_BYTES = 8 * MIB
"""What one near read brings at most, but for a longer piece."""

DROP_S = 5.0
"""How long a round that failed or was cancelled may take to drop its upload."""


@dataclass(slots=True, kw_only=True)
class Patcher:
    """Patches one object. ``literals`` reads those ranges of the new object that are literal.

    ``near`` is where the basis is, in the region of ``target``; ``resend`` reads any range of the
    new object, where that is possible: a false match is mended by it, else it is ``Corrupt``.
    ``limits`` are wishes for parts, within the target's arithmetic. ``keeper`` remembers the upload.
    ``passing`` sees what is mixed here or read to be checked.
    """

    target: Transport
    near: Transport
    literals: Fill
    budget: ByteBudget
    token: str
    resend: Fill | None = None
    limits: PartLimits = field(default_factory=PartLimits)
    keeper: Keeper | None = None
    passing: Passing = field(default_factory=Unseen)

    async def run(self, patch: Patch) -> Patched:
        """Make the object; nothing is visible before all of it is proved.

        Raises ``Invalid`` for operations that cannot be, ``Changed`` when the basis moved or another
        object stands where this one should, ``Corrupt`` for a false match that cannot be mended,
        ``Unsupported`` where the store does not copy a trusted basis. A cancel leaves no upload but one
        that its keeper outlives, or the finished object.
        """
        location = f"{self.target.location}{patch.key}"
        # In a thread: there may be millions of operations, and others wait for the loop.
        await asyncio.to_thread(check_ops, patch, location)
        limits = limits_for(self.target.capabilities, self.near.capabilities, self.limits, patch)
        composes = composes_whole(self.target.capabilities, self.near.capabilities)
        counts = Counts()
        mended: list[ByteRange] = []
        left = None if self.keeper is None else self.keeper.left
        while True:
            try:
                parts = await asyncio.to_thread(_plan, patch, limits, composes=composes)
            except ValueError as error:
                raise Invalid(location, str(error)) from error
            round_ = _Round(self, patch, parts, mended, counts, location)
            try:
                return Patched(await round_.run(left), counts, patch.ops)
            except NotFound:
                if left is None:
                    raise
            except Unsupported as error:
                if (not limits.copies and not composes) or patch.trusted:
                    raise
                counts.refused = error.detail
                limits, composes = replace(limits, copies=False), False
            except Corrupt:
                if not round_.bad or self.resend is None or mended:
                    raise
                mended = merged(round_.bad)
                sent = await asyncio.to_thread(as_literals, patch.ops, mended)
                patch = replace(patch, ops=sent)
            left = None


def _plan(patch: Patch, limits: PartLimits, *, composes: bool) -> Sequence[Part]:
    """The parts of a patch. Raises ``ValueError`` where there can be none."""
    if composes:
        parts = plan_composed(unpack_ops(patch.ops), patch.size, patch.basis.size, limits)
        if parts is not None:
            return parts
    return plan_parts(unpack_ops(patch.ops), patch.size, limits)


class _Round:
    """One upload. ``bad`` are the ranges that are not what the ladder says.

    Once there is one, the upload is given up: the other parts are only looked at, so that all of
    them are known.
    """

    def __init__(
        self,
        patcher: Patcher,
        patch: Patch,
        parts: Sequence[Part],
        mended: Sequence[ByteRange],
        counts: Counts,
        location: str,
    ) -> None:
        self._patcher = patcher
        self._target = patcher.target
        self._patch = patch
        self._parts = parts
        self._mended = mended
        self._counts = counts
        self._location = location
        self._ladder = Ladder(patch.ladder, patch.size)
        self._upload_id = ""
        self._receipts: list[PartReceipt] = []
        self._keeper = patcher.keeper
        self._upkeep = None if self._keeper is None else Upkeep(self._keeper)
        self.bad: list[ByteRange] = []

    async def run(self, left: OpenUpload | None) -> Receipt:
        """Make the object, of what an earlier process has ``left`` where there is something.

        Raises ``NotFound`` also where that upload goes away meanwhile.
        """
        patch, target = self._patch, self._target
        self._counts.requests += 2
        self._patcher.passing.begin()
        await (self._open() if left is None else self._take_over(left))
        try:
            await self._upkeep_begun()
            await self._make_parts()
            receipts = sorted(self._receipts)
            self._prove(receipts)
            receipt = await target.finish_upload(
                patch.key,
                self._upload_id,
                receipts,
                patch.attributes,
                checksum=patch.whole,
                replaces=patch.replaces,
            )
        except BaseException as error:
            if not self._goes_on(error):
                await self._drop(self._upload_id)
            raise
        if self._keeper is not None:
            await self._keeper.forget()
        return receipt

    async def _open(self) -> None:
        self._upload_id = await undone_if_cancelled(
            lambda: self._target.begin_upload(
                self._patch.key,
                self._patch.size,
                self._patch.attributes,
                token=self._patcher.token,
            ),
            self._drop,
            within_s=DROP_S,
        )

    async def _take_over(self, left: OpenUpload) -> None:
        """Go on with an upload. Raises ``NotFound`` where it is gone."""
        self._upload_id = left.upload_id
        listed = await self._target.list_parts(self._patch.key, left.upload_id)
        self._receipts = kept_parts(self._parts, self._ladder, listed, left.parts)
        self._counts.kept_parts = len(self._receipts)

    async def _upkeep_begun(self) -> None:
        if self._upkeep is not None:
            await self._upkeep.begun(self._upload_id, self._receipts)

    def _goes_on(self, error: BaseException) -> bool:
        """Whether somebody else goes on with the upload after this."""
        if self._keeper is None or self._upkeep is None or not self._upkeep.is_kept:
            return False
        is_for_now = isinstance(error, Transient) or not isinstance(error, TransportError)
        return self._keeper.outlives_failure and is_for_now

    async def _drop(self, upload_id: str) -> None:
        """Drop an upload; that it could not be dropped is not the news."""
        try:
            async with asyncio.timeout(DROP_S):
                await self._target.abort_upload(self._patch.key, upload_id)
        except (TransportError, TimeoutError):
            return
        if self._keeper is not None:
            await self._keeper.forget()

    async def _make_parts(self) -> None:
        there = {receipt.number for receipt in self._receipts}
        numbered = [each for each in enumerate(self._parts, start=1) if each[0] not in there]
        first = next((place for place, (_, part) in enumerate(numbered) if part.is_copied), None)
        if first is not None:
            # Alone: a store that turns out not to copy parts has cost one request then.
            await self._make(*numbered.pop(first))
        waiting = iter(numbered)
        try:
            async with asyncio.TaskGroup() as crew:
                for lane in range(min(LANES, len(numbered))):
                    crew.create_task(self._lane(waiting), name=f"patch-lane-{lane}")
        except* TransportError as group:
            raise _first(group) from None

    async def _lane(self, waiting: Iterator[tuple[int, Part]]) -> None:
        for number, part in waiting:
            await self._make(number, part)

    async def _make(self, number: int, part: Part) -> None:
        spec = PartSpec(number=number, range=ByteRange(part.start, part.stop))
        receipt = await (self._copy(spec, part) if part.is_copied else self._mix(spec, part))
        self._receipts.append(receipt)
        if self._upkeep is not None and not self.bad:
            await self._upkeep.landed(self._upload_id, self._receipts)

    def _prove(self, receipts: Sequence[PartReceipt]) -> None:
        """Raise ``Corrupt`` unless the parts make the object that was promised."""
        if self._patch.trusted:
            return  # what the store tells is compared when the upload is finished
        total = digests.combine_crc64nvme_parts([(int(p.crc64nvme, 16), p.size) for p in receipts])
        actual, expected = f"{total:016x}", self._patch.whole.hex
        if self.bad or actual != expected:
            raise Corrupt(self._location, algorithm="crc64nvme", expected=expected, actual=actual)

    # -- copied parts --------------------------------------------------------------------------

    async def _copy(self, spec: PartSpec, part: Part) -> PartReceipt:
        span = ByteRange(part.origin, part.origin + part.stop - part.start)
        patcher, basis = self._patcher, self._patch.basis
        self._counts.requests += 1
        receipt = await self._target.copy_part(
            self._patch.key, self._upload_id, spec, basis, span, patcher.near
        )
        self._counts.copied_parts += 1
        self._counts.copied_bytes += len(span)
        if self._patch.trusted:
            return receipt
        expected = self._ladder.crc(spec.range)
        if receipt.crc64nvme and (expected is None or int(receipt.crc64nvme, 16) == expected):
            return receipt
        return await self._check_copied(receipt, spec.range, span)

    async def _check_copied(
        self, receipt: PartReceipt, made: ByteRange, span: ByteRange
    ) -> PartReceipt:
        """Read what was copied near by, for its checksum and for where it is wrong.

        Raises ``Corrupt`` when the store tells the checksum of other bytes than those.
        """
        total = 0
        async with self._patcher.budget.buffer(min(READ_BYTES, len(span))) as buffer:
            for start in range(0, len(span), READ_BYTES):
                piece = buffer[: len(span) - start]
                near = ByteRange(span.start + start, span.start + start + len(piece))
                await self._read(near, piece)
                self._counts.checked_bytes += len(piece)
                total = await asyncio.to_thread(digests.crc64nvme, piece, total)
                place = made.start + start
                await self._patcher.passing.take(place, piece)
                bad = self._ladder.bad_in
                self.bad += await asyncio.to_thread(
                    bad, ByteRange(place, place + len(piece)), piece
                )
        actual = f"{total:016x}"
        if receipt.crc64nvme not in ("", actual):
            raise Corrupt(
                self._location, algorithm="crc64nvme", expected=actual, actual=receipt.crc64nvme
            )
        return receipt._replace(crc64nvme=actual)

    # -- mixed parts ---------------------------------------------------------------------------

    async def _mix(self, spec: PartSpec, part: Part) -> PartReceipt:
        """Gather a part in memory, check it, and write it."""
        pieces = pieces_of(self._patch.ops, part)
        reads = near_reads(pieces, read_bytes=READ_BYTES)
        aside = max((r.stop - r.start for r in reads if len(r.pieces) > 1), default=0)
        size = len(spec.range)
        # One reservation for both: who waits for memory must hold none.
        async with self._patcher.budget.buffer(size + aside) as room:
            buffer, scratch = room[:size], room[size:]
            await self._gather(part.start, pieces, reads, buffer, scratch)
            crc = await asyncio.to_thread(digests.crc64nvme, buffer)
            expected = self._ladder.crc(spec.range)
            if expected not in (None, crc):
                self.bad += await asyncio.to_thread(self._ladder.bad_in, spec.range, buffer)
            if self.bad:
                return PartReceipt(spec.number, part.start, size, "", f"{crc:016x}")
            self._counts.requests += 1
            receipt = await self._target.write_part(
                self._patch.key,
                self._upload_id,
                spec,
                buffer,
                sparse=self._target.capabilities.local,
            )
            await self._patcher.passing.take(part.start, buffer)
        self._counts.mixed_parts += 1
        return receipt._replace(crc64nvme=f"{crc:016x}")

    async def _gather(
        self,
        start: int,
        pieces: Sequence[Op],
        reads: Sequence[NearRead],
        buffer: memoryview,
        scratch: memoryview,
    ) -> None:
        for read in reads:
            span = ByteRange(read.start, read.stop)
            self._counts.near_bytes += len(span)
            if len(read.pieces) == 1:
                await self._read(span, slice_of(buffer, read.pieces[0], start))
                continue
            await self._read(span, scratch[: len(span)])
            for piece in read.pieces:
                origin = piece.origin - read.start
                slice_of(buffer, piece, start)[:] = scratch[origin : origin + piece.length]
        for piece in pieces:
            if piece.kind is OpKind.LITERAL:
                await self._fetch(piece, slice_of(buffer, piece, start))
            elif piece.kind is OpKind.FILL:
                self._counts.filled_bytes += piece.length
                fill_with(slice_of(buffer, piece, start), piece.origin)

    async def _read(self, span: ByteRange, buffer: memoryview) -> None:
        self._counts.requests += 1
        await self._patcher.near.read_into(self._patch.basis, span, buffer)

    async def _fetch(self, piece: Op, buffer: memoryview) -> None:
        """Literals, of which those that were false matches before come from elsewhere."""
        for span, is_mended in split_at(ByteRange(piece.start, piece.stop), self._mended):
            place = span.start - piece.start
            view = buffer[place : place + len(span)]
            if is_mended and self._patcher.resend is not None:
                self._counts.resent_bytes += len(span)
                await self._patcher.resend(span, view)
            else:
                self._counts.literal_bytes += len(span)
                await self._patcher.literals(span, view)


def _first(group: BaseExceptionGroup[TransportError]) -> TransportError:
    """The first single error of a group, however deep; a refusal of the verb before all others."""
    refused, others = group.split(Unsupported)
    error: BaseException | None = refused or others
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TransportError)  # noqa: S101 - the group's type says so
    return error

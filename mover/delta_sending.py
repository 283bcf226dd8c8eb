"""Send one large object as a difference from what the target has of it: sign and diff.

1. *Sign*, near the target: read the basis, leave its signature at the target.
2. *Diff*, near the source: fetch the signature, scan the object, leave the delta at the target; or ask
   for a finer signature of what has not matched; or say that the object is to be sent whole, before
   anything of it has crossed.
3. *Patch*, near the target: ``delta_landing``.

Any of them may run twice. Source and basis are pinned throughout: every read names the version that
was planned, and the target minds what it replaces.
"""

from dataclasses import dataclass, field

from mover.copying_large import pin
from mover.delta import kernel
from mover.delta.garbled import Garbled
from mover.delta.model import OP, Signature, unpack_ops
from mover.delta.signature_format import (
    SignatureFile,
    SignatureReader,
    cut,
    mended_widths,
    write_signature,
)
from mover.delta_choosing import finer_bytes, first_bytes, is_another, single_bytes, still_pays
from mover.delta_diffing import index_of
from mover.delta_inputs import RANGE_BYTES, RANGES, Input, StoreInput
from mover.delta_levels import Row, literal_spans, refined, unmatched_spans
from mover.delta_parcels import Spoiled, Step, parcel_writer, pour_parcel
from mover.delta_receiving import OUTLINE_OPS_MAX, ladder_bytes, outline_bytes, read_outline
from mover.delta_scanning import (
    RowInput,
    packed_share,
    read_all,
    sample_spans,
    scan,
    scan_row,
    write_delta,
)
from mover.delta_signing import SignWish, sign
from mover.delta_stored import stored_signature
from mover.delta_tasks import Diff, Outline, Parcel, Patch, Sign, Spent
from mover.errors import MoverError
from mover.measuring import Measured
from mover.model import CopySpec, LargeObject
from mover.seeing_out import in_thread
from transports.model import Checksum, Entry

READ_BYTES = (RANGES + 1) * RANGE_BYTES
"""What reading an object from start to end has in memory: the bytes at work, and the next ones."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What came of a diff that did not pay: the object is to be sent whole."""

    spent: Spent


@dataclass(slots=True, kw_only=True)
class _Found:
    """What is known of an object after a scan; ``ladder`` has been sent if an outline was.

    ``unmatched_bytes`` of the basis are in no operation.
    """

    ops: bytes
    digest: bytes
    whole: Checksum
    ladder: list[int] = field(default_factory=list)
    sent_ladder: Parcel | None = None

    literal_bytes: int = 0
    literals: int = 0
    unmatched_bytes: int = 0

    def count(self, basis_size: int) -> None:
        """Look through the operations; there may be a million."""
        news, olds = _open_rows(self.ops, basis_size)
        self.literal_bytes, self.literals = news.size, len(news.spans)
        self.unmatched_bytes = olds.size


def _open_rows(ops: bytes, basis_size: int) -> tuple[Row, Row]:
    """What operations leave open: the literals of the new object, the rest of the basis."""
    news = Row.of(literal_spans(unpack_ops(ops)))
    return news, Row.of(unmatched_spans(unpack_ops(ops), basis_size))


def first_sign(spec: CopySpec, task: LargeObject, basis: Entry, known: Measured) -> Sign:
    """The task that an object which is to be sent by signature begins with."""
    block_bytes = first_bytes(spec, basis.size, known.link)
    return Sign(entry=task.entry, basis=basis, block_bytes=block_bytes, again=task.again)


class Sender(Step):
    """Runs the steps of one object from its signature to its delta.

    Raises ``TransportError``, maybe in groups (``Changed`` where source or basis are no longer those
    that were planned), and ``Spoiled`` where the other side's parcel is no good. A cancel leaves parcels,
    which the object's end or the job's end removes.
    """

    # -- sign ----------------------------------------------------------------------------------

    async def sign(self, task: Sign) -> Diff:
        """Sign the basis, or what of it nothing has matched."""
        ends, basis = self._ends, task.basis
        async with ends.budget.reserve(READ_BYTES):
            if task.outline is None:
                signature = await self._sign_all(task)
            else:
                signature = await self._sign_rest(task, task.outline)
        file = SignatureFile(signature=signature, etag=basis.etag, version=basis.version)
        name, keeper = self._name(task.entry, "signature"), await self._keeper()
        async with parcel_writer(self._near, name, keeper=keeper) as writer:
            for piece in write_signature(file):
                await writer.write(piece)
            parcel = await writer.finish()
        self._spend(puts=parcel.puts)
        return Diff(
            entry=task.entry,
            basis=basis,
            signature=parcel,
            level=task.level,
            outline=task.outline,
            spent=self._spent,
            again=task.again,
            base=task.base,
        )

    async def _sign_all(self, task: Sign) -> Signature:
        """The signature that was left when the basis was written (level 0 only), or one of its bytes."""
        store, basis = self._ends.near_target, task.basis
        if not task.level:
            stored = await stored_signature(store, basis)
            self._spend(gets=1 if stored is None else 2)
            if stored is not None:
                head = stored.signature.head
                return cut(stored.signature, mended_widths(head.size, head.block_bytes))
        self._spend(gets=_reads(basis.size))
        return await self._sign(StoreInput(store, basis), task.block_bytes)

    async def _sign_rest(self, task: Sign, outline: Outline) -> Signature:
        """The signature of what of the basis nothing has matched."""
        store, basis = self._ends.near_target, task.basis
        ops = await read_outline(
            self._near, outline.ops, basis_size=basis.size, new_size=task.entry.size
        )
        self._spend(gets=outline.ops.reads)
        _, olds = await in_thread(_open_rows, ops, basis.size)
        row = RowInput(StoreInput(store, basis), olds)
        signature = await self._sign(row, task.block_bytes)
        self._spend(gets=row.requests)
        return signature

    async def _sign(self, old: Input, block_bytes: int) -> Signature:
        wish = SignWish(block_bytes=block_bytes, mended=True)
        signature = await sign(old, wish, threads=1, watch=_unwatched)
        self._spend(hashed_bytes=signature.head.size)
        return signature

    # -- diff ----------------------------------------------------------------------------------

    async def diff(self, task: Diff) -> Patch | Sign | Whole:
        """Scan the object; leave a delta where that pays, or an outline for a finer signature."""
        ends, entry, known = self._ends, task.entry, await self._ends.rates()
        await pin(ends, entry)
        signature = await self._signature(task.signature)
        block_bytes = signature.head.block_bytes
        async with ends.budget.reserve(READ_BYTES):
            new = StoreInput(ends.near_source, entry)
            found = await self._compare(task, signature, new)
            if found is None:
                return self._given_up(task, block_bytes)
            await in_thread(found.count, task.basis.size)
            if is_another(literal_bytes=found.literal_bytes, size_bytes=entry.size):
                return self._given_up(task, block_bytes)
            if finer := await self._finer(task, found, new, block_bytes, known):
                return await self._ask(task, found, finer)
            if not still_pays(
                ends.spec,
                entry,
                task.basis,
                literal_bytes=found.literal_bytes,
                edits=found.literals,
                known=known,
            ):
                return Whole(self._spent)
            return await self._send(task, found, new)

    async def _signature(self, parcel: Parcel) -> Signature:
        reader = SignatureReader()

        async def take(piece: memoryview) -> None:
            reader.feed(piece)

        try:
            await pour_parcel(self._far, parcel, take)
            signature = reader.finish().signature
        except Garbled as error:
            raise Spoiled(str(error)) from error
        self._spend(wire_bytes=parcel.size, gets=parcel.reads)
        return signature

    async def _compare(self, task: Diff, signature: Signature, new: StoreInput) -> _Found | None:
        entry, outline = task.entry, task.outline
        try:
            index = await index_of(signature)
        except MoverError as error:
            raise Spoiled(str(error)) from error
        if outline is not None:
            ops = await self._refine(task, outline, index, new)
            digest = bytes.fromhex(outline.digest)
            return _Found(ops=ops, digest=digest, whole=outline.whole, sent_ladder=outline.ladder)
        if signature.head.size != task.basis.size:
            raise Spoiled("it is the signature of another object")
        self._spend(gets=_reads(entry.size), hashed_bytes=entry.size)
        scanned = await scan(index, new, entry.size)
        if scanned is None:
            return None
        whole = Checksum("crc64nvme", f"{scanned.whole:016x}")
        return _Found(ops=scanned.ops, digest=scanned.digest, whole=whole, ladder=scanned.ladder)

    async def _refine(
        self, task: Diff, outline: Outline, index: kernel.Index, new: StoreInput
    ) -> bytes:
        ops = await read_outline(
            self._far, outline.ops, basis_size=task.basis.size, new_size=task.entry.size
        )
        self._spend(wire_bytes=outline.ops.size, gets=outline.ops.reads)
        news, olds = await in_thread(_open_rows, ops, task.basis.size)
        if index.signature.head.size != olds.size:
            raise Spoiled("it is the signature of other ranges")
        row = RowInput(new, news)
        fine = await scan_row(index, row)
        self._spend(gets=row.requests, hashed_bytes=news.size)
        return await in_thread(refined, ops, fine, news, olds)

    def _given_up(self, task: Diff, block_bytes: int) -> Sign | Whole:
        """Nothing matched: many small edits hide from large blocks, so one smaller size is tried."""
        single = single_bytes(task.basis.size)
        if task.level or block_bytes <= 2 * single:
            return Whole(self._spent)
        return self._asked(task, single, None)

    async def _finer(
        self, task: Diff, found: _Found, new: StoreInput, block_bytes: int, known: Measured
    ) -> int | None:
        """The blocks of a finer signature, if one pays; literals that pack well cost less than one."""
        if len(found.ops) > OUTLINE_OPS_MAX * OP.size:
            return None
        open_bytes = min(found.literal_bytes, found.unmatched_bytes)

        def ask(packed: float) -> int | None:
            finer = finer_bytes(
                self._ends.spec,
                open_bytes=open_bytes,
                edits=-(-open_bytes // block_bytes),
                level=task.level + 1,
                link=known.link,
                packed=packed,
            )
            return finer if finer is not None and finer < block_bytes else None

        if ask(1.0) is None:
            return None
        spans = await in_thread(sample_spans, found.ops)
        self._spend(gets=len(spans))
        samples = await read_all(new, spans)
        return ask(await in_thread(packed_share, samples))

    async def _ask(self, task: Diff, found: _Found, block_bytes: int) -> Sign:
        """Leave what is known so far, and ask for a finer signature of the rest."""
        ladder = found.sent_ladder or await self._leave_ladder(task, found.ladder)
        packed = await in_thread(outline_bytes, found.ops)
        keeper = await self._keeper(task.signature.at)
        ops = await self._leave(task.entry, "outline", packed, keeper=keeper)
        outline = Outline(ops=ops, ladder=ladder, whole=found.whole, digest=found.digest.hex())
        return self._asked(task, block_bytes, outline)

    def _asked(self, task: Diff, block_bytes: int, outline: Outline | None) -> Sign:
        return Sign(
            entry=task.entry,
            basis=task.basis,
            block_bytes=block_bytes,
            level=task.level + 1,
            outline=outline,
            spent=self._spent,
            again=task.again,
            base=task.base,
        )

    async def _send(self, task: Diff, found: _Found, new: StoreInput) -> Patch:
        entry, keeper = task.entry, await self._keeper(task.signature.at)
        name = self._name(entry, "delta")
        async with parcel_writer(self._far, name, keeper=keeper) as writer:
            gets = await write_delta(found.ops, found.digest, new, task.basis.size, writer)
            delta = await writer.finish()
        self._spend(wire_bytes=delta.size, gets=gets, puts=delta.puts)
        ladder = found.sent_ladder or await self._leave_ladder(task, found.ladder)
        literal_bytes = found.literal_bytes
        return Patch(
            entry=entry,
            basis=task.basis,
            delta=delta,
            ladder=ladder,
            whole=found.whole,
            literal_bytes=literal_bytes,
            matched_bytes=entry.size - literal_bytes,
            spent=self._spent,
            again=task.again,
            base=task.base,
        )

    async def _leave_ladder(self, task: Diff, ladder: list[int]) -> Parcel:
        keeper = await self._keeper(task.signature.at)
        return await self._leave(task.entry, "ladder", ladder_bytes(ladder), keeper=keeper)


def _reads(size: int) -> int:
    return -(-size // RANGE_BYTES)


def _unwatched(done: int, whole: int | None) -> None:
    """Nobody watches the reading of one object."""

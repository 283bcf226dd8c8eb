"""Send one large object as a difference from what the target has of it: sign, diff, patch.

1. *Sign*, near the target: read the basis, leave its signature at the target.
2. *Diff*, near the source: fetch the signature, scan the object, leave the delta at the target; or say
   that it is to be sent whole, before anything of it has crossed.
3. *Patch*, near the target: make the object of the basis and the delta, proved before it is visible.

Any of the three may run twice. Source and basis are pinned throughout: every read names the version
that was planned, and the target minds what it replaces.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from mover.attributes import dress
from mover.copying_large import compare_with_source, finished_tally, pin
from mover.delta.garbled import Garbled
from mover.delta.signature_format import SignatureFile, SignatureReader, write_signature
from mover.delta_choosing import block_bytes, saved_usd, still_pays
from mover.delta_diffing import index_of
from mover.delta_inputs import RANGE_BYTES, RANGES, StoreInput
from mover.delta_parcels import (
    Spoiled,
    object_prefix,
    parcel_writer,
    pour_parcel,
    remove_hidden,
)
from mover.delta_patches import Counts
from mover.delta_patches import Patch as Plan
from mover.delta_patching import Fill, Patcher
from mover.delta_receiving import ladder_bytes, read_ladder, received
from mover.delta_scanning import scan, whole_of, write_delta
from mover.delta_signing import SignWish, sign
from mover.delta_tasks import Diff, Parcel, Patch, Sign, Spent
from mover.ends import Ends
from mover.errors import MoverError
from mover.manifest import DeltaRow, Row, finished_row
from mover.model import TaskResult, Verify
from mover.probing import digest_of
from mover.recording import now_ms
from mover.rereading import verify_whole
from mover.uploading import Fence, drop_uploads
from mover.verifying import proof_of
from scheduler.model import Lease
from transports.errors import Changed, NotFound
from transports.model import (
    Attributes,
    ByteRange,
    Checksum,
    Entry,
    ObjectInfo,
    Presence,
    Proof,
    Receipt,
)

READ_BYTES = 2 * RANGES * RANGE_BYTES
"""What reading an object from start to end has in memory: the bytes at work, and the next ones."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What came of a diff that did not pay: the object is to be sent whole."""

    spent: Spent


class DeltaStep:
    """Runs one step of one object for a lease.

    Raises ``TransportError`` (``Changed`` where source or basis are no longer those that were planned),
    ``Spoiled`` where the other side's parcel is no good. A cancel leaves parcels, which the object's
    end or the job's end removes, and an upload at most where ``Patcher`` would.
    """

    def __init__(self, ends: Ends, lease: Lease) -> None:
        self._ends = ends
        self._lease = lease

    def _name(self, entry: Entry, what: str) -> str:
        """The name of a parcel that nobody else writes: another holder has another generation."""
        prefix = object_prefix(self._ends.token, self._ends.target_key(entry.key))
        return f"{prefix}{self._lease.task_id}-{self._lease.generation}.{what}"

    # -- sign ----------------------------------------------------------------------------------

    async def sign(self, task: Sign) -> Diff:
        """Sign the basis."""
        ends, basis = self._ends, task.basis
        wish = SignWish(block_bytes=block_bytes(basis.size))
        async with ends.budget.reserve(READ_BYTES):
            old = StoreInput(ends.near_target, basis)
            signature = await sign(old, wish, threads=1, watch=_unwatched)
        file = SignatureFile(signature=signature, etag=basis.etag, version=basis.version)
        async with parcel_writer(ends.near_target, self._name(task.entry, "signature")) as writer:
            for piece in write_signature(file):
                await writer.write(piece)
            parcel = await writer.finish()
        spent = Spent(gets=_reads(basis.size), puts=parcel.count, hashed_bytes=basis.size)
        return Diff(entry=task.entry, basis=basis, signature=parcel, spent=spent, again=task.again)

    # -- diff ----------------------------------------------------------------------------------

    async def diff(self, task: Diff) -> Patch | Whole:
        """Scan the object; leave a delta where that pays."""
        ends, entry = self._ends, task.entry
        await pin(ends, entry)
        fetched = Spent(wire_bytes=task.signature.size, gets=task.signature.count)
        spent = task.spent.plus(fetched)
        file = await self._signature(task.signature)
        async with ends.budget.reserve(READ_BYTES):
            new = StoreInput(ends.near_source, entry)
            try:
                index = await index_of(file.signature)
            except MoverError as error:
                raise Spoiled(str(error)) from error
            scanned = await scan(index, new, entry.size)
            spent = spent.plus(Spent(gets=_reads(entry.size), hashed_bytes=entry.size))
            if scanned is None or not still_pays(
                ends.spec,
                entry,
                task.basis,
                literal_bytes=scanned.literal_bytes,
                edits=scanned.edits,
                link=ends.link_rate(),
            ):
                return Whole(spent)
            async with parcel_writer(ends.target, self._name(entry, "delta")) as writer:
                gets = await write_delta(scanned, new, task.basis.size, writer)
                delta = await writer.finish()
        async with parcel_writer(ends.target, self._name(entry, "ladder")) as writer:
            await writer.write(ladder_bytes(scanned.ladder))
            ladder = await writer.finish()
        sent = delta.size + ladder.size
        spent = spent.plus(Spent(wire_bytes=sent, gets=gets, puts=delta.count + ladder.count))
        return Patch(
            entry=entry,
            basis=task.basis,
            delta=delta,
            ladder=ladder,
            whole=Checksum("crc64nvme", f"{whole_of(scanned.ladder, entry.size):016x}"),
            literal_bytes=scanned.literal_bytes,
            matched_bytes=scanned.matched_bytes,
            spent=spent,
            again=task.again,
        )

    async def _signature(self, parcel: Parcel) -> SignatureFile:
        reader = SignatureReader()

        async def take(piece: memoryview) -> None:
            reader.feed(piece)

        try:
            await pour_parcel(self._ends.target, parcel, take)
            return reader.finish()
        except (Garbled, NotFound) as error:
            raise Spoiled(str(error)) from error

    # -- patch ---------------------------------------------------------------------------------

    async def patch(
        self, task: Patch, fence: Fence, *, repeated: bool, rows: list[Row] | None
    ) -> TaskResult:
        """Make the object visible."""
        ends, key = self._ends, self._ends.target_key(task.entry.key)
        made = None
        if repeated:
            await drop_uploads(ends, key, fence)
            made = await self._made_before(task, key)
        info = await pin(ends, task.entry)
        counts = Counts()
        retries_before = ends.live.retries
        if made is None:
            made, counts = await self._make(task, key, info)
        if ends.live.retries != retries_before:
            # An answer that got lost may have taken the name of an upload with it.
            await drop_uploads(ends, key, fence)
        proof = await self._verified(task, key, info, made)
        await remove_hidden(ends.near_target, object_prefix(ends.token, key))
        return self._landed(task, info, made._replace(proof=proof), counts, rows)

    async def _made_before(self, task: Patch, key: str) -> Receipt | None:
        """The object, where an earlier holder has made it and died before it could say so."""
        ends = self._ends
        try:
            info = await ends.near_target.head(key)
        except NotFound:
            return None
        found, entry = info.entry, task.entry
        if _is_same(found, task.basis) or found.size != entry.size:
            return None
        known = next((c.hex for c in info.checksums if c.algorithm == task.whole.algorithm), "")
        if not known:
            known = await digest_of(ends, ends.near_target, found, task.whole.algorithm)
        if known != task.whole.hex:
            return None
        return Receipt(key, found.size, found.etag, Proof.STRONG, task.whole, found.version)

    async def _make(self, task: Patch, key: str, info: ObjectInfo) -> tuple[Receipt, Counts]:
        ends, entry, near = self._ends, task.entry, self._ends.near_target
        replaces: Entry | Presence = task.basis
        if not near.capabilities.conditional_finish:
            if not _is_same((await near.head(key)).entry, task.basis):
                raise Changed(f"{near.location}{key}")
            replaces = Presence.ANY
        ladder = await read_ladder(near, task.ladder)
        receiving = received(near, task.delta, size=entry.size, basis_size=task.basis.size)
        async with receiving as delta:
            patcher = Patcher(
                target=near,
                near=near,
                literals=delta.literals.fill,
                budget=ends.budget,
                token=ends.token,
                resend=self._resend(entry),
            )
            plan = Plan(
                key=key,
                size=entry.size,
                ops=delta.ops,
                basis=task.basis,
                whole=task.whole,
                ladder=ladder,
                attributes=self._attributes(entry, info),
                replaces=replaces,
            )
            patched = await patcher.run(plan)
        return patched.receipt, patched.counts

    def _resend(self, entry: Entry) -> Fill:
        """Reads bytes of the new object over the link: the few that a false match stood for."""
        source = self._ends.source

        async def read(span: ByteRange, buffer: memoryview) -> None:
            await source.read_into(entry, span, buffer)

        return read

    def _attributes(self, entry: Entry, info: ObjectInfo) -> Attributes:
        source, target = self._ends.source.capabilities, self._ends.target.capabilities
        return dress(entry, info.attributes, source, target)

    async def _verified(self, task: Patch, key: str, info: ObjectInfo, made: Receipt) -> Proof:
        ends = self._ends
        read = compare_with_source(ends, info, task.whole)
        if ends.spec.verify is Verify.FULL:
            await verify_whole(ends, key, task.whole)
            return Proof.STRONG
        return proof_of(read, made.proof, ends.source.capabilities, ends.target.capabilities)

    def _landed(
        self, task: Patch, info: ObjectInfo, made: Receipt, counts: Counts, rows: list[Row] | None
    ) -> TaskResult:
        ends, entry = self._ends, task.entry
        puts = counts.copied_parts + counts.mixed_parts + 2
        fetched = Spent(
            wire_bytes=counts.resent_bytes,
            gets=task.delta.count + task.ladder.count + max(counts.requests - puts, 0),
            puts=puts,
            hashed_bytes=entry.size,
        )
        spent = task.spent.plus(fetched)
        saved = saved_usd(entry, spent)
        ends.live.copied_bytes += entry.size
        if rows is not None:
            mtime_ns = self._attributes(entry, info).mtime_ns
            made = made._replace(size=entry.size)
            row = finished_row(
                ends.at_target(entry), made, now_ms(), mtime_ns=mtime_ns, checksum=task.whole
            )
            delta = DeltaRow(
                spent.wire_bytes,
                task.literal_bytes,
                task.matched_bytes,
                spent.requests,
                round(saved, 6),
            )
            rows.append(replace(row, delta=delta))
        tally = finished_tally(entry.size, made.proof)
        tally.patched_objects = 1
        tally.wire_bytes = counts.resent_bytes
        tally.delta_wire_bytes = spent.wire_bytes
        tally.literal_bytes, tally.matched_bytes = task.literal_bytes, task.matched_bytes
        tally.delta_requests = spent.requests
        tally.saved_usd_e6 = round(saved * 1e6)
        return TaskResult(tally=tally)


def _is_same(found: Entry, wanted: Entry) -> bool:
    """Whether an object is still the one that was planned, by all that is known of both."""
    return found.size == wanted.size and all(
        one == other or not (one and other)
        for one, other in ((found.etag, wanted.etag), (found.version, wanted.version))
    )


def _reads(size: int) -> int:
    return -(-size // RANGE_BYTES)


def _unwatched(done: int, whole: int | None) -> None:
    """Nobody watches the reading of one object."""

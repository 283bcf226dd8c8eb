"""Move one large object as parts that many workers share: open, chunks, assembly.

1. *Open*: ask the source for the object's attributes, open an upload at the target, and leave one
   chunk task per run of parts, in a group whose last member releases the assembly.
2. *Chunk*: read each part's range into a buffer, pinned to the object that was planned, and write it.
3. *Assembly*: when all parts are there, look once more that the source is still the same object,
   compare the full checksum, and make the target visible. If a chunk failed, drop the upload.

Any of the three may run twice: parts are numbered, so a part written again replaces itself, and
finishing an upload that is finished already succeeds.
"""

import asyncio
from collections.abc import Iterator, Sequence

from mover.attributes import dress
from mover.delta.part_signing import part_head
from mover.delta_stored import PartSigner, StoredParts, keeps_signatures
from mover.ends import Ends
from mover.manifest import Row, finished_row
from mover.model import Assembly, Chunk, Failure, LargeObject, Tally, TaskResult, Verify
from mover.recording import now_ms
from mover.rereading import verify_whole
from mover.sizing import POURED_PART_BYTES, PartPlan, plan_parts
from mover.uploading import Fence, abandon, begin_upload
from mover.verifying import proof_of
from transports import digests
from transports.errors import Changed, Corrupt, Invalid, Transient, TransportError
from transports.model import (
    Checksum,
    Entry,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Proof,
)

PART_LANES = 8
"""Parts of one chunk in flight; the byte budget and the store's limit bound them all together."""


async def pin(ends: Ends, entry: Entry) -> ObjectInfo:
    """Look at the source object; raise ``Changed`` when it is not the one that was planned."""
    info = await ends.source.head(entry.key)
    found = info.entry
    if found.size != entry.size or (entry.etag and found.etag != entry.etag):
        raise Changed(f"{ends.source.location}{entry.key}")
    if entry.version and found.version and found.version != entry.version:
        raise Changed(f"{ends.source.location}{entry.key}")
    return info


def plan_for(ends: Ends, entry: Entry) -> PartPlan:
    """The parts of an object at this target. Raises ``Invalid`` where it is too large for it."""
    wished_bytes = ends.spec.part_bytes or (POURED_PART_BYTES if ends.pours else 0)
    try:
        return plan_parts(entry.size, ends.target.capabilities, wished_bytes=wished_bytes)
    except ValueError as error:
        location = f"{ends.target.location}{ends.target_key(entry.key)}"
        raise Invalid(location, str(error)) from error


async def open_object(
    ends: Ends,
    task: LargeObject,
    info: ObjectInfo,
    group: str,
    fence: Fence,
    *,
    repeated: bool,
    tapered: bool = False,
) -> "Opened":
    """Open the upload, and say which chunk tasks it takes. A cancel drops it again."""
    entry = task.entry
    plan = plan_for(ends, entry)
    attributes = dress(entry, info.attributes, ends.source.capabilities, ends.target.capabilities)
    key = ends.target_key(entry.key)
    upload_id = await begin_upload(ends, key, entry.size, attributes, fence)
    chunks = [
        Chunk(entry=entry, upload_id=upload_id, part_bytes=plan.part_bytes, first=first, last=last)
        for first, last in plan.runs(tapered=tapered)
    ]
    assembly = Assembly(
        entry=entry,
        upload_id=upload_id,
        part_bytes=plan.part_bytes,
        group=group,
        again=task.again,
        reopened=repeated,
    )
    return chunks, assembly


Opened = tuple[list[Chunk], Assembly]
"""The chunk tasks of one object, and the assembly that waits for them."""


class ChunkCopier:
    """Copies the parts of one chunk; a cancel leaves parts that a later attempt finds or replaces.

    ``found_bytes`` is what was there of it when it ran again.
    """

    def __init__(self, ends: Ends, chunk: Chunk) -> None:
        self._ends = ends
        self._chunk = chunk
        self._key = ends.target_key(chunk.entry.key)
        self._sparse = ends.source.capabilities.local and ends.target.capabilities.local
        self.result = TaskResult(tally=Tally())
        self.found_bytes = 0
        stored = stored_parts(ends, chunk)
        self._signer = None if stored is None else PartSigner(stored)

    async def run(self, *, repeated: bool) -> TaskResult:
        """Copy every part that is not there yet. Raises the first error of a part, alone."""
        chunk = self._chunk
        plan = PartPlan(size=chunk.entry.size, part_bytes=chunk.part_bytes)
        parts = [plan.part(number) for number in range(chunk.first, chunk.last + 1)]
        if repeated:
            parts = await self._missing(parts)
        waiting = iter(parts)
        try:
            async with asyncio.TaskGroup() as crew:
                for number in range(min(PART_LANES, len(parts))):
                    crew.create_task(self._lane(waiting), name=f"part-lane-{number}")
        except* TransportError as group:
            raise first_error(group) from None
        if self._signer is not None:
            await self._signer.leave()
        return self.result

    async def _lane(self, parts: Iterator[PartSpec]) -> None:
        # What is poured passes nobody who could sign it.
        carry = self._pour if self._ends.pours and self._signer is None else self._carry
        for part in parts:
            self._landed(await carry(part))

    async def _pour(self, part: PartSpec) -> PartReceipt:
        """From the source's connection into the target's file."""
        ends, chunk = self._ends, self._chunk
        sink = await ends.target.open_part(self._key, chunk.upload_id, part, sparse=self._sparse)
        try:
            await ends.source.read_to(chunk.entry, part.range, sink)
            return await sink.finish()
        finally:
            await sink.close()

    async def _carry(self, part: PartSpec) -> PartReceipt:
        """Through a buffer of the byte budget."""
        ends, chunk = self._ends, self._chunk
        async with ends.budget.buffer(len(part.range)) as buffer:
            await ends.source.read_into(chunk.entry, part.range, buffer)
            receipt = await ends.target.write_part(
                self._key, chunk.upload_id, part, buffer, sparse=self._sparse
            )
            if not receipt.crc64nvme:
                loop = asyncio.get_running_loop()
                crc = await loop.run_in_executor(None, digests.crc64nvme_hex, buffer)
                receipt = receipt._replace(crc64nvme=crc)
            if self._signer is not None:
                await self._signer.sign(part.range.start, buffer)
        return receipt

    def _landed(self, receipt: PartReceipt) -> None:
        self.result.parts.append(receipt)
        if self._ends.crosses_network:
            self.result.tally.wire_bytes += receipt.size
        self._ends.live.copied_bytes += receipt.size

    async def _missing(self, parts: list[PartSpec]) -> list[PartSpec]:
        """What an earlier attempt has not brought; a part counts only with its checksum known."""
        there = {
            found.number: found
            for found in await self._ends.target.list_parts(self._key, self._chunk.upload_id)
        }
        missing = []
        for part in parts:
            found = there.get(part.number)
            if found is not None and found.crc64nvme and found.size == len(part.range):
                self.result.parts.append(found._replace(start=part.range.start))
                self.found_bytes += found.size
            else:
                missing.append(part)
        return missing


async def assemble(
    ends: Ends, task: Assembly, parts: Sequence[PartReceipt], rows: list[Row] | None = None
) -> TaskResult:
    """Make the object visible, proven as far as the stores allow; ``rows`` receives its row.

    Raises ``Changed`` when the source moved meanwhile and ``Corrupt`` when a checksum differs; the
    upload is dropped then, as after any other failure but a ``Transient`` one, after which the call
    may be repeated. A cancel may leave it open or the object finished.
    """
    entry = task.entry
    key = ends.target_key(entry.key)
    parts = sorted(parts)
    stored = stored_parts(ends, task)
    try:
        info = await pin(ends, entry)
        whole = whole_checksum(parts)
        read = compare_with_source(ends, info, whole)
        attributes = dress(
            entry, info.attributes, ends.source.capabilities, ends.target.capabilities
        )
        demanded = _demanded(ends, info, read, whole)
        receipt = await ends.target.finish_upload(
            key, task.upload_id, parts, attributes, checksum=demanded
        )
        if demanded is not whole and receipt.proof is Proof.STRONG:
            read = Proof.STRONG  # the target compared the source's own digest
        if ends.spec.verify is Verify.FULL:
            await verify_whole(ends, key, whole)
            read = Proof.STRONG
            receipt = receipt._replace(proof=Proof.STRONG)
    except Transient:
        raise
    except TransportError:
        await abandon(ends, key, task.upload_id)
        if stored is not None:
            await stored.drop()
        raise
    if stored is not None:
        await stored.finish(receipt)
    proof = proof_of(read, receipt.proof, ends.source.capabilities, ends.target.capabilities)
    if rows is not None:
        receipt = receipt._replace(size=entry.size, proof=proof)
        at_target, mtime_ns = ends.at_target(entry), attributes.mtime_ns
        rows.append(finished_row(at_target, receipt, now_ms(), mtime_ns=mtime_ns, checksum=whole))
    return TaskResult(tally=finished_tally(entry.size, proof))


def stored_parts(ends: Ends, task: Chunk | Assembly) -> StoredParts | None:
    """Where the signature of an object is gathered while it is written; None where none is wished.

    Only stores that tell etags and disks keep signatures, and only of parts that are whole blocks.
    """
    if not ends.spec.sign_on_write or not keeps_signatures(ends.target):
        return None
    head = part_head(task.entry.size, task.part_bytes, task.upload_id)
    key = ends.target_key(task.entry.key)
    return None if head is None else StoredParts(ends.target, key, task.upload_id, head)


def whole_checksum(parts: Sequence[PartReceipt]) -> Checksum:
    """The CRC-64/NVME of an object from those of all its parts, in their order."""
    total = digests.combine_crc64nvme_parts([(int(p.crc64nvme, 16), p.size) for p in parts])
    return Checksum("crc64nvme", f"{total:016x}")


def compare_with_source(ends: Ends, info: ObjectInfo, whole: Checksum) -> Proof:
    """Compare what was read with the checksum that the source keeps, where it keeps this one.

    Raises ``Corrupt``.
    """
    for known in info.checksums:
        if known.algorithm == whole.algorithm:
            if known.hex != whole.hex:
                raise Corrupt(
                    f"{ends.source.location}{info.entry.key}",
                    algorithm=whole.algorithm,
                    expected=known.hex,
                    actual=whole.hex,
                )
            return Proof.STRONG
    return Proof.WEAK


def _demanded(ends: Ends, info: ObjectInfo, read: Proof, whole: Checksum) -> Checksum:
    """The checksum that the target shall compare before it shows the object.

    A local target can compute any digest from its temporary file. Where the source keeps only one
    that cannot be combined from parts (the MD5 of a single-part ETag), that one is asked for.
    """
    if read is not Proof.STRONG and ends.target.capabilities.local:
        for known in info.checksums:
            return known
    return whole


def finished_tally(size: int, proof: Proof) -> Tally:
    """The counts of one object that has been copied, its bytes over the wire counted elsewhere."""
    return Tally(
        copied_objects=1,
        copied_bytes=size,
        verified_strong=int(proof is Proof.STRONG),
        verified_weak=int(proof is Proof.WEAK),
        verified_none=int(proof is Proof.NONE),
    )


def failed_result(key: str, error: TransportError) -> TaskResult:
    """The result of a task whose one object failed."""
    tally = Tally(failed_objects=1, corrupt_objects=int(isinstance(error, Corrupt)))
    return TaskResult(tally=tally, failures=[Failure(key, type(error).__name__, str(error))])


def first_error(group: BaseExceptionGroup[TransportError]) -> TransportError:
    """The first single error in a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TransportError)  # noqa: S101 - the group's type says so
    return error

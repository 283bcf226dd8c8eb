"""Move one large object from a source that offers no ranges: once through, from start to end.

One task reads the stream and writes the parts as they fill; it cannot be shared or resumed in the
middle, so a broken stream starts again. A stream whose length nobody told goes through a temporary
file first, because an upload is opened with its size.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import IO

from mover.attributes import dress
from mover.copying_large import finished_tally, pin, plan_for, whole_checksum
from mover.ends import Ends
from mover.manifest import Row, finished_row
from mover.model import TaskResult, Verify
from mover.recording import now_ms
from mover.rereading import verify_whole
from mover.sizing import PartPlan
from mover.spooling import spool_file
from mover.uploading import Fence, abandon, abandon_late, begin_upload
from mover.verifying import proof_of
from transports import digests
from transports.errors import Corrupt, Transient, TransportError
from transports.model import Checksum, Entry, ObjectInfo, PartReceipt, Proof

STREAM_ATTEMPTS = 4
"""Starts of one stream: the decorators cannot read on in a stream that broke."""

SPOOL_READ_BYTES = 1024 * 1024

Pieces = AsyncIterator[bytes | memoryview]


async def copy_streamed(
    ends: Ends, entry: Entry, info: ObjectInfo, fence: Fence, rows: list[Row] | None = None
) -> TaskResult:
    """Copy the object whole; ``rows`` receives its row. Raises the last ``TransportError``; the upload is dropped then.

    A cancel drops the upload as well, within ``DROP_S``; it may leave the object finished.
    """
    for attempt in range(1, STREAM_ATTEMPTS + 1):
        try:
            if entry.size >= 0:
                return await _upload(ends, entry, info, _source_pieces(ends, entry), fence, rows)
            return await _through_spool(ends, entry, info, fence, rows)
        except Transient:
            if attempt == STREAM_ATTEMPTS:
                raise
            await asyncio.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _source_pieces(ends: Ends, entry: Entry) -> Pieces:
    async for piece in ends.source.stream(entry):
        yield piece


async def _through_spool(
    ends: Ends, entry: Entry, info: ObjectInfo, fence: Fence, rows: list[Row] | None
) -> TaskResult:
    with spool_file() as spool:
        size = 0
        async for piece in ends.source.stream(entry):
            size += await asyncio.to_thread(spool.write, piece)
        await asyncio.to_thread(spool.seek, 0)
        sized = entry._replace(size=size)
        return await _upload(ends, sized, info, _spooled(spool), fence, rows)


async def _spooled(spool: IO[bytes]) -> Pieces:
    while piece := await asyncio.to_thread(spool.read, SPOOL_READ_BYTES):
        yield piece


async def _upload(
    ends: Ends,
    entry: Entry,
    info: ObjectInfo,
    pieces: Pieces,
    fence: Fence,
    rows: list[Row] | None,
) -> TaskResult:
    key = ends.target_key(entry.key)
    plan = plan_for(ends, entry)
    attributes = dress(entry, info.attributes, ends.source.capabilities, ends.target.capabilities)
    upload_id = await begin_upload(ends, key, entry.size, attributes, fence)
    parts: list[PartReceipt] = []
    try:
        known = info.checksums[0] if info.checksums else None
        digest = digests.new_digest(known.algorithm) if known else None
        await _write_parts(ends, key, upload_id, plan, pieces, digest, parts)
        read = _compare(f"{ends.source.location}{entry.key}", known, digest)
        await pin(ends, entry if info.entry.size >= 0 else info.entry)
        whole = whole_checksum(parts)
        receipt = await ends.target.finish_upload(key, upload_id, parts, attributes, checksum=whole)
        if ends.spec.verify is Verify.FULL:
            await verify_whole(ends, key, whole)
            read, receipt = Proof.STRONG, receipt._replace(proof=Proof.STRONG)
    except TransportError:
        _take_back(ends, parts)
        await abandon(ends, key, upload_id)
        raise
    except asyncio.CancelledError:
        _take_back(ends, parts)
        await abandon_late(ends, key, upload_id)
        raise
    proof = proof_of(read, receipt.proof, ends.source.capabilities, ends.target.capabilities)
    tally = finished_tally(entry.size, proof)
    tally.wire_bytes = entry.size if ends.crosses_network else 0
    if rows is not None:
        receipt = receipt._replace(size=entry.size, proof=proof)
        at_target, mtime_ns = ends.at_target(entry), attributes.mtime_ns
        rows.append(finished_row(at_target, receipt, now_ms(), mtime_ns=mtime_ns, checksum=whole))
    return TaskResult(tally=tally)


async def _write_parts(
    ends: Ends,
    key: str,
    upload_id: str,
    plan: PartPlan,
    pieces: Pieces,
    digest: digests.Digest | None,
    parts: list[PartReceipt],
) -> None:
    """Fill a buffer part by part and write it, and add it to ``parts``; one part is in memory at a time."""
    async with (
        aclosing(pieces) as stream,  # type: ignore[type-var]
        ends.budget.buffer(min(plan.part_bytes, max(plan.size, 1))) as buffer,
    ):
        filled = 0
        rest = memoryview(b"")
        for number in range(1, plan.count + 1):
            part = plan.part(number)
            size = len(part.range)
            while filled < size:
                if not len(rest):
                    rest = memoryview(await anext(stream))
                    if digest is not None:
                        digest.update(rest)
                taken = rest[: size - filled]
                buffer[filled : filled + len(taken)] = taken
                filled += len(taken)
                rest = rest[len(taken) :]
            receipt = await ends.target.write_part(key, upload_id, part, buffer[:size])
            crc = receipt.crc64nvme or digests.crc64nvme_hex(buffer[:size])
            parts.append(receipt._replace(crc64nvme=crc))
            ends.live.copied_bytes += size
            filled = 0


def _take_back(ends: Ends, parts: list[PartReceipt]) -> None:
    """Nothing has come of an upload that is dropped: another attempt counts anew."""
    ends.live.copied_bytes -= sum(part.size for part in parts)


def _compare(location: str, known: Checksum | None, digest: digests.Digest | None) -> Proof:
    if known is None or digest is None:
        return Proof.WEAK
    actual = digest.hexdigest()
    if actual != known.hex:
        raise Corrupt(location, algorithm=known.algorithm, expected=known.hex, actual=actual)
    return Proof.STRONG

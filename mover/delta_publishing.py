"""One-sided delta: a signature is published beside an object, and readers fetch only what they lack.

Nothing has to run where the object is. A reader scans its own old copy with the signature of the new
object, reads the missing ranges, and verifies the whole by the digest that was published.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Final

from mover.delta import kernel
from mover.delta.checksums import whole_digest
from mover.delta.inverting import fetch_plan
from mover.delta.model import Op, OpKind, Signature, unpack_ops
from mover.delta.signature_format import SignatureFile
from mover.delta_diffing import index_of, scan_file
from mover.delta_inputs import RANGE_BYTES, FileInput, Input, StoreInput, spooled
from mover.delta_making import Making
from mover.delta_opening import PIPE, Opener, beside
from mover.delta_signing import (
    Outcome,
    SignWish,
    Watch,
    read_signature,
    sign,
    write_signature_file,
)
from mover.errors import Damaged, Incomplete, Rejected
from mover.seeing_out import in_thread

SUFFIX: Final = ".mover-sig"

GAP_BYTES: Final = 64 * 1024
"""Known bytes between two missing ranges that are fetched rather than asked around.

Traffic between regions costs as much for 20 kB as a request does; a round trip of some tens of
milliseconds, shared by eight connections of 100 Mbit/s together, is worth about three times that.
"""

AHEAD: Final = 8
"""Ranges on their way at a time: at most 64 MiB."""


async def publish(
    source: str, to: str, opener: Opener, wish: SignWish, *, threads: int, watch: Watch
) -> Outcome:
    """Write the whole signature of ``source`` to ``to``, or beside it where ``to`` is empty.

    It is bound to the object's size, and to its etag and version where there are any. Raises
    ``MoverError``, ``TransportError``.
    """
    if source == PIPE and not to:
        raise Rejected("what comes from a pipe has no place beside it: add --to LOCATION")
    given = await opener.input(source)
    digest = whole_digest()
    async with AsyncExitStack() as stack:
        if given.size is None:
            given = await spooled(given, stack)
        signature = await sign(given, wish, threads=threads, watch=watch, whole=digest)
    entry = given.entry if isinstance(given, StoreInput) else None
    file = SignatureFile(
        signature=signature,
        whole=digest.digest(),
        etag=entry.etag if entry else "",
        version=entry.version if entry else "",
    )
    async with opener.draft(to or beside(source, SUFFIX)) as draft:
        length = await write_signature_file(file, draft)
    head = signature.head
    return Outcome(
        read_bytes=head.size, wire_bytes=length, blocks=head.blocks, block_bytes=head.block_bytes
    )


async def fetch(
    source: str,
    basis: str,
    out: str,
    opener: Opener,
    *,
    signature: str,
    gap_bytes: int = GAP_BYTES,
    threads: int,
    watch: Watch,
) -> Outcome:
    """Make ``out`` equal to ``source`` with the bytes of ``basis`` where it has them.

    ``signature`` is where the published one is, empty for beside the source. Raises ``Incomplete``
    where it is of another version of the source, ``Damaged`` where the result is not what it is of,
    ``Garbled``, ``TransportError``. Nothing is left then, and after a cancel.
    """
    given, old = await opener.input(source), await opener.input(basis)
    if not old.seekable:
        old = await spooled(old, opener.stack)
    if not given.seekable:
        raise Rejected(f"{given.name} cannot be read in ranges: copy it instead")
    where = signature or beside(source, SUFFIX)
    file, signature_bytes = await read_signature(await opener.input(where))
    _check_binding(file, given, where)
    index = await index_of(file.signature)
    plan = await _plan(index, file.signature, old, gap_bytes, threads)
    async with opener.draft(out, size=file.signature.head.size, held=True) as draft:
        making = Making(old, draft, watch, file.signature.head.size)
        await _make(plan, given, making)
        old.check_unchanged()
        given.check_unchanged()
        if making.digest.digest() != file.whole:
            raise Damaged(
                f"nothing was written: the result is not what {where} was made of; publish again, or"
                " copy the object"
            )
        await draft.publish()
    head = file.signature.head
    return Outcome(
        read_bytes=(old.size or 0) + making.literal_bytes,
        wire_bytes=signature_bytes + making.literal_bytes,
        literal_bytes=making.literal_bytes,
        matched_bytes=making.copied_bytes,
        filled_bytes=making.filled_bytes,
        new_bytes=head.size,
        blocks=head.blocks,
        block_bytes=head.block_bytes,
        ops=len(plan),
    )


def _check_binding(file: SignatureFile, given: Input, where: str) -> None:
    if not file.whole:
        raise Rejected(
            f"{where} was not published: it has no digest of the whole (mover delta publish)"
        )
    same = file.signature.head.size == given.size
    if isinstance(given, StoreInput):
        pairs = ((file.etag, given.entry.etag), (file.version, given.entry.version))
        same = same and all(ours == theirs for ours, theirs in pairs if ours and theirs)
    if not same:
        raise Incomplete(
            f"{where} is of another version of {given.name}: publish its signature again"
        )


async def _plan(
    index: kernel.Index, signature: Signature, old: Input, gap_bytes: int, threads: int
) -> list[Op]:
    found: list[Op] = []
    if not isinstance(old, FileInput):
        packed = await _scan_stream(index, old)
        found = [op for op in unpack_ops(packed) if op.kind is OpKind.COPY]
        return await in_thread(lambda: fetch_plan(found, signature, gap_bytes=gap_bytes))
    with old.mapped() as view:
        strides = scan_file(index, signature.head.block_bytes, view, old.threads(threads))
        async with aclosing(strides):
            async for ops in strides:
                found += [op for op in ops if op.kind is OpKind.COPY]
    return await in_thread(lambda: fetch_plan(found, signature, gap_bytes=gap_bytes))


async def _scan_stream(index: kernel.Index, old: Input) -> bytes:
    """The operations of an old copy that is at a store: it is read once, from start to end."""
    scanner = kernel.Scanner(index)
    parts: list[bytes] = []

    async def take(piece: memoryview) -> None:
        parts.append(await in_thread(scanner.feed, piece))

    await old.pour(take)
    parts.append(await in_thread(lambda: scanner.feed(b"", final=True)))
    return await in_thread(kernel.merge, parts)


async def _make(plan: list[Op], source: Input, making: Making) -> None:
    """Carry out a plan, with some of the ranges to fetch always on their way."""
    ranges = _ranges(plan)
    coming: deque[asyncio.Task[bytes]] = deque()
    async with asyncio.TaskGroup() as group:

        def ask() -> None:
            for start, stop in ranges:
                coming.append(group.create_task(source.read(start, stop), name="fetch"))
                return

        for _ in range(AHEAD):
            ask()
        for op in plan:
            if op.kind is not OpKind.LITERAL:
                await making.make((op, memoryview(b"")))
                continue
            for start, stop in _ranges([op]):
                data = await coming.popleft()
                ask()
                piece = Op(start, start, stop - start, OpKind.LITERAL)
                await making.make((piece, memoryview(data)))


def _ranges(plan: list[Op]) -> Iterator[tuple[int, int]]:
    """What to fetch, in the order of the object, in pieces of one request."""
    for op in plan:
        if op.kind is OpKind.LITERAL:
            for start in range(op.start, op.stop, RANGE_BYTES):
                yield start, min(start + RANGE_BYTES, op.stop)

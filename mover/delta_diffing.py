"""The flow that compares a new object with a signature, and writes the delta.

A local file is mapped and scanned by threads, gigabyte by gigabyte; all else is fed to one scanner as
it comes. The new object's digest, by which a patch is verified, is computed beside.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Final

from mover.delta import kernel
from mover.delta.checksums import StepSums, WholeDigest, Witness
from mover.delta.delta_format import DeltaHead, DeltaWriter
from mover.delta.model import Op, OpKind, Signature, clipped, unpack_ops
from mover.delta_drafts import Draft
from mover.delta_inputs import FileInput, Input
from mover.delta_signing import Outcome, Watch, refuse_unknown
from mover.errors import Damaged
from mover.seeing_out import in_thread

STRIDE_BYTES: Final = 1024**3
"""What of a file is scanned in one call: it bounds the operations in memory and shows progress."""

FEED_BYTES: Final = 8 * 1024 * 1024
"""What is fed at a time where the new object comes as a stream."""


async def diff(
    signature: Signature,
    new: Input,
    draft: Draft,
    *,
    threads: int,
    watch: Watch,
    ladder: StepSums | None = None,
) -> Outcome:
    """Write the delta that makes ``new`` of what was signed, and publish it.

    ``ladder`` goes with it, for a store that copies ranges; ``threads`` 0: by size. Raises ``MoverError``, ``TransportError``.
    """
    head = signature.head
    witness = Witness(ladder)
    writer = DeltaWriter(
        DeltaHead(basis_size=head.size, new_size=new.size, has_ladder=witness.has_ladder)
    )
    index = await index_of(signature)
    await draft.write(writer.begin())
    diffing = _Diffing(index, head.block_bytes, writer, draft, watch, witness)
    if isinstance(new, FileInput):
        await diffing.file(new, threads)
    else:
        await diffing.stream(new)
    new.check_unchanged()
    for piece in writer.end(witness.digest(), witness.steps()):
        await draft.write(piece)
    await draft.publish()
    new_bytes = writer.literal_bytes + writer.copied_bytes + writer.filled_bytes
    return Outcome(
        read_bytes=new_bytes,
        wire_bytes=writer.written_bytes,
        literal_bytes=writer.literal_bytes,
        matched_bytes=writer.copied_bytes,
        filled_bytes=writer.filled_bytes,
        new_bytes=new_bytes,
        blocks=head.blocks,
        block_bytes=head.block_bytes,
        ops=writer.ops,
    )


async def index_of(signature: Signature) -> kernel.Index:
    """A signature made ready for scans.

    Raises ``Rejected`` for a digest that cannot be computed here, ``Damaged`` for a signature that
    says what cannot be, though every byte of it is as it was written.
    """
    refuse_unknown(signature.head)
    try:
        return await in_thread(kernel.Index, signature)
    except ValueError as error:
        raise Damaged(f"the signature cannot be used: {error}") from error


async def scan_file(
    index: kernel.Index,
    block_bytes: int,
    view: memoryview,
    threads: int,
    digest: WholeDigest | None = None,
) -> AsyncGenerator[list[Op], None]:
    """The operations of a mapped file, stride by stride; ``digest`` is fed with its bytes beside.

    A literal at the end of a stride may be a block that the end has cut, so the next stride looks at
    it again.
    """
    start = hashed = 0
    while start < len(view):
        stop = min(start + STRIDE_BYTES, len(view))
        with view[start:stop] as stride, view[hashed:stop] as unhashed:
            ops = await _scan(index, stride, unhashed, start, threads, digest)
        hashed = stop
        last = ops[-1]
        is_cut = last.kind is OpKind.LITERAL and last.length < 2 * block_bytes
        if stop < len(view) and is_cut and last.start > start:
            stop = ops.pop().start
        yield ops
        start = stop


async def _scan(
    index: kernel.Index,
    stride: memoryview,
    unhashed: memoryview,
    start: int,
    threads: int,
    digest: WholeDigest | None,
) -> list[Op]:
    def scan(passed: Callable[[int], None] | None = None) -> list[Op]:
        ops = kernel.scan(index, stride, start=start, threads=threads, passed=passed)
        return list(unpack_ops(ops))

    if digest is None:
        return await in_thread(scan)
    if threads == 1:
        # Segment by segment, while its bytes are still in a cache.
        return await in_thread(scan, _hashing(digest, unhashed, len(stride) - len(unhashed)))
    async with asyncio.TaskGroup() as group:
        group.create_task(in_thread(digest.update, unhashed), name="hash")
        scanning = group.create_task(in_thread(scan), name="scan")
    return scanning.result()


def _hashing(digest: WholeDigest, unhashed: memoryview, again: int) -> Callable[[int], None]:
    """Feeds a digest with what a scan has passed, but for ``again`` bytes that it knows already."""
    hashed = 0

    def passed(length: int) -> None:
        nonlocal hashed
        upto = max(length - again, hashed)
        digest.update(unhashed[hashed:upto])
        hashed = upto

    return passed


def _from(start: int, ops: Iterable[Op]) -> Iterator[Op]:
    """The operations behind ``start``: the last match before may have ended where others begin."""
    for op in ops:
        kept = clipped(op, start - op.start) if op.start < start else op
        if kept.length:
            yield kept


class _Diffing:
    """One diff under way."""

    def __init__(
        self,
        index: kernel.Index,
        block_bytes: int,
        writer: DeltaWriter,
        draft: Draft,
        watch: Watch,
        witness: Witness,
    ) -> None:
        self._witness = witness
        self._index = index
        self._block_bytes = block_bytes
        self._writer = writer
        self._draft = draft
        self._watch = watch

    async def file(self, new: FileInput, threads: int) -> None:
        """Scan a file stride by stride."""
        with new.mapped() as view:
            strides = scan_file(
                self._index, self._block_bytes, view, new.threads(threads), self._witness
            )
            async with aclosing(strides):
                async for ops in strides:
                    await self._write(ops, view, 0)
                    self._watch(ops[-1].stop, new.size)

    async def _write(self, ops: Iterable[Op], view: memoryview, start: int) -> None:
        """Write operations; ``view`` has the new object's bytes from ``start``."""
        for piece in self._writer.add(ops, lambda first, stop: view[first - start : stop - start]):
            await self._draft.write(piece)
            await asyncio.sleep(0)

    async def stream(self, new: Input) -> None:
        """Feed a scanner as the bytes come; what it has not decided about stays in memory."""
        scanner = kernel.Scanner(self._index)
        window = _Window()
        done = 0

        async def step(*, final: bool) -> None:
            last = window.last
            packed = await in_thread(lambda: scanner.feed(last, final=final))
            ops = list(_from(window.start, unpack_ops(packed)))
            for piece in self._writer.add(ops, window.source):
                await self._draft.write(piece)
                await asyncio.sleep(0)
            window.next(ops[-1].stop if ops else window.start)

        async def take(piece: memoryview) -> None:
            nonlocal done
            self._witness.update(piece)
            done += len(piece)
            while len(piece := piece[window.put(piece) :]) or window.is_full:
                await step(final=False)
            self._watch(done, new.size)

        await new.pour(take)
        await step(final=True)


class _Window:
    """The bytes of a stream for which no operation has come yet, in chunks that are used again.

    Fresh memory costs more than scanning what is put into it.
    """

    def __init__(self) -> None:
        self.start = 0
        self._chunks: deque[bytearray] = deque([bytearray(FEED_BYTES)])
        self._first = 0  # where the first chunk begins
        self._filled = 0  # of the last chunk
        self._free: list[bytearray] = []

    @property
    def is_full(self) -> bool:
        return self._filled == FEED_BYTES

    @property
    def last(self) -> memoryview:
        """What came since the last step."""
        return memoryview(self._chunks[-1])[: self._filled]

    def put(self, piece: memoryview) -> int:
        """Keep as much of a piece as there is room for in the last chunk; return how much."""
        length = min(len(piece), FEED_BYTES - self._filled)
        self._chunks[-1][self._filled : self._filled + length] = piece[:length]
        self._filled += length
        return length

    def next(self, start: int) -> None:
        """Let go of what stands before ``start``, and open a new chunk."""
        self.start = start
        while self._chunks and self._first + FEED_BYTES <= start:
            self._free.append(self._chunks.popleft())
            self._first += FEED_BYTES
        self._chunks.append(self._free.pop() if self._free else bytearray(FEED_BYTES))
        self._filled = 0

    def source(self, start: int, stop: int) -> bytes | memoryview:
        """The bytes from ``start`` to ``stop`` of the stream."""
        pieces = []
        while start < stop:
            chunk, at = divmod(start - self._first, FEED_BYTES)
            length = min(stop - start, FEED_BYTES - at)
            pieces.append(memoryview(self._chunks[chunk])[at : at + length])
            start += length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

"""Compare an object with a base that is near it too, both read by ranges of their stores.

1. *Index*: the base is read once, signed in memory, and its digest taken.
2. *Scan*: the object is read once; no further than a scan goes in vain, if samples of that are of no use either.
3. *Survey*: samples of what did not match tell which bytes are old elements with changes, and what the
   delta will take. Nothing has been sent by then.
4. *Write*: the delta. Literals, and both versions where elements changed, are read again.

In memory are the index (``index_bytes``), some 40 MiB of what is being read, and 32 bytes for each
operation of the scan.
"""

from typing import Final

from mover.delta import tensors
from mover.delta.aligning import Changed, Look, Seen, Shape, Window, tell
from mover.delta.block_sizes import known_block_bytes
from mover.delta.checksums import whole_digest
from mover.delta.costing import bail_out_bytes
from mover.delta.delta_format import LEVEL_FAR, DeltaHead, DeltaWriter, Source
from mover.delta.kernel import Index
from mover.delta.model import Op, OpKind, pack_ops
from mover.delta.surveying import Survey, in_batches, survey, windowed
from mover.delta.tensors import Tensor
from mover.delta_diffing import index_of
from mover.delta_inputs import Input
from mover.delta_levels import Span
from mover.delta_parcels import ParcelWriter
from mover.delta_scanning import (
    BATCH_BYTES,
    BATCH_OPS,
    BATCH_READS,
    Scanned,
    near_spans,
    read_all,
    scan,
    scan_all,
    source_of,
)
from mover.delta_signing import SignWish, sign
from mover.seeing_out import in_thread

BLOCKS_MAX: Final = 256 * 1024
"""Blocks of a base that are indexed: of 2 KiB up to 512 MiB, of 8 KiB for 2 GiB."""

INDEX_BYTES_PER_BLOCK: Final = 64


def index_bytes(size_bytes: int) -> int:
    """What the index of a base takes in memory."""
    blocks = -(-size_bytes // known_block_bytes(size_bytes, blocks_max=BLOCKS_MAX))
    return blocks * INDEX_BYTES_PER_BLOCK


class Pairing:
    """One comparison; the four steps in their order. ``requests`` counts the reads of both.

    Errors are those of the inputs, maybe in groups. A cancel leaves what was written so far.
    """

    def __init__(self, base: Input, base_bytes: int, new: Input, new_bytes: int) -> None:
        self._base = base
        self._base_bytes = base_bytes
        self._new = new
        self._new_bytes = new_bytes
        self.requests = 0

    async def index(self) -> tuple[Index, bytes]:
        """The index of the base, and its XXH3-128."""
        whole = whole_digest()
        block_bytes = known_block_bytes(self._base_bytes, blocks_max=BLOCKS_MAX)
        wish = SignWish(block_bytes=block_bytes)
        signature = await sign(self._base, wish, threads=1, watch=_unwatched, whole=whole)
        return await index_of(signature), whole.digest()

    async def scan(self, index: Index) -> Scanned | None:
        """What of the base is in the object, block by block; None where it is another one altogether.

        Changed elements hide from blocks: where none match, samples of what was scanned decide.
        """
        scanned = await scan(index, self._new, self._new_bytes)
        if scanned is not None:
            return scanned
        vain = min(bail_out_bytes(self._new_bytes), self._new_bytes)
        found = await self._surveyed(pack_ops([Op(0, 0, vain, OpKind.LITERAL)]))
        return await scan_all(index, self._new, self._new_bytes) if found.pieces else None

    async def survey(self, scanned: Scanned) -> Survey:
        """What of the rest is elements with changes."""
        return await self._surveyed(scanned.ops)

    async def _surveyed(self, ops: bytes) -> Survey:
        places = tensors.places(
            await self._tensors(self._base, self._base_bytes),
            await self._tensors(self._new, self._new_bytes),
        )
        asking = survey(ops, Shape(self._base_bytes, self._new_bytes, places))

        def ask(seen: list[Seen] | None) -> list[Look] | Survey:
            try:
                return next(asking) if seen is None else asking.send(seen)
            except StopIteration as end:
                found: Survey = end.value
                return found

        step = await in_thread(ask, None)
        while not isinstance(step, Survey):
            step = await in_thread(ask, await self._see(step))
        return step

    async def write(
        self, scanned: Scanned, found: Survey, base_digest: bytes, writer: ParcelWriter
    ) -> DeltaWriter:
        """Write the delta; what it counted comes back."""
        delta = DeltaWriter(
            DeltaHead(
                basis_size=self._base_bytes, new_size=self._new_bytes, basis_whole=base_digest
            ),
            level=LEVEL_FAR,
        )
        await writer.write(delta.begin())
        batches = in_batches(
            windowed(scanned.ops, found.pieces),
            bytes_max=BATCH_BYTES,
            reads_max=BATCH_READS,
            items_max=BATCH_OPS,
        )
        while batch := await in_thread(next, batches, None):
            await self._write(batch, delta, writer)
        for section in delta.end(scanned.digest):
            await writer.write(section)
        return delta

    async def _write(
        self, batch: list[Op | Window], delta: DeltaWriter, writer: ParcelWriter
    ) -> None:
        windows = [item for item in batch if isinstance(item, Window)]
        wanted = [
            (item.start, item.stop)
            for item in batch
            if isinstance(item, Window) or item.kind is OpKind.LITERAL
        ]
        new = await self._read(self._new, wanted)
        old = await self._read(self._base, [_old_span(window) for window in windows])
        plain: list[Op] = []
        for piece in await in_thread(_told, batch, old, new):
            if isinstance(piece, Op):
                plain.append(piece)
                continue
            for section in (*delta.add(plain, new), *delta.add_changes(piece.op, piece.told)):
                await writer.write(section)
            plain.clear()
        for section in delta.add(plain, new):
            await writer.write(section)

    async def _read(self, given: Input, wanted: list[Span]) -> Source:
        spans = near_spans(wanted)
        self.requests += len(spans)
        return source_of(spans, await read_all(given, spans))

    async def _see(self, looks: list[Look]) -> list[Seen]:
        self.requests += 2 * len(looks)
        news = await read_all(self._new, [(start, start + length) for start, _, length in looks])
        olds = await read_all(self._base, [(at, at + length) for _, at, length in looks])
        return [(memoryview(old), memoryview(new)) for old, new in zip(olds, news, strict=True)]

    async def _tensors(self, given: Input, size: int) -> list[Tensor]:
        self.requests += 1
        head = await given.read(0, min(tensors.HEAD_BYTES, size))
        length = tensors.header_bytes(head, size)
        if not length:
            return []
        self.requests += 1
        return tensors.tensors_of(
            await given.read(tensors.HEAD_BYTES, tensors.HEAD_BYTES + length), size
        )


def _old_span(window: Window) -> Span:
    return window.origin, window.origin + window.stop - window.start


def _told(batch: list[Op | Window], old: Source, new: Source) -> list[Op | Changed]:
    """A batch with its windows told as changes where that is less."""
    made: list[Op | Changed] = []
    for item in batch:
        if isinstance(item, Op):
            made.append(item)
            continue
        was, now = memoryview(old(*_old_span(item))), memoryview(new(item.start, item.stop))
        found = tell(item, was, now)
        made += [found] if isinstance(found, Changed) else found
    return made


def _unwatched(done: int, whole: int | None) -> None:
    """Nobody watches the reading of one object."""

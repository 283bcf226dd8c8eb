"""The flow that compares two versions which are both at hand: no signature is needed.

The old version is signed in memory and the new one scanned, as from afar. What the scan did not find
is then compared with the old bytes that should stand there, element by element (``delta.aligning``).
The delta's head has the digest of the old version, so it fits no other.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from typing import Final

from mover.delta import tensors
from mover.delta.aligning import Changed, Pair, Regions, Window, told, windows
from mover.delta.block_sizes import known_block_bytes
from mover.delta.checksums import StepSums, Witness, whole_digest
from mover.delta.delta_format import DeltaHead, DeltaWriter
from mover.delta.model import Op
from mover.delta.tensors import Tensor
from mover.delta_diffing import index_of, scan_file
from mover.delta_drafts import Draft
from mover.delta_inputs import FileInput, Input, spooled
from mover.delta_signing import Outcome, SignWish, Watch, sign
from mover.seeing_out import in_thread

BLOCKS_MAX: Final = 1024 * 1024
"""Blocks of the old version that are indexed, which takes some 60 MB."""

WINDOWS: Final = 16
"""Windows of a MiB that are encoded at a time."""

PIECES: Final = 4096
"""Operations that are taken in hand at a time."""


async def diff_known(
    old: Input,
    new: Input,
    draft: Draft,
    *,
    threads: int,
    watch: Watch,
    ladder: StepSums | None = None,
) -> Outcome:
    """Write the delta that makes ``new`` of ``old``, both read in full here, and publish it.

    What is no local file goes through a temporary one. ``ladder`` goes with it. Raises ``MoverError``, ``TransportError``.
    """
    async with AsyncExitStack() as stack:
        before, after = await _filed(old, stack), await _filed(new, stack)
        difference = _Difference(before, after, draft, threads, Witness(ladder))
        await difference.begin()
        await difference.compare(watch)
        for given in (old, new, before, after):
            given.check_unchanged()
        return await difference.finish()


async def _filed(given: Input, stack: AsyncExitStack) -> FileInput:
    return given if isinstance(given, FileInput) else await spooled(given, stack)


def _unwatched(done: int, size: int | None) -> None:
    """Signing takes a small part of the time."""


class _Difference:
    """One comparison under way."""

    def __init__(
        self, before: FileInput, after: FileInput, draft: Draft, threads: int, witness: Witness
    ) -> None:
        self._before = before
        self._after = after
        self._draft = draft
        self._threads = after.threads(threads)
        self._witness = witness

    async def begin(self) -> None:
        """Sign the old version, and write the delta's head."""
        size, whole = self._before.size, whole_digest()
        wish = SignWish(block_bytes=known_block_bytes(size, blocks_max=BLOCKS_MAX), full=True)
        signature = await sign(
            self._before, wish, threads=self._threads, watch=_unwatched, whole=whole
        )
        self._block_bytes = signature.head.block_bytes
        self._index = await index_of(signature)
        self._writer = DeltaWriter(
            DeltaHead(
                basis_size=size,
                new_size=self._after.size,
                basis_whole=whole.digest(),
                has_ladder=self._witness.has_ladder,
            )
        )
        await self._draft.write(self._writer.begin())

    async def compare(self, watch: Watch) -> None:
        """Scan the new version stride by stride, and write what makes it."""
        regions, threads = Regions(), self._threads
        with (
            self._before.mapped() as old,
            self._after.mapped() as new,
            ThreadPoolExecutor(threads, "delta-elements") as crew,
        ):
            pair = Pair(old, new, tensors.places(_tensors(old), _tensors(new)))
            strides = scan_file(self._index, self._block_bytes, new, threads, self._witness)
            async with aclosing(strides):
                async for ops in strides:
                    pieces = (
                        piece for region in regions.of(ops) for piece in windows(region, pair)
                    )
                    while batch := await in_thread(_batch, pieces, pair, crew):
                        await self._write(batch, new)
                        watch(_end(batch[-1]), self._after.size)

    async def _write(self, batch: list[Op | Changed], new: memoryview) -> None:
        plain: list[Op] = []
        for piece in batch:
            if isinstance(piece, Changed):
                await self._add(plain, new)
                plain.clear()
                for section in self._writer.add_changes(piece.op, piece.told):
                    await self._draft.write(section)
            else:
                plain.append(piece)
        await self._add(plain, new)

    async def _add(self, ops: list[Op], new: memoryview) -> None:
        for section in self._writer.add(ops, lambda start, stop: new[start:stop]):
            await self._draft.write(section)
            await asyncio.sleep(0)

    async def finish(self) -> Outcome:
        """Write the trailer, and publish the delta."""
        writer = self._writer
        for section in writer.end(self._witness.digest(), self._witness.steps()):
            await self._draft.write(section)
        await self._draft.publish()
        return Outcome(
            read_bytes=self._before.size + self._after.size,
            wire_bytes=writer.written_bytes,
            literal_bytes=writer.literal_bytes,
            matched_bytes=writer.copied_bytes,
            filled_bytes=writer.filled_bytes,
            changed_bytes=writer.changed_bytes,
            new_bytes=self._after.size,
            ops=writer.ops,
        )


def _tensors(view: memoryview) -> list[Tensor]:
    length = tensors.header_bytes(bytes(view[: tensors.HEAD_BYTES]), len(view))
    header = bytes(view[tensors.HEAD_BYTES : tensors.HEAD_BYTES + length])
    return tensors.tensors_of(header, len(view)) if length else []


def _batch(
    pieces: Iterator[Op | Window], pair: Pair, crew: ThreadPoolExecutor
) -> list[Op | Changed]:
    """The next pieces, with windows encoded beside each other; nothing behind the last."""
    taken: list[Op | Window] = []
    count = 0
    for piece in pieces:
        taken.append(piece)
        count += isinstance(piece, Window)
        if count == WINDOWS or len(taken) == PIECES:
            break
    encoded = crew.map(
        lambda window: told(window, pair), [p for p in taken if isinstance(p, Window)]
    )
    made: list[Op | Changed] = []
    for piece in taken:
        if isinstance(piece, Op):
            made.append(piece)
            continue
        found = next(encoded)
        made += [found] if isinstance(found, Changed) else found
    return made


def _end(piece: Op | Changed) -> int:
    return piece.op.stop if isinstance(piece, Changed) else piece.stop

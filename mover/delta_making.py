"""Carries out operations: bytes of an old object, bytes that were sent, and fills become a draft."""

import asyncio
from collections import OrderedDict
from typing import Final

from mover.delta import elements
from mover.delta.checksums import whole_digest
from mover.delta.delta_reading import Made
from mover.delta.model import Op, OpKind
from mover.delta_drafts import SHARED_BYTES, ZEROS, Draft
from mover.delta_inputs import PIECE_BYTES, FileInput, Input, aligned_buffer
from mover.delta_signing import Watch
from mover.errors import Damaged

COPY_BYTES: Final = 32 * 1024 * 1024
"""What is asked of a store at once where a long run is copied: four requests side by side."""

NEAR_BYTES: Final = 4 * 1024 * 1024
"""Short copies from a store come out of aligned pieces of this size."""

NEAR_PIECES: Final = 8

SHARED_RUN_BYTES: Final = 64 * 1024
"""Shorter runs are written: to share a block costs a call and a piece of the file's map."""


class Making:
    """One object in the making: ``digest`` is of what was made so far, the counts are in bytes.

    ``size`` is the object's, where it is known, for those who ``watch``.
    """

    def __init__(self, old: Input, draft: Draft, watch: Watch, size: int | None) -> None:
        self.digest = whole_digest()
        self.literal_bytes = 0
        self.copied_bytes = 0
        self.filled_bytes = 0
        self.changed_bytes = 0
        self._old = old
        self._draft = draft
        self._watch = watch
        self._size = size
        self._buffer = aligned_buffer(PIECE_BYTES)
        self._near: OrderedDict[int, bytes] = OrderedDict()

    async def make(self, made: Made) -> None:
        """Carry out the next operation. Raises ``MoverError``, ``TransportError``."""
        op, data = made
        if op.kind is OpKind.LITERAL:
            self.literal_bytes += op.length
            await self._write(data)
        elif op.kind is OpKind.COPY and len(data):
            self.changed_bytes += op.length
            await self._change(op, data)
        elif op.kind is OpKind.COPY:
            self.copied_bytes += op.length
            await self._copy(op)
        else:
            self.filled_bytes += op.length
            await self._fill(op)
        self._watch(op.stop, self._size)

    async def _write(self, data: bytes | bytearray | memoryview) -> None:
        self.digest.update(data)
        await self._draft.write(data)

    async def _change(self, op: Op, told: memoryview) -> None:
        """Copy old bytes with other elements; at most a MiB."""
        data, stop = bytearray(), op.origin + op.length
        while len(data) < op.length:
            _, piece = await self._next(op.origin + len(data), stop)
            data += piece
        try:
            elements.apply(told, data)
        except ValueError as error:
            raise Damaged(f"the delta cannot be used: what it tells of changes, {error}") from error
        await self._write(data)

    async def _copy(self, op: Op) -> None:
        at, stop = op.origin, op.origin + op.length
        if isinstance(self._old, FileInput):
            first, last = _sharable(op)
            await self._pass(self._old, at, first, is_written=True)
            is_shared = first < last and self._draft.share(self._old.fd, first, last - first)
            await self._pass(self._old, first, last, is_written=not is_shared)
            await self._pass(self._old, last, stop, is_written=True)
            return
        while at < stop:
            at, data = await self._from_store(at, stop)
            await self._write(data)

    async def _pass(self, old: FileInput, at: int, stop: int, *, is_written: bool) -> None:
        """Hash bytes of a file, and write those that it does not share already."""
        while at < stop:
            # One buffer for all: fresh memory costs as much as what is read into it.
            data = self._buffer[: stop - at]
            old.read_into(at, data)
            if is_written:
                await self._write(data)
            else:
                self.digest.update(data)
            at += len(data)
            await asyncio.sleep(0)

    async def _next(self, at: int, stop: int) -> tuple[int, bytes | memoryview]:
        """The next bytes of a run, and where they end."""
        if isinstance(self._old, FileInput):
            return stop, await self._old.read(at, stop)
        return await self._from_store(at, stop)

    async def _from_store(self, at: int, stop: int) -> tuple[int, bytes | memoryview]:
        if stop - at >= NEAR_BYTES:
            upto = min(at + COPY_BYTES, stop)
            return upto, await self._old.read(at, upto)
        first = at // NEAR_BYTES * NEAR_BYTES
        piece = self._near.pop(first, None)
        if piece is None:
            piece = await self._old.read(first, min(first + NEAR_BYTES, self._old.size or stop))
        self._near[first] = piece
        if len(self._near) > NEAR_PIECES:
            self._near.popitem(last=False)
        upto = min(stop, first + len(piece))
        return upto, memoryview(piece)[at - first : upto - first]

    async def _fill(self, op: Op) -> None:
        block = ZEROS if op.origin == 0 else memoryview(bytes([op.origin]) * len(ZEROS))
        left = op.length
        while left > 0:
            piece = block[:left]
            self.digest.update(piece)
            if op.origin:
                await self._draft.write(piece)
            left -= len(piece)
            await asyncio.sleep(0)
        if op.origin == 0:
            await self._draft.skip(op.length)


def _sharable(op: Op) -> tuple[int, int]:
    """The blocks of the basis that a run has at whole blocks of the new file; none as (stop, stop)."""
    stop = op.origin + op.length
    first = op.origin + -op.start % SHARED_BYTES
    last = stop - (stop - first) % SHARED_BYTES
    if (op.origin - op.start) % SHARED_BYTES or last - first < SHARED_RUN_BYTES:
        return stop, stop
    return first, last

"""Carries out operations: bytes of an old object, bytes that were sent, and fills become a draft."""

import asyncio
from collections import OrderedDict
from typing import Final

from mover.delta import elements
from mover.delta.checksums import whole_digest
from mover.delta.delta_reading import Made
from mover.delta.model import Op, OpKind
from mover.delta_drafts import ZEROS, Draft
from mover.delta_inputs import PIECE_BYTES, FileInput, Input
from mover.delta_signing import Watch
from mover.errors import Damaged

COPY_BYTES: Final = 32 * 1024 * 1024
"""What is asked of a store at once where a long run is copied: four requests side by side."""

NEAR_BYTES: Final = 4 * 1024 * 1024
"""Short copies from a store come out of aligned pieces of this size."""

NEAR_PIECES: Final = 8


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
        while at < stop:
            at, data = await self._next(at, stop)
            await self._write(data)

    async def _next(self, at: int, stop: int) -> tuple[int, bytes | memoryview]:
        """The next bytes of a run, and where they end."""
        if not isinstance(self._old, FileInput):
            return await self._from_store(at, stop)
        upto = min(at + PIECE_BYTES, stop)
        data = await self._old.read(at, upto)
        await asyncio.sleep(0)
        return upto, data

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

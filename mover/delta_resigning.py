"""Leave the signature of an object that was patched, without reading what nobody need read.

Rows come from the bytes that pass while the object is made, from the signature of the old object where one
was left, and what is little is read near by. A patch never fails for it.
"""

import asyncio
import secrets
from contextlib import suppress
from typing import Final

from mover.budget import ByteBudget
from mover.delta.model import Signature, unpack_ops
from mover.delta.resigning import Rows, Span, is_worth_reading, resigned_head
from mover.delta_patches import Passing
from mover.delta_stored import keep_signature, stored_signature
from mover.seeing_out import in_thread
from transports.base import Transport
from transports.errors import TransportError
from transports.model import ByteRange, Entry, Receipt

READ_BYTES: Final = 8 * 1024 * 1024
"""What is read and signed at a time: more than any block has."""


class Resigner(Passing):
    """Signs one object while it is made. ``near`` is where the old object is and the new one will be.

    ``requests`` counts what it asked of the store. A cancel leaves the signature of the old object, which no
    longer fits.
    """

    def __init__(
        self, near: Transport, budget: ByteBudget, old: Signature | None, size: int
    ) -> None:
        self._near = near
        self._budget = budget
        self._old = old
        self._rows = Rows(
            resigned_head(None if old is None else old.head, size, secrets.randbits(64))
        )
        self.requests = 0

    @classmethod
    async def of(cls, near: Transport, budget: ByteBudget, basis: Entry, size: int) -> "Resigner":
        """One that knows what was left of ``basis``: ask before the new object takes its place."""
        old = None
        with suppress(TransportError):
            file = await stored_signature(near, basis)
            old = None if file is None else file.signature
        made = cls(near, budget, old, size)
        made.requests += 2
        return made

    def begin(self) -> None:
        self._rows.clear()

    async def take(self, start: int, data: memoryview) -> None:
        self._rows.put(start, len(data), await in_thread(self._rows.sign, start, data))

    async def finish(self, ops: bytes, receipt: Receipt) -> bool:
        """Keep the signature of the object that ``ops`` have made; False where there is none.

        That is also where so much of it would have to be read that who needs a signature may as well
        read it then.
        """
        if self._old is not None:
            await asyncio.to_thread(self._rows.inherit, unpack_ops(ops), self._old)
        missing = self._rows.missing()
        if not is_worth_reading(missing, self._rows.head.size):
            return False
        made = Entry(receipt.key, self._rows.head.size, 0, receipt.etag, receipt.version)
        try:
            await self._read(missing, made)
        except TransportError:
            return False
        self.requests += 1
        return await keep_signature(self._near, self._rows.signature(), receipt)

    async def _read(self, missing: list[Span], entry: Entry) -> None:
        """Sign what is missing, of the object as it stands there. Raises ``TransportError``."""
        block_bytes = self._rows.head.block_bytes
        step = READ_BYTES // block_bytes * block_bytes
        for start, stop in missing:
            for first in range(start, stop, step):
                await self._read_one(entry, ByteRange(first, min(first + step, stop)))

    async def _read_one(self, entry: Entry, span: ByteRange) -> None:
        self.requests += 1
        async with self._budget.buffer(len(span)) as buffer:
            await self._near.read_into(entry, span, buffer)
            await self.take(span.start, buffer)

"""Memory, bounded by bytes: reserve before reading, give back after writing.

The order of acquisition is fixed in the whole engine: bytes, then a slot, then rate. Whoever waits
here holds nothing else, so nobody can wait for somebody who waits for him.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """At most ``limit_bytes`` reserved at a time, first come, first served.

    A reservation larger than the whole budget is granted alone, since refusing it would mean never
    moving that object; ``peak_bytes`` then shows it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.reserved_bytes = 0
        self.peak_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._buffers: dict[int, list[bytearray]] = {}
        self._idle_bytes = 0

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes while the body runs; a cancelled waiter leaves the queue."""
        await self._take(size)
        try:
            yield
        finally:
            self._give(size)

    @asynccontextmanager
    async def buffer(self, size: int) -> AsyncIterator[memoryview]:
        """A writable buffer of exactly ``size`` bytes, within the budget; its content is undefined.

        Buffers are used again, because fresh pages cost as much as receiving the bytes into them.
        Nobody may keep a view of it after the body has ended.
        """
        await self._take(size)
        try:
            room = self._borrow(size)
            with memoryview(room) as view:
                yield view[:size]
            self._keep(room)
        finally:
            self._give(size)

    def _borrow(self, size: int) -> bytearray:
        free = self._buffers.get(size)
        if free:
            self._idle_bytes -= size
            return free.pop()
        return bytearray(size)

    def _keep(self, room: bytearray) -> None:
        if self._idle_bytes + len(room) <= self.limit_bytes:
            self._buffers.setdefault(len(room), []).append(room)
            self._idle_bytes += len(room)

    async def _take(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._grant(size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(size)  # granted and cancelled in the same step
            elif (size, turn) in self._waiting:
                # Not so where somebody who left in the same moment has passed it over.
                self._waiting.remove((size, turn))
                self._wake()
            raise

    def _fits(self, size: int) -> bool:
        return self.reserved_bytes == 0 or self.reserved_bytes + size <= self.limit_bytes

    def _grant(self, size: int) -> None:
        self.reserved_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.reserved_bytes)
        self._drop_idle()

    def _drop_idle(self) -> None:
        """Sizes change from object to object; what is kept for reuse may not pile up."""
        while self._buffers and self._idle_bytes + self.reserved_bytes > 2 * self.limit_bytes:
            size, free = next(iter(self._buffers.items()))
            if free:
                free.pop()
                self._idle_bytes -= size
            if not free:
                del self._buffers[size]

    def _give(self, size: int) -> None:
        self.reserved_bytes -= size
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._grant(size)
                turn.set_result(None)

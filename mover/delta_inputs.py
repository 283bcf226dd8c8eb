"""What a delta command reads: a local file, a pipe, or an object of a store.

All of them hand on their bytes from start to end with a bounded amount in memory. Local files and
objects with ranges can also be read anywhere; only local files can be mapped.
"""

import asyncio
import contextlib
import fcntl
import mmap
import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from mover.errors import Incomplete, Rejected
from mover.spooling import spool_file

if TYPE_CHECKING:
    from transports.base import Transport
    from transports.model import ByteRange, Entry

Take = Callable[[memoryview], Awaitable[None]]
"""Takes the next bytes of an input; they are the giver's again when it has returned."""

T = TypeVar("T")

PIECE_BYTES: Final = 1024 * 1024
"""What is read at once from a disk or a pipe: it stays in the cache while it is worked on."""

RANGE_BYTES: Final = 8 * 1024 * 1024
"""What one request to a store asks for."""

RANGES: Final = 4
"""Requests in flight for one input; with the range being worked on, 40 MiB in memory."""

BREATH_BYTES: Final = 8 * 1024 * 1024
"""After so many bytes from a disk the loop may look at signals; a piece takes no time to speak of."""


THREAD_BYTES: Final = 4 * 1024**3
"""What one thread goes through in a second. Two have one way to the memory, and for less than this the
second one costs more than it gains."""


def aligned_buffer(size: int) -> memoryview:
    """Room that begins with a page of memory, as bytearrays of this size never do.

    The kernel fills it in two thirds of the time.
    """
    return memoryview(mmap.mmap(-1, size))


class Input(ABC):
    """Bytes to read. ``size`` is in bytes, None where only the end will tell.

    Errors are ``MoverError`` and ``TransportError``. A cancel leaves nothing.
    """

    name: str
    size: int | None
    seekable = False

    @abstractmethod
    async def pour(self, take: Take) -> None:
        """Give all bytes from start to end."""

    async def read(self, start: int, stop: int) -> bytes:
        """The bytes of a range; only where ``seekable``. Raises ``Incomplete`` for too few."""
        raise Rejected(f"{self.name} is a pipe, and must be read at any place: give a file")

    def check_unchanged(self) -> None:
        """Raise ``Incomplete`` where the bytes are no longer those that were opened."""
        return


class FileInput(Input):
    """A regular file, by a descriptor that this object closes."""

    seekable = True

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd
        self._seen = self._look()
        self.size: int = self._seen[0]

    def _look(self) -> tuple[int, int]:
        found = os.fstat(self._fd)
        return found.st_size, found.st_mtime_ns

    def check_unchanged(self) -> None:
        if self._look() != self._seen:
            raise Incomplete(f"{self.name} changed while it was read; run the command again")

    def close(self) -> None:
        os.close(self._fd)

    def threads(self, wished: int) -> int:
        """How many threads to go through it with; ``wished`` 0 leaves it to the size."""
        return wished or min(len(os.sched_getaffinity(0)), 1 + self.size // THREAD_BYTES)

    @property
    def fd(self) -> int:
        """The descriptor, which stays this object's."""
        return self._fd

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from ``start`` on. Raises ``Incomplete`` for too few."""
        length = os.preadv(self._fd, [buffer], start)
        if length != len(buffer):
            raise Incomplete(f"{self.name} ended at byte {start + length} while it was read")

    @contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """The whole file in memory, as far as it is looked at.

        Nobody may keep a view of it. A file that is cut short meanwhile ends the process (SIGBUS).
        """
        if self.size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ) as room:
            if hasattr(mmap, "MADV_SEQUENTIAL"):
                room.madvise(mmap.MADV_SEQUENTIAL)
            with memoryview(room) as view:
                yield view

    async def pour(self, take: Take) -> None:
        buffer = aligned_buffer(PIECE_BYTES)
        offset = 0
        while length := os.preadv(self._fd, [buffer], offset):
            await take(buffer[:length])
            offset += length
            if offset % BREATH_BYTES == 0:
                await asyncio.sleep(0)

    async def read(self, start: int, stop: int) -> bytes:
        data = os.pread(self._fd, stop - start, start)
        if len(data) != stop - start:
            raise Incomplete(f"{self.name} ended at byte {start + len(data)} while it was read")
        return data


class PipeInput(Input):
    """A pipe, a socket or a terminal: once through."""

    size = None

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd

    async def pour(self, take: Take) -> None:
        if stat.S_ISCHR(os.fstat(self._fd).st_mode) and not os.isatty(self._fd):
            await self._pour_blocking(take)
            return
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIECE_BYTES)
        buffer = aligned_buffer(PIECE_BYTES)
        loop = asyncio.get_running_loop()
        while True:
            readable = asyncio.Event()
            # Asked for only while somebody waits: a pipe that is not read yet would keep the loop busy.
            loop.add_reader(self._fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._fd)
            length = os.readv(self._fd, [buffer])
            if length == 0:
                return
            await take(buffer[:length])

    async def _pour_blocking(self, take: Take) -> None:
        """A device such as /dev/null, which a loop cannot wait for, and which does not block."""
        while data := os.read(self._fd, PIECE_BYTES):
            await take(memoryview(data))
            await asyncio.sleep(0)


class StoreInput(Input):
    """An object of a store, pinned to what it was when it was opened."""

    def __init__(self, transport: "Transport", entry: "Entry") -> None:
        self.name = f"{transport.location}{entry.key}"
        self.entry = entry
        self.size = entry.size if entry.size >= 0 else None
        self.seekable = transport.capabilities.ranges and self.size is not None
        self._transport = transport

    @property
    def transport(self) -> "Transport":
        """Where the object is."""
        return self._transport

    async def pour(self, take: Take) -> None:
        if not self.seekable or self.size is None:
            async with aclosing(self._pieces()) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    await take(memoryview(piece))
            return
        spans = self._spans(0, self.size)
        reading: deque[tuple[memoryview, asyncio.Task[memoryview]]] = deque()
        async with asyncio.TaskGroup() as group:

            def ask(room: memoryview) -> None:
                if (span := next(spans, None)) is not None:
                    reading.append((room, group.create_task(self._fill(span, room))))

            for _ in range(min(RANGES + 1, -(-self.size // RANGE_BYTES))):
                ask(aligned_buffer(min(RANGE_BYTES, self.size)))
            while reading:
                room, task = reading.popleft()
                await take(await task)
                ask(room)

    async def _pieces(self) -> AsyncIterator[bytes | memoryview]:
        async for piece in self._transport.stream(self.entry):
            yield piece

    def _spans(self, start: int, stop: int) -> "Iterator[ByteRange]":
        from transports.model import ByteRange

        for at in range(start, stop, RANGE_BYTES):
            yield ByteRange(at, min(at + RANGE_BYTES, stop))

    async def _fill(self, span: "ByteRange", room: memoryview) -> memoryview:
        view = room[: len(span)]
        await self._transport.read_into(self.entry, span, view)
        return view

    async def read(self, start: int, stop: int) -> bytes:
        if not self.seekable:
            return await super().read(start, stop)
        buffer = bytearray(stop - start)
        with memoryview(buffer) as view:
            async with asyncio.TaskGroup() as group:
                for span in self._spans(start, stop):
                    room = view[span.start - start : span.stop - start]
                    group.create_task(self._fill(span, room))
        return bytes(buffer)


async def spooled(given: Input, stack: AsyncExitStack) -> FileInput:
    """The input's bytes in a temporary file, which goes with the stack: now their size is known."""
    with spool_file() as spool:

        async def keep(piece: memoryview) -> None:
            spool.write(piece)

        await given.pour(keep)
        spool.flush()
        found = FileInput(os.dup(spool.fileno()), given.name)
    stack.callback(found.close)
    return found

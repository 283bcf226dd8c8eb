"""Read files through a mount so that its cache takes them, and keep nothing of what was read.

Everything here blocks and runs in the place's threads. Each thread has one buffer for all it ever reads.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Final

from mover.prewarm.model import Piece, Warmed
from mover.prewarm.read_sizes import ReadSizes
from mover.prewarm_faults import MountFaults, MountGone
from mover.prewarm_places import Told

READ_BYTES: Final = 1024 * 1024
"""One call of the kernel for what is short, and how often bytes are told of; of what is long ``ReadSizes`` decides."""

MEASURED_BYTES: Final = 4 * 1024 * 1024
"""Of shorter reads the time says more of the opening than of the size of each call."""

TOUCH_BYTES: Final = 4096
PROBE_BYTES: Final = 64 * 1024
"""What a light read asks for: of a small file all, of a large one something in the middle.

JuiceFS reads ahead where a file is read from its beginning, which is not light: on an idle mount one in ten such reads of a
large file took more than 4 ms, of those in the middle none (2026-11-28)."""

PAGE_BYTES: Final = 4096

OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Not blocking: a pipe that took a file's place would else wait for a writer for ever."""


class Tells:
    """Gathers counts of bytes, so that whoever wants to know is not told of each small file."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._untold = 0

    def add(self, size: int) -> None:
        """So many more; told when it has become ``READ_BYTES``."""
        self._untold += size
        if self._untold >= READ_BYTES:
            self.rest()

    def rest(self) -> None:
        """Tell what was not told yet."""
        if self._untold:
            self._told(self._untold)
            self._untold = 0


class Reader:
    """Reads below ``root`` (absolute, without a slash at its end).

    With ``keeps_pages`` the page cache keeps what was read; else it is told to drop it.
    """

    def __init__(self, root: str, faults: MountFaults, *, keeps_pages: bool) -> None:
        self._root = root
        self._faults = faults
        self._keeps_pages = keeps_pages
        self._local = threading.local()
        self._sizes = ReadSizes()
        self.on_first_read: Callable[[float], None] | None = None
        """Is told the seconds that the first page of each file took."""

    def path(self, key: str) -> str:
        """The absolute path of a key."""
        return f"{self._root}/{key}"

    def read(self, pieces: Sequence[Piece], told: Told, stop: threading.Event) -> Warmed:
        """Read pieces whole, one after the other, until ``stop`` is set.

        ``told`` hears of bytes about each ``READ_BYTES``. Failures of single files are values. Raises ``MountGone``.
        """
        warmed, tells = Warmed(), Tells(told)
        for piece in pieces:
            if stop.is_set():
                break
            with self._opened(piece, warmed) as fd:
                if fd >= 0:
                    warmed.read_bytes += self._read_one(fd, piece, tells, stop)
                    warmed.read_files += 1
        tells.rest()
        return warmed

    def touch(self, pieces: Sequence[Piece], block_bytes: int, stop: threading.Event) -> Warmed:
        """Read one page of each block of these pieces: some caches then load the whole block.

        ``read_bytes`` is what the blocks hold of the files.
        """
        warmed = Warmed()
        for piece in pieces:
            with self._opened(piece, warmed) as fd:
                if fd < 0:
                    continue
                # No more than what is asked for: the kernel must not read on into the next block.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                for start in range(piece.start, piece.stop, block_bytes):
                    if stop.is_set():
                        break
                    os.preadv(fd, [self._buffer()[:TOUCH_BYTES]], start)
                    warmed.read_bytes += min(block_bytes, piece.stop - start)
                self._drop(fd, piece)
        return warmed

    def probe(self, piece: Piece) -> float:
        """Open a file and read a little of it past the page cache; gives the seconds it took. Raises ``OSError``."""
        start = piece.start
        if piece.size >= 4 * PROBE_BYTES:
            start += piece.size // 2 // PAGE_BYTES * PAGE_BYTES
        began_s = perf_counter()
        fd = os.open(self.path(piece.entry.key), OPEN_FLAGS)
        try:
            os.posix_fadvise(fd, start, PROBE_BYTES, os.POSIX_FADV_DONTNEED)
            os.preadv(fd, [self._buffer()[: min(PROBE_BYTES, piece.stop - start)]], start)
            return perf_counter() - began_s
        finally:
            os.close(fd)

    def failure_of(self, piece: Piece) -> tuple[str, str, str] | None:
        """Why the first byte of a piece cannot be read; None where it can. Raises ``MountGone``."""
        warmed = Warmed()
        with self._opened(piece, warmed) as fd:
            if fd >= 0:
                os.preadv(fd, [self._buffer()[:TOUCH_BYTES]], piece.start)
        return warmed.failures[0] if warmed.failures else None

    @contextlib.contextmanager
    def _opened(self, piece: Piece, warmed: Warmed) -> Iterator[int]:
        """Open a file; what goes wrong until it is closed becomes a failure. Gives -1 for no file."""
        path = self.path(piece.entry.key)
        fd = -1
        try:
            fd = os.open(path, OPEN_FLAGS)
            yield fd
        except OSError as error:
            fault = self._faults.of(error, path)
            if isinstance(fault, MountGone):
                raise fault from error
            warmed.failures.append((piece.entry.key, type(fault).__name__, fault.detail))
            if fd < 0:
                yield fd
        finally:
            if fd >= 0:
                os.close(fd)

    def _read_one(self, fd: int, piece: Piece, tells: Tells, stop: threading.Event) -> int:
        size = os.fstat(fd).st_size
        if size < piece.stop:
            raise FileNotFoundError(errno.ENOENT, f"the file has only {size} bytes now")
        os.posix_fadvise(fd, piece.start, piece.size, os.POSIX_FADV_SEQUENTIAL)
        read_size = self._sizes.choose() if piece.size >= MEASURED_BYTES else READ_BYTES
        buffer = self._buffer(read_size)
        if self.on_first_read is not None and piece.size:
            began_s = perf_counter()
            os.preadv(fd, [buffer[:TOUCH_BYTES]], piece.start)
            self.on_first_read(perf_counter() - began_s)
        read_bytes, began_s = 0, perf_counter()
        for start, end in data_ranges(fd, piece.start, piece.stop):
            at = start
            while at < end and not stop.is_set():
                count = os.preadv(fd, [buffer[: min(read_size, end - at)]], at)
                if count == 0:
                    break
                at += count
                tells.add(count)
            read_bytes += at - start
        if read_bytes >= MEASURED_BYTES:
            self._sizes.measured(read_size, read_bytes / (perf_counter() - began_s))
        self._drop(fd, piece)
        return read_bytes

    def _drop(self, fd: int, piece: Piece) -> None:
        if not self._keeps_pages:
            os.posix_fadvise(fd, piece.start, piece.size, os.POSIX_FADV_DONTNEED)

    def _buffer(self, size: int = READ_BYTES) -> memoryview:
        buffer: memoryview | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._local.buffer = memoryview(bytearray(size))
        return buffer


def data_ranges(fd: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The parts of a range that are no holes; all of it where the file system does not say.

    Holes cost no origin anything, and no cache has them.
    """
    at = start
    while at < stop:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: nothing but a hole from here on
                yield at, stop
            return
        if data >= stop:
            return
        hole = min(os.lseek(fd, data, os.SEEK_HOLE), stop)
        yield data, hole
        at = hole

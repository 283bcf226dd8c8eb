"""One part of an upload, on its way into the file that all parts share.

The bytes come in pieces that fit the processor's cache, so that hashing and writing a piece find it
there: a tenth less processor time for a whole copy than hashing 8 MiB and then writing them.
"""

import os
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from transports import digests
from transports.base import PartSink
from transports.errors import Invalid
from transports.local_files import naming
from transports.model import ByteRange, PartReceipt, PartSpec

T = TypeVar("T")

PIECE_BYTES: Final = 256 * 1024
"""Half of a small second-level cache (512 KiB): a piece is still there when it is written."""

HOLE_BYTES: Final = 64 * 1024
"""Zeros become holes in aligned blocks of this size: large enough that files do not fragment."""

_ZEROS: Final = bytes(HOLE_BYTES)


class PartFile:
    """Blocking: takes the bytes of a part in order, and notes the part when it is on disk.

    It owns ``fd``. ``note`` is called with the receipt after the bytes have been flushed.
    """

    def __init__(
        self,
        fd: int,
        part: PartSpec,
        *,
        location: str,
        sparse: bool,
        note: Callable[[PartReceipt], None],
    ) -> None:
        self._fd = fd
        self._part = part
        self._location = location
        self._sparse = sparse
        self._note = note
        self._crc = 0
        self.taken_bytes = 0

    def take(self, piece: memoryview) -> None:
        """Write and hash the next bytes. OSError flies; ``Invalid`` for more than the part has."""
        if self.taken_bytes + len(piece) > len(self._part.range):
            raise self._wrong_length(self.taken_bytes + len(piece))
        crc = digests.crc64nvme(piece, self._crc)
        offset = self._part.range.start + self.taken_bytes
        if self._sparse:
            _write_around_holes(self._fd, piece, offset)
        else:
            _write_at(self._fd, piece, offset)
        # Only now: a piece whose writing failed may be given again.
        self._crc = crc
        self.taken_bytes += len(piece)

    def finish(self) -> PartReceipt:
        """Bring the part to disk, note it, and let go of the file."""
        expected = len(self._part.range)
        if self.taken_bytes != expected:
            raise self._wrong_length(self.taken_bytes)
        os.fdatasync(self._fd)
        self.close()
        part = self._part
        receipt = PartReceipt(part.number, part.range.start, expected, "", f"{self._crc:016x}")
        self._note(receipt)
        return receipt

    def _wrong_length(self, size_bytes: int) -> Invalid:
        expected = len(self._part.range)
        return Invalid(self._location, f"{size_bytes} bytes for a part of {expected} bytes")

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Run(Protocol):
    """Takes blocking work to a thread."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


class LocalPart(PartSink):
    """A part file as the port has it."""

    def __init__(self, file: PartFile, location: str, run: Run) -> None:
        self._file = file
        self._location = location
        self._run = run
        self.taken_bytes = 0

    def take(self, piece: memoryview) -> None:
        with naming(self._location):
            self._file.take(piece)
        self.taken_bytes = self._file.taken_bytes

    async def finish(self) -> PartReceipt:
        with naming(self._location):
            return await self._run(self._file.finish)

    async def close(self) -> None:
        self._file.close()


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written


def _write_around_holes(fd: int, data: memoryview, offset: int) -> None:
    """Write what is not zero; whole aligned blocks of zeros stay holes in the fresh file."""
    for run in solid_runs(data, offset):
        _write_at(fd, data[run.start : run.stop], offset + run.start)


def solid_runs(data: memoryview, offset: int) -> list[ByteRange]:
    """Pure: the runs of ``data`` to write when it goes to ``offset``, without its blocks of zeros.

    Blocks are aligned to the object, not to the data, so that parts of any size leave the same
    holes. Adjacent solid blocks make one run.
    """
    runs: list[ByteRange] = []
    start = 0
    while start < len(data):
        stop = min(len(data), start + HOLE_BYTES - (offset + start) % HOLE_BYTES)
        if not _is_zero(data[start:stop]):
            if runs and runs[-1].stop == start:
                runs[-1] = ByteRange(runs[-1].start, stop)
            else:
                runs.append(ByteRange(start, stop))
        start = stop
    return runs


def _is_zero(block: memoryview) -> bool:
    # Most blocks of real data end this at the first byte; only the rest are compared whole.
    if block[0] or block[-1]:
        return False
    return bytes(block) == _ZEROS[: len(block)]

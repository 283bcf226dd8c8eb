"""The page cache as a cache: what of a file is in it, from mincore(2).

Exact to a page, at the moment of asking; under pressure the kernel may drop a page a moment later.
It tells only those who own a file or may write to it: to others it says "all of it", whatever is true.
So of others' files nothing is known here.
"""

import ctypes
import mmap
import os
import threading
from collections.abc import Sequence
from typing import Final

from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed
from mover.prewarm_faults import MountFaults, MountGone
from mover.prewarm_judges import MountJudge
from mover.prewarm_reading import OPEN_FLAGS, data_ranges

_PAGE: Final = mmap.PAGESIZE
_WINDOW_BYTES: Final = 256 * 1024 * 1024
"""Pages are asked for so much of a file at a time: 64 KiB of answers."""

_ANY: Final = bytes(each & 1 for each in range(256))
"""Only the lowest bit of an answer has a meaning."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_FAILED: Final = ctypes.c_void_p(-1).value


class PageJudge(MountJudge):
    """Judges by the page cache of this host; ``root`` is the place's directory."""

    judge = Judge.PAGES
    certainty = Certainty.PROVEN
    keeps_pages = True

    def __init__(self, root: str, faults: MountFaults) -> None:
        self._root = root
        self._faults = faults

    def look(self, pieces: Sequence[Piece], stop: threading.Event) -> Look:
        missing: list[Piece] = []
        wanted = resident = 0
        knows = True
        for piece in pieces:
            if stop.is_set():
                break
            wanted += piece.size
            found = self._resident(piece)
            if found is None:
                knows = False
                continue
            resident += found
            if found < piece.size:
                missing.append(piece)
        return Look(wanted, resident if knows else None, missing)

    def evict(self, pieces: Sequence[Piece], stop: threading.Event) -> Warmed:
        freed = Warmed()
        for piece in pieces:
            if stop.is_set():
                break
            before = self._resident(piece)
            path = f"{self._root}/{piece.entry.key}"
            try:
                fd = os.open(path, OPEN_FLAGS)
            except OSError as error:
                fault = self._faults.of(error, path)
                if isinstance(fault, MountGone):
                    raise fault from error
                freed.failures.append((piece.entry.key, type(fault).__name__, fault.detail))
                continue
            try:
                # Pages that are not on disk yet would stay.
                os.fdatasync(fd)
                os.posix_fadvise(fd, piece.start, piece.size, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
            freed.read_files += 1
            freed.read_bytes += max(0, (before or 0) - (self._resident(piece) or 0))
        return freed

    def _resident(self, piece: Piece) -> int | None:
        """The bytes of a piece that are in memory, holes with them; None where nobody may tell us."""
        path = f"{self._root}/{piece.entry.key}"
        try:
            fd = os.open(path, OPEN_FLAGS)
        except OSError as error:
            fault = self._faults.of(error, path)
            if isinstance(fault, MountGone):
                raise fault from error
            return 0
        try:
            found = os.fstat(fd)
            if not _may_ask(found.st_uid, fd):
                return None
            absent = max(0, piece.stop - found.st_size)
            ranges = list(data_ranges(fd, piece.start, piece.stop - absent))
            data = sum(stop - start for start, stop in ranges)
            hole = piece.size - absent - data
            return hole + sum(_resident_of(fd, start, stop) for start, stop in ranges)
        except OSError as error:
            fault = self._faults.of(error, path)
            if isinstance(fault, MountGone):
                raise fault from error
            return 0
        finally:
            os.close(fd)


def _may_ask(owner: int, fd: int) -> bool:
    user = os.geteuid()
    return user in (0, owner) or os.access(f"/proc/self/fd/{fd}", os.W_OK, effective_ids=True)


def _resident_of(fd: int, start: int, stop: int) -> int:
    """How many of the bytes of a range are in memory. Raises ``OSError``."""
    total = 0
    at = start - start % _PAGE
    while at < stop:
        end = min(stop, at + _WINDOW_BYTES)
        answers = _mincore(fd, at, end - at)
        count = answers.count(1)
        total += count * _PAGE
        # The first and the last page may be of the range in part only.
        if answers[0]:
            total -= max(0, start - at)
        if answers[-1]:
            total -= -(end - at) % _PAGE
        at += _WINDOW_BYTES
    return total


def _mincore(fd: int, offset: int, size: int) -> bytes:
    """One byte for each page: 1 where it is in memory. ``offset`` is a page's. Raises ``OSError``."""
    address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset)
    if address is None or address == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        answers = ctypes.create_string_buffer(-(-size // _PAGE))
        if _libc.mincore(address, size, answers) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        return answers.raw.translate(_ANY)
    finally:
        _libc.munmap(address, size)

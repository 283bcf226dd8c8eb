"""Copy a file within the machine: the kernel moves the bytes, or shares them (reflink), in steps.

Holes stay holes. Everything here blocks; ``Copying.step`` returns after at most 64 MiB, so that a
cancel is heard.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final

from transports.model import ByteRange

STEP_BYTES: Final = 64 * 1024 * 1024
_FICLONE: Final = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_CLONE: Final = (
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EINVAL,
    errno.EXDEV,
    errno.ENOSYS,
    errno.EPERM,
    errno.EBADF,
    errno.EISDIR,
    errno.ETXTBSY,
)


def copy_steps(source_fd: int, target_fd: int, size: int) -> Iterator[int]:
    """Copy ``size`` bytes into an empty file; yield the bytes handled after each step."""
    os.ftruncate(target_fd, size)
    if _clone(source_fd, target_fd):
        yield size
        return
    for start, stop in _extents(source_fd, size):
        offset = start
        while offset < stop:
            count = min(STEP_BYTES, stop - offset)
            count = _copy_some(source_fd, target_fd, count, offset, offset)
            if count == 0:
                return  # the file shrank; the pin, checked at the end, says so
            offset += count
            yield count


def copy_range_steps(
    source_fd: int, target_fd: int, span: ByteRange, target_offset: int
) -> Iterator[int]:
    """Copy a range to a place in a file that has room for it; yield the bytes after each step.

    Where the file system can, copy_file_range(2) shares the blocks that are aligned alike.
    """
    offset = span.start
    while offset < span.stop:
        count = min(STEP_BYTES, span.stop - offset)
        place = target_offset + offset - span.start
        count = _copy_some(source_fd, target_fd, count, offset, place)
        if count == 0:
            return  # the file shrank; the pin, checked at the end, says so
        offset += count
        yield count


def _clone(source_fd: int, target_fd: int) -> bool:
    """Share the source's blocks, on file systems that can (btrfs, XFS, bcachefs)."""
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of data between holes; one run where the file system does not tell."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
            stop = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # only a hole is left
            start, stop = offset, size
        yield start, min(stop, size)
        offset = stop


def _copy_some(
    source_fd: int, target_fd: int, count: int, source_offset: int, target_offset: int
) -> int:
    with contextlib.suppress(OSError):
        return os.copy_file_range(source_fd, target_fd, count, source_offset, target_offset)
    # Between file systems, or refused by this one: the plain way, whose errors are real ones.
    data = os.pread(source_fd, min(count, 8 * 1024 * 1024), source_offset)
    view = memoryview(data)
    done = 0
    while done < len(data):
        done += os.pwrite(target_fd, view[done:], target_offset + done)
    return len(data)

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
            count = _copy_some(source_fd, target_fd, offset, min(STEP_BYTES, stop - offset))
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


def _copy_some(source_fd: int, target_fd: int, offset: int, count: int) -> int:
    with contextlib.suppress(OSError):
        return os.copy_file_range(source_fd, target_fd, count, offset, offset)
    # Between file systems, or refused by this one: the plain way, whose errors are real ones.
    data = os.pread(source_fd, min(count, 8 * 1024 * 1024), offset)
    view = memoryview(data)
    done = 0
    while done < len(data):
        done += os.pwrite(target_fd, view[done:], offset + done)
    return len(data)

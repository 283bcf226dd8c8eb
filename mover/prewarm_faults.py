"""What an error of a file on a mount means: of that file alone, or of the whole mount.

A mount whose daemon was killed answers ENOTCONN, and once it is detached its directory is there and
empty: files that were listed are "not found", which says nothing of them. So where a file is not found
the mount itself is looked at.
"""

import errno
import os
from typing import Final

from mover.prewarm.mounts import Mount, mount_of, mounts_of
from transports.errors import NotFound, TransportError, Unavailable
from transports.local_files import failure, show

_GONE: Final = frozenset(
    {errno.ENOTCONN, errno.ECONNABORTED, errno.EHOSTDOWN, errno.ENODEV, errno.ESHUTDOWN}
)
"""Errors that no file has of its own: the daemon is dead, or the server away."""


def mounts_now() -> list[Mount]:
    """All mounts of this process; none where the system does not tell."""
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
            return mounts_of(lines.read())
    except OSError:
        return []


class MountGone(Unavailable):
    """The whole mount does not answer; another attempt after a remount may help."""

    situation = "the mount is gone"


class MountFaults:
    """The errors of one place whose directory is ``root``, on ``mount``."""

    def __init__(self, root: str, mount: Mount | None) -> None:
        self._root = root
        self._mount = mount

    def of(self, error: OSError, path: str) -> TransportError:
        """The error of one file, or ``MountGone`` where the whole mount has gone."""
        code = error.errno
        if code in _GONE or (
            code in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR) and self._is_gone()
        ):
            return MountGone(show(self._root))
        if code == errno.ESTALE:
            return NotFound(show(path))
        return failure(error, show(path))

    def check(self) -> None:
        """Raise ``MountGone`` unless the same file system is mounted there as when the place was opened."""
        if self._is_gone():
            raise MountGone(show(self._root))

    def _is_gone(self) -> bool:
        try:
            os.stat(self._root)
        except OSError as error:
            return error.errno in _GONE or error.errno == errno.ESTALE or self._moved()
        return self._moved()

    def _moved(self) -> bool:
        return self._mount is not None and mount_of(self._root, mounts_now()) != self._mount

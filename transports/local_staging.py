"""The staging directory: where files are whole before they get their names.

One directory ``.mover-stage-<token>`` per job in the root of the target, so that the last step is a
rename within one file system. Every process that uses it holds a shared lock on its file ``lock``
(flock(2)); a directory whose lock can be had exclusively belongs to nobody alive.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import threading
from collections.abc import Callable
from typing import Final

from transports.errors import Denied, Invalid, NotFound, Unavailable
from transports.local_files import DIRECTORY_FLAGS, STAGE_PREFIX, Root

LOCK_NAME: Final = "lock"
CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ELSEWHERE: Final = "elsewhere-"


class Stage:
    """One job's staging directory, as this process holds it. All methods block.

    ``nonce`` makes the names of this process's temporary files differ from those of others.
    """

    def __init__(self, root: Root, token: str, *, nonce: str) -> None:
        if _TOKEN.fullmatch(token) is None:
            raise Invalid(root.location, f"a job's token cannot be {token!r}")
        self.token = token
        self._root = root
        self._name = STAGE_PREFIX + token
        self._nonce = nonce
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._fd = -1
        self._lock_fd = -1
        self._noted: set[str] = set()

    def next_name(self) -> str:
        """Return a name that no other file in the stage has."""
        return f"{self._nonce}-{next(self._numbers)}"

    def fd(self, *, create: bool = True) -> int:
        """Return the stage's descriptor, held until ``close``.

        Raises FileNotFoundError when there is none and ``create`` is False.
        """
        if self._fd >= 0:
            return self._fd
        with self._lock:
            if self._fd < 0:
                self._fd, self._lock_fd = self._hold(create)
            return self._fd

    def _hold(self, create: bool) -> tuple[int, int]:
        root_fd = self._root.fd(writing=create)
        for _ in range(16):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self._name, 0o700, dir_fd=root_fd)
            try:
                fd = os.open(self._name, DIRECTORY_FLAGS, dir_fd=root_fd)
            except FileNotFoundError:
                if not create:
                    raise
                continue
            except NotADirectoryError as error:
                detail = "a symlink or a file has the staging directory's name"
                raise Denied(self._root.name(self._name), detail) from error
            lock_fd = -1
            with contextlib.suppress(FileNotFoundError):
                lock_fd = _open_lock(fd)
                _flock(lock_fd, fcntl.LOCK_SH)
                if _is_linked(self._name, fd, root_fd):
                    return fd, lock_fd
            # A cleaner took it for a dead job's between our two steps, and removed it.
            if lock_fd >= 0:
                os.close(lock_fd)
            os.close(fd)
        raise Unavailable(self._root.name(self._name), "the staging directory keeps vanishing")

    def note_elsewhere(self, directory: str) -> str:
        """Note that this job has files in ``directory`` itself; return how their names start.

        Needed where another file system is mounted inside the root: there a rename from the stage
        cannot reach. The note lets ``clean`` find what a killed process leaves there.
        """
        if directory not in self._noted:
            note = _ELSEWHERE + hashlib.blake2b(os.fsencode(directory), digest_size=8).hexdigest()
            fd = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.fd())
            try:
                os.write(fd, os.fsencode(directory))
            finally:
                os.close(fd)
            self._noted.add(directory)
        return f"{self._name}-"

    def close(self) -> None:
        """Let go of the directory; what is in it stays for ``clean`` or for the next run."""
        with self._lock:
            for fd in (self._fd, self._lock_fd):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._lock_fd = -1
            self._noted.clear()


def stages_in(root_fd: int) -> list[str]:
    """Return the names of the staging directories that lie in a root."""
    # A descriptor of its own: scandir moves the position that copies of one share.
    fd = os.open(".", DIRECTORY_FLAGS, dir_fd=root_fd)
    try:
        with os.scandir(fd) as scan:
            return sorted(
                item.name
                for item in scan
                if item.name.startswith(STAGE_PREFIX) and item.is_dir(follow_symlinks=False)
            )
    finally:
        os.close(fd)


def clean_stages(root: Root, token: str) -> None:
    """Remove the stage of ``token`` and those that no live process holds; none is in no root."""
    try:
        root_fd = root.fd()
    except NotFound:
        return
    for name in stages_in(root_fd):
        own = name == STAGE_PREFIX + token
        try:
            _clean_one(root, root_fd, name, own=own)
        except FileNotFoundError:
            continue  # another cleaner was faster
        except PermissionError:
            if own:
                raise
            # Another user's: theirs to remove.


def _clean_one(root: Root, root_fd: int, name: str, *, own: bool) -> None:
    fd = os.open(name, DIRECTORY_FLAGS, dir_fd=root_fd)
    lock_fd = -1
    try:
        if not own:
            lock_fd = _open_lock(fd)
            if not _flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return
        _clean_elsewhere(root, fd, name + "-")
        shutil.rmtree(name, dir_fd=root_fd, onerror=_unless_gone)
    finally:
        if lock_fd >= 0:
            os.close(lock_fd)
        os.close(fd)


def _clean_elsewhere(root: Root, stage_fd: int, prefix: str) -> None:
    """Remove the temporary files that lie beside their targets, in the directories noted."""
    with os.scandir(stage_fd) as scan:
        notes = [item.name for item in scan if item.name.startswith(_ELSEWHERE)]
    for note in notes:
        fd = os.open(note, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=stage_fd)
        try:
            directory = os.fsdecode(os.read(fd, 1 << 16))
        finally:
            os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            directory_fd = root.directories().open(directory)
            for name in os.listdir(directory_fd):
                if name.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=directory_fd)


def _unless_gone(
    _function: Callable[..., object], _path: str, found: tuple[type, BaseException, object]
) -> None:
    if not isinstance(found[1], FileNotFoundError):
        raise found[1]


def _open_lock(stage_fd: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(LOCK_NAME, flags, 0o600, dir_fd=stage_fd)


def _flock(fd: int, operation: int) -> bool:
    """Take a lock; False when another holds it, or when locks do not work here."""
    try:
        fcntl.flock(fd, operation)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _is_linked(name: str, fd: int, root_fd: int) -> bool:
    """Tell whether the open directory is still the one of that name."""
    try:
        named = os.stat(name, dir_fd=root_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))


def _find_syncfs() -> Callable[[int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int]
    function.restype = ctypes.c_int

    def call(fd: int) -> int:
        return int(function(fd))

    return call


_SYNCFS: Final = _find_syncfs()
HAS_SYNCFS: Final = _SYNCFS is not None


def sync_file_system(fd: int) -> None:
    """Bring everything that was written to the descriptor's file system to disk (syncfs(2)).

    Reports errors of writing back since Linux 5.8. Raises OSError.
    """
    if _SYNCFS is not None and _SYNCFS(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))

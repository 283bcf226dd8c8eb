"""A directory as a root: names checked, directories opened without ever leaving it, errors named.

Everything here blocks and runs in the transport's threads. Directories below the root are opened
one segment at a time with ``O_NOFOLLOW`` (openat(2)), so that neither a hostile key nor a symlink
planted in the target can lead a write outside.
"""

import contextlib
import errno
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from transports.errors import (
    AlreadyExists,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    Obstructed,
    Permanent,
    TransportError,
    Unavailable,
)

STAGE_PREFIX: Final = ".mover-stage-"
"""Names that start so are ours, at any depth: never listed, never written on a caller's behalf."""

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NAME_BYTES_MAX: Final = 255
"""The longest name in a directory (limits.h: NAME_MAX)."""

DESCRIPTORS_MAX: Final = 128
"""Directories that a thread keeps open; four threads stay far below the usual limit of 1,024."""

# A segment that is empty, "." or "..": the kernel would resolve it, and the key would be another.
_RESOLVED: Final = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")

_CLASSES: Final[dict[int, Callable[[str, str], TransportError]]] = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), NotFound),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), Denied),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), NoSpace),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL), Invalid),
    **dict.fromkeys((errno.ELOOP, errno.EISDIR, errno.EFBIG, errno.EOPNOTSUPP), Invalid),
    errno.EEXIST: AlreadyExists,
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN), Unavailable),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.EBUSY, errno.ETIMEDOUT), Unavailable),
    **dict.fromkeys((errno.ENOTCONN, errno.EHOSTDOWN, errno.ENOLCK), Unavailable),
}

FAILURES: Final = (OSError, ValueError, OverflowError, TransportError)
"""What a file operation may raise for one key: ValueError is a NUL or a character that no file name
can hold, OverflowError a time beyond the kernel's."""


def show(key: str) -> str:
    """Return the key as one line for a message: control characters and lone surrogates escaped."""
    return key if key.isprintable() else ascii(key)[1:-1]


def failure(error: Exception, location: str) -> TransportError:
    """Turn what a file operation raised into the transport's error for that location."""
    if isinstance(error, TransportError):
        return error
    if isinstance(error, OSError):
        detail = (error.strerror or str(error)).lower()
        made = _CLASSES.get(error.errno or 0, Permanent)(location, detail)
    elif isinstance(error, OverflowError):
        made = Invalid(location, "the time is out of range")
    else:
        made = Invalid(location, "a file cannot have this name")
    made.__cause__ = error
    return made


@contextlib.contextmanager
def naming(location: str) -> Iterator[None]:
    """Turn what file operations raise into the transport's errors, naming the location."""
    try:
        yield
    except TransportError:
        raise
    except FAILURES as error:
        raise failure(error, location) from error


class Root:
    """The directory that a transport is rooted at, opened when first needed.

    ``path`` is absolute and ends in a slash. With ``create`` the first write makes the directory.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        absolute = os.path.join(os.getcwd(), path)
        self.path = absolute if absolute.endswith("/") else absolute + "/"
        self.location = path if path.endswith("/") else path + "/"
        self._create = create
        self._fd = -1
        self._lock = threading.Lock()
        self._local = threading.local()
        self._caches: list[Directories] = []

    def name(self, key: str) -> str:
        """Name a key in messages."""
        return self.location + show(key)

    def fd(self, *, writing: bool = False) -> int:
        """Return the root's descriptor. Raises ``NotFound`` or ``Denied``, naming the root."""
        with self._lock:
            if self._fd < 0:
                try:
                    if writing and self._create:
                        _make_durably(self.path.rstrip("/"))
                    # The root itself may be reached through symlinks: the caller named it.
                    self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except FAILURES as error:
                    raise failure(error, self.location) from error
            return self._fd

    def open_again(self) -> int:
        """Open the root anew, by its path, for a walk; the caller closes it.

        A walk by a descriptor of old would find a root that was removed since to be empty.
        """
        try:
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FAILURES as error:
            raise failure(error, self.location) from error

    def directories(self) -> "Directories":
        """Return this thread's open directories; a descriptor is never shared between threads."""
        cache: Directories | None = getattr(self._local, "cache", None)
        if cache is None:
            cache = self._local.cache = Directories(self)
            with self._lock:
                self._caches.append(cache)
        return cache

    def file_path(self, key: str) -> str:
        """Return the absolute path of a key. Raises ``Invalid`` for one that would resolve."""
        if _RESOLVED.search(key) is not None:
            raise Invalid(self.name(key), "the name has a segment that a file system resolves")
        if STAGE_PREFIX in key and f"/{STAGE_PREFIX}" in f"/{key}":
            raise self._reserved(key)
        return self.path + key

    def split(self, key: str) -> tuple[str, str]:
        """Return a file's directory ("" is the root) and its name there.

        Raises ``Invalid`` when the last segment cannot be a file's name; the segments before it are
        checked when the directory is opened.
        """
        directory, slash, base = key.rpartition("/")
        self.check_segment(key, base)
        if slash and not directory:
            raise Invalid(self.name(key), "the name is absolute")
        return directory, base

    def check_segment(self, key: str, segment: str) -> None:
        """Raise ``Invalid`` when a segment of a key is not a file's name, or is one of ours.

        Asked before directories are made for the key, so that a refusal leaves nothing behind.
        """
        if segment in ("", ".", ".."):
            raise Invalid(self.name(key), "the name has a segment that a file system resolves")
        if "\0" in segment:
            raise Invalid(self.name(key), "a file name cannot hold a NUL byte")
        if len(segment) * 4 > NAME_BYTES_MAX or not segment.isascii():
            try:
                size_bytes = len(os.fsencode(segment))
            except UnicodeEncodeError as error:
                raise failure(error, self.name(key)) from error
            if size_bytes > NAME_BYTES_MAX:
                detail = f"a segment of the name has {size_bytes} bytes, {NAME_BYTES_MAX} fit"
                raise Invalid(self.name(key), detail)
        if segment.startswith(STAGE_PREFIX):
            raise self._reserved(key)

    def _reserved(self, key: str) -> Invalid:
        return Invalid(self.name(key), f"names that start with {STAGE_PREFIX} are reserved")

    def close(self) -> None:
        """Close every descriptor; call only when no thread works any more."""
        with self._lock:
            for cache in self._caches:
                cache.close()
            self._caches.clear()
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


class Directories:
    """Descriptors of directories below the root, least recently used out first; for one thread."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._fds: OrderedDict[str, int] = OrderedDict()

    def open(self, directory: str, touched: set[str] | None = None, *, key: str = "") -> int:
        """Return a descriptor of ``directory`` (a key without its last slash; "" is the root).

        With ``touched`` missing directories are made, and those that got a new entry are added to
        it. The descriptor may be closed by a later ``open``. Errors name ``key``. Raises ``Invalid`` for a segment that
        cannot be a directory, ``Denied`` for a symlink in the way, and OSError.
        """
        fd = self._fds.get(directory)
        if fd is not None:
            self._fds.move_to_end(directory)
            return fd
        fd = self._root.fd(writing=touched is not None)
        if not directory:
            return fd
        known, rest = self._nearest(directory)
        if known:
            fd = self._fds[known]
        for name in rest:
            self._root.check_segment(key or directory, name)
        for name in rest:
            fd = self._step(fd, known, name, touched, key or directory)
            known = f"{known}/{name}" if known else name
            self._keep(known, fd)
        return fd

    def _nearest(self, directory: str) -> tuple[str, list[str]]:
        """Return the nearest ancestor that is open and the names from there on."""
        rest: list[str] = []
        known = directory
        while known not in self._fds:
            known, slash, name = known.rpartition("/")
            rest.append(name)
            if not slash:
                return "", rest[::-1]
        self._fds.move_to_end(known)
        return known, rest[::-1]

    def _step(
        self, parent_fd: int, parent: str, name: str, touched: set[str] | None, key: str
    ) -> int:
        for _ in range(3):
            try:
                return os.open(name, DIRECTORY_FLAGS, dir_fd=parent_fd)
            except FileNotFoundError:
                if touched is None:
                    raise
                try:
                    os.mkdir(name, dir_fd=parent_fd)
                    touched.add(parent)
                except FileExistsError:
                    pass  # another worker was faster, or removes and makes it again
            except NotADirectoryError:
                break
        return self._refuse(parent_fd, key, name)

    def _refuse(self, parent_fd: int, key: str, name: str) -> int:
        """Say what stands where a directory should be."""
        mode = os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise Denied(self._root.name(key), f"a symlink stands in the way: {show(name)}")
        detail = f"a file stands where a directory is needed: {show(name)}"
        raise Obstructed(self._root.name(key), detail)

    def _keep(self, directory: str, fd: int) -> None:
        self._fds[directory] = fd
        if len(self._fds) > DESCRIPTORS_MAX:
            os.close(self._fds.popitem(last=False)[1])

    def drop(self, directory: str) -> None:
        """Forget a directory and all above it: one of them was moved or removed by others."""
        while directory:
            fd = self._fds.pop(directory, None)
            if fd is not None:
                os.close(fd)
            directory = directory.rpartition("/")[0]

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


def _make_durably(path: str) -> None:
    """Make a directory and its missing parents; their entries are on disk when this returns."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError:
            continue
        fd = os.open(os.path.dirname(directory) or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_directory(fd)
        finally:
            os.close(fd)


def sync_directory(fd: int) -> None:
    """Bring a directory's entries to disk, where its file system can."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.EROFS,
        ):  # some FUSE file systems have no fsyncdir
            raise


def version_of(found: os.stat_result) -> str:
    """Return what pins a file: a rename over it moves the inode, a write moves the ctime."""
    return f"{found.st_ino}-{found.st_ctime_ns}"

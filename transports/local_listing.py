"""Walk a tree in the order of S3 keys, a page at a time, holding one directory's names per level.

A directory sorts as ``name/``: then walking depth first gives exactly the order of full keys, since
all keys below it share that prefix and no other name of its level does. Directories are opened
from their parent's descriptor, so that one that is swapped for a symlink meanwhile is not followed.

Blocks: the transport runs ``next`` of the walk in a thread. Measured on tmpfs, a million files:
4.6 µs of CPU per entry, of which the kernel's stat is 2.2.
"""

import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

from transports.errors import Invalid, NotFound
from transports.local_files import DIRECTORY_FLAGS, STAGE_PREFIX, Root, failure, version_of
from transports.model import Entry, Kind

Links: TypeAlias = Literal["follow", "skip", "preserve"]

PAGE_ENTRIES: Final = 1_000

_FOLLOWING_FLAGS: Final = DIRECTORY_FLAGS & ~os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Which keys are wanted: those with ``prefix`` and ``start_after < key < stop_at``."""

    prefix: str = ""
    start_after: str = ""
    stop_at: str | None = None

    def has(self, key: str) -> bool:
        return (
            key.startswith(self.prefix)
            and key > self.start_after
            and (self.stop_at is None or key < self.stop_at)
        )

    def meets(self, directory: str) -> bool:
        """Tell whether any key that starts with ``directory`` (it ends in a slash) can be wanted."""
        return (
            (directory.startswith(self.prefix) or self.prefix.startswith(directory))
            and (directory > self.start_after or self.start_after.startswith(directory))
            and (self.stop_at is None or directory < self.stop_at)
        )

    def holds_all(self, directory: str) -> bool:
        """Tell whether every key below ``directory`` is wanted, so that none need be compared."""
        return (
            directory.startswith(self.prefix)
            and directory > self.start_after
            and (
                self.stop_at is None
                or (directory < self.stop_at and not self.stop_at.startswith(directory))
            )
        )


@dataclass(slots=True)
class _Level:
    """One open directory: its key (ends in a slash; "" is the root) and the names still to come."""

    key: str
    fd: int
    names: Iterator[str]
    identity: tuple[int, int]
    unbounded: bool


class Walk:
    """One walk; ``pages`` yields it. ``wants_directory`` gets a key with its slash and may prune.

    Raises ``NotFound`` when the root is missing and ``Denied`` for a directory that cannot be read:
    a walk that ends normally was complete. What vanishes meanwhile is left out; it is gone.
    """

    def __init__(
        self,
        root: Root,
        bounds: Bounds,
        links: Links,
        wants_directory: Callable[[str], bool] | None = None,
    ) -> None:
        self._root = root
        self._bounds = bounds
        self._page_entries = PAGE_ENTRIES
        self._follow = links == "follow"
        self._skip_links = links == "skip"
        self._wants_directory = wants_directory
        self._levels: list[_Level] = []

    def pages(self) -> Generator[list[Entry], None, None]:
        """Yield the wanted entries in order, in pages of up to ``PAGE_ENTRIES``."""
        try:
            page: list[Entry] = []
            self._enter("", page)
            while self._levels:
                self._fill(self._levels[-1], page)
                if len(page) >= self._page_entries:
                    yield page
                    page = []
            if page:
                yield page
        finally:
            while self._levels:
                os.close(self._levels.pop().fd)

    def first(self) -> str | None:
        """Return the first wanted key."""
        self._page_entries = 1
        with closing(self.pages()) as pages:
            return next((page[0].key for page in pages), None)

    def children(self, limit: int) -> list[str]:
        """Return names directly below the bounds' prefix, from one look; see the port.

        The directories on the way are opened one by one, as a walk does, but not read.
        """
        prefix, start_after = self._bounds.prefix, self._bounds.start_after
        directory = prefix[: prefix.rfind("/") + 1]
        try:
            for stop in (0, *(n for n, character in enumerate(directory, 1) if character == "/")):
                self._descend(directory[:stop])
            names = self._names(self._levels[-1].fd, directory) or []
        except (FileNotFoundError, NotADirectoryError):
            return []
        finally:
            while self._levels:
                os.close(self._levels.pop().fd)
        wants = self._wants_directory
        wanted = (
            key
            for key in (directory + name for name in names)
            if key.startswith(prefix)
            and key > start_after
            and (wants is None or key[-1] != "/" or wants(key))
        )
        return list(islice(wanted, limit))

    def _descend(self, directory: str) -> None:
        """Open a directory on the way to a prefix. Raises ``FileNotFoundError`` where none can be."""
        if directory:
            # The name is the caller's and not the kernel's: it must not lead out of the root.
            segment = directory[len(self._levels[-1].key) : -1]
            try:
                self._root.check_segment(directory, segment)
            except Invalid:
                raise FileNotFoundError(directory) from None
        fd = self._open(directory)
        found = os.fstat(fd)
        self._levels.append(
            _Level(directory, fd, iter(()), (found.st_dev, found.st_ino), unbounded=False)
        )

    def _fill(self, level: _Level, page: list[Entry]) -> None:
        """Add entries of one directory until the page is full, a directory begins, or it ends."""
        key_prefix, fd, unbounded = level.key, level.fd, level.unbounded
        for name in level.names:
            key = key_prefix + name
            if name[-1] == "/":
                if self._enter(key, page) or len(page) >= self._page_entries:
                    return
                continue
            if not unbounded and not self._bounds.has(key):
                continue
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(error, self._root.name(key)) from error
            if found.st_mode & 0o170000 == 0o100000:  # S_ISREG, without a call for each file
                ctime_ns = found.st_ctime_ns
                page.append(
                    Entry(
                        key,
                        found.st_size,
                        found.st_mtime_ns,
                        "",
                        f"{found.st_ino}-{ctime_ns}",
                        Kind.OBJECT,
                        ctime_ns,
                    )
                )
            else:
                self._add_other(name, key, found, fd, page)
            if len(page) >= self._page_entries:
                return
        self._levels.pop()
        os.close(fd)

    def _add_other(
        self, name: str, key: str, found: os.stat_result, fd: int, page: list[Entry]
    ) -> None:
        """Add a symlink or a special file."""
        if stat.S_ISDIR(found.st_mode):
            return  # it was a file when its directory was read; its keys lie elsewhere in the order
        if not stat.S_ISLNK(found.st_mode):
            page.append(entry_of(key, found))
            return
        if self._skip_links:
            return
        if self._follow:
            try:
                target = os.stat(name, dir_fd=fd)
            except OSError:  # dangling, or a ring of links: listed as what it is, a link
                target = found
            if stat.S_ISDIR(target.st_mode):
                target = found  # a loop; _order has already taken the others for directories
            found = target
        page.append(entry_of(key, found))

    def _enter(self, key: str, page: list[Entry]) -> bool:
        """Begin a directory; False when there is nothing to go down to."""
        if key and not self._bounds.meets(key):
            return False
        if key and self._wants_directory is not None and not self._wants_directory(key):
            return False
        try:
            fd = self._open(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            found = os.fstat(fd)
            names = self._names(fd, key)
            if names is None and not key:
                raise NotFound(self._root.location)
        except BaseException:
            os.close(fd)
            raise
        if not names:
            os.close(fd)
            if key and names is not None and self._bounds.has(key):
                page.append(entry_of(key, found))
            return False
        identity = (found.st_dev, found.st_ino)
        unbounded = self._bounds.holds_all(key) if key else self._bounds == _EVERYTHING
        self._levels.append(_Level(key, fd, iter(names), identity, unbounded))
        return True

    def _open(self, key: str) -> int:
        if not key:
            return self._root.open_again()
        name = key[len(self._levels[-1].key) : -1]
        flags = _FOLLOWING_FLAGS if self._follow else DIRECTORY_FLAGS
        try:
            return os.open(name, flags, dir_fd=self._levels[-1].fd)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise failure(error, self._root.name(key)) from error

    def _names(self, fd: int, key: str) -> list[str] | None:
        """Return a directory's names in the order of their keys; directories end in a slash.

        None when the directory was removed meanwhile.
        """
        names: list[str] = []
        try:
            with os.scandir(fd) as scan:
                for item in scan:
                    name = item.name
                    if name.startswith(STAGE_PREFIX):
                        continue
                    if item.is_dir(follow_symlinks=False):
                        names.append(name + "/")
                    elif not item.is_symlink():
                        names.append(name)
                    elif self._follow:
                        names.append(name + "/" if self._leads_down(fd, name) else name)
                    elif not self._skip_links:
                        names.append(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, self._root.name(key)) from error
        names.sort()
        return names

    def _leads_down(self, fd: int, name: str) -> bool:
        """Tell whether a symlink leads to a directory that the walk is not inside of already."""
        try:
            found = os.stat(name, dir_fd=fd)
        except OSError:
            return False
        if not stat.S_ISDIR(found.st_mode):
            return False
        identity = (found.st_dev, found.st_ino)
        here = os.fstat(fd)
        return identity != (here.st_dev, here.st_ino) and all(
            level.identity != identity for level in self._levels
        )


_EVERYTHING: Final = Bounds()


def entry_of(key: str, found: os.stat_result) -> Entry:
    """Return the entry of anything: a directory's key must end in a slash, and has no size."""
    mode = found.st_mode
    if stat.S_ISREG(mode):
        kind = Kind.OBJECT
    elif stat.S_ISDIR(mode):
        kind = Kind.DIRECTORY
    elif stat.S_ISLNK(mode):
        kind = Kind.SYMLINK
    else:
        kind = Kind.SPECIAL
    size = found.st_size if kind in (Kind.OBJECT, Kind.SYMLINK) else 0
    return Entry(key, size, found.st_mtime_ns, "", version_of(found), kind, found.st_ctime_ns)

"""Read files that are pinned to what their listing showed. Everything here blocks.

The file is examined after its bytes were read: if its inode, ctime and size are those of the
listing then, nothing has written to it in between.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from transports.errors import Changed, Invalid, NotFound, TransportError, Truncated
from transports.local_files import FAILURES, Root, failure, version_of
from transports.local_listing import Links, entry_of
from transports.model import (
    Attributes,
    Blob,
    ByteRange,
    Entry,
    Kind,
    ObjectInfo,
    Proof,
)

# Not blocking: a pipe that took a file's place must not hold the thread.
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Reader:
    """Reads below one root. ``follow`` reads what a symlink in a key's last segment leads to."""

    def __init__(self, root: Root, links: Links) -> None:
        self._root = root
        self._follow = links == "follow"
        self._flags = _FLAGS if self._follow else _FLAGS | os.O_NOFOLLOW

    def read(self, entries: Sequence[Entry]) -> list[Blob | TransportError]:
        """Read whole objects; one result per entry, in order."""
        results: list[Blob | TransportError] = []
        for entry in entries:
            try:
                if entry.kind is Kind.OBJECT:
                    results.append(self._read_file(entry))
                else:
                    results.append(self._read_other(entry))
            except FAILURES as error:
                results.append(self._failure(error, entry.key))
        return results

    def _read_file(self, entry: Entry) -> Blob:
        key, size = entry.key, entry.size
        fd = os.open(self._root.file_path(key), self._flags)
        try:
            if size < 0:
                size = os.fstat(fd).st_size
            data = os.read(fd, size)
            found = os.fstat(fd)
            self._check_pin(entry, found)
            if len(data) < size:
                data = self._rest(fd, entry.key, data, size)
        finally:
            os.close(fd)
        attributes = Attributes(mtime_ns=found.st_mtime_ns, mode=found.st_mode & 0o7777)
        return Blob(entry, data, attributes, Proof.WEAK)

    def _rest(self, fd: int, key: str, data: bytes, size: int) -> bytes:
        """Read on: one read gives at most 2 GiB, and fewer on some file systems."""
        pieces = [data]
        received = len(data)
        while received < size and (piece := os.read(fd, size - received)):
            pieces.append(piece)
            received += len(piece)
        if received < size:
            raise Truncated(self._root.name(key), received_bytes=received, expected_bytes=size)
        return b"".join(pieces)

    def _read_other(self, entry: Entry) -> Blob:
        location = self._root.name(entry.key)
        if entry.kind is Kind.SPECIAL:
            raise Invalid(location, "a socket, device or pipe is not read")
        if entry.kind is Kind.SYMLINK and self._follow:
            raise Invalid(location, "a symlink that leads nowhere or in a circle")
        info = self.head(entry.key)
        self._check_same(entry, info.entry)
        data = os.fsencode(info.links_to) if entry.kind is Kind.SYMLINK else b""
        return Blob(entry, data, info.attributes, Proof.WEAK)

    def _check_same(self, entry: Entry, now: Entry) -> None:
        if now.kind is not entry.kind or (entry.version and entry.version != now.version):
            raise Changed(self._root.name(entry.key))

    def _check_pin(self, entry: Entry, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise Changed(self._root.name(entry.key), "it is no longer a file")
        if entry.version:
            # Size and mtime cannot change without the ctime, but the clock of a file system ticks
            # in milliseconds: the size is looked at as well.
            same = entry.version == version_of(found) and entry.size == found.st_size
        else:
            same = entry.size < 0 or entry.size == found.st_size
        if not same:
            raise Changed(self._root.name(entry.key))

    def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        """Fill the buffer with a range; check the pin afterwards."""
        location = self._root.name(entry.key)
        try:
            fd = os.open(self._root.file_path(entry.key), self._flags)
            try:
                received = _read_at(fd, span.start, buffer)
                self._check_pin(entry, os.fstat(fd))
            finally:
                os.close(fd)
        except FAILURES as error:
            raise self._failure(error, entry.key) from error
        if received < len(span):
            raise Truncated(location, received_bytes=received, expected_bytes=len(span))

    @contextlib.contextmanager
    def opened(self, entry: Entry) -> Iterator[int]:
        """Open a pinned file for the block; raises as ``read_into`` does."""
        try:
            fd = os.open(self._root.file_path(entry.key), self._flags)
        except FAILURES as error:
            raise self._failure(error, entry.key) from error
        try:
            self._check_pin(entry, os.fstat(fd))
            yield fd
        finally:
            os.close(fd)

    def check_unmoved(self, entry: Entry, fd: int, before: os.stat_result) -> None:
        """Raise ``Changed`` when an open file was written since it looked like ``before``."""
        if version_of(os.fstat(fd)) != version_of(before):
            raise Changed(self._root.name(entry.key))

    def head(self, key: str) -> ObjectInfo:
        """Return what the file system knows of one key; a directory's key ends in a slash."""
        try:
            return self._head(key)
        except FAILURES as error:
            raise self._failure(error, key) from error

    def _head(self, key: str) -> ObjectInfo:
        is_directory = len(key) > 1 and key.endswith("/")
        path = self._root.file_path(key[:-1] if is_directory else key)
        found = os.stat(path, follow_symlinks=False)
        links_to = ""
        if stat.S_ISLNK(found.st_mode):
            links_to = os.readlink(path)
            if self._follow:
                found, links_to = _followed(path, found, links_to)
        if stat.S_ISDIR(found.st_mode) != is_directory:
            raise NotFound(self._root.name(key))
        attributes = Attributes(mtime_ns=found.st_mtime_ns, mode=stat.S_IMODE(found.st_mode))
        return ObjectInfo(entry=entry_of(key, found), attributes=attributes, links_to=links_to)

    def _failure(self, error: Exception, key: str) -> TransportError:
        """A directory where an object was expected: in a store there would be nothing there."""
        location = self._root.name(key)
        if isinstance(error, IsADirectoryError):
            return NotFound(location)
        if (
            isinstance(error, OSError)
            and not self._follow
            and os.path.islink(self._root.path + key)
        ):
            return Changed(location, "it has become a symlink")
        return failure(error, location)


def _followed(path: str, found: os.stat_result, links_to: str) -> tuple[os.stat_result, str]:
    try:
        return os.stat(path), ""
    except OSError:  # dangling, or a circle: the link itself is all there is
        return found, links_to


def _read_at(fd: int, offset: int, buffer: memoryview) -> int:
    """Fill the buffer from ``offset``; return how many bytes there were."""
    received = 0
    while received < len(buffer):
        count = os.preadv(fd, [buffer[received:]], offset + received)
        if count == 0:
            break
        received += count
    return received

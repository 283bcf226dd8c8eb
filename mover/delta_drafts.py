"""What a delta command writes: whole under its name, or not at all.

A draft is written from start to end and then published, once everything in it is known to be right.
A draft that is not published leaves nothing: no file, no object, no upload.
"""

import asyncio
import contextlib
import fcntl
import os
import stat
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from mover.errors import Incomplete, Rejected
from mover.spooling import spool_file

if TYPE_CHECKING:
    from mover.delta_noting import HostKeeper
    from transports.base import Transport
    from transports.model import PartReceipt

ZEROS: Final = memoryview(bytes(1024 * 1024))
SPOOL_BYTES: Final = 8 * 1024 * 1024
"""A draft for a store stays in memory up to this size, and goes up in one request."""

SHARED_BYTES: Final = 4096
"""Blocks that file systems share are of this size; where they are larger, nothing is shared."""

FICLONERANGE: Final = 0x4020940D  # linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
_CLONE: Final = struct.Struct("qQQQ")

PARTS_AHEAD: Final = 4
"""Parts of a draft that are on their way to the store at a time."""


class Draft(ABC):
    """A result that is being written. Errors are ``MoverError`` and ``TransportError``."""

    name: str

    @abstractmethod
    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write the next bytes; they are the caller's again afterwards."""

    async def skip(self, length: int) -> None:
        """Write zeros, as a hole where there can be one."""
        while length > 0:
            await self.write(ZEROS[:length])
            length -= len(ZEROS)

    def share(self, fd: int, origin: int, length: int) -> bool:
        """Let the next bytes be those of another file, if the file system can share them.

        All three numbers are multiples of ``SHARED_BYTES``, as is what was written so far.
        """
        return False

    @abstractmethod
    async def publish(self) -> None:
        """Make what was written visible, durably."""


class FileDraft(Draft):
    """A file that has no name before it is published, even when the process is killed.

    Where the file system has no such files (O_TMPFILE), it has a name that begins with a dot.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._path = os.path.realpath(path)
        directory, self._base = os.path.split(self._path)
        self._size = 0
        self._temporary = ""
        self._shares = True
        self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._fd = self._create()
        except BaseException:
            os.close(self._directory_fd)
            raise

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            return os.open(".", flags | os.O_TMPFILE, 0o666, dir_fd=self._directory_fd)
        self._temporary = self._temporary_name()
        flags |= os.O_CREAT | os.O_EXCL
        return os.open(self._temporary, flags, 0o666, dir_fd=self._directory_fd)

    def _temporary_name(self) -> str:
        return f".{self._base[:200]}.{os.urandom(4).hex()}.tmp"

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._size += len(data)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
        except OSError as error:
            raise Incomplete(f"{self.name}: {error.strerror}; nothing was changed") from error

    async def skip(self, length: int) -> None:
        os.lseek(self._fd, length, os.SEEK_CUR)
        self._size += length

    def share(self, fd: int, origin: int, length: int) -> bool:
        if not self._shares:
            return False
        try:
            fcntl.ioctl(self._fd, FICLONERANGE, _CLONE.pack(fd, origin, length, self._size))
        except OSError:
            # Between file systems, or one that shares nothing: it is asked once.
            self._shares = False
            return False
        os.lseek(self._fd, length, os.SEEK_CUR)
        self._size += length
        return True

    async def publish(self) -> None:
        try:
            await self._place()
        except OSError as error:
            raise Incomplete(f"{self.name}: {error.strerror}") from error

    async def _place(self) -> None:
        os.ftruncate(self._fd, self._size)
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(self._fd, stat.S_IMODE(os.stat(self._path).st_mode))
        await asyncio.to_thread(os.fsync, self._fd)
        if not self._temporary:
            self._temporary = self._temporary_name()
            # With a directory's descriptor this is linkat(2), which follows the link; link(2) does not.
            os.link(f"/proc/self/fd/{self._fd}", self._temporary, dst_dir_fd=self._directory_fd)
        both = {"src_dir_fd": self._directory_fd, "dst_dir_fd": self._directory_fd}
        os.rename(self._temporary, self._base, **both)
        self._temporary = ""
        await asyncio.to_thread(os.fsync, self._directory_fd)

    def close(self) -> None:
        """Let go of it; what was not published is gone."""
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._directory_fd)
        os.close(self._fd)
        os.close(self._directory_fd)


class PipeDraft(Draft):
    """Standard output, or what stands for it. Written at once, or with a ``spool`` when published."""

    def __init__(self, fd: int, name: str, spool: IO[bytes] | None = None) -> None:
        self.name = name
        self._fd = fd
        self._spool = spool

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._spool is not None:
            self._spool.write(data)
            return
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._fd, view) :]

    async def publish(self) -> None:
        if self._spool is None:
            return
        spool, self._spool = self._spool, None
        spool.seek(0)
        while data := spool.read(len(ZEROS)):
            await self.write(data)


class StoreDraft(Draft):
    """An object: one request where it is small, else parts that go up while they are written."""

    def __init__(
        self,
        transport: "Transport",
        key: str,
        group: asyncio.TaskGroup,
        *,
        size: int | None,
        notes: Path | None,
    ) -> None:
        self.name = f"{transport.location}{key}"
        self._transport = transport
        self._key = key
        self._group: asyncio.TaskGroup = group
        self._size = size
        self._upload_id = ""
        self._part_bytes = 0
        self._held = bytearray()
        self._spool: IO[bytes] | None = None
        self._free = asyncio.Semaphore(PARTS_AHEAD)
        self._parts: list[asyncio.Task[PartReceipt]] = []
        self._sent = 0
        self._published = False
        self._notes = notes
        self._keeper: HostKeeper | None = None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._spool is not None:
            self._spool.write(data)
            return
        self._held += data
        if self._size is None and len(self._held) > SPOOL_BYTES:
            # How an upload is cut depends on its size.
            self._spool = spool_file()
            self._spool.write(self._held)
            self._held.clear()
        elif self._size is not None and self._size > SPOOL_BYTES:
            await self._send_full()

    async def _send_full(self) -> None:
        if not self._upload_id:
            await self._begin()
        while len(self._held) >= self._part_bytes:
            await self._send(self._part_bytes)

    async def _begin(self) -> None:
        from mover.sizing import plan_parts
        from transports.undoing import undone_if_cancelled

        size = self._size or 0
        try:
            self._part_bytes = plan_parts(size, self._transport.capabilities).part_bytes
        except ValueError as error:
            raise Rejected(f"{self.name}: {error}") from error
        await self._drop_left()
        self._upload_id = await undone_if_cancelled(
            lambda: self._transport.begin_upload(self._key, size, token=os.urandom(8).hex()),
            lambda upload_id: self._transport.abort_upload(self._key, upload_id),
            within_s=5.0,
        )
        if self._keeper is not None:
            from mover.delta_tasks import OpenUpload

            await self._keeper.keep(OpenUpload(upload_id=self._upload_id))

    async def _drop_left(self) -> None:
        """Drop the upload that a killed run has left: bytes that come in order have no second beginning."""
        if self._notes is None:
            return
        from mover.delta_noting import HostKeeper

        self._keeper = HostKeeper.open(self._notes, self._transport, self._key)
        if self._keeper is not None:
            await self._keeper.claim("")

    async def _send(self, length: int) -> None:
        from transports.model import ByteRange, PartSpec

        data = bytes(self._held[:length])
        del self._held[:length]
        part = PartSpec(
            number=len(self._parts) + 1, range=ByteRange(self._sent, self._sent + length)
        )
        self._sent += length
        await self._free.acquire()

        async def send() -> "PartReceipt":
            try:
                return await self._transport.write_part(
                    self._key, self._upload_id, part, memoryview(data)
                )
            finally:
                self._free.release()

        self._parts.append(self._group.create_task(send(), name=f"part-{part.number}"))

    async def publish(self) -> None:
        if self._spool is not None:
            await self._send_spooled(self._spool)
        if not self._upload_id:
            await self._write_small()
        else:
            if self._held:
                await self._send(len(self._held))
            parts = [await task for task in self._parts]
            await self._transport.finish_upload(self._key, self._upload_id, parts)
            if self._keeper is not None:
                await self._keeper.forget()
        self._published = True

    async def _send_spooled(self, spool: IO[bytes]) -> None:
        self._size = spool.tell()
        self._spool = None
        with spool:
            spool.seek(0)
            while data := spool.read(len(ZEROS)):
                await self.write(data)

    async def _write_small(self) -> None:
        from transports.errors import TransportError
        from transports.model import NO_ATTRIBUTES, Blob, Entry, Proof

        entry = Entry(self._key, len(self._held), 0)
        blob = Blob(entry, bytes(self._held), NO_ATTRIBUTES, Proof.WEAK)
        (receipt,) = await self._transport.write_small([blob])
        if isinstance(receipt, TransportError):
            raise receipt

    async def drop(self) -> None:
        """Forget what was not published. That it could not be dropped is not the news."""
        from transports.errors import TransportError

        if self._spool is not None:
            self._spool.close()
        try:
            if self._published or not self._upload_id:
                return
            with contextlib.suppress(TransportError, TimeoutError):
                async with asyncio.timeout(5.0):
                    await self._transport.abort_upload(self._key, self._upload_id)
                if self._keeper is not None:
                    await self._keeper.forget()
        finally:
            if self._keeper is not None:
                self._keeper.close()


@asynccontextmanager
async def store_draft(
    transport: "Transport", key: str, *, size: int | None, notes: Path | None = None
) -> AsyncGenerator[StoreDraft, None]:
    """A draft in a store; ``size`` in bytes where it is known. Failures may come as a group.

    An upload is noted in the directory ``notes`` while it is open, and one that was left is dropped.
    """
    draft = None
    try:
        async with asyncio.TaskGroup() as group:
            draft = StoreDraft(transport, key, group, size=size, notes=notes)
            yield draft
    finally:
        if draft is not None:
            await draft.drop()


@asynccontextmanager
async def file_draft(path: str) -> AsyncGenerator[Draft, None]:
    """A draft of a local file; of what a special file leads to, where ``path`` names one.

    Raises ``Rejected`` where there can be no file of this name.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise Rejected(f"{path}: {error.strerror}") from error
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise Rejected(f"{path} is a directory; give the name of a file")
    if found is not None and not stat.S_ISREG(found.st_mode):
        async with special_draft(path) as special:
            yield special
        return
    try:
        draft = FileDraft(path)
    except OSError as error:
        raise Rejected(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield draft
    finally:
        draft.close()


@asynccontextmanager
async def special_draft(path: str) -> AsyncGenerator[Draft, None]:
    """A draft for a device or a named pipe; held back until it is published."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with spool_file() as spool:
            yield PipeDraft(fd, path, spool)
    finally:
        os.close(fd)

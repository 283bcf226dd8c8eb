"""Files below a directory, as a store: exact names, atomic and durable writes, nothing outside.

The blocking work lies in the ``local_*`` modules, by verb; this one runs it in a small executor. A
call that is cancelled waits until its thread has let go of the caller's buffers, then raises: at
most one batch, part or 64 MiB of copying.
"""

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from transports import digests
from transports.base import Pace, PartSink, Transport
from transports.errors import Corrupt, Invalid, TransportError
from transports.local_copies import Copies
from transports.local_files import Root, naming
from transports.local_listing import Bounds, Links, Walk
from transports.local_parts import HOLE_BYTES, LocalPart, PartFile
from transports.local_reading import Reader
from transports.local_staging import Stage, clean_stages
from transports.local_uploads import Uploads
from transports.local_writing import Writer
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    Kind,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Presence,
    Proof,
    Receipt,
    UploadInfo,
)

T = TypeVar("T")
P = ParamSpec("P")

THREADS: Final = 4
"""Enough to keep a disk busy while the interpreter's lock is held by one of them at a time."""

CAPABILITIES: Final = Capabilities(
    scheme="file",
    part_size_min=1,
    part_size_max=1 << 40,
    part_count_max=1_000_000,
    object_size_max=(1 << 63) - 1,
    whole_size_max=(1 << 63) - 1,
    takes_pours=True,
    part_alignment=HOLE_BYTES,  # so that holes do not end at the borders of parts
    small_batch_count=64,
    small_batch_bytes=4 * 1024 * 1024,
    concurrency_start=2 * THREADS,
    keeps_attributes=False,
    has_directories=True,
    has_symlinks=True,
    local=True,
    server_copy=True,
    copy_domain="local",
    copies_parts=True,
    conditional_finish=True,
)


class LocalTransport(Transport):
    """A directory tree.

    ``token`` names the job: its unfinished writes lie in ``.mover-stage-<token>`` in the root.
    ``create`` lets the first write make the root. ``links`` says what listings and reads make of
    symlinks: ``follow`` treats them as what they lead to (one that leads nowhere or in a circle is
    listed with ``Kind.SYMLINK`` and cannot be read), ``skip`` does not list them, ``preserve``
    lists and reads them as links. Writes never go through a symlink, whatever this says.
    ``wants_directory`` gets the key of each directory, with its slash, before it is listed; one
    that it refuses is left out.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        token: str = "",
        links: Links = "follow",
        create: bool = False,
        wants_directory: Callable[[str], bool] | None = None,
        threads: int = THREADS,
    ) -> None:
        self._root = Root(os.fspath(path), create=create)
        self.location = self._root.location
        self.capabilities = CAPABILITIES
        nonce = secrets.token_hex(4)
        self._nonce = nonce
        self._token = token or f"only-{nonce}"
        self._links = links
        self._wants_directory = wants_directory
        self._stages: dict[str, Stage] = {}
        self._stages_lock = threading.Lock()
        self._writer = Writer(self._root)
        self._reader = Reader(self._root, links)
        self._uploads = Uploads(self._root, self._writer, self._stage)
        self._copies = Copies(self._root, self._writer, self._uploads, self._own_stage)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="local")

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """See the port. A thread reads one page ahead; symlinks as ``links`` says.

        Raises ``Denied`` for a directory that cannot be read: a listing that ends was complete.
        """
        bounds = Bounds(prefix=prefix, start_after=start_after, stop_at=stop_at)
        pages = self._walk(bounds).pages()
        ahead = self._executor.submit(next, pages, None)
        try:
            while (page := await asyncio.wrap_future(ahead)) is not None:
                ahead = self._executor.submit(next, pages, None)
                yield page
        finally:
            await _settled(ahead)
            pages.close()

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        """See the port. Reads the directories on the way to the key whole."""
        return await self._run(self._walk(Bounds(prefix=prefix, start_after=key)).first)

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        walk = self._walk(Bounds(prefix=prefix, start_after=start_after))
        return await self._run(walk.children, limit)

    async def head(self, key: str) -> ObjectInfo:
        return await self._run(self._reader.head, key)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        """See the port. The proof is WEAK: a file system keeps no checksum to compare."""
        return await self._run(self._reader.read, entries)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        await self._run(self._reader.read_into, entry, span, buffer)

    # -- writing -------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        """See the port. Files get ``attributes.mode`` (without setuid and setgid), else the umask's.

        A symlink at a key is replaced, one in the way of a directory is ``Denied``; a file in the
        way of a directory, or a directory in the way of a file, is ``Invalid``. A blob of
        ``Kind.SYMLINK`` becomes a link with its data as text.
        """
        if pace is not None:
            await pace(sum(len(blob.data) for blob in blobs))
        return await self._run(self._write, blobs)

    def _write(self, blobs: Sequence[Blob]) -> Sequence[Receipt | TransportError]:
        return self._writer.write(self._own_stage(), blobs)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        with self._naming(key):
            return await self._run(self._uploads.begin, key, size, attributes, token)

    async def write_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        data: memoryview,
        *,
        sparse: bool = False,
        pace: Pace | None = None,
    ) -> PartReceipt:
        """See the port. The part is on disk when this returns."""
        if pace is not None:
            await pace(len(data))
        with self._naming(key):
            return await self._run(
                self._uploads.write_part, key, upload_id, part, data, sparse=sparse
            )

    async def open_part(
        self, key: str, upload_id: str, part: PartSpec, *, sparse: bool = False
    ) -> PartSink:
        """See the port. A cancelled call leaves no file open."""
        opened: list[PartFile] = []

        def work() -> None:
            opened.append(self._uploads.open_part(key, upload_id, part, sparse=sparse))

        try:
            with self._naming(key):
                await self._run(work)
        except asyncio.CancelledError:
            for file in opened:
                file.close()
            raise
        return LocalPart(opened[0], self._root.name(key), self._run)

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        """See the port. The bytes stay in the kernel; blocks are shared where that is possible."""
        if not isinstance(source, LocalTransport):
            raise Invalid(self._root.name(key), "the source is not local")
        made: list[PartReceipt] = []
        copying = self._copies.part(key, upload_id, part, entry, span, source._reader, made)
        await self._stepped(copying, key)
        return made[0]

    async def finish_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        checksum: Checksum | None = None,
        replaces: Entry | Presence = Presence.ANY,
    ) -> Receipt:
        """See the port. Times and permissions that are not given here are those of the beginning.

        A ``crc64nvme`` is compared with what the parts' own make together; any other checksum by
        reading the bytes back before they become visible.
        """
        with self._naming(key):
            compared = checksum is not None and checksum.algorithm != "crc64nvme"
            if checksum is not None and compared:
                await self._compare(key, upload_id, checksum)
            finish = partial(self._uploads.finish, compared=compared, replaces=replaces)
            return await self._run(finish, key, upload_id, parts, attributes, checksum)

    async def _compare(self, key: str, upload_id: str, checksum: Checksum) -> None:
        """Raise ``Corrupt`` unless the bytes of an upload have this checksum."""
        digest = digests.new_digest(checksum.algorithm)
        offset = 0
        try:
            while done := await self._run(self._uploads.hash_some, key, upload_id, digest, offset):
                offset += done
        except FileNotFoundError:
            return  # it was finished before, and compared then
        if digest.hexdigest() != checksum.hex:
            raise Corrupt(
                self._root.name(key),
                algorithm=checksum.algorithm,
                expected=checksum.hex,
                actual=digest.hexdigest(),
            )

    async def abort_upload(self, key: str, upload_id: str) -> None:
        with self._naming(key):
            await self._run(self._uploads.abort, key, upload_id)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        with self._naming(key):
            return await self._run(self._uploads.list_parts, key, upload_id)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        with self._naming(""):
            return await self._run(self._uploads.list_uploads, prefix)

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        """See the port. Shares blocks where the file system can; keeps holes, time and mode."""
        if not isinstance(source, LocalTransport):
            raise Invalid(self._root.name(key), "the source is not local")
        if entry.kind is not Kind.OBJECT:
            return await self._copy_other(entry, source, key)
        await self._stepped(self._copies.whole(entry, source._reader, key), key)
        return Receipt(key, entry.size, "", Proof.WEAK)

    async def _stepped(self, steps: Generator[int, None, None], key: str) -> None:
        """Run blocking work that yields now and then, where a cancel is heard."""
        try:
            with self._naming(key):
                while await self._run(next, steps, None) is not None:
                    pass
        finally:
            await self._run(steps.close)

    async def _copy_other(self, entry: Entry, source: Transport, key: str) -> Receipt:
        (blob,) = await source.read_small([entry])
        if isinstance(blob, TransportError):
            raise blob
        (receipt,) = await self.write_small([blob._replace(entry=entry._replace(key=key))])
        if isinstance(receipt, TransportError):
            raise receipt
        return receipt

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        """See the port. Never goes through a symlink; one at a key is itself removed.

        A key that ends in a slash removes the directory if it is empty; one that is not empty is
        left, and that is a success: no object of that name is there.
        """
        return await self._run(self._writer.remove, keys)

    # -- housekeeping --------------------------------------------------------------------------

    async def clean(self, token: str) -> None:
        """Remove this job's staging directory, and those that no live process holds.

        Call it when no other call for the token runs. Raises ``Denied`` when it may not remove.
        """
        with self._naming(""):
            await self._run(self._clean, token)

    def _clean(self, token: str) -> None:
        with self._stages_lock:
            stage = self._stages.pop(token, None)
        if stage is not None:
            stage.close()
        clean_stages(self._root, token)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
        for stage in self._stages.values():
            stage.close()
        self._root.close()

    # -- below the verbs -----------------------------------------------------------------------

    def _stage(self, token: str) -> Stage:
        with self._stages_lock:
            stage = self._stages.get(token)
            if stage is None:
                stage = self._stages[token] = Stage(self._root, token, nonce=self._nonce)
            return stage

    def _own_stage(self) -> Stage:
        return self._stage(self._token)

    def _walk(self, bounds: Bounds) -> Walk:
        return Walk(self._root, bounds, self._links, self._wants_directory)

    def _naming(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Turn what the blocking side raises into the transport's errors, naming the key."""
        return naming(self._root.name(key))

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work in the executor. A cancel is raised when the thread has let go."""
        job = self._executor.submit(work, *args, **kwargs)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            await _settled(job)
            raise


async def _settled(job: "Future[T]") -> None:
    """Wait until a job has ended or will never run, through any number of cancels.

    Bounded by the job itself. The caller raises its own cancel afterwards.
    """
    if job.cancel() or job.done():
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    job.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
    while not ended.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await ended.wait()


def open_local(
    path: str | os.PathLike[str],
    *,
    token: str = "",
    links: Links = "follow",
    create: bool = False,
    wants_directory: Callable[[str], bool] | None = None,
) -> LocalTransport:
    """Open a directory; nothing is touched before the first call. See ``LocalTransport``."""
    return LocalTransport(
        path, token=token, links=links, create=create, wants_directory=wants_directory
    )

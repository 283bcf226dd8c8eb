"""Any filesystem that fsspec knows: a store by its scheme, or an instance that the caller made.

What fsspec leaves open is decided on the safe side:

- A key that is not plain segments (``a//b``, ``./a``, ``d/`` in an object store) is refused by
  name, in listings too: filesystems fold such names each in its own way, so nothing else is exact.
- A listing goes directory by directory, each sorted as keys are; memory holds one directory per
  level.
- Reads are pinned by asking for the object's facts after the bytes have come: what is then still
  the listed object was it all the time. A checksum among the facts is compared.
- Where the filesystem renames, a write goes to a temporary name first; an object store's write is
  atomic by itself; what can do neither (fsspec's ``memory``) is as atomic as its own write.
- Large objects: see ``filesystem_uploads``.

Attributes and times are not kept. A blocking filesystem runs in its own threads, in one thread
where it may hold one connection.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from transports import digests
from transports.base import Pace, Transport, check_received
from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Invalid,
    NotFound,
    Obstructed,
    TransportError,
    Unsupported,
    translating,
)
from transports.filesystem_answers import (
    Info,
    checksums_of,
    children_of,
    entry_of,
    is_plain,
    translate,
)
from transports.filesystem_calls import Calls, FileSystem, make_filesystem
from transports.filesystem_uploads import STAGE_PREFIX, Uploads
from transports.location import Location
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

PAGE_ENTRIES: Final = 1_000
DEPTH_MAX: Final = 200


class FilesystemTransport(Transport):
    """A directory or prefix of an fsspec filesystem.

    ``owns`` says whether closing it closes the filesystem's connections, too; an instance that the
    caller made stays the caller's.
    """

    def __init__(
        self, filesystem: FileSystem, path: str, *, token: str = "", owns: bool = False
    ) -> None:
        self._fs = filesystem
        self._calls = calls = Calls(filesystem)
        self._root = calls.strip(path).rstrip("/")
        self.path = self._root
        # Some filesystems have a leading slash in every path, some in none.
        self._base = f"{self._root}/" if self._root or calls.strip("/x") == "/x" else ""
        self._bucket = self._root.lstrip("/").partition("/")[0]
        self._owns = owns
        self._token = token or f"only-{secrets.token_hex(4)}"
        self.location = f"{calls.protocol}://{self._root.lstrip('/')}/"
        self._uploads = Uploads(calls, self._root, self._token, self.location)
        self.capabilities = Capabilities(
            scheme=calls.protocol,
            multipart=calls.merges or not filesystem.async_impl,
            part_size_min=5 * 1024 * 1024 if calls.merges else 1,
            part_count_max=32 if calls.protocol in {"gs", "gcs"} else 10_000,
            whole_size_max=256 * 1024 * 1024,
            small_batch_count=1 if filesystem.async_impl else 16,
            concurrency_start=16 if filesystem.async_impl else 2,
            concurrency_max=64 if filesystem.async_impl else 4,
            keeps_attributes=False,
            keeps_mtime=False,
            has_directories=not calls.is_flat,
            has_etags=calls.is_flat,
        )

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        page: list[Entry] = []
        async for entry in self._walk("", prefix, start_after, stop_at, 0):
            page.append(entry)
            if len(page) == PAGE_ENTRIES:
                yield page
                page = []
        if page:
            yield page

    async def _walk(
        self, directory: str, prefix: str, start_after: str, stop_at: str | None, depth: int
    ) -> AsyncIterator[Entry]:
        if depth > DEPTH_MAX:
            raise Invalid(self._name(directory), f"more than {DEPTH_MAX} directories deep")
        found = await self._children(directory)
        if not found and directory > start_after and directory.startswith(prefix):
            yield Entry(directory, 0, 0, kind=Kind.DIRECTORY)
        for name in sorted(found):
            key = directory + name
            if stop_at is not None and key >= stop_at:
                return
            if not name.endswith("/") or not name[:-1]:
                if key > start_after and key.startswith(prefix):
                    yield entry_of(key, found[name])
            elif (key.startswith(prefix) or prefix.startswith(key)) and (
                key >= start_after or start_after.startswith(key)
            ):
                async for entry in self._walk(key, prefix, start_after, stop_at, depth + 1):
                    if stop_at is None or entry.key < stop_at:
                        yield entry

    async def _children(self, directory: str) -> dict[str, Info]:
        """What lies in a directory, by name; a directory's name ends in a slash."""
        path = f"{self._base}{directory}".rstrip("/")
        name = self._name(directory)
        try:
            with translating(translate, name):
                infos = await self._calls.ls(path or "/")
        except NotFound:
            if directory or (self._calls.is_flat and await self._calls.exists(self._bucket)):
                return {}  # it went away between two looks, or there is nothing yet
            raise
        found = children_of(infos, path, name, flat=self._calls.is_flat)
        if not directory:
            return {n: info for n, info in found.items() if not n.startswith(STAGE_PREFIX)}
        return found

    async def head(self, key: str) -> ObjectInfo:
        if key.endswith("/") and self.capabilities.has_directories and is_plain(key[:-1]):
            info = await self._info(key[:-1])
            if info.get("type") == "directory":
                return ObjectInfo(
                    entry=Entry(key, 0, 0, kind=Kind.DIRECTORY), attributes=NO_ATTRIBUTES
                )
            raise NotFound(self._name(key))
        if not is_plain(key):
            raise NotFound(self._name(key), "this filesystem cannot name it")
        info = await self._info(key)
        entry = entry_of(key, info)
        if entry.kind is Kind.DIRECTORY:
            raise NotFound(self._name(key))
        attributes = Attributes(
            mtime_ns=entry.mtime_ns or None,
            content_type=str(info.get("ContentType") or info.get("contentType") or ""),
        )
        return ObjectInfo(entry=entry, attributes=attributes, checksums=checksums_of(info))

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        results: list[Blob | TransportError] = []
        for entry in entries:
            try:
                results.append(await self._read_whole(entry))
            except TransportError as error:
                results.append(error)
        return results

    async def _read_whole(self, entry: Entry) -> Blob:
        name = self._name(entry.key)
        if entry.kind is Kind.DIRECTORY:
            return Blob(entry, b"", NO_ATTRIBUTES, Proof.WEAK)
        data = await self._cat(entry.key, None, None)
        # An etag that is the bytes' MD5 is the pin and the checksum in one, and costs no request.
        if entry.etag and entry.etag == (md5 := digests.md5_hex(data)):
            kept = Attributes(mtime_ns=entry.mtime_ns or None)
            return Blob(entry, data, kept, Proof.STRONG, Checksum("md5", md5), md5)
        info = await self._check_pin(entry)
        expected = len(data) if entry.size < 0 else entry.size
        check_received(name, received=len(data), expected=expected)
        kept = Attributes(mtime_ns=entry.mtime_ns or None)
        for checksum in checksums_of(info):
            actual = digests.checksum(checksum.algorithm, data).hex
            if actual != checksum.hex:
                raise Corrupt(
                    name, algorithm=checksum.algorithm, expected=checksum.hex, actual=actual
                )
            return Blob(entry, data, kept, Proof.STRONG, checksum)
        return Blob(entry, data, kept, Proof.WEAK)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        data = b""
        stop = min(span.stop, entry.size) if entry.size >= 0 else span.stop
        if span.start < stop:
            data = await self._cat(entry.key, span.start, stop)
        await self._check_pin(entry)
        buffer[: len(data)] = data[: len(buffer)]
        check_received(self._name(entry.key), received=len(data), expected=len(span))

    async def _cat(self, key: str, start: int | None, stop: int | None) -> bytes:
        path = self._path(key)
        with translating(translate, self._name(key)):
            data = await self._calls.call("cat_file", path, start=start, end=stop)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise NotFound(self._name(key))
        return bytes(data)

    async def _check_pin(self, entry: Entry) -> Info:
        info = await self._info(entry.key)
        now = entry_of(entry.key, info)
        if (now.etag, now.version, now.size) != (entry.etag, entry.version, entry.size) or (
            now.mtime_ns != entry.mtime_ns and not entry.etag
        ):
            raise Changed(self._name(entry.key))
        return info

    # -- writing -------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        results: list[Receipt | TransportError] = []
        for blob in blobs:
            try:
                if pace is not None:
                    await pace(len(blob.data))
                results.append(await self._write_whole(blob))
            except AlreadyExists:
                way = Obstructed(self._name(blob.entry.key), "a file stands in the way")
                results.append(way)
            except TransportError as error:
                results.append(error)
        return results

    async def _write_whole(self, blob: Blob) -> Receipt:
        key, data = blob.entry.key, bytes(blob.data)
        if key.endswith("/") and self.capabilities.has_directories and not data:
            with translating(translate, self._name(key)):
                await self._calls.call("makedirs", self._path(key[:-1]), exist_ok=True)
            return Receipt(key, 0, "", Proof.WEAK)
        path = self._path(key)
        with translating(translate, self._name(key)):
            answer = await self._uploads.put(path, data)
        etag = str(answer.get("ETag", "")).strip('"') if isinstance(answer, Mapping) else ""
        if etag and etag == (blob.md5 or digests.md5_hex(data)):
            return Receipt(key, len(data), etag, Proof.STRONG, Checksum("md5", etag))
        return Receipt(key, len(data), etag, Proof.WEAK)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        self._path(key)
        if not self.capabilities.multipart:
            raise Invalid(self._name(key), "this filesystem takes no object in parts")
        return await self._uploads.begin(key, token)

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
        if pace is not None:
            await pace(len(data))
        return await self._uploads.write_part(key, upload_id, part, data)

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
        if replaces is not Presence.ANY:
            raise Unsupported(self._name(key), "this filesystem finishes without conditions")
        return await self._uploads.finish(key, self._path(key), upload_id, parts, checksum)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self._uploads.abort(key, upload_id)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        return await self._uploads.parts(key, upload_id)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        return await self._uploads.open_uploads(prefix)

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        raise Invalid(self._name(key), "this filesystem does not copy by itself")

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        results: list[TransportError | None] = []
        for key in keys:
            try:
                await self._delete_one(key)
            except TransportError as error:
                results.append(error)
            else:
                results.append(None)
        return results

    async def _delete_one(self, key: str) -> None:
        directory = key.endswith("/") and is_plain(key[:-1])
        path = self._path(key[:-1] if directory else key)
        try:
            with translating(translate, self._name(key)):
                info = await self._calls.info(path)
                is_directory = info.get("type") == "directory"
                if directory and is_directory and not await self._children(key):
                    if self._calls.is_flat:
                        raise Invalid(self._name(key), "this filesystem cannot name a marker")
                    await self._calls.call("rmdir", path)
                elif not directory and not is_directory:
                    await self._calls.call("rm_file", path)
        except NotFound:
            return
        except Invalid:
            if await self._calls.exists(path):
                raise
            # A file stands where a directory would have to be: nothing of that name is there.

    async def clean(self, token: str) -> None:
        """Remove this job's staging directory.

        What dead jobs left cannot be told from the living: their ``.mover-stage-*`` stay until their own command line cleans up.
        """
        await self._uploads.clean(token)

    async def close(self) -> None:
        if self._owns:
            await self._uploads.close_filesystem(self._fs)
        self._calls.close()

    # -- names ---------------------------------------------------------------------------------

    def _name(self, key: str) -> str:
        return self.location + key

    def _path(self, key: str) -> str:
        """The filesystem's path of a key. Raises ``Invalid`` for what it would read differently."""
        path = self._base + key
        if not is_plain(key):
            raise Invalid(self._name(key), "this filesystem cannot name it exactly")
        if key.startswith(STAGE_PREFIX):
            raise Invalid(self._name(key), "the name is kept for unfinished writes")
        if not self._calls.encodes(key):
            raise Invalid(self._name(ascii(key)), "the name is not UTF-8")
        if not self._calls.reads_exactly(path):
            raise Invalid(self._name(key), "this filesystem would read the name differently")
        return path

    async def _info(self, key: str) -> Info:
        try:
            path = self._path(key)
        except Invalid as error:
            raise NotFound(self._name(key), "this filesystem cannot name it") from error
        with translating(translate, self._name(key)):
            try:
                return await self._calls.info(path)
            except NotADirectoryError as error:
                raise NotFound(self._name(key)) from error


async def open_filesystem(
    location: Location, *, token: str, environment: Mapping[str, str]
) -> FilesystemTransport:
    """Make the filesystem of a location. Some connect at once, and block while they do.

    Raises ``BadLocation`` with what is known or missing, and ``Unavailable`` or ``Denied`` from a
    filesystem that connects.
    """
    with translating(translate, location.text):
        filesystem, path = await asyncio.to_thread(make_filesystem, location, environment)
    return FilesystemTransport(filesystem, path, token=token, owns=True)

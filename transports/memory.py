"""Objects in memory: the reference, which shows what the port means, and what unit tests stand on.

Keys are exact, objects are versioned, checksums are compared, uploads are kept until they are
finished or aborted. ``memory://name/prefix`` opens a store by name, shared by all of the process.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from transports import digests
from transports.base import Pace, Transport
from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Invalid,
    NotFound,
    TransportError,
    Truncated,
)
from transports.memory_store import MemoryStore, StoredObject, StoredUpload, named_store
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
"""Entries per page of a listing, as S3 has them."""

CAPABILITIES: Final = Capabilities(
    scheme="memory",
    seeks=True,
    part_size_min=1,
    part_count_max=10_000,
    small_batch_count=16,
    has_etags=True,
    server_copy=True,
    copy_domain="memory",
    copies_parts=True,
    conditional_finish=True,
)


class MemoryTransport(Transport):
    """A prefix of a ``MemoryStore``."""

    def __init__(
        self, store: MemoryStore | None = None, *, name: str = "", prefix: str = ""
    ) -> None:
        self.store = store if store is not None else MemoryStore()
        self.capabilities = CAPABILITIES
        self._prefix = prefix
        self.location = f"memory://{name}/{prefix}"

    # -- reading -------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        root = self._prefix
        keys = sorted(
            key
            for key in self._below(prefix)
            if key > start_after and (stop_at is None or key < stop_at)
        )
        for first in range(0, len(keys), PAGE_ENTRIES):
            await asyncio.sleep(0)
            page = [
                self._entry(key, stored)
                for key in keys[first : first + PAGE_ENTRIES]
                if (stored := self.store.objects.get(root + key)) is not None
            ]
            if page:
                yield page

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        await asyncio.sleep(0)
        return min((name for name in self._below(prefix) if name > key), default=None)

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        await asyncio.sleep(0)
        names = {key[: key.find("/", len(prefix)) + 1] or key for key in self._below(prefix)}
        return sorted(name for name in names if name > start_after)[:limit]

    async def head(self, key: str) -> ObjectInfo:
        await asyncio.sleep(0)
        return self._info(key, self._stored(key))

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        await asyncio.sleep(0)
        older = self.store.older.get(self._prefix + key, [])
        return [self._info(key, each) for each in reversed(older) if len(each.data) == size]

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        await asyncio.sleep(0)
        results: list[Blob | TransportError] = []
        for entry in entries:
            try:
                stored = self._pinned(entry)
            except TransportError as error:
                results.append(error)
                continue
            checksum = Checksum("xxh3", digests.xxh3_hex(stored.data))
            md5 = "" if stored.parts else stored.etag
            results.append(Blob(entry, stored.data, stored.attributes, Proof.STRONG, checksum, md5))
        return results

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        await asyncio.sleep(0)
        piece = self._pinned(entry).data[span.start : span.stop]
        buffer[: len(piece)] = piece
        if len(piece) < len(span):
            raise Truncated(
                self._name(entry.key), received_bytes=len(piece), expected_bytes=len(span)
            )

    # -- writing -------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        results: list[Receipt | TransportError] = []
        for blob in blobs:
            if pace is not None:
                await pace(len(blob.data))
            else:
                await asyncio.sleep(0)
            try:
                results.append(self._write_one(blob))
            except TransportError as error:
                results.append(error)
        return results

    def _write_one(self, blob: Blob) -> Receipt:
        data = bytes(blob.data)
        key = self._checked(blob.entry.key)
        proof = Proof.WEAK
        expected = blob.checksum or (Checksum("md5", blob.md5) if blob.md5 else None)
        if expected is not None and expected.algorithm in digests.ALGORITHMS:
            self._compare(blob.entry.key, data, expected)
            proof = Proof.STRONG
        receipt = self.store.keep(key, data, blob.attributes)
        return receipt._replace(key=blob.entry.key, proof=proof, checksum=blob.checksum)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        await asyncio.sleep(0)
        upload_id = f"{token}/{self.store.next_number()}"
        self.store.uploads[upload_id] = StoredUpload(
            key=self._checked(key), attributes=attributes, started_ns=self.store.now_ns()
        )
        return upload_id

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
        upload = self._upload(key, upload_id)
        if pace is not None:
            await pace(len(data))
        else:
            await asyncio.sleep(0)
        upload.parts[part.number] = (part.range.start, bytes(data))
        return self._part_receipt(part.number, part.range.start, upload.parts[part.number][1])

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        if not isinstance(source, MemoryTransport):
            raise Invalid(self._name(key), "the source is not in memory")
        data = source._pinned(entry).data[span.start : span.stop]
        if not len(data) == len(span) == len(part.range):
            raise Invalid(self._name(key), f"the copied range has {len(data)} bytes")
        return await self.write_part(key, upload_id, part, memoryview(data))

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
        await asyncio.sleep(0)
        made = self.store.finished.get(upload_id)
        if made is not None:
            stored = self._stored(key)
            if stored.version != made:
                raise NotFound(self._name(key), "the upload was finished, its object replaced")
            return Receipt(key, len(stored.data), stored.etag, Proof.WEAK, version=made)
        upload = self._upload(key, upload_id)
        self._check_presence(key, replaces)
        data = self._assemble(key, upload, parts)
        if checksum is not None and checksum.algorithm in digests.ALGORITHMS:
            self._compare(key, data, checksum)
        kept = attributes if attributes != NO_ATTRIBUTES else upload.attributes
        receipt = self.store.keep(self._prefix + key, data, kept, parts=len(parts))
        del self.store.uploads[upload_id]
        self.store.finished[upload_id] = receipt.version
        proof = Proof.STRONG if checksum is not None else Proof.WEAK
        return receipt._replace(key=key, proof=proof, checksum=checksum)

    def _assemble(self, key: str, upload: StoredUpload, parts: Sequence[PartReceipt]) -> bytes:
        pieces = []
        offset = 0
        for receipt in parts:
            start, piece = upload.parts.get(receipt.number, (-1, b""))
            if start != offset or digests.md5_hex(piece) != receipt.etag:
                raise Invalid(
                    self._name(key), f"part {receipt.number} is not the one at byte {offset}"
                )
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await asyncio.sleep(0)
        self.store.uploads.pop(upload_id, None)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        await asyncio.sleep(0)
        parts = self._upload(key, upload_id).parts
        return [self._part_receipt(number, *parts[number]) for number in sorted(parts)]

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        await asyncio.sleep(0)
        wanted = self._prefix + prefix
        return [
            UploadInfo(upload.key[len(self._prefix) :], upload_id, upload.started_ns)
            for upload_id, upload in self.store.uploads.items()
            if upload.key.startswith(wanted)
        ]

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        await asyncio.sleep(0)
        if not isinstance(source, MemoryTransport):
            raise Invalid(self._name(key), "the source is not in memory")
        stored = source._pinned(entry)
        receipt = self.store.keep(self._checked(key), stored.data, stored.attributes)
        return receipt._replace(key=key, proof=Proof.STRONG)

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        await asyncio.sleep(0)
        for key in keys:
            self.store.drop(self._prefix + key)
        return [None] * len(keys)

    # -- housekeeping --------------------------------------------------------------------------

    async def clean(self, token: str) -> None:
        """Drop the uploads of this job; other jobs of the process may be alive."""
        await asyncio.sleep(0)
        for upload_id in [i for i in self.store.uploads if i.startswith(f"{token}/")]:
            del self.store.uploads[upload_id]

    async def close(self) -> None:
        """Nothing to release: the store outlives its transports."""

    # -- below the verbs -----------------------------------------------------------------------

    def _name(self, key: str) -> str:
        return self.location + key

    def _below(self, prefix: str) -> Sequence[str]:
        root = self._prefix
        return [name[len(root) :] for name in self.store.objects if name.startswith(root + prefix)]

    def _checked(self, key: str) -> str:
        if not key:
            raise Invalid(self._name(key), "an object needs a name")
        return self._prefix + key

    def _stored(self, key: str) -> StoredObject:
        stored = self.store.objects.get(self._prefix + key)
        if stored is None:
            raise NotFound(self._name(key))
        return stored

    def _pinned(self, entry: Entry) -> StoredObject:
        for older in self.store.older.get(self._prefix + entry.key, ()):
            if entry.version == older.version:
                return older
        stored = self._stored(entry.key)
        if (entry.version and entry.version != stored.version) or (
            entry.etag and entry.etag != stored.etag
        ):
            raise Changed(self._name(entry.key))
        return stored

    def _check_presence(self, key: str, wanted: Entry | Presence) -> None:
        there = self.store.objects.get(self._prefix + key)
        if isinstance(wanted, Entry):
            if there is None:
                raise Changed(self._name(key), "the object is gone")
            self._pinned(wanted._replace(key=key))
        elif wanted is Presence.NONE and there is not None:
            raise AlreadyExists(self._name(key))

    def _upload(self, key: str, upload_id: str) -> StoredUpload:
        upload = self.store.uploads.get(upload_id)
        if upload is None or upload.key != self._prefix + key:
            raise NotFound(self._name(key), f"no open upload {upload_id}")
        return upload

    def _compare(self, key: str, data: bytes, expected: Checksum) -> None:
        actual = digests.checksum(expected.algorithm, data)
        if actual.hex != expected.hex:
            raise Corrupt(
                self._name(key),
                algorithm=expected.algorithm,
                expected=expected.hex,
                actual=actual.hex,
            )

    def _info(self, key: str, stored: StoredObject) -> ObjectInfo:
        return ObjectInfo(
            entry=self._entry(key, stored),
            attributes=stored.attributes,
            checksums=(Checksum("xxh3", digests.xxh3_hex(stored.data)),),
            parts=stored.parts,
        )

    @staticmethod
    def _entry(key: str, stored: StoredObject) -> Entry:
        size = len(stored.data)
        kind = Kind.DIRECTORY if not size and key.endswith("/") else Kind.OBJECT
        written_ns = stored.written_ns
        return Entry(key, size, written_ns, stored.etag, stored.version, kind, written_ns)

    @staticmethod
    def _part_receipt(number: int, start: int, data: bytes) -> PartReceipt:
        etag = digests.md5_hex(data)
        return PartReceipt(number, start, len(data), etag, digests.crc64nvme_hex(data))


def open_memory(name: str, prefix: str = "") -> MemoryTransport:
    """Open ``memory://name/prefix`` on the process's store of that name."""
    return MemoryTransport(named_store(name), name=name, prefix=prefix)

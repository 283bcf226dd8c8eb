"""S3 and its many relatives: the transport, key-exact and verified.

Made of: ``s3_requests`` (one bucket's requests, by the lean lane or by aiohttp), ``s3_listing``
(order), ``s3_looks`` (heads and versions), ``s3_drops``, ``s3_proofs`` (checksums), ``s3_uploads``, ``s3_copies``, and the pure ``s3_xml``,
``s3_headers``, ``s3_errors``, ``s3_options``. ``docs/s3.md`` says which stores do what.
"""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from transports.base import Pace, Sink, Told, Transport, check_received
from transports.errors import Invalid, TransportError, Truncated
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Presence,
    Receipt,
    UploadInfo,
)
from transports.s3_auth import CredentialSource, credential_source
from transports.s3_copies import Copies
from transports.s3_deletes import BATCH_KEYS, Deleter, NameGuard
from transports.s3_drops import Drops, check_range
from transports.s3_headers import attributes_of, headers_for
from transports.s3_lean import Pour
from transports.s3_listing import Lister
from transports.s3_looks import CHECKSUMS, Looks, pin_headers, pin_query
from transports.s3_options import S3Options, parse_options, write_headers
from transports.s3_pages import below
from transports.s3_proofs import Prover
from transports.s3_reply import WrongLength
from transports.s3_requests import NotPourable, S3Client
from transports.s3_tls import tls_context
from transports.s3_uploads import Uploads

BUFFER_BYTES: Final = 8 * 1024 * 1024
"""What a range is fetched in where it cannot be poured; one for each range under way."""


class S3Transport(Transport):
    """A bucket, or the part of it under ``prefix``, which is put before each key as it is.

    ``credentials`` is None for a public bucket; ``account`` names their owner for ``copy_domain``.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str,
        options: S3Options,
        credentials: CredentialSource | None,
        environment: Mapping[str, str],
        account: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.location = f"s3://{bucket}/{prefix}"
        self._client = S3Client(
            bucket=bucket,
            options=options,
            credentials=credentials,
            environment=environment,
            tls=tls,
        )
        self.capabilities = Capabilities(
            scheme="s3",
            seeks=True,
            pours=self._client.pours,
            has_etags=True,
            server_copy=bool(account),
            copies_parts=bool(account),
            conditional_finish=True,
            copy_domain=f"{options.endpoint_url or 'aws'}#{account}" if account else "",
            small_batch_count=8,
            small_batch_bytes=1024 * 1024,
            concurrency_start=16,
            concurrency_max=128,
        )
        self._root = prefix
        self._extra = write_headers(options)
        self._lister = Lister(self._client, order=options.list_order)
        self._prover = Prover(self._client)
        self._drops = Drops(self._client)
        self._looks = Looks(self._client, self._prover, prefix)
        self._uploads = Uploads(self._client, self._prover, extra=self._extra)
        self._copies = Copies(self._client, self._uploads, extra=self._extra)
        self._names = NameGuard(self._client)
        self._deleter = Deleter(self._client, self._names)

    def _full(self, key: str) -> str:
        """The key as the bucket has it. Raises ``Invalid`` for an empty one, which names nothing."""
        if not key:
            raise self._nameless()
        return self._root + key

    def _nameless(self) -> Invalid:
        return Invalid(self.location, "an empty key names no object")

    # -- reading ---------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield pages of at most about 1,000 entries; see the port.

        The marker of the root itself (an object whose key is exactly the root's prefix) has no key
        under the root and is left out.
        """
        root = self._root
        pages = self._lister.in_key_order(
            root + prefix,
            root + start_after if start_after else "",
            None if stop_at is None else root + stop_at,
        )
        cut = len(root)
        async with aclosing(pages):
            async for entries in pages:
                if not cut:
                    yield entries
                    continue
                if entries[0].key == root:
                    entries = entries[1:]
                if entries:
                    yield below(entries, cut)

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        root = self._root  # its own marker has no key below it, so the search begins behind that
        found = await self._lister.first_after(root + key, root + prefix)
        return None if found is None else found[len(root) :]

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        root = self._root
        names = await self._lister.children(root + prefix, root + start_after, limit)
        return [name[len(root) :] for name in names]

    async def head(self, key: str) -> ObjectInfo:
        return await self._looks.at(self._full(key))

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        return await self._looks.older(self._full(key), size)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        results: list[Blob | TransportError] = []
        for entry in entries:
            try:
                results.append(await self._read_whole(entry))
            except TransportError as error:
                results.append(error)
        return results

    async def _read_whole(self, entry: Entry) -> Blob:
        key = self._full(entry.key)
        query, headers = pin_query(entry), (*pin_headers(entry), CHECKSUMS)
        reply = await self._client.send("GET", key, query, headers)
        reply, seal = await self._prover.judge_read(key, query, headers, reply)
        if 0 <= entry.size != reply.received_bytes:
            check_received(
                self._client.location_of(key),
                received=reply.received_bytes,
                expected=entry.size,
            )
        attributes = attributes_of(reply.headers)
        return Blob(entry, reply.body, attributes, seal.proof, seal.checksum, seal.md5)

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        if not len(span):
            return
        key = self._full(entry.key)
        try:
            reply = await self._client.send(
                "GET", key, pin_query(entry), pin_headers(entry, span), into=buffer
            )
        except WrongLength as error:
            whole = span.start == 0 and error.announced_bytes == entry.size
            if whole and entry.size > len(span):
                raise Invalid(error.location, "the store ignores ranges") from error
            raise
        check_range(reply, span, self._client.location_of(key))

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        key = self._full(entry.key)
        rest = ByteRange(span.start + sink.taken_bytes, span.stop)
        if not len(rest):
            return
        query, headers = pin_query(entry), pin_headers(entry, rest)
        try:
            pour = Pour(sink, len(rest))
            reply = await self._client.send("GET", key, query, headers, into=pour)
        except NotPourable:
            await self._read_by_buffer(entry, rest, sink)
        else:
            check_range(reply, rest, self._client.location_of(key))

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        return await self._drops.drop(self._full(entry.key), entry, span, cached_only=cached_only)

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        return await self._drops.drop_small([self._full(entry.key) for entry in entries], entries)

    async def _read_by_buffer(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        """Where the answers are not for the lean lane (chunked ones): a buffer at a time."""
        buffer = memoryview(bytearray(min(len(span), BUFFER_BYTES)))
        for start in range(span.start, span.stop, BUFFER_BYTES):
            piece = buffer[: span.stop - start]
            try:
                await self.read_into(entry, ByteRange(start, start + len(piece)), piece)
            except Truncated as error:
                piece = piece[: error.received_bytes]
                await self._client.in_side_thread(partial(sink.take, piece))
                raise
            await self._client.in_side_thread(partial(sink.take, piece))

    # -- writing ---------------------------------------------------------------------------------

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        results: list[Receipt | TransportError] = []
        for blob in blobs:
            try:
                results.append(await self._write_whole(blob, pace))
            except TransportError as error:
                results.append(error)
        return results

    async def _write_whole(self, blob: Blob, pace: Pace | None) -> Receipt:
        name = blob.entry.key
        key = self._full(name)
        await self._names.check_write(key, len(blob.data))
        headers = headers_for(blob.attributes, self._client.location_of(key))
        if self._extra:
            headers += self._extra
        known = blob.checksum
        crc_hex = known.hex if known is not None and known.algorithm == "crc64nvme" else ""
        reply, seal = await self._prover.put(
            key, (), headers, blob.data, crc_hex=crc_hex, md5=blob.md5, pace=pace
        )
        version = reply.text(b"x-amz-version-id")
        return Receipt(name, len(blob.data), reply.etag, seal.proof, seal.checksum, version)

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        """Open an upload. S3 has no place for ``token``: whoever begins it keeps the id."""
        full = self._full(key)
        await self._names.check_write(full, size)
        return await self._uploads.begin(full, attributes)

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
        return await self._uploads.write(self._full(key), upload_id, part, data, pace=pace)

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
        receipt = await self._uploads.finish(self._full(key), upload_id, parts, checksum, replaces)
        return receipt._replace(key=key)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self._uploads.abort(self._full(key), upload_id)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        """The parts in the store; ``start`` is -1, since S3 does not tell it."""
        return await self._uploads.parts(self._full(key), upload_id)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        cut = len(self._root)
        return [
            upload._replace(key=upload.key[cut:])
            for upload in await self._uploads.unfinished(self._root + prefix)
        ]

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        near = self._near(source)
        full = self._full(key)
        await self._names.check_write(full, entry.size)
        receipt = await self._copies.whole(entry, near._client, near._full(entry.key), full)
        return receipt._replace(key=key)

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        near = self._near(source)
        return await self._copies.part(
            self._full(key), upload_id, part, entry, span, near._client, near._full(entry.key)
        )

    def _near(self, source: Transport) -> "S3Transport":
        """The source of a copy, where this store can reach it by itself; raises ``Invalid``."""
        if not isinstance(source, S3Transport) or not self.capabilities.copy_domain:
            raise Invalid(self.location, "only S3 copies to S3 by itself, with credentials")
        if source.capabilities.copy_domain != self.capabilities.copy_domain:
            raise Invalid(self.location, f"another account or endpoint than {source.location}")
        return source

    # -- deleting --------------------------------------------------------------------------------

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        results: list[TransportError | None] = []
        for start in range(0, len(keys), BATCH_KEYS):
            batch = keys[start : start + BATCH_KEYS]
            named = iter(await self._deleter.delete([self._root + key for key in batch if key]))
            results += [next(named) if key else self._nameless() for key in batch]
        return results

    # -- housekeeping ----------------------------------------------------------------------------

    async def clean(self, token: str) -> None:
        """Nothing: S3 knows no owner of an upload. The job aborts the ids that it has kept."""

    async def close(self) -> None:
        await self._client.close()


async def open_s3(
    *, bucket: str, prefix: str, options: Mapping[str, str], environment: Mapping[str, str]
) -> S3Transport:
    """Open a bucket. ``options`` are the location's, ``environment`` is the side's own.

    Raises ``ValueError`` for a bad option, and ``Denied`` where there are no credentials. Makes no
    request to the store: whether the bucket is there shows when it is first used.
    """
    settings = parse_options(options, environment)
    location = f"s3://{bucket}/{prefix}"
    source: CredentialSource | None = None
    account = ""
    if not settings.unsigned:
        source = credential_source(
            profile=settings.profile, environment=environment, location=location
        )
        account = (await source.current()).account
    return S3Transport(
        bucket=bucket,
        prefix=prefix,
        options=settings,
        credentials=source,
        environment=environment,
        account=account,
        tls=tls_context(settings) if settings.endpoint_url[:5] != "http:" else None,
    )

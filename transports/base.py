"""The port: what every store can do, and what each verb promises.

An adapter implements these verbs and nothing else; retries, limits, rates and records are worn on
top (see ``opening``). What is not promised here does not exist; ``testing.TransportContract`` holds
each adapter to it.

Promises that hold for every verb:

- *Keys* are relative to the transport's root and are used exactly: never normalised, trimmed or
  re-encoded. A key that the store cannot name raises ``Invalid``; nothing is ever written outside
  the root.
- *Errors* are ``TransportError`` and its leaves, with the location and no secret. Anything else that
  escapes is a bug.
- *Cancellation* may arrive at any await and is never swallowed. Unless a verb says otherwise, a
  cancelled write has happened wholly or not at all, and nothing half-written is visible.
- Every verb may be called again with the same arguments.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from transports.errors import Changed, Invalid, TransportError, Truncated, Unsupported
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

DROP_BYTES: Final = 1024 * 1024
"""What is read and dropped at a time where a store has no better way."""

Told = Mapping[bytes, bytes]
"""The headers of an answer by lower-case name, with its status as ``:status``."""

Pace = Callable[[int], Awaitable[None]]
"""Awaited with a number of bytes before they go to the network; returns when they may."""


class Sink(ABC):
    """Takes the bytes of one range in their order, piece by piece, as they arrive.

    ``taken_bytes`` counts them. ``take`` blocks (it writes to a disk), and is called from one thread
    at a time, which need not be the event loop's.
    """

    taken_bytes: int = 0

    @abstractmethod
    def take(self, piece: memoryview) -> None:
        """Take the next bytes; ``piece`` is the caller's again afterwards.

        Raises ``TransportError``, and has then not moved: the piece may be given again.
        """


class PartSink(Sink):
    """An open part of an upload; it is not a part before ``finish`` has returned."""

    @abstractmethod
    async def finish(self) -> PartReceipt:
        """Make the part durable, as ``write_part`` does; raises what that raises."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it, finished or not. May be repeated."""


class Transport(ABC):
    """A store, opened at a root (a bucket and prefix, a directory, a URL)."""

    location: str
    """The root as text for people and logs, without secrets; ends in "/" for a tree."""

    capabilities: Capabilities

    # -- reading -------------------------------------------------------------------------------

    @abstractmethod
    def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the entries whose keys start with ``prefix``, in pages, in the order of keys.

        Only keys with ``start_after < key < stop_at`` come. Each page is a non-empty sequence; page
        sizes are the store's own. An error ends the listing by raising: a listing that ends
        normally is complete. Raises ``NotFound`` when the bucket or root directory is missing,
        ``Invalid`` when the store lists out of order although its capabilities say otherwise.
        Close the iterator (``contextlib.aclosing``) when leaving early.
        """

    async def first_after(self, key: str, prefix: str = "") -> str | None:
        """Return the first key after ``key`` that starts with ``prefix``; None when there is none.

        "First" is in the order of ``list``; ``key`` need not be there. One cheap request where the
        capabilities say ``seeks``; elsewhere as dear as the first page of a listing. Raises what
        ``list`` raises.
        """
        pages = self.list(prefix, start_after=key)
        try:
            async for page in pages:
                return page[0].key
            return None
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()

    async def children(
        self, prefix: str = "", *, start_after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return names directly under ``prefix``, as keys in order, from one look at the store.

        A name is a key without a slash behind ``prefix``, or the common beginning of all keys that
        have one there, up to and with that slash. Only names after ``start_after`` come, and at
        most ``limit``. The answer is for choosing where to cut a listing and for nothing else: it
        may be old, and names may be missing. () from a store that cannot fold, as here. Raises
        what ``list`` raises.
        """
        return ()

    @abstractmethod
    async def head(self, key: str) -> ObjectInfo:
        """Return what the store knows of one object. Raises ``NotFound``."""

    async def older_versions(self, key: str, size: int) -> Sequence[ObjectInfo]:
        """Return what the store knows of older versions of an object, those of ``size`` bytes.

        Newest first, the current one left out; a bounded number, so some may be missing. The
        ``version`` of their entries is what reading pins. [] where none are kept, as here. May be
        repeated; raises what ``list`` raises.
        """
        return []

    @abstractmethod
    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        """Read whole small objects; the result has one item per entry, in order.

        Each read is pinned to its entry's etag or version: an object that moved yields ``Changed``.
        A checksum that the store gives is compared; a mismatch yields ``Corrupt``, a short body
        ``Truncated``. Errors of single objects are values, so that one does not hide the others.
        A cancelled call leaves nothing.
        """

    @abstractmethod
    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer`` (writable, exactly ``len(span)`` bytes) with those bytes of the object.

        Pinned to the entry's etag or version: raises ``Changed`` when the object moved. Raises
        ``Truncated`` with the number of good bytes now in the buffer when the body breaks off.
        The buffer belongs to the caller, who must not touch it until the call has returned; a
        cancelled call may have written any part of it.
        """

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        """Read on from where ``sink`` stands (``span.start + sink.taken_bytes``) to ``span.stop``.

        Offered where the capabilities say ``pours``. The bytes pass through a small buffer that
        stays in the processor's cache, which costs less than filling a large one and emptying it
        again. Pinned as ``read_into``. Raises ``Truncated`` when the body breaks off; what was
        taken is good, and another call goes on behind it. A cancelled call has let go of the sink.
        """
        raise Invalid(self.location, "this store does not hand ranges on as they arrive")

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        """Have the store send those bytes, let them go, and return what the answer says beside them.

        For what a cache on the way says and keeps. All of an object is asked for without a range. With
        ``cached_only`` a cache is asked not to fetch what it does not have; one that minds that answers 504 and
        sends nothing. Pinned as ``read_into``; the length is compared and nothing else. Raises ``Truncated`` with
        the number of bytes that came when the body breaks off. A store without headers, as here, says nothing.
        """
        room = memoryview(bytearray(min(len(span), DROP_BYTES)))
        for start in range(span.start, span.stop, DROP_BYTES):
            part = ByteRange(start, min(start + DROP_BYTES, span.stop))
            try:
                await self.read_into(entry, part, room[: len(part)])
            except Truncated as error:
                raise further(error, part.start - span.start, span) from error
        return {}

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        """Drop whole small objects of known sizes; the result has one item per entry, in order.

        As ``drop`` without a range, at a smaller cost where the store has a way. Errors of single objects are
        values. A cancelled call leaves nothing.
        """
        results: list[Told | TransportError] = []
        for entry in entries:
            try:
                results.append(await self.drop(entry, ByteRange(0, entry.size)))
            except TransportError as error:
                results.append(error)
        return results

    def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        """Read an object of any or unknown size from start to end, in pieces of at most 1 MiB.

        For stores without ranges; others need not offer it. A piece is valid until the next one is
        asked for. Pinned as ``read_into``. Raises ``Truncated`` when the body breaks off.
        """
        raise Invalid(self.location, "this store offers ranges, not streams")

    # -- writing -------------------------------------------------------------------------------

    @abstractmethod
    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        """Write whole objects atomically under their entries' keys; one result per blob, in order.

        Replaces what is there. Readers see the old object or the new one, never a part. Where the
        receipt's proof is STRONG the store itself compared a checksum. Local files are durable
        (data and directory) when the call returns. A cancelled call may have written any of the
        blobs, each of them wholly.
        """

    @abstractmethod
    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        """Open an upload in parts and return its id.

        ``token`` names the job, so that unfinished uploads can be found again. Nothing is visible
        under ``key`` until ``finish_upload``. May leave an open upload when cancelled;
        ``list_uploads`` finds it.
        """

    @abstractmethod
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
        """Write one part; parts may come in any order, from any process, and more than once.

        ``sparse`` allows zero blocks to become holes. ``data`` must stay untouched until the call
        has returned. Raises ``NotFound`` when the upload is gone.
        """

    async def open_part(
        self, key: str, upload_id: str, part: PartSpec, *, sparse: bool = False
    ) -> PartSink:
        """Open a part to be taken piece by piece; else as ``write_part``.

        Offered where the capabilities say ``takes_pours``. Close what is returned.
        """
        raise Invalid(self.location, "this store takes parts whole")

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: "Transport",
    ) -> PartReceipt:
        """Make a part of a range of an object in this store, its bytes not passing through here.

        Offered where the capabilities say ``copies_parts``, between transports whose ``copy_domain``
        is equal and not "". Pinned to the entry: raises ``Changed`` when the object moved. The
        receipt has the part's checksum only where the store tells it. Raises ``NotFound`` when the
        upload or the object is gone, ``Unsupported`` when it turns out that the store cannot do it
        after all; that is remembered and costs no request from then on. Else as ``write_part``; a
        cancelled call may have made the part.
        """
        raise Unsupported(self.location, "this store does not copy parts by itself")

    @abstractmethod
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
        """Make the object visible, whole and durable. ``parts`` are all parts, ordered by number.

        ``checksum`` is the full object's, where the caller knows it; a store that can compare it
        does, and raises ``Corrupt``. ``replaces`` is what must be at ``key``: raises ``Changed``
        when it is another object than this entry or none, ``AlreadyExists`` when there is one where
        ``NONE`` should be; nothing is visible then, and the upload may be gone. Anything but
        ``ANY`` only where the capabilities say ``conditional_finish``. May be repeated: when the
        upload is gone and the object at ``key`` is the one that it made, the call succeeds.
        """

    @abstractmethod
    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload and its parts. Succeeds when it is gone already."""

    @abstractmethod
    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        """The parts that the store holds of an upload, ordered by number. Raises ``NotFound``."""

    @abstractmethod
    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        """Unfinished uploads of keys that start with ``prefix``; [] where the store has none."""

    @abstractmethod
    async def copy(self, entry: Entry, source: "Transport", key: str) -> Receipt:
        """Copy within the store, without the bytes passing through here.

        Only between transports whose ``copy_domain`` is equal and not "". Keeps attributes. Pinned
        to the entry's etag. Raises ``Invalid`` when the store cannot copy an object of this size.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        """Delete objects; one result per key, None for success. A missing key is a success.

        Local: a key that ends in "/" removes the directory if it is empty.
        """

    # -- housekeeping --------------------------------------------------------------------------

    @abstractmethod
    async def clean(self, token: str) -> None:
        """Remove what unfinished writes left behind for this job's ``token`` and for dead jobs.

        Called when a job ends; never touches anything that a live process of another job owns.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release connections, files and threads. The transport is unusable afterwards."""


def further(error: Truncated, before_bytes: int, span: ByteRange) -> Truncated:
    """The same break, told of a range of which ``before_bytes`` had come already."""
    received = before_bytes + error.received_bytes
    return Truncated(error.location, received_bytes=received, expected_bytes=len(span))


def check_received(location: str, *, received: int, expected: int) -> None:
    """Raise ``Truncated`` for too few bytes and ``Changed`` for too many."""
    if received < expected:
        raise Truncated(location, received_bytes=received, expected_bytes=expected)
    if received > expected:
        raise Changed(location, f"the body has more than the {expected} bytes listed")

"""The values that cross the port: entries, ranges, blobs, receipts, capabilities.

Values of which a job makes one per object (``Entry``, ``Blob``, ``Attributes``, ``Receipt``) are named tuples,
because a frozen dataclass costs three times as much to build (1.2 against 0.4 microseconds);
the others are frozen dataclasses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What a listed entry is. Stores know only objects and folder markers (``key/``)."""

    OBJECT = "object"
    DIRECTORY = "directory"  # an empty directory, or a folder marker; its key ends in "/"
    SYMLINK = "symlink"
    SPECIAL = "special"  # socket, device, pipe: never copied, always named


class Entry(NamedTuple):
    """One listed object, as the listing shows it.

    ``key`` is relative to the transport's root and is never normalised. ``size`` is in bytes, -1
    where the store does not say. ``mtime_ns`` is the time of the listing (a store's LastModified,
    a file's mtime), nanoseconds since 1970. ``etag`` has no quotes; "" where there is none.
    ``version`` pins the object where an etag does not (S3 version id, GCS generation; for a file
    its ``inode-ctime_ns``); "" where there is none. ``changed_ns`` is when the entry was last
    written or changed by the store's own clock: LastModified for objects, ctime for files.
    """

    key: str
    size: int
    mtime_ns: int
    etag: str = ""
    version: str = ""
    kind: Kind = Kind.OBJECT
    changed_ns: int = 0


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` (inclusive) to ``stop`` (exclusive) of an object. All ranges are half-open."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"no such byte range: {self.start} to {self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start


class Checksum(NamedTuple):
    """A digest by name: ``crc64nvme``, ``crc32c``, ``md5``, ``xxh3`` or ``sha256``; lower-case hex."""

    algorithm: str
    hex: str


class Attributes(NamedTuple):
    """What an object carries beside its bytes. Empty strings and None mean: not set.

    ``metadata`` is the user's own (``x-amz-meta-*`` without the prefix, lower-case keys), without
    the reserved key ``mtime``, which stands in ``mtime_ns`` (nanoseconds since 1970).
    """

    mtime_ns: int | None = None
    mode: int | None = None
    content_type: str = ""
    content_encoding: str = ""
    content_disposition: str = ""
    content_language: str = ""
    cache_control: str = ""
    metadata: Mapping[str, str] = MappingProxyType({})


NO_ATTRIBUTES: Final = Attributes()


class Proof(StrEnum):
    """How well a transfer was verified: ``strong`` by checksum, ``weak`` by length only."""

    STRONG = "strong"
    WEAK = "weak"
    NONE = "none"


class Blob(NamedTuple):
    """A whole small object in memory.

    ``proof`` says how its bytes were verified when they were read: STRONG when a checksum of the
    store was compared (``checksum`` then holds it), WEAK when only the length was. ``md5`` is the
    hex digest, where reading has already computed it, so that writing need not do so again.
    """

    entry: Entry
    data: bytes | bytearray | memoryview
    attributes: Attributes
    proof: Proof
    checksum: Checksum | None = None
    md5: str = ""


class Receipt(NamedTuple):
    """Proof that a write landed. ``proof`` is STRONG when the store compared a checksum of ours."""

    key: str
    size: int
    etag: str
    proof: Proof
    checksum: Checksum | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What ``head`` tells: the entry, its attributes and the checksums that the store keeps.

    A checksum in ``checksums`` covers the full object, never a composite of parts.
    ``parts`` is the number of parts of a multipart object where the store tells it, else 0.
    ``links_to`` is the target of a symlink. ``ranges`` is False where only whole reads work.
    """

    entry: Entry
    attributes: Attributes
    checksums: tuple[Checksum, ...] = ()
    parts: int = 0
    links_to: str = ""
    ranges: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """A part of an upload: numbers count from 1, ``range`` is its place in the object."""

    number: int
    range: ByteRange


class PartReceipt(NamedTuple):
    """Proof that a part landed. ``crc64nvme`` is of the part's bytes (hex), "" if not computed."""

    number: int
    start: int
    size: int
    etag: str
    crc64nvme: str = ""


class Presence(Enum):
    """What must be at a key for a write to it, where that is no object in particular."""

    ANY = "any"
    NONE = "none"


class UploadInfo(NamedTuple):
    """An unfinished upload found in the store. ``started_ns`` is 0 where the store does not say."""

    key: str
    upload_id: str
    started_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """A store's arithmetic and abilities; planning consumes it and never asks for the class.

    Sizes are in bytes. ``small_batch_count`` and ``small_batch_bytes`` say how many small objects
    one call of ``read_small`` or ``write_small`` should carry: many where a call is a thread hop
    (local files), few where each object is a round trip anyway.
    """

    scheme: str
    writable: bool = True
    ordered: bool = True  # lists in the order of str comparison of keys
    seeks: bool = False  # `first_after` is one cheap request
    ranges: bool = True  # read_into may start anywhere
    pours: bool = False  # `read_to` works: a range is handed on while it arrives
    takes_pours: bool = False  # `open_part` works: a part is taken piece by piece
    multipart: bool = True
    part_size_min: int = 5 * 1024 * 1024  # the last part may be smaller
    part_size_max: int = 5 * 1024**3
    part_count_max: int = 10_000
    object_size_max: int = 5 * 1024**4
    whole_size_max: int = 5 * 1024**3  # one atomic write
    part_alignment: int = 1
    small_batch_count: int = 1
    small_batch_bytes: int = 1024 * 1024
    concurrency_start: int = 16
    concurrency_max: int = 64
    keeps_attributes: bool = True  # content type and user metadata
    keeps_mtime: bool = True
    has_directories: bool = False  # real directories: parents must exist, "a" and "a/b" collide
    has_etags: bool = False  # etag in listings is a content hash or at least a pin
    has_symlinks: bool = False
    flaky_not_found: bool = False  # NotFound right after a write deserves a few tries
    local: bool = False  # bytes do not cross a network: not throttled unless both sides are local
    server_copy: bool = False  # `copy` works between two transports with the same `copy_domain`
    copies_parts: bool = False  # `copy_part` works between them too, as far as is known
    composes: bool = False  # `copy_part` works for whole objects of the same bucket
    conditional_finish: bool = False  # `finish_upload` minds what it `replaces`
    copy_domain: str = ""

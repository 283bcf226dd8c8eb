"""Pure: whether the target holds what a manifest's row says was put there.

Decided from a listing where that is enough, else from what ``head`` tells; ``Wish`` says what is
needed next. The evidence, best first:

1. The size, always. With ``--compare size`` it alone.
2. With ``--compare checksum``, the checksum of the row and of the bytes, which are read for it.
3. Equal etags, or a checksum that the store keeps of the algorithm that was recorded.
4. On a disk, which keeps neither, the time that the copy gave the file.
"""

from enum import Enum
from typing import NamedTuple

from mover.comparing import FILE_WINDOW_NS
from mover.manifest import Deed, Row
from mover.model import Compare
from transports.model import Capabilities, Entry, Kind, ObjectInfo


class Finding(NamedTuple):
    """A row that does not hold; ``what`` is missing, differs, extra, failed or error."""

    what: str
    detail: str


class Wish(Enum):
    """What has to be known before the row can be judged."""

    HEAD = "head"
    BYTES = "bytes"


Judgement = Finding | Wish | None
"""None: the row holds."""

NOT_THERE = Finding("missing", "it is not in the target")


def judge_listed(row: Row, found: Entry | None, mode: Compare, target: Capabilities) -> Judgement:
    """Judge by the target's listing."""
    if row.action in (Deed.FAILED, Deed.REFUSED):
        return Finding("failed", f"it was not copied: {row.error}: {row.detail}")
    if row.action is Deed.EVICTED:  # nobody promised that it stays away
        return None
    if row.action is Deed.DELETED:
        return None if found is None else Finding("extra", "it was deleted, and is there again")
    if found is None:
        # A listing shows a directory only while it is empty.
        return Wish.HEAD if row.kind is Kind.DIRECTORY else NOT_THERE
    if row.kind is Kind.DIRECTORY:
        return None
    return _judge_content(row, found, mode, target)


def _judge_content(row: Row, found: Entry, mode: Compare, target: Capabilities) -> Judgement:
    if found.kind is not row.kind and target.has_symlinks:  # elsewhere a link is kept as an object
        return Finding("differs", f"it is a {found.kind.value}, not a {row.kind.value}")
    if row.size >= 0 and found.size >= 0 and found.size != row.size:
        return Finding("differs", f"it has {found.size} bytes, not {row.size}")
    if mode is Compare.SIZE:
        return None if found.size >= 0 else Wish.HEAD
    if mode is Compare.CHECKSUM and row.checksum is not None and row.kind is Kind.OBJECT:
        return Wish.BYTES
    if row.target_etag and found.etag:
        return None if row.target_etag == found.etag else Wish.HEAD
    if target.local:
        return _judge_time(row, found) if mode is Compare.MTIME else None
    return Wish.HEAD


def _judge_time(row: Row, found: Entry) -> Finding | None:
    if row.mtime_ns is None or row.kind is not Kind.OBJECT:
        return None
    if abs(row.mtime_ns - found.mtime_ns) <= FILE_WINDOW_NS:
        return None
    return Finding("differs", "the size is equal, but it was modified since")


def judge_told(row: Row, info: ObjectInfo) -> Finding | None:
    """Judge by what ``head`` told of an object whose listing was not enough."""
    entry = info.entry
    if row.kind is Kind.DIRECTORY:
        return None
    if row.size >= 0 and entry.size >= 0 and entry.size != row.size:
        return Finding("differs", f"it has {entry.size} bytes, not {row.size}")
    for kept in info.checksums:
        if row.checksum is not None and kept.algorithm == row.checksum.algorithm:
            return judge_digest(row, kept.hex)
    if row.target_etag and entry.etag and row.target_etag != entry.etag:
        return Finding("differs", f"the etag is {entry.etag}, the manifest says {row.target_etag}")
    return None


def judge_digest(row: Row, actual: str) -> Finding | None:
    """Judge by the digest of the algorithm that the row names."""
    if row.checksum is None or row.checksum.hex == actual:
        return None
    algorithm, expected = row.checksum
    return Finding("differs", f"{algorithm} is {actual}, the manifest says {expected}")


def is_unproven(row: Row, mode: Compare) -> bool:
    """Whether a checksum was asked for and none was ever recorded."""
    return (
        mode is Compare.CHECKSUM
        and row.checksum is None
        and row.kind is Kind.OBJECT
        and row.action in (Deed.COPIED, Deed.FOUND, Deed.SKIPPED)
    )

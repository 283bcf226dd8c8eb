"""Pure: are these two the same? Decided from two listing entries alone.

Listings do not always say enough, so the verdict has a third value: ``ASK`` means that one request
to a store (its metadata, or its checksum) would decide. It is given as rarely as possible: a re-run
over unchanged trees asks nothing.

How times are compared. A store's listing shows when an object was *written* there (LastModified),
not the time of the file that it came from; that one stands in its metadata, one request away. A
local file shows both its own mtime and, as ctime, when it was last written here. So:

1. A local target with the source's mtime (within ``MTIME_WINDOW_NS``): the same, since a copy sets
   it. Between two local trees the mtimes decide alone.
2. The target was written after the source last changed, and its own mtime does not speak against
   it: the same. For a target in a store "written" is LastModified. For a local target it is ctime,
   and its mtime must be no later than the source's LastModified: a file edited after it was copied
   has a later one.
3. The target was written before the source last changed by more than the window: different.
4. All that is left: ask.
"""

from enum import Enum

from mover.model import Compare
from transports.model import Entry, Kind

MTIME_WINDOW_NS = 1_000_000_000
"""Stores list times in whole seconds (S3 API, ListObjectsV2: LastModified), so a second decides
nothing."""

FILE_WINDOW_NS = 1_000
"""Between two file systems: nanoseconds may be cut to microseconds on the way (utime of some)."""


class Verdict(Enum):
    """Equal, not equal, or undecided without another request."""

    SAME = "same"
    DIFFERENT = "different"
    ASK = "ask"


def compare(
    source: Entry, target: Entry, mode: Compare, *, target_is_local: bool, source_is_local: bool
) -> Verdict:
    """Compare two entries of one key. Never does input or output."""
    if source.kind is not target.kind and (
        Kind.DIRECTORY in (source.kind, target.kind) or source_is_local and target_is_local
    ):  # a symlink kept in a store is an object there, and is compared as one
        return Verdict.DIFFERENT
    if source.kind is Kind.DIRECTORY:
        return Verdict.SAME
    if source.size != target.size and source.size >= 0 and target.size >= 0:
        return Verdict.DIFFERENT
    if mode is Compare.SIZE:
        return Verdict.SAME if source.size >= 0 and target.size >= 0 else Verdict.ASK
    if mode is Compare.CHECKSUM:
        return Verdict.ASK
    if _is_content_hash(source.etag) and _is_content_hash(target.etag):
        if source.etag == target.etag:
            return Verdict.SAME
        if (
            mode is Compare.ETAG
            or not _is_multipart(source.etag)
            and not _is_multipart(target.etag)
        ):
            return Verdict.DIFFERENT
    elif mode is Compare.ETAG:
        return Verdict.ASK
    return _compare_times(source, target, target_is_local, source_is_local)


def _compare_times(
    source: Entry, target: Entry, target_is_local: bool, source_is_local: bool
) -> Verdict:
    apart_ns = abs(source.mtime_ns - target.mtime_ns)
    if source_is_local and target_is_local:
        return Verdict.SAME if apart_ns <= FILE_WINDOW_NS else Verdict.DIFFERENT
    changed_ns = max(source.mtime_ns, source.changed_ns)
    if target_is_local:
        if apart_ns <= MTIME_WINDOW_NS:
            return Verdict.SAME
        if target.mtime_ns <= changed_ns <= target.changed_ns:
            return Verdict.SAME
        written_ns = target.changed_ns
    else:
        if target.mtime_ns >= changed_ns:
            return Verdict.SAME
        written_ns = target.mtime_ns
    return Verdict.DIFFERENT if written_ns + MTIME_WINDOW_NS < source.mtime_ns else Verdict.ASK


def _is_content_hash(etag: str) -> bool:
    return len(etag) >= 32 and all(c in "0123456789abcdef-" for c in etag)


def _is_multipart(etag: str) -> bool:
    return "-" in etag

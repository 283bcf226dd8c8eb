"""Pure: whether objects are the same one, or have the same bytes, as far as stores tell."""

from enum import StrEnum
from typing import Final

from transports.model import Capabilities, Entry, Kind, ObjectInfo

STRONG: Final = frozenset({"sha256", "crc64nvme", "md5", "xxh3"})
"""Checksums of whole objects whose being equal is proof. A patch is proved once more by its result."""


class Standing(StrEnum):
    """What is known of an older version beside the target's object."""

    EQUAL = "equal"
    OTHER = "other"
    UNKNOWN = "unknown"


def may_be_base(base: ObjectInfo, store: Capabilities, size_bytes: int) -> bool:
    """Whether it is an object of that size that can be read anywhere."""
    is_object = base.entry.kind is Kind.OBJECT and base.entry.size == size_bytes
    return is_object and store.ranges and base.ranges


def standing(base: ObjectInfo, basis: ObjectInfo) -> Standing:
    """By the checksums that both stores keep. One that differs is enough to tell them apart."""
    if base.entry.size != basis.entry.size:
        return Standing.OTHER
    ours = {each.algorithm: each.hex for each in base.checksums}
    theirs = {each.algorithm: each.hex for each in basis.checksums}
    shared = ours.keys() & theirs.keys()
    if any(ours[name] != theirs[name] for name in shared):
        return Standing.OTHER
    return Standing.EQUAL if shared & STRONG else Standing.UNKNOWN


def is_same(found: Entry, wanted: Entry) -> bool:
    """Whether an object is still the one that was planned, by all that is known of both."""
    return found.size == wanted.size and all(
        one == other or not (one and other)
        for one, other in ((found.etag, wanted.etag), (found.version, wanted.version))
    )

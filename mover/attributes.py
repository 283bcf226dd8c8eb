"""Pure: what an object should carry at the target, from what it carries at the source."""

import mimetypes
from functools import lru_cache

from transports.model import Attributes, Capabilities, Entry, Kind

SYMLINK_TYPE = "inode/symlink"
"""Content type of a symlink kept as an object (shared-mime-info specification); its body is the
text of the link."""


@lru_cache(maxsize=4096)
def guess_type(extension: str) -> str:
    """The content type for a file extension (with its dot); "" where none is registered.

    By extension only, so that a million keys cost a dictionary look-up each.
    """
    return mimetypes.guess_type("x" + extension, strict=False)[0] or ""


def dress(
    entry: Entry, found: Attributes, source: Capabilities, target: Capabilities
) -> Attributes:
    """The attributes to write: the source's own, its time, and a content type where it has none.

    A store's LastModified stands in for an mtime that the object does not carry.
    """
    mtime_ns = found.mtime_ns if found.mtime_ns is not None else entry.mtime_ns
    if source.keeps_attributes or not target.keeps_attributes:
        return found if mtime_ns == found.mtime_ns else found._replace(mtime_ns=mtime_ns)
    if entry.kind is Kind.SYMLINK:
        return Attributes(mtime_ns=mtime_ns, content_type=SYMLINK_TYPE)
    name = entry.key.rpartition("/")[2]
    dot = name.rfind(".")
    content_type = guess_type(name[dot:].lower()) if dot > 0 else ""
    return Attributes(mtime_ns=mtime_ns, mode=found.mode, content_type=content_type)

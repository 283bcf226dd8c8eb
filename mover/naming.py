"""Pure: which names can be moved to which kind of store, and why not.

A name is moved exactly or refused by name; it is never changed to fit. Only what can be told
without asking the store is decided here; adapters refuse the rest (a segment that is too long for
this file system, say) with ``Invalid``.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from mover.model import Links
from transports.model import Capabilities, Entry, Kind

_key, _kind = attrgetter("key"), attrgetter("kind")

HIDDEN: Final = ".mover-delta/"
"""Signatures and deltas on their way lie below this name at a target, and are no data anywhere."""


def visible(page: Sequence[Entry]) -> Sequence[Entry]:
    """A page of a listing without what jobs hide at a target."""
    # A substring test first: most pages have none.
    if not any(HIDDEN in entry.key for entry in page):
        return page
    return [entry for entry in page if not is_hidden(entry.key)]


def is_hidden(key: str) -> bool:
    """Whether this is no data but something that a job hides."""
    return f"/{HIDDEN}" in f"/{key}"


def refusal(entry: Entry, source: Capabilities, target: Capabilities, links: Links) -> str:
    """Why this entry cannot be moved, in one line; "" when it can."""
    if entry.kind is Kind.SPECIAL:
        return "a socket, device or pipe is not copied"
    if entry.kind is Kind.SYMLINK and links is Links.PRESERVE and not target.has_symlinks:
        return "" if target.keeps_attributes else "the target cannot keep a symlink"
    key = entry.key
    if target.has_directories:
        return _unfit_for_directories(entry)
    if not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
        return "the name is not valid Unicode, which the target's names must be"
    return ""


def all_plain(entries: Sequence[Entry], target: Capabilities) -> bool:
    """Whether these are objects that ``refusal`` refuses none of, told from all names at once.

    False may also mean that it cannot be told so.
    """
    if target.has_directories:
        return False
    kinds = list(map(_kind, entries))
    if kinds.count(Kind.OBJECT) < len(kinds):
        return False
    names = "".join(map(_key, entries))
    return names.isascii() or _is_unicode(names)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unfit_for_directories(entry: Entry) -> str:
    key = entry.key
    if "\0" in key:
        return "a file name cannot hold a NUL byte"
    if key.endswith("/") and entry.size > 0:
        return "the name ends in a slash, which only an empty folder marker may do on a file system"
    if key.startswith("/"):
        return "the name is absolute"
    # A substring test first: splitting every key would cost ten times as much.
    if "//" in key:
        return "the name has an empty segment"
    if "." in key and any(segment in (".", "..") for segment in key.split("/")):
        return "the name has a segment of dots only, which a file system would resolve"
    return ""

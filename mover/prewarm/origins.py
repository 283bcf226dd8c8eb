"""Pure: where the files of an origin lie below a cache directory, and whether a file there is the one listed."""

import os
import re
from enum import Enum
from os import stat_result
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from transports.location import Location
from transports.model import Entry

HOME: Final = ".mover-cache"
"""The directory in a cache directory that holds its index."""

_DOTS: Final = re.compile(r"\.{0,2}")
_WEB: Final = frozenset({"http", "https"})


class Misplaced(ValueError):
    """A location whose files have no place below a cache directory."""


class Origin(NamedTuple):
    """A place to read from. Its files lie below ``root`` and ``prefix`` of a cache directory.

    ``root`` is the store's (``s3/bucket``); ``prefix`` ends in a slash, or is "". ``endpoint`` tells stores of
    one name apart, "" where the name says it all. ``text`` is the location without secrets or options.
    """

    root: str
    prefix: str
    endpoint: str
    text: str

    def path(self, key: str) -> bytes:
        """Where the file of a key lies, relative to the cache directory.

        Raises ``ValueError`` for a key that no file name can hold.
        """
        path = f"{self.root}/{self.prefix}{key}"
        if "\0" in path:
            raise ValueError("a file name cannot hold a NUL byte")
        return os.fsencode(path)


def origin_at(location: Location, environment_endpoint: str = "") -> Origin:
    """Where the files of a tree lie. Raises ``Misplaced``.

    ``environment_endpoint`` is what the environment says where the location has no endpoint of its own.
    """
    scheme, authority, path = location.scheme, location.authority, location.as_tree().path
    if scheme == "file":
        authority, path = "", os.path.abspath(path).lstrip("/") + "/"
        path = path.lstrip("/")
    elif scheme in _WEB:
        path = _decoded(path)
    segments = [scheme, *([authority] if authority else []), *path.split("/")[:-1]]
    if any(_DOTS.fullmatch(each) or each.startswith(".mover") for each in segments):
        raise Misplaced(
            f"{location.text}: its path has a segment that no directory can have: empty, of dots"
            " only, or one of ours"
        )
    endpoint = location.options.get("endpoint_url", "") or (
        environment_endpoint if scheme == "s3" else ""
    )
    return Origin(
        root="/".join(filter(None, (scheme, authority))),
        prefix=path,
        endpoint=endpoint.rstrip("/").lower(),
        text=location.text,
    )


def written(location: Location) -> str:
    """A location as text that reads back as the same one, with its options."""
    options = "&".join(f"{name}={_quoted(value)}" for name, value in location.options.items())
    if location.scheme == "file" and not options:
        return location.path
    if location.scheme == "file":
        path = quote(os.path.abspath(location.path), errors="surrogateescape")
        return f"file://{path}{'/' if location.path.endswith('/') else ''}?{options}"
    text = location.text
    if location.scheme in _WEB:
        return f"{text}#{options}" if options else text
    return f"{text}?{options}" if options or "?" in text else text


def _quoted(value: str) -> str:
    return quote(value, safe="/:@,", errors="surrogateescape")


def _decoded(path: str) -> str:
    """A URL's path as names; a segment that would decode to more than one stays encoded."""
    found = []
    for segment in path.split("/"):
        name = unquote(segment, errors="surrogateescape")
        found.append(segment if "/" in name or name in {".", ".."} or "\0" in name else name)
    return "/".join(found)


class Kept(NamedTuple):
    """What the index knows of one file: what it is a copy of, and what it was when it landed.

    ``size``, ``etag``, ``version`` and ``mtime_ns`` are the origin's, ``digest`` the CRC-64/NVME of the bytes
    in hex; ``identity`` and ``ctime_ns`` are the file's. ``number`` names it in the index.
    """

    number: int
    size: int
    etag: str
    version: str
    mtime_ns: int
    digest: str
    identity: str
    ctime_ns: int


class Half(NamedTuple):
    """A file that has landed in part: its path, the upload that holds it, and what it is to be a copy of."""

    path: bytes
    upload_id: str
    size: int
    etag: str
    version: str


def may_go_on(half: Half, entry: Entry) -> bool:
    """Whether the parts of a half are parts of what the origin lists now.

    Only a pin that is a name for the bytes will do: parts of two versions would make a file that never was.
    """
    if half.size != entry.size:
        return False
    if half.version and entry.version:
        return half.version == entry.version
    return bool(half.etag) and half.etag == entry.etag and not half.etag.startswith("W/")


class State(Enum):
    """What became of a kept file."""

    SAME = "same"
    TOUCHED = "touched"
    GONE = "gone"


def identity_of(found: stat_result) -> str:
    """What changes when a file is written or replaced, and not when its owner or links change."""
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def state_of(kept: Kept, found: stat_result | None) -> State:
    """Whether a file is as it landed: ``SAME``, ``GONE`` for what was written, replaced or removed.

    ``TOUCHED`` when only its change time moved: somebody changed its owner, or wrote and set the time back.
    Its bytes will tell.
    """
    if found is None or identity_of(found) != kept.identity:
        return State.GONE
    return State.SAME if found.st_ctime_ns == kept.ctime_ns else State.TOUCHED


def is_copy_of(kept: Kept, entry: Entry) -> bool:
    """Whether a kept file is a copy of what the origin lists now, by its strongest pin."""
    if kept.size != entry.size:
        return False
    if kept.version and entry.version:
        return kept.version == entry.version
    if kept.etag and entry.etag:
        return kept.etag == entry.etag
    return kept.mtime_ns == entry.mtime_ns

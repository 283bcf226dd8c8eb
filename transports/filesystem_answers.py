"""What fsspec's filesystems answer, read: entries, digests, directories, errors. Pure."""

import contextlib
import errno
import ftplib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from transports import digests
from transports.errors import (
    AlreadyExists,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    Obstructed,
    Throttled,
    TimedOut,
    TransportError,
    Unavailable,
)
from transports.location import BadLocation
from transports.model import Checksum, Entry, Kind

Info = Mapping[str, object]


def is_plain(key: str) -> bool:
    """Whether a key is made of segments that every filesystem takes as they are."""
    return "\0" not in key and {"", ".", ".."}.isdisjoint(key.split("/"))


def children_of(
    infos: Sequence[Info], path: str, location: str, *, flat: bool = False
) -> dict[str, Info]:
    """What a filesystem lists of the directory at ``path``, by name; directories end in a slash.

    The directory itself, which some list as a marker, is left out. Raises ``Invalid`` for a name
    that could not be used exactly, ``NotFound`` when a file stands at ``path``. In a ``flat`` store a
    directory with an empty name is a double slash in keys.
    """
    base = path.strip("/")
    found: dict[str, Info] = {}
    for info in infos:
        full = str(info["name"])
        rest = full.lstrip("/")
        if base:
            if rest in {base, f"{base}/"}:
                if rest == base and info.get("type") != "directory":
                    raise NotFound(location, "a file stands there, not a directory")
                if flat and rest != base and info.get("type") == "directory":
                    raise Invalid(f"{location}/", "this filesystem cannot name a double slash")
                continue
            if not rest.startswith(f"{base}/"):
                raise Invalid(location, f"the filesystem lists {full!r} here")
            rest = rest[len(base) + 1 :]
        if not is_plain(rest) or "/" in rest:
            raise Invalid(location + rest, "this filesystem cannot name it exactly")
        found[rest + ("/" if info.get("type") == "directory" else "")] = info
    return found


def entry_of(key: str, info: Info) -> Entry:
    """The entry in a filesystem's info; what it does not tell is left open."""
    size = info.get("size")
    kind = {"file": Kind.OBJECT, "directory": Kind.DIRECTORY}.get(str(info.get("type")))
    mtime_ns = _time_ns(info)
    version = str(info.get("VersionId") or info.get("generation") or "")
    return Entry(
        key,
        (int(size) if isinstance(size, int | float) else -1) if kind is not Kind.DIRECTORY else 0,
        mtime_ns,
        etag=str(info.get("ETag") or info.get("etag") or "").strip('"'),
        version="" if version == "null" else version,
        kind=kind or Kind.SPECIAL,
        changed_ns=mtime_ns,
    )


def checksums_of(info: Info) -> tuple[Checksum, ...]:
    """The full object's digests that an info holds (GCS and Azure list them)."""
    found: list[Checksum] = []
    for name, algorithm in (("crc32c", "crc32c"), ("md5Hash", "md5")):
        text = info.get(name)
        with contextlib.suppress(ValueError):
            if isinstance(text, str) and text:
                found.append(Checksum(algorithm, digests.hex_of(text)))
    etag = str(info.get("ETag") or "").strip('"')
    if len(etag) == 32 and set(etag) <= set("0123456789abcdef"):
        found.append(Checksum("md5", etag))
    return tuple(found)


def _time_ns(info: Info) -> int:
    for name in (
        "mtime",
        "LastModified",
        "last_modified",
        "updated",
        "modified",
        "modify",
        "created",
    ):
        value = info.get(name)
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            whole = int(moment.replace(microsecond=0).timestamp())
            return whole * 1_000_000_000 + moment.microsecond * 1_000
        if isinstance(value, int | float) and value >= 0:
            # A float of today's seconds is exact to a quarter of a microsecond.
            return round(value * 1_000_000) * 1_000
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return _time_ns({name: datetime.fromisoformat(value)})
    return 0


_BY_ERRNO: Final[dict[int, type[TransportError]]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.ENAMETOOLONG: Invalid,
    errno.EILSEQ: Invalid,
    errno.EINVAL: Invalid,
    errno.ENOTDIR: Invalid,
    errno.EISDIR: Invalid,
    errno.EBUSY: Throttled,  # what s3fs makes of SlowDown
    errno.ETIMEDOUT: TimedOut,
}

_BY_FTP_REPLY: Final[dict[str, type[TransportError]]] = {
    "530": Denied,
    "532": Denied,
    "552": NoSpace,
}


def translate(error: BaseException, location: str) -> TransportError | None:
    """A filesystem's errors as ours.

    Bugs fly. Every other exception comes from some library's own family, of which there are as many
    as filesystems; it is taken for an outage, tried again, and then reported.
    """
    if isinstance(error, BadLocation):
        return None  # the door says itself what is wrong
    line = " ".join(str(error).split())[:200]
    if isinstance(error, FileNotFoundError):
        return NotFound(location)
    if isinstance(error, PermissionError):
        return Denied(location, line)
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return Obstructed(location, "a directory or a file stands in the way")
    if isinstance(error, FileExistsError):
        return AlreadyExists(location)
    if isinstance(error, TimeoutError):
        return TimedOut(location)
    if isinstance(error, OSError):
        known = _BY_ERRNO.get(error.errno) if error.errno else None
        return (known or Unavailable)(location, line)
    if isinstance(error, ftplib.error_perm):
        return _BY_FTP_REPLY.get(line[:3], Invalid)(location, ascii(line)[1:-1])
    if isinstance(error, NotImplementedError):
        return Invalid(location, "this filesystem cannot do that")
    if isinstance(error, ValueError):  # UnicodeEncodeError is one
        return Invalid(location, f"this filesystem cannot take it: {ascii(line)}")
    if isinstance(error, TypeError | AttributeError | LookupError | AssertionError | NameError):
        return None
    return Unavailable(location, f"{type(error).__name__}: {line}")

"""What an HTTP answer says of an object: its facts and its digests, or what went wrong. Pure."""

import binascii
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from transports import digests
from transports.errors import (
    Changed,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    TimedOut,
    TransportError,
    Unavailable,
)
from transports.model import Attributes, Checksum, Entry

Headers = Mapping[str, str]

_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_DIGEST: Final = re.compile(r"([A-Za-z0-9-]+)=:?([A-Za-z0-9+/]+=*):?")
# RFC 3230 and RFC 9530 names, the strongest that is quick first.
_ALGORITHMS: Final = {"crc32c": "crc32c", "md5": "md5", "sha-256": "sha256"}
_NS_PER_S: Final = 1_000_000_000


def error_of(status: int, headers: Headers, location: str, *, now_s: float) -> TransportError:
    """The error that a status from 300 up means. ``now_s`` is the wall clock, for Retry-After."""
    wait_s = retry_after_s(headers.get("Retry-After", ""), now_s=now_s)
    detail = f"the server answered {status}"
    if status in {401, 403, 407}:
        remedy = "set HTTP_AUTHORIZATION or HTTP_QUERY" if status != 407 else "check the proxy"
        return Denied(location, f"{detail}: {remedy}")
    if status in {404, 410}:
        return NotFound(location)
    if status in {412, 416}:
        return Changed(location)
    if status in {429, 503}:
        return Throttled(location, retry_after_s=wait_s)
    if status in {408, 425, 504}:
        return TimedOut(location, detail, retry_after_s=wait_s)
    if status >= 500:
        return Unavailable(location, detail, retry_after_s=wait_s)
    return Invalid(location, detail)


def retry_after_s(text: str, *, now_s: float) -> float | None:
    """Seconds to wait, out of seconds or a date; None where there is neither."""
    if text.strip().isdecimal():
        return float(text)
    when_s = _date_s(text)
    return None if when_s is None else max(0.0, when_s - now_s)


def entry_of(headers: Headers, key: str, *, size: int) -> Entry:
    """The object as this answer shows it; ``etag`` of a weak validator begins with ``W/``."""
    etag = headers.get("ETag", "").strip()
    weak = etag.startswith("W/")
    etag = ("W/" if weak else "") + etag.removeprefix("W/").strip('"')
    modified_s = _date_s(headers.get("Last-Modified", ""))
    mtime_ns = 0 if modified_s is None else int(modified_s) * _NS_PER_S
    return Entry(key, size, mtime_ns, etag=etag, changed_ns=mtime_ns)


def attributes_of(headers: Headers, entry: Entry) -> Attributes:
    """Everything that goes along with the bytes. The encoding stays on: bytes are not decoded."""
    return Attributes(
        mtime_ns=entry.mtime_ns or None,
        content_type=headers.get("Content-Type", ""),
        content_encoding=headers.get("Content-Encoding", ""),
        content_disposition=headers.get("Content-Disposition", ""),
        content_language=headers.get("Content-Language", ""),
        cache_control=headers.get("Cache-Control", ""),
    )


def checksums_of(headers: Headers) -> tuple[Checksum, ...]:
    """The digests of the whole object that the answer gives (Digest, Repr-Digest, Content-MD5)."""
    given: dict[str, str] = {}
    for name in ("Digest", "Repr-Digest"):
        for algorithm, value in _DIGEST.findall(headers.get(name, "")):
            given.setdefault(algorithm.lower(), value)
    if value := headers.get("Content-MD5", ""):
        given.setdefault("md5", value)
    found = []
    for name, algorithm in _ALGORITHMS.items():
        try:
            found.append(Checksum(algorithm, digests.hex_of(given.get(name, ""))))
        except (ValueError, binascii.Error):
            continue
    return tuple(checksum for checksum in found if checksum.hex)


def range_of(headers: Headers) -> tuple[int, int, int] | None:
    """``(start, stop, size)`` out of Content-Range; -1 for what it leaves open, None for no range."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None
    size = -1 if match[3] == "*" else int(match[3])
    return (-1, -1, size) if match[1] is None else (int(match[1]), int(match[2]) + 1, size)


def length_of(headers: Headers) -> int:
    """Content-Length in bytes, or -1."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else -1


def same_object(entry: Entry, now: Entry) -> bool:
    """Whether an answer shows the object that was listed, by all that both of them tell."""
    if entry.etag and now.etag:
        # A weak etag promises the same meaning, not the same bytes: the time must agree as well.
        if entry.etag != now.etag:
            return False
        if not entry.etag.startswith("W/"):
            return True
    if entry.mtime_ns and now.mtime_ns and entry.mtime_ns != now.mtime_ns:
        return False
    return not (entry.size >= 0 and now.size >= 0 and entry.size != now.size)


def _date_s(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

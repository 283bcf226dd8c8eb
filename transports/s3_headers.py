"""Attributes and checksums as S3 headers, both ways, and the spelling of keys in URLs. Pure.

Headers that come in are a mapping of lower-case byte names, as the lean lane delivers them; headers
that go out are pairs of lower-case names and texts, in the order of names.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

from transports import digests
from transports.errors import Invalid
from transports.model import NO_ATTRIBUTES, Attributes, Checksum

Headers = Mapping[bytes, bytes]
"""Headers of an answer: lower-case names."""

KEY_BYTES_MAX: Final = 1024

_META: Final = b"x-amz-meta-"
# What S3 stores for an object that was written without a type.
_DEFAULT_TYPE: Final = b"binary/octet-stream"
_SECONDS: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,18}))?")
_BREAKS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


def quoted_key(key: str, location: str) -> str:
    """A full key as it stands in a URL and a signature: all but ``A-Za-z0-9-._~/`` as %XX.

    Raises ``Invalid`` for a key that S3 cannot have: empty, over 1,024 bytes, or not UTF-8.
    """
    try:
        raw = key.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid(location, "the key is not valid UTF-8, S3 cannot hold it") from None
    if not 0 < len(raw) <= KEY_BYTES_MAX:
        raise Invalid(location, f"a key of {len(raw)} bytes; S3 takes 1 to {KEY_BYTES_MAX}")
    return quote(raw, safe="/~")


# -- modification times ------------------------------------------------------------------------


def format_mtime(mtime_ns: int) -> str:
    """Nanoseconds since 1970 as rclone writes them: decimal seconds, no trailing zeros."""
    sign = "-" if mtime_ns < 0 else ""
    seconds, fraction = divmod(abs(mtime_ns), 1_000_000_000)
    if not fraction:
        return f"{sign}{seconds}"
    return f"{sign}{seconds}.{fraction:09d}".rstrip("0")


def parse_mtime(text: str) -> int | None:
    """Nanoseconds since 1970 from decimal seconds, exactly; None for anything else.

    Digits beyond the ninth are cut. No float is involved: it would lose the last 200 ns.
    """
    match = _SECONDS.fullmatch(text)
    if match is None:
        return None
    sign, seconds, fraction = match.groups()
    total = int(seconds) * 1_000_000_000
    if fraction:
        total += int(fraction[:9].ljust(9, "0"))
    return -total if sign else total


# -- attributes --------------------------------------------------------------------------------


def attributes_of(headers: Headers) -> Attributes:
    """What an object carries beside its bytes.

    Most objects carry a type and a time and nothing else; what they have in common is read once.
    """
    mtime_ns: int | None = None
    metadata: dict[str, str] | None = None
    for name in headers:
        if name[:11] == _META:
            if name == b"x-amz-meta-mtime":
                mtime_ns = parse_mtime(headers[name].decode("ascii", "replace"))
                if mtime_ns is not None:
                    continue
            if metadata is None:
                metadata = {}
            metadata[name[11:].decode("utf-8", "surrogateescape")] = _text(headers[name])
    five = (
        headers.get(b"content-type", b""),
        headers.get(b"content-encoding", b""),
        headers.get(b"content-disposition", b""),
        headers.get(b"content-language", b""),
        headers.get(b"cache-control", b""),
    )
    shared = _SHARED.get(five)
    if shared is None:
        if len(_SHARED) >= _SHARED_MAX:
            _SHARED.clear()
        shared = _SHARED[five] = _attributes(five)
    if metadata is not None:
        return shared._replace(mtime_ns=mtime_ns, metadata=metadata)
    return shared if mtime_ns is None else shared._replace(mtime_ns=mtime_ns)


_Five = tuple[bytes, bytes, bytes, bytes, bytes]
_SHARED_MAX: Final = 1024
_SHARED: Final[dict[_Five, Attributes]] = {(b"", b"", b"", b"", b""): NO_ATTRIBUTES}


def _attributes(five: _Five) -> Attributes:
    content_type, encoding, disposition, language, cache = five
    # A chunk signature is no encoding of the object, although S3 keeps the word (SigV4 streaming).
    encodings = [word for word in _text(encoding).split(",") if word.strip() != "aws-chunked"]
    return Attributes(
        content_type="" if content_type == _DEFAULT_TYPE else _text(content_type),
        content_encoding=",".join(encodings),
        content_disposition=_text(disposition),
        content_language=_text(language),
        cache_control=_text(cache),
    )


def _text(raw: bytes) -> str:
    """A header's text: UTF-8, or RFC 2047's encoded words, in which S3 wraps what is not ASCII."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.startswith("=?") and text.endswith("?="):
        from email.errors import HeaderParseError
        from email.header import decode_header, make_header

        try:
            return str(make_header(decode_header(text)))
        except (HeaderParseError, LookupError, UnicodeDecodeError, binascii.Error):
            return text
    return text


def headers_for(attributes: Attributes, location: str) -> list[tuple[str, str]]:
    """The headers that give an object its attributes, in the order of names.

    Raises ``Invalid`` naming the attribute that cannot stand in a header. Texts that are not ASCII
    go as RFC 2047 encoded words, the form in which S3 returns them. ``mode`` has no header.
    """
    if attributes is NO_ATTRIBUTES:
        return []
    pairs = [
        (name, _outgoing(name, text, location))
        for name, text in (
            ("cache-control", attributes.cache_control),
            ("content-disposition", attributes.content_disposition),
            ("content-encoding", attributes.content_encoding),
            ("content-language", attributes.content_language),
            ("content-type", attributes.content_type),
        )
        if text
    ]
    if not attributes.metadata and attributes.mtime_ns is None:
        return pairs
    metadata = dict(attributes.metadata)
    if attributes.mtime_ns is not None:
        metadata["mtime"] = format_mtime(attributes.mtime_ns)
    for name in sorted(metadata):
        if _TOKEN.fullmatch(name) is None:
            raise Invalid(location, f"the metadata name {name!r} cannot stand in a header")
        pairs.append((f"x-amz-meta-{name}", _outgoing(name, metadata[name], location)))
    return pairs


def _outgoing(name: str, text: str, location: str) -> str:
    if text.isascii():
        if _BREAKS.search(text) is None:
            return text
        raise Invalid(location, f"the value of {name!r} holds a control character")
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid(location, f"the value of {name!r} is not valid UTF-8") from None
    return f"=?UTF-8?B?{base64.b64encode(raw).decode('ascii')}?="


# -- checksums ---------------------------------------------------------------------------------

# In the order of cost, cheapest first; the hex digits tell a value of another kind apart.
_CHECKSUM_HEADERS: Final = (
    (b"x-amz-checksum-crc64nvme", "crc64nvme", 16),
    (b"x-amz-checksum-crc32c", "crc32c", 8),
    (b"x-amz-checksum-crc32", "crc32", 8),
    (b"x-amz-checksum-sha1", "sha1", 40),
    (b"x-amz-checksum-sha256", "sha256", 64),
)


def checksums_of(headers: Headers) -> tuple[Checksum, ...]:
    """The full-object checksums in an answer, cheapest first.

    Composites (``…-3``, a checksum of the parts' checksums) say nothing about the bytes in a row
    and are left out.
    """
    if headers.get(b"x-amz-checksum-type") == b"COMPOSITE":
        return ()
    found = []
    for name, algorithm, digits in _CHECKSUM_HEADERS:
        value = headers.get(name)
        if value is not None and b"-" not in value:
            try:
                spelled = binascii.a2b_base64(value).hex()
            except binascii.Error:
                continue
            if len(spelled) == digits:
                found.append(Checksum(algorithm, spelled))
    return tuple(found)


class EtagKind(NamedTuple):
    """What an ETag can be: the MD5 of a whole object, or of parts (``md5-N``), or unknown."""

    md5: str
    parts: int


def etag_kind(etag: str) -> EtagKind:
    """Read an ETag's form. ``md5`` is "" where the form is not that of a whole object's MD5."""
    if len(etag) == 32 and _is_hex(etag):
        return EtagKind(etag.lower(), 0)
    head, dash, count = etag.rpartition("-")
    if dash and len(head) == 32 and count.isdecimal() and count.isascii() and _is_hex(head):
        return EtagKind("", int(count))
    return EtagKind("", 0)


def _is_hex(text: str) -> bool:
    try:
        int(text, 16)
    except ValueError:
        return False
    return text.isalnum()


def hides_md5(headers: Headers) -> bool:
    """Whether the object is encrypted so that its ETag is not the MD5 of its bytes."""
    scheme = headers.get(b"x-amz-server-side-encryption", b"")
    return scheme.startswith(b"aws:") or (
        b"x-amz-server-side-encryption-customer-algorithm" in headers
    )


def composite_etag(part_etags: list[str]) -> str:
    """The ETag that S3 gives an object of parts, from the parts' own, or "" where they are no MD5s."""
    kinds = [etag_kind(etag).md5 for etag in part_etags]
    if not kinds or not all(kinds):
        return ""
    joined = b"".join(bytes.fromhex(md5) for md5 in kinds)
    return f"{digests.md5_hex(joined)}-{len(kinds)}"


def date_ns(text: str) -> int:
    """A date of HTTP as nanoseconds since 1970; 0 for what is none."""
    from email.utils import parsedate_to_datetime  # a command that only lists reads no such date

    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (ValueError, TypeError):
        return 0

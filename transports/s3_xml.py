"""S3's XML bodies, in and out. Pure.

What comes from a server is hostile until read: document types and entities are refused (defusedxml
for every small answer and for the envelope of a listing), and an answer that breaks off is an
error, never an end.

Pages of listings, which are most of the bytes, are read in ``s3_pages``.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape  # that of xml.sax brings an HTTP client along
from typing import Final, NamedTuple
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring


class GarbledAnswer(ValueError):
    """A body that is not the XML that was asked for; ``hostile`` when it holds a document type."""

    def __init__(self, detail: str, *, hostile: bool = False) -> None:
        self.hostile = hostile
        super().__init__(detail)


def parse_root(body: bytes | str, root_names: Sequence[str]) -> Element:
    """The root of a document, which must have one of these names. Raises ``GarbledAnswer``."""
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except DefusedXmlException as error:
        raise GarbledAnswer(f"refused: {type(error).__name__}", hostile=True) from None
    except (ParseError, UnicodeDecodeError, LookupError) as error:
        raise GarbledAnswer(f"not well-formed XML: {error}") from None
    name = local_name(root.tag)
    if name not in root_names:
        raise GarbledAnswer(f"<{name[:40]}> where <{root_names[0]}> was expected")
    return root


def local_name(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def fields_of(element: Element) -> dict[str, str]:
    """The texts of an element's children by their names."""
    return {local_name(child.tag): child.text or "" for child in element}


def parse_error(body: bytes) -> dict[str, str]:
    """The fields of an ``<Error>`` document, or {} for a body that is none."""
    if b"<Error" not in body[:512]:
        return {}
    try:
        return fields_of(parse_root(body, ("Error",)))
    except GarbledAnswer:
        return {}


def parse_fields(body: bytes, *root_names: str) -> dict[str, str]:
    """The fields of a flat answer. Raises ``GarbledAnswer``; an ``<Error>`` is garbled too.

    Control characters are dropped first: some stores repeat the key as it is, and XML cannot hold
    all of them. So no key is ever taken from here.
    """
    return fields_of(parse_root(body.translate(None, _CONTROLS).strip(), root_names))


_CONTROLS: Final = bytes(set(range(32)) - {9, 10, 13})


# -- what several answers hold -------------------------------------------------------------------


def unquoted(text: str) -> str:
    """A key or prefix of an answer with ``EncodingType`` url; stray bytes come back as they were."""
    return unquote_plus(text, errors="surrogateescape")


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)
_CACHED_MAX: Final = 16_384  # 3 MB
# A listing repeats itself: what was written in one second shows one text, and what was written in
# one minute begins with one text.
_INSTANTS: Final[dict[str, int]] = {}
_MINUTES: Final[dict[str, int]] = {}
_SECONDS: Final[dict[str, int]] = {}  # by the rest of such a text, as in ":07.000Z"


def instant_ns(text: str) -> int:
    """An ISO 8601 instant as nanoseconds since 1970. Raises ``GarbledAnswer`` for anything else."""
    minute_ns = _MINUTES.get(text[:16])
    if minute_ns is not None and len(text) == 24 and text[16] == ":" and text[23] == "Z":
        digits = text[17:19] + text[20:23]
        if text[19] == "." and digits.isdecimal():
            past_ns = int(digits) * 1_000_000
            _remember(_SECONDS, text[16:], past_ns)
            return minute_ns + past_ns
    try:
        at_ns = (datetime.fromisoformat(text.strip()) - _EPOCH) // _MICROSECOND * 1000
    except (ValueError, TypeError):
        raise GarbledAnswer(f"no instant: {text[:40]!r}") from None
    _remember(_INSTANTS, text, at_ns)
    if text[-1:] == "Z" and text[16:17] == ":":
        _remember(_MINUTES, text[:16], at_ns - at_ns % 60_000_000_000)
    return at_ns


def instants_ns(texts: Sequence[str]) -> list[int]:
    """``instant_ns`` of many texts: mostly all of them have come before, or their parts have."""
    try:
        return list(map(_INSTANTS.__getitem__, texts))
    except KeyError:
        pass
    try:
        found = [_MINUTES[text[:16]] + _SECONDS[text[16:]] for text in texts]
    except KeyError:
        found = [instant_ns(text) for text in texts]
    if len(_INSTANTS) + len(texts) > _CACHED_MAX:
        _INSTANTS.clear()
    _INSTANTS.update(zip(texts, found, strict=True))
    return found


def _remember(cache: dict[str, int], text: str, value: int) -> None:
    if len(cache) >= _CACHED_MAX:
        cache.clear()
    cache[text] = value


# -- uploads in parts --------------------------------------------------------------------------


class ListedPart(NamedTuple):
    """A part that the store holds."""

    number: int
    size: int
    etag: str
    crc64nvme: str  # base64; "" where the store does not tell it


def parse_parts(body: bytes) -> tuple[list[ListedPart], int]:
    """Parts and the marker of the next page, 0 on the last. Raises ``GarbledAnswer``."""
    cleaned = body.translate(None, _CONTROLS)  # as in parse_fields
    root = parse_root(cleaned, ("ListPartsResult", "ListPartsResponse"))
    fields = fields_of(root)
    parts = []
    for child in root:
        if local_name(child.tag) == "Part":
            part = fields_of(child)
            parts.append(
                ListedPart(
                    _whole(part, "PartNumber"),
                    _whole(part, "Size"),
                    part.get("ETag", "").strip('"'),
                    part.get("ChecksumCRC64NVME", ""),
                )
            )
    if fields.get("IsTruncated", "").lower() != "true":
        return parts, 0
    return parts, _whole(fields, "NextPartNumberMarker")


class ListedUpload(NamedTuple):
    """An unfinished upload."""

    key: str
    upload_id: str
    started_ns: int


def parse_uploads(body: bytes) -> tuple[list[ListedUpload], tuple[str, str] | None]:
    """Uploads and the markers (key, upload id) of the next page. Raises ``GarbledAnswer``."""
    root = parse_root(body, ("ListMultipartUploadsResult",))
    fields = fields_of(root)
    decode = fields.get("EncodingType") == "url"
    uploads = []
    for child in root:
        if local_name(child.tag) == "Upload":
            upload = fields_of(child)
            started = upload.get("Initiated", "")
            key = upload.get("Key", "")
            uploads.append(
                ListedUpload(
                    unquoted(key) if decode else key,
                    upload.get("UploadId", ""),
                    instant_ns(started) if started else 0,
                )
            )
    if fields.get("IsTruncated", "").lower() != "true":
        return uploads, None
    key_marker = fields.get("NextKeyMarker", "")
    return uploads, (
        unquoted(key_marker) if decode else key_marker,
        fields.get("NextUploadIdMarker", ""),
    )


class ListedVersion(NamedTuple):
    """A version of an object; ``is_latest`` is the current one."""

    key: str
    version: str
    size: int
    is_latest: bool


def parse_versions(body: bytes) -> tuple[list[ListedVersion], tuple[str, str] | None]:
    """Versions, and the markers (key, version id) of the next page. Raises ``GarbledAnswer``.

    The marks of deletions are left out.
    """
    root = parse_root(body, ("ListVersionsResult", "ListObjectVersionsResult"))
    fields = fields_of(root)
    decode = fields.get("EncodingType") == "url"
    versions = []
    for child in root:
        if local_name(child.tag) == "Version":
            version = fields_of(child)
            key = version.get("Key", "")
            versions.append(
                ListedVersion(
                    unquoted(key) if decode else key,
                    version.get("VersionId", ""),
                    _whole(version, "Size"),
                    version.get("IsLatest", "").lower() == "true",
                )
            )
    if fields.get("IsTruncated", "").lower() != "true":
        return versions, None
    key_marker = fields.get("NextKeyMarker", "")
    return versions, (
        unquoted(key_marker) if decode else key_marker,
        fields.get("NextVersionIdMarker", ""),
    )


def _whole(fields: dict[str, str], name: str) -> int:
    try:
        return int(fields.get(name, ""))
    except ValueError:
        raise GarbledAnswer(f"<{name}> is no number: {fields.get(name, '')[:40]!r}") from None


def complete_body(parts: Sequence[tuple[int, str, str]]) -> bytes:
    """The body that finishes an upload, from (number, etag, CRC64NVME in base64 or "")."""
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag, quote=False)}&quot;</ETag>"
        + (f"<ChecksumCRC64NVME>{escape(crc, quote=False)}</ChecksumCRC64NVME>" if crc else "")
        + "</Part>"
        for number, etag, crc in parts
    )
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{rows}</CompleteMultipartUpload>"
    ).encode()

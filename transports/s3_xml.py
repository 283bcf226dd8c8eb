"""S3's XML bodies, in and out. Pure.

What comes from a server is hostile until read: document types and entities are refused (defusedxml
for every small answer and for the envelope of a listing), and an answer that breaks off is an
error, never an end.

Listings are most of the bytes, so the run of ``<Contents>`` in a page goes through a faster reader:
one regular expression made from the order of the first entry's elements, which has to account for
every tag of the run, or the whole page goes through defusedxml instead. Measured per key, with the
``Entry``: see ``docs/s3.md``.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Final, NamedTuple, cast
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from transports.model import Entry, Kind


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


# -- listings ----------------------------------------------------------------------------------


class Page(NamedTuple):
    """One page of a listing. ``token`` continues it; "" on the last page.

    Keys and prefixes are full, as the bucket has them.
    """

    entries: list[Entry]
    prefixes: list[str]
    token: str


_OPEN: Final = "<Contents>"
_CLOSE: Final = "</Contents>"
_ELEMENT: Final = re.compile(r"<([A-Za-z0-9]+)>([^<]*)</\1>|<([A-Za-z0-9]+)/>")
_WANTED: Final = ("Key", "LastModified", "ETag", "Size")
_ENTITY: Final = re.compile(r"&(#x?[0-9A-Fa-f]+|\w+);?")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def parse_page(body: bytes) -> Page:
    """Read a ListObjectsV2 answer. Raises ``GarbledAnswer`` for one that is broken or hostile."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GarbledAnswer(f"not UTF-8: {error.reason}") from None
    # Most of a page's entities are the quotes of its ETags: all at once costs least.
    plain = text.replace("&quot;", '"')
    start, stop = plain.find(_OPEN), plain.rfind(_CLOSE)
    rows: Sequence[tuple[str, str, str, str]] | None = None
    if 0 <= start < stop:
        stop += len(_CLOSE)
        rows = _rows(plain, start, stop)
    if rows is None:
        return _page_of(parse_root(body, ("ListBucketResult",)), None)
    envelope = plain[:start] + plain[stop:]
    return _page_of(parse_root(envelope.encode("utf-8"), ("ListBucketResult",)), rows)


def _rows(text: str, start: int, stop: int) -> list[tuple[str, str, str, str]] | None:
    """The four wanted texts of each entry, or None when the run is not of one regular form."""
    first = text[start + len(_OPEN) : text.index(_CLOSE, start)]
    names = [match[1] or match[3] for match in _ELEMENT.finditer(first)]
    if sorted(name for name in names if name in _WANTED) != sorted(_WANTED):
        return None
    pattern = _pattern(tuple(names))
    rows: list[tuple[str, str, str, str]] = pattern.findall(text, start, stop)
    # Each match holds exactly two tags an element and two around them, and matches do not overlap:
    # when the counts agree there is no tag outside a match.
    if text.count("<", start, stop) != len(rows) * 2 * (len(names) + 1):
        return None
    order = [name for name in names if name in _WANTED]
    if order == list(_WANTED):
        return rows
    picks = [order.index(name) for name in _WANTED]
    a, b, c, d = picks
    return [(row[a], row[b], row[c], row[d]) for row in rows]


_PATTERNS: Final[dict[tuple[str, ...], re.Pattern[str]]] = {}


def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    pattern = _PATTERNS.get(names)
    if pattern is None:
        if len(_PATTERNS) >= 64:
            _PATTERNS.clear()
        inner = r"\s*".join(
            f"<{name}>([^<]*)</{name}>" if name in _WANTED else f"<{name}>[^<]*</{name}>"
            for name in names
        )
        pattern = re.compile(rf"<Contents>\s*{inner}\s*</Contents>")
        _PATTERNS[names] = pattern
    return pattern


def _page_of(root: Element, rows: Sequence[tuple[str, str, str, str]] | None) -> Page:
    fields: dict[str, str] = {}
    slow: list[tuple[str, str, str, str]] = []
    prefixes: list[str] = []
    for child in root:
        name = local_name(child.tag)
        if name == "Contents":
            inner = fields_of(child)
            slow.append((inner.get("Key", ""), inner.get("LastModified", ""),
                         inner.get("ETag", ""), inner.get("Size", "")))  # fmt: skip
        elif name == "CommonPrefixes":
            prefixes.append(fields_of(child).get("Prefix", ""))
        else:
            fields[name] = child.text or ""
    decode = fields.get("EncodingType") == "url"
    if decode:
        prefixes = [_unquoted(prefix) for prefix in prefixes]
    entries = None if rows is None else _plain_entries(rows, decode)
    if entries is None:
        entries = list(_entries(slow if rows is None else rows, decode, escaped=rows is not None))
    token = ""
    truncated = fields.get("IsTruncated", "").strip().lower()
    if truncated == "true":
        token = fields.get("NextContinuationToken", "")
        if not token:
            raise GarbledAnswer("a truncated page without a continuation token")
    elif truncated != "false":
        raise GarbledAnswer("the page does not say whether it is the last")
    return Page(entries, prefixes, token)


_new_entry: Final = cast(Callable[[type[Entry], tuple[object, ...]], Entry], tuple.__new__)
"""A third cheaper than the named tuple's own constructor."""


def _unquoted(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _plain_entries(rows: Sequence[tuple[str, str, str, str]], decode: bool) -> list[Entry] | None:
    """The entries of a page in which nothing is escaped, encoded or empty; None for any other.

    Column by column, so that the loops are the interpreter's own: a quarter of the time.
    """
    keys, moments, etags, size_texts = zip(*rows, strict=True)
    together = "".join(keys)
    if "&" in together or (decode and ("%" in together or "+" in together)):
        return None
    try:
        sizes = list(map(int, size_texts))
    except ValueError:
        return None
    if min(sizes) <= 0 or not all(keys) or "&" in "".join(etags):
        return None
    try:
        instants = [_MINUTES[text[:16]] + _SECONDS[text[16:]] for text in moments]
    except KeyError:
        instants = [instant_ns(text) for text in moments]
    bare = [etag.strip('"') for etag in etags]
    columns = zip(
        keys, sizes, instants, bare, repeat(""), repeat(Kind.OBJECT), instants, strict=False
    )
    return list(map(_new_entry, repeat(Entry), columns))


def _entries(
    rows: Sequence[tuple[str, str, str, str]], decode: bool, *, escaped: bool
) -> Iterator[Entry]:
    """Turn texts into entries; ``escaped`` rows still hold XML's entities."""
    kind_object, kind_directory = Kind.OBJECT, Kind.DIRECTORY
    instants = _INSTANTS
    for key, modified, etag, size_text in rows:
        if escaped:
            if "&" in etag:
                etag = etag.replace("&quot;", "").replace("&#34;", "")
                if "&" in etag:
                    etag = _unescaped(etag)
            if "&" in key:
                key = _unescaped(key)
        if decode and ("%" in key or "+" in key):
            key = _unquoted(key)
        if etag[:1] == '"':
            etag = etag.strip('"')
        at_ns = instants.get(modified)
        if at_ns is None:
            at_ns = instant_ns(modified)
        try:
            size = int(size_text)
        except ValueError:
            raise GarbledAnswer(f"a size of {size_text[:40]!r}") from None
        if not key or size < 0:
            raise GarbledAnswer("an entry without a key, or of negative size")
        kind = kind_directory if not size and key[-1] == "/" else kind_object
        yield _new_entry(Entry, (key, size, at_ns, etag, "", kind, at_ns))


def _unescaped(text: str) -> str:
    return _ENTITY.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    name = match[1]
    try:
        if not match[0].endswith(";"):
            raise ValueError
        if name.startswith("#x"):
            return chr(int(name[2:], 16))
        return chr(int(name[1:])) if name.startswith("#") else _NAMED[name]
    except (KeyError, ValueError, OverflowError):
        raise GarbledAnswer(f"no such entity: {match[0][:20]!r}") from None


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)
_CACHED_MAX: Final = 4096
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
                    _unquoted(key) if decode else key,
                    upload.get("UploadId", ""),
                    instant_ns(started) if started else 0,
                )
            )
    if fields.get("IsTruncated", "").lower() != "true":
        return uploads, None
    key_marker = fields.get("NextKeyMarker", "")
    return uploads, (
        _unquoted(key_marker) if decode else key_marker,
        fields.get("NextUploadIdMarker", ""),
    )


def _whole(fields: dict[str, str], name: str) -> int:
    try:
        return int(fields.get(name, ""))
    except ValueError:
        raise GarbledAnswer(f"<{name}> is no number: {fields.get(name, '')[:40]!r}") from None


def complete_body(parts: Sequence[tuple[int, str, str]]) -> bytes:
    """The body that finishes an upload, from (number, etag, CRC64NVME in base64 or "")."""
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag>"
        + (f"<ChecksumCRC64NVME>{escape(crc)}</ChecksumCRC64NVME>" if crc else "")
        + "</Part>"
        for number, etag, crc in parts
    )
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{rows}</CompleteMultipartUpload>"
    ).encode()

"""Reading pages of ListObjectsV2: pure, and made for a million keys.

Listings are most of the bytes that a plan costs, so the run of ``<Contents>`` goes through a faster
reader than other XML. Rows of one page mostly have the same form. It is learned from the first of
them, and ``_pages`` (C) goes through the run by it: between what is the same in all rows stand
texts without a tag, and nothing else. A page that is not so goes through defusedxml as a whole, and so
does all that surrounds the run. Figures are in ``docs/s3.md``.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Final, NamedTuple, cast
from xml.etree.ElementTree import Element

from transports import _pages
from transports.model import Entry, Kind
from transports.s3_xml import (
    GarbledAnswer,
    fields_of,
    instants_ns,
    local_name,
    parse_root,
    unquoted,
)


class Page(NamedTuple):
    """One page of a listing. ``token`` continues it; "" on the last page.

    Keys and prefixes are full, as the bucket has them.
    """

    entries: list[Entry]
    prefixes: list[str]
    token: str


class _Columns(NamedTuple):
    """What is wanted of every entry, as texts, in the order of the entries."""

    keys: Sequence[str]
    moments: Sequence[str]
    etags: Sequence[str]
    sizes: Sequence[str]


_OPEN: Final = b"<Contents>"
_CLOSE: Final = b"</Contents>"
_ROOTS: Final = ("ListBucketResult",)
_WANTED: Final = (b"Key", b"LastModified", b"ETag", b"Size")
_FIELD: Final = re.compile(rb"(\s*<([A-Za-z0-9]+)>)([^<]*)(</\2>)")
_FIELDS_MAX: Final = 31
"""Elements of a row that ``_pages`` has room for; stores tell eight. More go through the strict reader."""

_QUOTES: Final = (b"&quot;", b"&#34;", b'"')  # around an ETag; all rows of a page have the same
_URL_ENCODED: Final = b"<EncodingType>url</EncodingType>"
_SPARE: Final = re.compile(rb"\s*<(StorageClass|ChecksumAlgorithm|ChecksumType)>[^<]*</\1>")
"""What some rows of a page have and others have not; nobody wants it."""

_ENCODING: Final = re.compile(rb"""encoding\s*=\s*["']([^"']*)""")
_ENTITY: Final = re.compile(r"&(?:(?:#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6})|(\w+));)?")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def parse_page(body: bytes) -> Page:
    """Read a ListObjectsV2 answer. Raises ``GarbledAnswer`` for one that is broken or hostile."""
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise GarbledAnswer(f"not UTF-8: {error.reason}") from None
    page = _fast_page(body)
    if page is None:
        root = parse_root(body, _ROOTS)
        page = _page_of(_around(root), _columns_of(root))
    return page


def _fast_page(body: bytes) -> Page | None:
    """The page by the form of its rows; None for one that only the strict reader may judge."""
    start, stop = body.find(_OPEN), body.rfind(_CLOSE)
    # XML turns a carriage return into a line feed: one rule that is not known here.
    if not 0 <= start < stop or b"\r" in body or not _is_utf8(body[:start]):
        return None
    stop += len(_CLOSE)
    decode = _URL_ENCODED in body[:start] or _URL_ENCODED in body[stop:]
    rows = _rows(body, start, stop, decode=decode)
    if rows is None:
        return None
    # In the place of the run stands an empty entry, to show that it was where entries are.
    root = parse_root(body[:start] + _OPEN + _CLOSE + body[stop:], _ROOTS)
    if sum(local_name(child.tag) == "Contents" for child in root) != 1:
        return None
    around = _around(root)
    if around.decode != decode:
        return None
    if isinstance(rows, _Columns):
        rows = _Columns(*map(_unescaped, rows))
    return _page_of(around, rows)


def _is_utf8(declaration: bytes) -> bool:
    declared = _ENCODING.search(declaration)
    return declared is None or declared[1].lower() in (b"utf-8", b"utf8")


# -- from bytes to columns -----------------------------------------------------------------------


def _rows(body: bytes, start: int, stop: int, *, decode: bool) -> "list[Entry] | _Columns | None":
    """The entries of a run, or their columns; None where its rows are not all of one form."""
    found = _uniform_rows(body, start, stop, decode=decode)
    if found is None:
        spared, count = _SPARE.subn(b"", body[start:stop])
        found = _uniform_rows(spared, 0, len(spared), decode=decode) if count else None
    return found


def _uniform_rows(
    body: bytes, start: int, stop: int, *, decode: bool
) -> "list[Entry] | _Columns | None":
    end = body.index(_CLOSE, start)
    following = body.find(_OPEN, end, stop)
    gap = body[end + len(_CLOSE) : following] if following >= 0 else b""
    found = _form(body[start + len(_OPEN) : end])
    if found is None or gap.strip():
        return None
    names, borders = found
    form, wanted = _pages.Form(borders, gap), tuple(map(names.index, _WANTED))
    entries = form.entries(body, start, stop, wanted, Entry, Kind.OBJECT, decode)
    if entries is not None:
        return entries
    columns = form.columns(body, start, stop, wanted)
    return None if columns is None else _Columns(*columns)


def _form(row: bytes) -> tuple[list[bytes], tuple[bytes, ...]] | None:
    """The names of a row's elements, and what stands before, between and behind their texts.

    None where the row is not a run of plain elements, among them those that are wanted, once each.
    """
    names: list[bytes] = []
    borders: list[bytes] = []
    before, position = _OPEN, 0
    while (match := _FIELD.match(row, position)) is not None:
        opening, name, text, closing = match.groups()
        quotes = [each for each in _QUOTES if _is_within(text, each)] if name == b"ETag" else ()
        quote = quotes[0] if quotes else b""
        names.append(name)
        borders.append(before + opening + quote)
        before, position = quote + closing, match.end()
    if row[position:].strip() or len(names) > _FIELDS_MAX:
        return None
    if any(names.count(name) != 1 for name in _WANTED):
        return None
    return names, (*borders, before + row[position:] + _CLOSE)


def _is_within(text: bytes, quote: bytes) -> bool:
    return len(text) >= 2 * len(quote) and text.startswith(quote) and text.endswith(quote)


def _columns_of(root: Element) -> _Columns:
    rows = [fields_of(child) for child in root if local_name(child.tag) == "Contents"]
    return _Columns(*([row.get(name.decode(), "") for row in rows] for name in _WANTED))


# -- from columns to entries ---------------------------------------------------------------------


class _Around(NamedTuple):
    """What stands around the rows. Keys and prefixes are quoted where ``decode`` says so."""

    fields: dict[str, str]
    prefixes: list[str]

    @property
    def decode(self) -> bool:
        return self.fields.get("EncodingType") == "url"


def _around(root: Element) -> _Around:
    fields: dict[str, str] = {}
    prefixes: list[str] = []
    for child in root:
        name = local_name(child.tag)
        if name == "CommonPrefixes":
            prefixes.append(fields_of(child).get("Prefix", ""))
        else:
            fields[name] = child.text or ""
    return _Around(fields, prefixes)


def _page_of(around: _Around, rows: list[Entry] | _Columns) -> Page:
    fields, prefixes = around
    if around.decode:
        prefixes = [unquoted(prefix) for prefix in prefixes]
    if isinstance(rows, _Columns):
        rows = _entries(rows, decode=around.decode) if rows.keys else []
    token = ""
    truncated = fields.get("IsTruncated", "").strip().lower()
    if truncated == "true":
        token = fields.get("NextContinuationToken", "")
        if not token:
            raise GarbledAnswer("a truncated page without a continuation token")
    elif truncated != "false":
        raise GarbledAnswer("the page does not say whether it is the last")
    told = fields.get("KeyCount", "").strip()
    # Not the other way round: some stores leave the prefixes out of the count.
    if told.isdecimal() and int(told) > len(rows) + len(prefixes):
        raise GarbledAnswer(f"{len(rows) + len(prefixes)} names where {told[:20]} were promised")
    return Page(rows, prefixes, token)


_new_entry: Final = cast(Callable[[type[Entry], tuple[object, ...]], Entry], tuple.__new__)
"""A third cheaper than the named tuple's own constructor."""


def _entries(columns: _Columns, *, decode: bool) -> list[Entry]:
    """Column by column, so that the loops are the interpreter's own: a quarter of the time."""
    keys, moments, etags, size_texts = columns
    together = "".join(keys)
    if decode and ("%" in together or "+" in together):
        keys = [unquoted(key) if "%" in key or "+" in key else key for key in keys]
    if '"' in "".join(etags):
        etags = [etag.strip('"') for etag in etags]
    try:
        sizes = list(map(int, size_texts))
    except ValueError as error:
        raise GarbledAnswer(f"a size: {str(error)[:80]}") from None
    if not all(keys) or min(sizes) < 0:
        raise GarbledAnswer("an entry without a key, or of negative size")
    kinds: Iterable[Kind] = repeat(Kind.OBJECT)
    if 0 in sizes:
        marker, other = Kind.DIRECTORY, Kind.OBJECT
        kinds = [
            marker if not size and key[-1] == "/" else other
            for key, size in zip(keys, sizes, strict=True)
        ]
    instants = instants_ns(moments)
    rows = zip(keys, sizes, instants, etags, repeat(""), kinds, instants, strict=False)
    return list(map(_new_entry, repeat(Entry), rows))


def below(entries: Sequence[Entry], root_characters: int) -> list[Entry]:
    """The entries (at least one) by their keys under a root, which all of them begin with."""
    keys, *others = zip(*entries, strict=True)
    keys_below = map(itemgetter(slice(root_characters, None)), keys)
    return list(map(_new_entry, repeat(Entry), zip(keys_below, *others, strict=True)))


def _unescaped(texts: Sequence[str]) -> Sequence[str]:
    """Texts without XML's entities. Raises ``GarbledAnswer`` for an unknown one."""
    if "&" not in "".join(texts):
        return texts
    return [_ENTITY.sub(_character, text) for text in texts]


def _character(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    try:
        if name:
            return _NAMED[name]
        return chr(int(decimal)) if decimal else chr(int(hexadecimal or "", 16))
    except (KeyError, ValueError, OverflowError):
        raise GarbledAnswer(f"no such entity: {match.string[match.start() :][:20]!r}") from None

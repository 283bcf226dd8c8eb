"""Reading pages of ListObjectsV2: pure, and made for a million keys.

Listings are most of the bytes that a plan costs, so the run of ``<Contents>`` goes through a faster
reader than other XML. Rows of one page mostly have the same form. It is learned from the first of
them, the run is cut at every closing tag, and what stands between the same two tags in all rows is
one column. The columns, put together again, must give the run, character by character; then it holds
what the first row holds and nothing else, and no tag is inside a text. A page that is not so goes
through defusedxml as a whole, and so does all that surrounds the run. Figures are in ``docs/s3.md``.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Final, NamedTuple, cast
from xml.etree.ElementTree import Element

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


_OPEN: Final = "<Contents>"
_CLOSE: Final = "</Contents>"
_ROOTS: Final = ("ListBucketResult",)
_WANTED: Final = ("Key", "LastModified", "ETag", "Size")
_FIELD: Final = re.compile(r"(\s*<([A-Za-z0-9]+)>)([^<]*)</\2>")
_QUOTES: Final = ("&quot;", "&#34;", '"')  # around an ETag; all rows of a page have the same
_SPARE: Final = re.compile(r"\s*<(StorageClass|ChecksumAlgorithm|ChecksumType)>[^<]*</\1>")
"""What some rows of a page have and others have not; nobody wants it."""

_ENCODING: Final = re.compile(r"""encoding\s*=\s*["']([^"']*)""")
_ENTITY: Final = re.compile(r"&(?:(?:#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6})|(\w+));)?")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def parse_page(body: bytes) -> Page:
    """Read a ListObjectsV2 answer. Raises ``GarbledAnswer`` for one that is broken or hostile."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GarbledAnswer(f"not UTF-8: {error.reason}") from None
    page = _fast_page(text)
    if page is None:
        root = parse_root(body, _ROOTS)
        page = _page_of(root, _columns_of(root))
    return page


def _fast_page(text: str) -> Page | None:
    """The page by its columns; None for one that only the strict reader may judge."""
    start, stop = text.find(_OPEN), text.rfind(_CLOSE)
    # XML turns a carriage return into a line feed: one rule that is not known here.
    if not 0 <= start < stop or "\r" in text or not _is_utf8(text[:start]):
        return None
    stop += len(_CLOSE)
    columns = _columns(text[start:stop])
    if columns is None:
        return None
    # In the place of the run stands an empty entry, to show that it was where entries are.
    root = parse_root(f"{text[:start]}{_OPEN}{_CLOSE}{text[stop:]}".encode(), _ROOTS)
    if sum(local_name(child.tag) == "Contents" for child in root) != 1:
        return None
    return _page_of(root, _Columns(*map(_unescaped, columns)))


def _is_utf8(declaration: str) -> bool:
    declared = _ENCODING.search(declaration)
    return declared is None or declared[1].lower() in ("utf-8", "utf8")


# -- from text to columns ------------------------------------------------------------------------


def _columns(run: str) -> _Columns | None:
    """The columns of a run of entries, or None where its rows are not all of one form."""
    found = _uniform_columns(run)
    if found is None:
        spared, count = _SPARE.subn("", run)
        found = _uniform_columns(spared) if count else None
    return found


def _uniform_columns(run: str) -> _Columns | None:
    end = run.index(_CLOSE) + len(_CLOSE)
    following = run.find(_OPEN, end)
    gap = run[end:following] if following >= 0 else ""
    borders = _borders(run[len(_OPEN) : end - len(_CLOSE)], gap)
    if borders is None or gap.strip():
        return None
    # Every row now begins as if one came before it.
    pieces = f"{_CLOSE[2:]}{gap}{run}".split("</")
    if pieces.pop() != _CLOSE[2:] or len(pieces) % len(borders):
        return None
    wanted: dict[str, list[str]] = {}
    for number, (name, before, behind) in enumerate(borders):
        column = pieces[number :: len(borders)]
        if name not in _WANTED and column.count(column[0]) == len(column):
            continue  # as in the first row, whose form is known
        texts = _between(column, before, behind)
        if texts is None:
            return None
        wanted[name] = texts
    return _Columns(*(wanted[name] for name in _WANTED))


def _borders(row: str, gap: str) -> list[tuple[str, str, str]] | None:
    """What stands before and behind every text of a row, from closing tag to closing tag.

    The first begins in the row before, and the last ("") is what precedes the row's own end. None
    where the row is not a run of plain elements, among them those that are wanted, once each.
    """
    borders: list[tuple[str, str, str]] = []
    closing, position = f"{_CLOSE[2:]}{gap}{_OPEN}", 0
    while (match := _FIELD.match(row, position)) is not None:
        opening, name, text = match.groups()
        quotes = [each for each in _QUOTES if _is_within(text, each)] if name == "ETag" else ()
        quote = quotes[0] if quotes else ""
        borders.append((name, closing + opening + quote, quote))
        closing, position = f"{name}>", match.end()
    names = [name for name, _, _ in borders]
    if row[position:].strip() or any(names.count(name) != 1 for name in _WANTED):
        return None
    return [*borders, ("", closing + row[position:], "")]


def _is_within(text: str, quote: str) -> bool:
    return len(text) >= 2 * len(quote) and text.startswith(quote) and text.endswith(quote)


def _between(column: list[str], before: str, behind: str) -> list[str] | None:
    """The texts between what every piece begins and ends with; None where one does not.

    All pieces are compared at once: a piece that begins or ends otherwise changes what is put
    together, and one that is too short for both makes it longer.
    """
    texts = list(map(itemgetter(slice(len(before), -len(behind) or None)), column))
    if f"{before}{(behind + before).join(texts)}{behind}" != "".join(column):
        return None
    return None if "<" in "".join(texts) else texts


def _columns_of(root: Element) -> _Columns:
    rows = [fields_of(child) for child in root if local_name(child.tag) == "Contents"]
    return _Columns(*([row.get(name, "") for row in rows] for name in _WANTED))


# -- from columns to entries ---------------------------------------------------------------------


def _page_of(root: Element, columns: _Columns) -> Page:
    fields: dict[str, str] = {}
    prefixes: list[str] = []
    for child in root:
        name = local_name(child.tag)
        if name == "CommonPrefixes":
            prefixes.append(fields_of(child).get("Prefix", ""))
        else:
            fields[name] = child.text or ""
    decode = fields.get("EncodingType") == "url"
    if decode:
        prefixes = [unquoted(prefix) for prefix in prefixes]
    entries = _entries(columns, decode=decode) if columns.keys else []
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

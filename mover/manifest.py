"""Pure: the record that a job leaves, as rows, and as segments of compressed JSON lines.

A segment is what one run of one task wrote: a header line, then a row for each object that the task
touched. Segments are never changed; where several speak of one key, ``newest`` says which row counts.
The format is described for other programs in docs/manifest.md.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from mover.delta_tasks import DeltaTask, SeekTask
from mover.model import Assembly, Failure, LargeObject, Removal, SmallShard
from mover.name_lists import escape_name, unescape_name
from mover.packing import Damaged, pack, unpack
from mover.payloads import Payload
from mover.units import Malformed
from transports import digests
from transports.model import Blob, Checksum, Entry, Kind, Proof, Receipt

FORMAT: Final = "fluid-mover manifest"
VERSION: Final = 1
SUFFIX: Final = ".jsonl.zst"

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest segment that is read, compressed or not: a shard's thousand rows with the longest names
and errors take a tenth of it, so whatever claims more is no segment of ours."""

_LEVEL: Final = 1
"""A shard of 1,000 rows of 239 bytes with random MD5s: 0.33 µs and 24 bytes a row; level 3 took 0.54
and 31, because what repeats here repeats near by (python-zstandard 0.25)."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]")


class Deed(StrEnum):
    """What was done about an object. The strings are part of the format."""

    COPIED = "copied"
    FOUND = "found"  # by a task that ran again: an earlier attempt had copied it
    SKIPPED = "skipped"  # the stores were asked, and the two were equal
    FAILED = "failed"
    REFUSED = "refused"  # the target cannot hold the name
    DELETED = "deleted"
    WARMED = "warmed"  # read through a cache, or into it
    RESIDENT = "resident"  # the cache had it before the job came
    EVICTED = "evicted"  # freed again, by the record of the job that had warmed it


class DeltaRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What it took to send an object as a difference; ``wire_bytes`` crossed between the sides.

    ``basis`` is what the target's object was called of which it was made, "" where it had its name.
    A ``direct`` one was taken from the older version that ``base`` names, without a signature; else ``base``
    says why that was not done, "" where no base was given. ``changed_bytes`` of what matched came as changes
    of elements.
    """

    wire_bytes: int
    literal_bytes: int
    matched_bytes: int
    requests: int
    saved_usd: float
    basis: str = ""
    direct: bool = False
    changed_bytes: int = 0
    base: str = ""


class Row(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What was done about one object; ``key`` is its key under the target's root.

    ``size`` is -1 where nobody knew it. ``mtime_ns`` is the time that the target was given, None
    where that is not known. ``checksum`` is of the whole object. ``escaped`` is set in a written row
    whose names are not valid Unicode; they then stand in the form of ``name_lists.escape_name``.
    """

    key: str
    size: int
    action: Deed
    at_ms: int
    source_etag: str = ""
    source_version: str = ""
    mtime_ns: int | None = None
    target_etag: str = ""
    target_version: str = ""
    checksum: Checksum | None = None
    verified: Proof | None = None
    kind: Kind = Kind.OBJECT
    source_key: str = ""  # "" where it is the same
    error: str = ""
    detail: str = ""
    escaped: bool = False
    delta: DeltaRow | None = None

    def from_source(self, key: str) -> "Row":
        """The same row of an object that the source has under another key."""
        return msgspec.structs.replace(self, source_key="" if key == self.key else key)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote a segment. ``rows`` is how many follow; task 0 is the start of a run.

    ``node`` is the one whose cache the rows of a prewarm speak of, ``judge`` who told what was in it.
    """

    format: str = FORMAT
    version: int = VERSION
    job: str
    task: int
    generation: int
    worker: str
    source: str
    target: str
    written_at_ms: int
    rows: int
    node: str = ""
    judge: str = ""


class Segment(msgspec.Struct, frozen=True):
    """A segment as it was read."""

    header: Header
    rows: list[Row]


class DamagedSegment(ValueError):
    """The bytes are not a whole segment of a version that is understood."""


_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_row_decoder = msgspec.json.Decoder(Row)


# --- Rows ---


def copied_row(blob: Blob, receipt: Receipt, proof: Proof, at_ms: int) -> Row:
    """The row of a small object that landed; ``blob`` as it was written."""
    entry = blob.entry
    return Row(
        entry.key,
        receipt.size,
        Deed.COPIED,
        at_ms,
        entry.etag,
        entry.version,
        blob.attributes.mtime_ns,
        receipt.etag,
        receipt.version,
        # Where no store had a use for one, ours is cheap: 1 µs for 16 KiB.
        receipt.checksum or blob.checksum or digests.checksum("xxh3", blob.data),
        proof,
        entry.kind,
    )


def finished_row(
    entry: Entry,
    receipt: Receipt,
    at_ms: int,
    *,
    mtime_ns: int | None,
    checksum: Checksum | None = None,
) -> Row:
    """The row of an object that was not in memory as a whole; the receipt's proof is the object's.

    ``entry`` is the source's, under its key at the target.
    """
    return Row(
        entry.key,
        receipt.size,
        Deed.COPIED,
        at_ms,
        entry.etag,
        entry.version,
        mtime_ns,
        receipt.etag,
        receipt.version,
        checksum or receipt.checksum,
        receipt.proof,
        entry.kind,
    )


def same_row(source: Entry, target: Entry, deed: Deed, at_ms: int, *, target_is_local: bool) -> Row:
    """The row of an object that the target has already, as it was listed there."""
    return Row(
        target.key,
        target.size,
        deed,
        at_ms,
        source.etag,
        source.version,
        target.mtime_ns if target_is_local else None,
        target.etag,
        target.version,
        None,
        Proof.WEAK,
        target.kind,
    )


def deleted_row(entry: Entry, at_ms: int) -> Row:
    """The row of an object of the target that was removed; ``entry`` as it was listed there."""
    return Row(
        entry.key,
        entry.size,
        Deed.DELETED,
        at_ms,
        target_etag=entry.etag,
        target_version=entry.version,
        kind=entry.kind,
    )


def failed_rows(
    task: Payload, failures: Iterable[Failure], target_key: Callable[[str], str], at_ms: int
) -> list[Row]:
    """The rows of a task's failures, with what the task knew of their objects."""
    failures = list(failures)
    known = {entry.key: entry for entry in _entries_of(task)} if failures else {}
    rows = []
    for failure in failures:
        entry = known.get(failure.key, Entry(failure.key, -1, 0))
        rows.append(
            Row(
                target_key(failure.key),
                entry.size,
                Deed.REFUSED if failure.error == "Refused" else Deed.FAILED,
                at_ms,
                entry.etag,
                entry.version,
                kind=entry.kind,
                error=failure.error,
                detail=failure.detail,
            )
        )
    return rows


def _entries_of(task: Payload) -> list[Entry]:
    if isinstance(task, Removal):
        return task.entries
    if isinstance(task, SmallShard):
        return task.copies + [source for source, _ in task.probes]
    return [task.entry] if isinstance(task, LargeObject | Assembly | SeekTask | DeltaTask) else []


def newest(one: Row, other: Row) -> Row:
    """The row that counts, of two of one key: the later one.

    A later row that only confirms what an earlier copy left takes over what that one had proven, so
    that a repeated task does not make the record poorer.
    """
    earlier, later = sorted((one, other), key=lambda row: (row.at_ms, row.action))
    if later.action in (Deed.FOUND, Deed.SKIPPED) and _describes(earlier, later):
        return msgspec.structs.replace(
            later,
            checksum=earlier.checksum,
            verified=earlier.verified,
            mtime_ns=later.mtime_ns if earlier.mtime_ns is None else earlier.mtime_ns,
        )
    return later


def _describes(earlier: Row, later: Row) -> bool:
    """Whether two rows speak of the same bytes at the target."""
    times = {earlier.mtime_ns, later.mtime_ns} - {None}
    return (
        later.checksum is None
        and earlier.action in (Deed.COPIED, Deed.FOUND, Deed.SKIPPED)
        and (earlier.size, earlier.kind) == (later.size, later.kind)
        and (earlier.source_etag, earlier.source_version, earlier.target_etag)
        == (later.source_etag, later.source_version, later.target_etag)
        and len(times) <= 1
    )


# --- Segments ---


def segment_name(header: Header) -> str:
    """Where a segment lies under the manifest's root. Names sort by the time of writing."""
    # The worker, because two hosts may run one command on a shared place in the same millisecond.
    worker = _NOT_IN_NAMES.sub("_", header.worker)[:80]
    at = f"{header.written_at_ms:014d}"
    return f"{header.job}/{at}-{header.task}-{header.generation}-{worker}{SUFFIX}"


def encode_segment(header: Header, rows: Sequence[Row]) -> bytes:
    """Write a segment; every name survives exactly."""
    try:
        lines = _encoder.encode_lines([header, *rows])
    except UnicodeEncodeError:
        header = msgspec.structs.replace(
            header,
            worker=readable(header.worker),
            source=readable(header.source),
            target=readable(header.target),
            node=readable(header.node),
        )
        lines = _encoder.encode_lines([header, *map(_escaped, rows)])
    return pack(lines, level=_LEVEL, checksum=True)


def decode_segment(data: bytes | bytearray | memoryview) -> Segment:
    """Read a segment. Raises ``DamagedSegment`` with one line that says what is wrong."""
    try:
        first, _, rest = unpack(bytes(data), bytes_max=SEGMENT_BYTES_MAX).partition(b"\n")
    except Damaged as error:
        raise DamagedSegment(str(error)) from error
    try:
        header = _header_decoder.decode(first)
    except msgspec.MsgspecError as error:
        raise DamagedSegment(f"its first line is no header of a manifest ({error})") from error
    if (header.format, header.version) != (FORMAT, VERSION):
        raise DamagedSegment(
            f"it is of the format {header.format!r}, version {header.version};"
            f" this mover reads {FORMAT!r}, version {VERSION}"
        )
    try:
        rows = [_unescaped(row) if row.escaped else row for row in _row_decoder.decode_lines(rest)]
    except (msgspec.MsgspecError, Malformed) as error:
        raise DamagedSegment(f"a row cannot be read ({error})") from error
    if len(rows) != header.rows:
        raise DamagedSegment(f"it has {len(rows)} rows, its header promises {header.rows}")
    return Segment(header, rows)


def encode_row(row: Row) -> bytes:
    """One row as it stands in a segment."""
    try:
        return _encoder.encode(row)
    except UnicodeEncodeError:
        return _encoder.encode(_escaped(row))


def decode_row(line: bytes) -> Row:
    """Read what ``encode_row`` wrote."""
    row = _row_decoder.decode(line)
    return _unescaped(row) if row.escaped else row


def _escaped(row: Row) -> Row:
    """A row that JSON can hold, if it cannot be written as it is."""
    texts = {
        name: readable(getattr(row, name))
        for name in ("source_etag", "source_version", "target_etag", "target_version", "error")
    }
    texts["detail"] = readable(row.detail)
    if row.delta is not None and not _is_unicode(row.delta.base):
        told = msgspec.structs.replace(row.delta, base=readable(row.delta.base))
        row = msgspec.structs.replace(row, delta=told)
    names = (row.key, row.source_key, row.delta.basis if row.delta else "")
    if all(map(_is_unicode, names)):
        return msgspec.structs.replace(row, **texts)
    return msgspec.structs.replace(_renamed(row, escape_name), escaped=True, **texts)


def _unescaped(row: Row) -> Row:
    return msgspec.structs.replace(_renamed(row, unescape_name), escaped=False)


def _renamed(row: Row, form: Callable[[str], str]) -> Row:
    """A row with its names in another form."""
    delta = row.delta
    if delta is not None:
        delta = msgspec.structs.replace(delta, basis=form(delta.basis))
    return msgspec.structs.replace(
        row, key=form(row.key), source_key=form(row.source_key), delta=delta
    )


def readable(text: str) -> str:
    """A text as it stands in a segment: what is no Unicode in it is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)

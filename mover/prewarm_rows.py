"""Pure: what a prewarm's manifest says of a file, and which files are a former job's own by it.

A row is made for each file of a shard; one that is cut has a row for each shard that has a piece of it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from mover.manifest import Deed, Row
from transports.model import Entry, Proof


def rows_of(
    entries: Iterable[Entry],
    deed: Deed,
    at_ms: int,
    *,
    proof: Proof | None = None,
) -> list[Row]:
    """The rows of files with which the same was done."""
    return [
        Row(
            entry.key,
            entry.size,
            deed,
            at_ms,
            entry.etag,
            entry.version,
            entry.mtime_ns,
            verified=proof,
        )
        for entry in entries
    ]


def shard_rows(
    entries: Mapping[str, Entry],
    *,
    read: Collection[str],
    found: Collection[str],
    failures: Sequence[tuple[str, str, str]],
    proof: Proof | None,
    at_ms: int,
) -> list[Row]:
    """The rows of a shard: of what was ``read``, of what was ``found`` to be there, and of what failed.

    ``entries`` are those of the shard by key; ``failures`` are (key, class of the error, one line for a person).
    """
    failed = {key: (error, detail) for key, error, detail in failures}
    rows = rows_of(
        (entries[key] for key in read if key not in failed), Deed.WARMED, at_ms, proof=proof
    )
    rows += rows_of(
        (entries[key] for key in found if key not in failed), Deed.RESIDENT, at_ms, proof=proof
    )
    for key, (error, detail) in failed.items():
        (row,) = rows_of([entries.get(key, Entry(key, -1, 0))], Deed.FAILED, at_ms)
        rows.append(msgspec.structs.replace(row, error=error, detail=detail))
    return rows


def standing(one: Row, other: Row) -> Row:
    """The row that says whose a file in a node's cache is, of two of one key on that node.

    What the job read stays its own when it finds it there again, and when a later attempt fails; until it is
    freed, or the file is another one.
    """
    earlier, later = sorted((one, other), key=lambda row: row.at_ms)
    if later.action is Deed.FAILED:
        return earlier
    found_again = later.action is Deed.RESIDENT and earlier.action is Deed.WARMED
    if found_again and _is_version(earlier, later.size, later.source_version, later.source_etag):
        return earlier
    return later


def is_own(row: Row | None, entry: Entry, *, brought: bool) -> bool:
    """Whether a file that is there is one that the job warmed, and still as it was then.

    ``brought`` says that the cache itself knows the job's target as where the file came from.
    """
    if row is None:
        return False
    is_its = row.action is Deed.WARMED or (row.action is Deed.RESIDENT and brought)
    if not is_its or not _is_version(row, entry.size, entry.version, entry.etag):
        return False
    is_pinned = (row.source_version and entry.version) or (row.source_etag and entry.etag)
    return bool(is_pinned) or row.mtime_ns == entry.mtime_ns


def _is_version(row: Row, size: int, version: str, etag: str) -> bool:
    """Whether a row speaks of this version, as far as both sides name one."""
    if row.size != size:
        return False
    if row.source_version and version:
        return row.source_version == version
    return not (row.source_etag and etag) or row.source_etag == etag

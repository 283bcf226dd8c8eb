"""Read a manifest back: every segment, merged to the newest row of each key, in the order of keys.

Segments come in no order of keys and there may be millions of rows, so they go through a private
temporary database on disk; memory is its cache and a few segments.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from mover.ends import closing_pages
from mover.errors import Damaged, Rejected
from mover.manifest import (
    SEGMENT_BYTES_MAX,
    SUFFIX,
    DamagedSegment,
    Row,
    Segment,
    decode_row,
    decode_segment,
    encode_row,
    newest,
)
from transports.base import Transport
from transports.errors import TransportError
from transports.model import Entry

READERS = 8
"""Segments read at a time; a segment of a thousand rows is about 100 KB and decodes to one MB."""

PAGE_ROWS = 1000
CACHE_KIB = 32 * 1024


class RowSpill:
    """The newest row of each key, on disk. Blocks for milliseconds at most; for one thread.

    SQLite removes the file by itself, also when the process dies. ``which`` makes one row of two of one key.
    """

    def __init__(self, which: Callable[[Row, Row], Row] = newest) -> None:
        def line(one: bytes, other: bytes) -> bytes:
            return encode_row(which(decode_row(one), decode_row(other)))

        self._database = sqlite3.connect("", isolation_level=None)  # "" is a temporary file
        self._database.create_function("newest", 2, line, deterministic=True)
        for statement in (
            f"PRAGMA cache_size = -{CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE newest_rows (key BLOB PRIMARY KEY, line BLOB) WITHOUT ROWID",
        ):
            self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows; of those of one key the newest stays."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO newest_rows VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET line = newest(line, excluded.line)",
            [(_sort_key(row.key), encode_row(row)) for row in rows],
        )
        self._database.execute("COMMIT")

    def get(self, key: str) -> Row | None:
        """The newest row of a key."""
        found = self._database.execute(
            "SELECT line FROM newest_rows WHERE key = ?", (_sort_key(key),)
        ).fetchone()
        return None if found is None else decode_row(found[0])

    def pages(self, count: int = PAGE_ROWS) -> Iterator[list[Row]]:
        """All rows in the order of ``str`` comparison of their keys, which is the listings'."""
        after = b""
        while True:
            found = self._database.execute(
                "SELECT key, line FROM newest_rows WHERE key > ? ORDER BY key LIMIT ?",
                (after, count),
            ).fetchall()
            if not found:
                return
            after = found[-1][0]
            yield [decode_row(line) for _, line in found]


def _sort_key(key: str) -> bytes:
    # UTF-8 sorts as code points do, also with lone surrogates written as if they were characters.
    return key.encode("utf-8", "surrogatepass")


async def read_segment(manifest: Transport, entry: Entry) -> Segment:
    """Read one segment. Raises ``Damaged`` for one that is not whole, ``TransportError``."""
    try:
        if entry.size > SEGMENT_BYTES_MAX:
            raise DamagedSegment("it is larger than any segment")
        (blob,) = await manifest.read_small([entry])
        if isinstance(blob, TransportError):
            raise blob
        return decode_segment(blob.data)
    except DamagedSegment as error:
        place = f"{manifest.location}{entry.key}"
        raise Damaged(f"the manifest's segment {place} is damaged: {error}") from error


class Recall:
    """Reads the segments below a root into a spill; ``segments`` counts them."""

    def __init__(self, manifest: Transport, spill: RowSpill) -> None:
        self._manifest = manifest
        self._spill = spill
        self._target: tuple[str, str] | None = None  # with the job that has it
        self.segments = 0

    async def run(self) -> None:
        """Read them all.

        Raises ``Rejected`` where there is none or where they are of different targets, ``Damaged``
        for one that is not whole, ``TransportError`` for one that cannot be read: a record with a
        gap would vouch for what it does not know.
        """
        async with closing_pages(self._manifest.list()) as pages:
            async for page in pages:
                await self._read([entry for entry in page if entry.key.endswith(SUFFIX)])
        if not self.segments:
            raise Rejected(
                f"there is no manifest at {self._manifest.location}: nothing there ends in {SUFFIX}"
            )

    async def _read(self, entries: Sequence[Entry]) -> None:
        waiting = iter(entries)

        async def lane() -> None:
            for entry in waiting:
                self._take(await read_segment(self._manifest, entry))

        async with asyncio.TaskGroup() as crew:
            for number in range(min(READERS, len(entries))):
                crew.create_task(lane(), name=f"segment-{number}")

    def _take(self, segment: Segment) -> None:
        header = segment.header
        self.segments += 1
        if not segment.rows and header.node:  # the start of a prewarm, of all its targets
            return
        target, job = self._target or (header.target, header.job)
        if target != header.target:
            raise Rejected(
                f"{self._manifest.location} holds records of several targets, {target} and"
                f" {header.target}: name one job's, {self._manifest.location}{job}/"
                f" or {self._manifest.location}{header.job}/"
            )
        self._target = (target, job)
        self._spill.add(segment.rows)

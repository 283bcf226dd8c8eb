"""The files of one origin in a cache directory: which are there, as the origin has them now, and who needs them.

Each verb is one transaction of the index (``prewarm_index``), or two. What a step does, it does on the index's thread.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from mover.prewarm.evicting import Candidate
from mover.prewarm.origins import Kept, Origin, State, identity_of, is_copy_of, state_of
from mover.prewarm_halves import Halves
from mover.prewarm_index import Connection, Index
from mover.prewarm_room import KEPT, Removed, Reserved, Wanted, Warden, lstat
from mover.seeing_out import in_thread
from transports import digests
from transports.base import Transport
from transports.model import Entry

T = TypeVar("T")

_READ_BYTES: Final = 1024 * 1024

_LAND: Final = """
INSERT INTO file (path, size, etag, version, mtime_ns, digest, identity, ctime_ns, origin, used_ns)
VALUES {rows}
ON CONFLICT (path) DO UPDATE SET size = excluded.size, etag = excluded.etag,
    version = excluded.version, mtime_ns = excluded.mtime_ns, digest = excluded.digest,
    identity = excluded.identity, ctime_ns = excluded.ctime_ns, origin = excluded.origin,
    used_ns = excluded.used_ns
"""

_MARK: Final = "INSERT OR IGNORE INTO mark SELECT file_id, ? FROM file"

KEPT_ROWS: Final = 1000
"""Rows of a page of what is kept."""

BATCH_ROWS: Final = 250
"""Rows that one statement takes. Each statement lets go of the interpreter and has to win it back: a statement a row
took ten times as long while files were copied beside it."""


class Landed(NamedTuple):
    """A file that has just been given its name, and the digest of its bytes."""

    entry: Entry
    digest: str


class _Touched(NamedTuple):
    """A kept file whose change time is another one: its place in what was asked for, and that time."""

    place: int
    kept: Kept
    path: bytes
    ctime_ns: int


class _Found(NamedTuple):
    """What a look came to: the numbers of what is there by place, what has to be read to tell, and what is of no use."""

    present: dict[int, int]
    touched: list[_Touched]
    stale: list[int]


class Shelf:
    """What one job does with the files of one origin. Raises ``TransportError`` where the index fails.

    Every key has to be one that ``Origin.path`` takes.
    """

    def __init__(self, index: Index, origin: Origin, *, capacity_bytes: int) -> None:
        self._index = index
        self._origin = origin
        self._under = os.path.join(index.directory, b"")
        self._warden = Warden(index, capacity_bytes)
        self._landed: list[Landed] = []
        self._landing = asyncio.Lock()

    def halves(self, directory: Transport) -> Halves:
        """The files of this origin that have landed in part; ``directory`` is the whole cache directory."""
        return Halves(self._index, self._origin, directory, self._warden.bury)

    async def look(self, entries: Sequence[Entry], *, marks: bool) -> set[int]:
        """The places of those entries whose files are here, as they landed and as the origin has them now.

        ``marks`` says that this job needs them: none of them goes while it runs.
        """
        found = await self._index.read(lambda connection: self._look(connection, entries))
        proven = []
        for each in found.touched:
            if await in_thread(_digest_of, each.path, each.kept) == each.kept.digest:
                proven.append(each)
                found.present[each.place] = each.kept.number
        if marks or proven:
            await self._index.write(lambda connection: self._note(connection, found, proven, marks))
        return set(found.present)

    def _look(self, connection: Connection, entries: Sequence[Entry]) -> _Found:
        found = _Found({}, [], [])
        paths = [self._origin.path(entry.key) for entry in entries]
        kept_at = _find(connection, paths)
        for place, entry in enumerate(entries):
            path = paths[place]
            kept = kept_at.get(path)
            if kept is None:
                continue
            if is_copy_of(kept, entry):
                absolute = self._under + path
                seen = lstat(absolute)
                state = state_of(kept, seen)
                if state is State.SAME:
                    found.present[place] = kept.number
                    continue
                if state is State.TOUCHED and seen is not None:
                    found.touched.append(_Touched(place, kept, absolute, seen.st_ctime_ns))
                    continue
            found.stale.append(kept.number)
        return found

    def _note(
        self, connection: Connection, found: _Found, proven: Sequence[_Touched], marks: bool
    ) -> None:
        for each in proven:
            connection.execute(
                "UPDATE file SET ctime_ns = ? WHERE file_id = ?", (each.ctime_ns, each.kept.number)
            )
        if not marks:
            return
        now_ns, job_id = time.time_ns(), self._index.job_id
        for some in _batches(list(found.present.values())):
            these = f"file_id IN ({_places(some)})"
            connection.execute(f"UPDATE file SET used_ns = ? WHERE {these}", (now_ns, *some))
            connection.execute(f"{_MARK} WHERE {these}", (job_id, *some))
        # What is not what the job needs may go like any other.
        for some in _batches(found.stale):
            connection.execute(
                f"DELETE FROM mark WHERE job_id = ? AND file_id IN ({_places(some)})",
                (job_id, *some),
            )

    async def open_kept(self, keys: Sequence[str]) -> list[tuple[Kept, int] | None]:
        """Files that are as they landed, opened to be read, by the places of their keys; the caller closes them.

        None for any other key, also one that ``Origin.path`` does not take.
        """

        def step(connection: Connection) -> list[tuple[Kept, int] | None]:
            paths = [self._path(key) for key in keys]
            kept_at = _find(connection, [path for path in paths if path])
            return [self._open(kept_at.get(path), path) for path in paths]

        return await self._index.read(step)

    def _path(self, key: str) -> bytes:
        try:
            return self._origin.path(key)
        except ValueError:
            return b""

    def _open(self, kept: Kept | None, path: bytes) -> tuple[Kept, int] | None:
        if kept is None:
            return None
        try:
            fd = os.open(self._under + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        if state_of(kept, os.fstat(fd)) is State.SAME:
            return kept, fd
        os.close(fd)
        return None

    async def reserve(self, entries: Sequence[Entry], *, anew: bool = False) -> Reserved:
        """Ask for room for files that are to come; what nobody needs who runs goes for them, oldest first.

        What is granted has to ``land`` or to be ``released``. ``anew`` asks for more than was reserved before.
        """
        wanted = [Wanted(self._origin.path(entry.key), entry.size) for entry in entries]
        return await self._index.write(
            lambda connection: self._warden.reserve(connection, wanted, anew=anew)
        )

    async def capacity(self) -> int:
        """What the directory can hold of this origin, in bytes: all but what other jobs that run need elsewhere."""
        under = os.fsencode(f"{self._origin.root}/{self._origin.prefix}")

        def step(connection: Connection) -> int:
            self._warden.bury(connection)
            (theirs,) = connection.execute(
                "SELECT coalesce(sum(size), 0) FROM file WHERE substr(path, 1, ?) <> ? AND file_id IN"
                " (SELECT file_id FROM mark WHERE job_id <> ?)",
                (len(under), under, self._index.job_id),
            ).fetchone()
            return max(0, self._warden.room(connection).most - int(theirs))

        return await self._index.write(step)

    async def land(self, landed: Sequence[Landed]) -> None:
        """Put down files that have just been given their names; this job needs them.

        Their room is held then, no longer reserved. What lands while others are put down goes together.
        """
        self._landed += landed
        async with self._landing:
            together, self._landed = self._landed, []
            for some in _batches(together):
                await self._index.write(partial(self._land, some))

    def _land(self, landed: Sequence[Landed], connection: Connection) -> None:
        now_ns, holder, text = time.time_ns(), self._index.holder, self._origin.text
        values: list[object] = []
        paths = []
        for entry, digest in landed:
            path = self._origin.path(entry.key)
            found = lstat(self._under + path)
            if found is None or found.st_size != entry.size:
                continue  # somebody else is at it; the next look tells
            paths.append(path)
            values += (path, entry.size, entry.etag, entry.version, entry.mtime_ns, digest)
            values += (identity_of(found), found.st_ctime_ns, text, now_ns)
        if not paths:
            return
        these = f"path IN ({_places(paths)})"
        rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(paths))
        connection.execute(
            f"DELETE FROM reservation WHERE holder = ? AND {these}", (holder, *paths)
        )
        connection.execute(_LAND.format(rows=rows), values)
        connection.execute(f"{_MARK} WHERE {these}", (self._index.job_id, *paths))

    def release(self, entries: Sequence[Entry]) -> None:
        """Give back the room of what has not landed; it is done soon. What came and was not put down goes."""
        paths = [self._origin.path(entry.key) for entry in entries]
        # In its turn: a reservation that a cancelled call asked for may only now be made.
        self._index.leave(
            lambda connection: self._warden.release(connection, paths),
            before=lambda: self._warden.under_way.difference_update(paths),
        )

    async def kept(self, *, after: str) -> list[Entry]:
        """What the index has of this origin, a page in the order of keys, behind this key ("": from the start)."""
        first = self._origin.path("")
        beyond = first[:-1] + bytes([first[-1] + 1])  # the prefix ends in a slash

        def step(connection: Connection) -> list[Entry]:
            query = (
                "SELECT path, size, mtime_ns, etag, version FROM file"
                " WHERE path > ? AND path < ? ORDER BY path LIMIT ?"
            )
            rows = connection.execute(query, (self._origin.path(after), beyond, KEPT_ROWS))
            return [Entry(os.fsdecode(path)[cut:], *rest) for path, *rest in rows]

        cut = len(os.fsdecode(first))
        return await self._index.read(step)

    async def brought(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys whose files were warmed from this origin, as it was named, and not from above or below it."""
        paths = {self._origin.path(key): key for key in keys}

        def step(connection: Connection) -> set[str]:
            found: set[str] = set()
            for some in _batches(list(paths)):
                query = f"SELECT path FROM file WHERE path IN ({_places(some)}) AND origin = ?"
                rows = connection.execute(query, (*some, self._origin.text))
                found.update(paths[path] for (path,) in rows)
            return found

        return await self._index.read(step)

    async def evict(self, entries: Sequence[Entry]) -> tuple[Removed, list[int]]:
        """Remove the files of these keys that are ours.

        Returns what went, and the places of those that stay because another job needs them.
        """

        def step(connection: Connection) -> tuple[Removed, list[int]]:
            self._warden.bury(connection)
            going, needed = [], []
            paths = [self._origin.path(entry.key) for entry in entries]
            kept_at = _find(connection, paths)
            for place, path in enumerate(paths):
                kept = kept_at.get(path)
                if kept is None:
                    continue
                others = connection.execute(
                    "SELECT 1 FROM mark WHERE file_id = ? AND job_id <> ?",
                    (kept.number, self._index.job_id),
                ).fetchone()
                if others is None:
                    going.append(Candidate(kept.number, path, kept.size, 0))
                else:
                    needed.append(place)
            return self._warden.remove(connection, going), needed

        return await self._index.write(step)

    async def claim_store(self) -> bool:
        """Say which endpoint this origin's store has; False where jobs that run need files of another one's.

        What has no etag is a copy of nothing then.
        """
        root, endpoint = self._origin.root, self._origin.endpoint
        under = os.fsencode(f"{root}/")

        def step(connection: Connection) -> bool:
            self._warden.bury(connection)
            row = connection.execute(
                "SELECT endpoint FROM store WHERE root = ?", (root,)
            ).fetchone()
            if row is not None and row[0] == endpoint:
                return True
            (needed,) = connection.execute(
                "SELECT count(*) FROM mark JOIN file USING (file_id)"
                " WHERE job_id <> ? AND substr(path, 1, ?) = ?",
                (self._index.job_id, len(under), under),
            ).fetchone()
            if needed:
                return False
            if row is not None:
                connection.execute(
                    "UPDATE file SET mtime_ns = -1, version = '' WHERE etag = ''"
                    " AND substr(path, 1, ?) = ?",
                    (len(under), under),
                )
            connection.execute("INSERT OR REPLACE INTO store VALUES (?, ?)", (root, endpoint))
            return True

        return await self._index.write(step)


def _find(connection: Connection, paths: Sequence[bytes]) -> dict[bytes, Kept]:
    found = {}
    for some in _batches(paths):
        query = f"SELECT path, {KEPT} FROM file WHERE path IN ({_places(some)})"
        for path, *kept in connection.execute(query, some):
            found[path] = Kept(*kept)
    return found


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), BATCH_ROWS):
        yield values[start : start + BATCH_ROWS]


def _digest_of(path: bytes, kept: Kept) -> str:
    """The digest of a file that has this identity all the while; "" for any other."""
    try:
        with open(path, "rb", buffering=0) as file:
            crc = 0
            while piece := file.read(_READ_BYTES):
                crc = digests.crc64nvme(piece, crc)
            is_same = identity_of(os.fstat(file.fileno())) == kept.identity
            return f"{crc:016x}" if is_same else ""
    except OSError:
        return ""

"""The room in a cache directory: who has reserved it, whose process is gone, and what goes to make some.

Steps of the index's transactions (``prewarm_index``), on its thread. Files are removed inside of a transaction, before
it is committed: a process that is killed in between leaves a row without a file, which a look finds to be
missing, and never a file that nobody counts.
"""

import contextlib
import os
import time
from collections.abc import Generator, Sequence
from typing import Final, NamedTuple

from mover.prewarm.evicting import Candidate, Room, admitted, victims
from mover.prewarm.origins import Kept, State, identity_of, state_of
from mover.prewarm_index import Connection, Index

KEPT: Final = "file_id, size, etag, version, mtime_ns, digest, identity, ctime_ns"
"""The columns of a ``Kept``."""

_LOOSE: Final = "file_id NOT IN (SELECT file_id FROM mark)"


class Wanted(NamedTuple):
    """A file that is to come: its path in the cache directory, and its size in bytes."""

    path: bytes
    size: int


class Removed(NamedTuple):
    """What went."""

    files: int
    bytes: int


class Reserved(NamedTuple):
    """What may come, by places in what was asked for, and what room there was for it in all.

    ``busy`` are files that somebody else has reserved room for, and brings; they are not granted.
    """

    granted: list[int]
    busy: list[int]
    room_bytes: int


class Warden:
    """Gives room away and takes it back, for one process. ``capacity_bytes`` is 0 for no bound."""

    def __init__(self, index: Index, capacity_bytes: int) -> None:
        self._index = index
        self._capacity_bytes = capacity_bytes
        self.under_way: set[bytes] = set()
        """What this process is copying. A full disk may keep rows of what it no longer is."""

    def room(self, connection: Connection) -> Room:
        """What the directory holds and may hold, now."""
        held, reserved = connection.execute("SELECT held, reserved FROM tally").fetchone()
        disk = os.statvfs(self._index.directory)
        return Room(
            capacity=self._capacity_bytes,
            held=held,
            reserved=reserved,
            free=disk.f_bavail * disk.f_frsize,
            disk=disk.f_blocks * disk.f_frsize,
        )

    def reserve(self, connection: Connection, wanted: Sequence[Wanted], *, anew: bool) -> Reserved:
        """Give room to files that are to come; what nobody needs who runs goes for them, oldest first.

        ``anew`` says that this process has reserved room for them before, which was not enough.
        """
        self.bury(connection)
        busy = [] if anew else self._busy(connection, wanted)
        free = sorted(set(range(len(wanted))) - set(busy))
        reserved = self._reserve(connection, [wanted[place] for place in free])
        self.under_way.update(wanted[free[place]].path for place in reserved.granted)
        return reserved._replace(granted=[free[place] for place in reserved.granted], busy=busy)

    def _reserve(self, connection: Connection, wanted: Sequence[Wanted]) -> Reserved:
        for each in wanted:
            connection.execute(
                "DELETE FROM reservation WHERE holder = ? AND path = ?",
                (self._index.holder, each.path),
            )
        halves = self._unreserve_halves(connection, wanted)
        sizes = [each.size for each in wanted]
        left_bytes = room_bytes = self.room(connection).left
        if sum(sizes) > left_bytes:
            room_bytes += _loose_bytes(connection)
        granted = admitted(sizes, room_bytes)
        lacking_bytes = sum(sizes[place] for place in granted) - left_bytes
        going: list[Candidate] = []
        if granted:
            with contextlib.closing(_candidates(connection)) as candidates:
                going = victims(candidates, self._read_ns, lacking_bytes)
        went = self.remove(connection, going)
        if went.bytes < lacking_bytes:
            room_bytes = self.room(connection).left
            granted = admitted(sizes, room_bytes)
        now_ns = time.time_ns()
        rows = [(self._index.holder, *wanted[place], now_ns) for place in granted]
        rows += [("", *wanted[place], now_ns) for place in halves.difference(granted)]
        connection.executemany("INSERT INTO reservation VALUES (?, ?, ?, ?)", rows)
        return Reserved(granted, [], max(0, room_bytes))

    def _unreserve_halves(self, connection: Connection, wanted: Sequence[Wanted]) -> set[int]:
        """Take back the room of halves of these files that nobody is at; their places."""
        free = dict(connection.execute("SELECT path, size FROM reservation WHERE holder = ''"))
        places = {place for place, each in enumerate(wanted) if each.path in free}
        for place in places:
            connection.execute(
                "DELETE FROM reservation WHERE holder = '' AND path = ?", (wanted[place].path,)
            )
        return places

    def _busy(self, connection: Connection, wanted: Sequence[Wanted]) -> list[int]:
        rows = connection.execute(
            "SELECT path FROM reservation WHERE holder NOT IN ('', ?)", (self._index.holder,)
        )
        taken = self.under_way.union(path for (path,) in rows)
        return [place for place, each in enumerate(wanted) if each.path in taken]

    def release(self, connection: Connection, paths: Sequence[bytes]) -> None:
        """Take room back from what has not landed; what came and was not put down goes.

        The room of a half stays reserved, for who goes on with it.
        """
        for path in paths:
            key = (self._index.holder, path)
            row = connection.execute(
                "SELECT path, at_ns FROM reservation WHERE holder = ? AND path = ?", key
            ).fetchone()
            if row is not None:
                self._drop_stray(connection, *row)
                _leave_halves(connection, self._index.holder, [path])
                connection.execute("DELETE FROM reservation WHERE holder = ? AND path = ?", key)

    def bury(self, connection: Connection) -> None:
        """Take back what processes had that are gone: room, strays of theirs, and marks of jobs without any."""
        gone = (
            "SELECT DISTINCT holder FROM reservation"
            " WHERE holder <> '' AND holder NOT IN (SELECT name FROM holder)"
        )
        closed = [holder for (holder,) in connection.execute(gone).fetchall()]
        for holder in [*self._index.dead_holders(connection), *closed]:
            rows = connection.execute(
                "SELECT path, at_ns FROM reservation WHERE holder = ?", (holder,)
            ).fetchall()
            for path, at_ns in rows:
                self._drop_stray(connection, path, at_ns)
            _leave_halves(connection, holder, [path for path, _ in rows])
            connection.execute("DELETE FROM reservation WHERE holder = ?", (holder,))
            connection.execute("DELETE FROM holder WHERE name = ?", (holder,))
        connection.execute(
            "UPDATE half SET holder = '' WHERE holder NOT IN (SELECT name FROM holder)"
        )
        ended = "SELECT job_id FROM job WHERE job_id NOT IN (SELECT job_id FROM holder)"
        for job in connection.execute(ended).fetchall():
            connection.execute("DELETE FROM mark WHERE job_id = ?", job)
            connection.execute("DELETE FROM job WHERE job_id = ?", job)

    def remove(self, connection: Connection, files: Sequence[Candidate]) -> Removed:
        """Remove files, their rows, and the directories that are empty then.

        A file of that name that somebody else put there, or wrote to, stays, and is no longer counted.
        """
        went_files, went_bytes, directories = 0, 0, set()
        for file in files:
            (identity,) = connection.execute(
                "SELECT identity FROM file WHERE file_id = ?", (file.number,)
            ).fetchone()
            path = os.path.join(self._index.directory, file.path)
            found = lstat(path)
            try:
                # The inode alone says little: a file system gives the number of a removed file to the next one.
                if found is not None and identity_of(found) == identity:
                    os.unlink(path)
            except OSError:
                continue
            connection.execute("DELETE FROM file WHERE file_id = ?", (file.number,))
            went_files += 1
            went_bytes += file.size
            directories.add(os.path.dirname(file.path))
        for directory in directories:
            self._prune(directory)
        return Removed(went_files, went_bytes)

    def _prune(self, directory: bytes) -> None:
        with contextlib.suppress(OSError):
            while directory:
                os.rmdir(os.path.join(self._index.directory, directory))
                directory = os.path.dirname(directory)

    def _read_ns(self, candidate: Candidate) -> int:
        found = lstat(os.path.join(self._index.directory, candidate.path))
        return 0 if found is None else found.st_atime_ns

    def _drop_stray(self, connection: Connection, path: bytes, at_ns: int) -> None:
        """Remove a file that got its name after its room was reserved, and that nobody put down."""
        absolute = os.path.join(self._index.directory, path)
        found = lstat(absolute)
        if found is None or found.st_ctime_ns < at_ns:
            return
        row = connection.execute(f"SELECT {KEPT} FROM file WHERE path = ?", (path,)).fetchone()
        if row is None or state_of(Kept(*row), found) is State.GONE:
            with contextlib.suppress(OSError):
                os.unlink(absolute)


def _leave_halves(connection: Connection, holder: str, paths: Sequence[bytes]) -> None:
    """Make halves that a process was at free for others, together with their room."""
    for path in paths:
        key = (path, holder)
        if connection.execute(
            "UPDATE half SET holder = '' WHERE path = ? AND holder = ?", key
        ).rowcount:
            connection.execute("DELETE FROM reservation WHERE path = ? AND holder = ''", (path,))
            connection.execute(
                "UPDATE reservation SET holder = '' WHERE path = ? AND holder = ?", key
            )


def lstat(path: bytes) -> os.stat_result | None:
    """What the file system says of a file, following no link; None where there is none."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def _loose_bytes(connection: Connection) -> int:
    """What could go: all that no job that runs needs."""
    row = connection.execute(f"SELECT coalesce(sum(size), 0) FROM file WHERE {_LOOSE}").fetchone()
    return int(row[0])


def _candidates(connection: Connection) -> Generator[Candidate, None, None]:
    for row in connection.execute(
        f"SELECT file_id, path, size, used_ns FROM file WHERE {_LOOSE} ORDER BY used_ns, path"
    ):
        yield Candidate(*row)

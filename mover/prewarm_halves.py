"""Large files that a process was killed in the middle of: what has landed of them is kept for who goes on.

A *half* is an upload into a cache directory whose parts come from the origin. The directory's stage for halves
(``STAGE``) holds the bytes and, in a file beside them, a line for each part that is on disk; the index says what
each half is a copy of, and who is at it. A half of which nobody is at work is free: the next process that fills
the same file from the same version of the object takes it up.
"""

import os
from collections.abc import Callable, Sequence
from typing import Final

from mover.prewarm.origins import Half, Origin, may_go_on
from mover.prewarm_index import Connection, Index
from transports.base import Transport
from transports.errors import TransportError
from transports.model import Entry

STAGE: Final = "halves"
"""The token of the stage that all processes of a host share for halves."""

_COLUMNS: Final = "path, upload_id, size, etag, version"
_MINE: Final = "holder IN ('', ?)"
_LIVES: Final = (
    "job IN (SELECT job.name FROM job JOIN holder USING (job_id) WHERE holder.name <> ?)"
)


class Halves:
    """The halves of one origin in a cache directory, as one process of a job has them.

    Raises ``TransportError`` where the index fails. ``directory`` is the whole cache directory; ``bury`` is the step
    that takes back what dead processes had.
    """

    def __init__(
        self,
        index: Index,
        origin: Origin,
        directory: Transport,
        bury: Callable[[Connection], None],
    ) -> None:
        self._index = index
        self._origin = origin
        self._directory = directory
        self._bury = bury

    async def note(self, entry: Entry, upload_id: str) -> None:
        """Put down an upload that has just been opened for this version of an object."""
        row = (
            self._origin.path(entry.key),
            upload_id,
            entry.size,
            entry.etag,
            entry.version,
            self._index.holder,
            self._index.job,
        )
        await self._index.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO half VALUES (?, ?, ?, ?, ?, ?, ?)", row
            )
        )

    async def take_up(self, entry: Entry) -> str:
        """The upload to go on with, "" where there is none; one of another version is removed."""
        path = self._origin.path(entry.key)

        def step(connection: Connection) -> Half | None:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM half WHERE path = ? AND {_MINE}",
                (path, self._index.holder),
            ).fetchone()
            if row is None:
                return None
            half = Half(*row)
            if may_go_on(half, entry):
                connection.execute(
                    "UPDATE half SET holder = ?, job = ? WHERE path = ?",
                    (self._index.holder, self._index.job, path),
                )
            return half

        half = await self._index.write(step)
        if half is None:
            return ""
        if may_go_on(half, entry) and await self._is_whole(half):
            return half.upload_id
        await self.drop(entry.key)
        return ""

    async def drop(self, key: str) -> None:
        """Remove what there is of a half: it has landed, was given up, or is of another version."""
        path = self._origin.path(key)
        gone = await self._index.write(
            lambda connection: _take_out(connection, "path = ?", (path,))
        )
        await self._remove(gone)

    async def settle(self) -> None:
        """At the start of a process: keep what somebody will go on with, and remove the rest.

        Kept is what lies below the own target, and what is of a job that has another process alive. Call it before
        stages are cleaned: it takes hold of the one for halves if there is something to keep.
        """
        listed = [
            each
            for each in await self._directory.list_uploads()
            if each.upload_id.startswith(f"{STAGE}/")
        ]
        under = self._origin.path("")

        def step(connection: Connection) -> tuple[list[Half], list[Half], bool]:
            self._bury(connection)
            connection.execute(
                "UPDATE half SET job = ? WHERE holder = '' AND substr(path, 1, ?) = ?",
                (self._index.job, len(under), under),
            )
            gone = _take_out(
                connection,
                f"holder = '' AND job <> ? AND NOT {_LIVES}",
                (self._index.job, self._index.holder),
            )
            kept = [Half(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM half")]
            (others,) = connection.execute(
                "SELECT count(*) FROM holder WHERE name <> ?", (self._index.holder,)
            ).fetchone()
            return gone, kept, not others

        gone, kept, is_alone = await self._index.write(step)
        for half in kept:
            await self._is_whole(half)
        await self._remove(gone)
        known = {half.upload_id for half in kept}
        for each in listed if is_alone else []:
            if each.upload_id not in known:  # its process was killed before it had put it down
                await self._directory.abort_upload(each.key, each.upload_id)

    async def end(self) -> bool:
        """At the end of a process: remove what its job has left, unless another process of it goes on.

        Whether no half is left in the directory.
        """

        def step(connection: Connection) -> tuple[list[Half], int]:
            self._bury(connection)
            gone = _take_out(
                connection,
                f"job = ? AND {_MINE} AND NOT {_LIVES}",
                (self._index.job, self._index.holder, self._index.holder),
            )
            (left,) = connection.execute("SELECT count(*) FROM half").fetchone()
            return gone, left

        gone, left = await self._index.write(step)
        await self._remove(gone)
        return not left

    async def make_room(self) -> bool:
        """Remove free halves that no process alive will go on with; whether there were any."""

        def step(connection: Connection) -> list[Half]:
            where = f"holder = '' AND job <> ? AND NOT {_LIVES}"
            return _take_out(connection, where, (self._index.job, self._index.holder))

        gone = await self._index.write(step)
        await self._remove(gone)
        return bool(gone)

    async def _is_whole(self, half: Half) -> bool:
        """Whether an upload and its notes can be read; the stage is held from now on."""
        try:
            await self._directory.list_parts(os.fsdecode(half.path), half.upload_id)
        except (TransportError, ValueError):  # a note that a power cut has spoilt is no number
            return False
        return True

    async def _remove(self, halves: Sequence[Half]) -> None:
        for half in halves:
            await self._directory.abort_upload(os.fsdecode(half.path), half.upload_id)


def _take_out(connection: Connection, where: str, values: Sequence[object]) -> list[Half]:
    """Take halves out of the index, and the room that is reserved for them."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM half WHERE {where}", values).fetchall()
    gone = [Half(*row) for row in rows]
    for half in gone:
        connection.execute("DELETE FROM half WHERE path = ?", (half.path,))
        connection.execute("DELETE FROM reservation WHERE holder = '' AND path = ?", (half.path,))
    return gone

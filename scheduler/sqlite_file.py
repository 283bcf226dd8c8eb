"""One SQLite file, one thread, one transaction a step. The queue's only door to ``sqlite3``.

Durability: WAL with ``synchronous=NORMAL``. A commit is then in the page cache of the system,
not on the disk: it survives ``kill -9`` of every process, and not a power cut, which may take the
last commits but never tears one, and never spoils the file. For a queue that is right: what is
lost are claims and finishes, so work is done again, and work may always be done again (writes at
the target are idempotent). ``FULL`` would cost an fsync for each verb and buy nothing else.

``sqlite3`` blocks, so all calls run on one thread that belongs to this object: no more than one
waits, and two steps of one store never interleave.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from scheduler import sqlite_schema
from scheduler.errors import StoreUnavailable
from scheduler.model import TaskState
from scheduler.sqlite_busy import repeated_while_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

Connection: TypeAlias = sqlite3.Connection

_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
    }
)
_LASTING = frozenset(
    {
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)


class SqliteFile:
    """A file of ours and the thread that talks to it. Made by ``open``, ended by ``aclose``."""

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-store")
        self._connection: Connection | None = None
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_s: float) -> SqliteFile:
        """Open the file, or make it if there is none (its directory must exist).

        Raises ``StoreUnavailable``, permanent for a file that is foreign, corrupt, read-only or
        written by a newer version; such a file is left as it was.
        """
        file = cls(path, busy_timeout_s=busy_timeout_s)
        try:
            await file._on_thread(file._connect)
        except BaseException:
            await file.aclose()
            raise
        return file

    async def read(self, step: Callable[[Connection], T]) -> T:
        """Run a step that writes nothing, on one snapshot."""
        return await self._on_thread(lambda: self._transact("BEGIN", step))

    async def write(self, step: Callable[[Connection], T]) -> T:
        """Run a step as one transaction: all of it or, if it raises, nothing."""
        return await self._on_thread(lambda: self._transact("BEGIN IMMEDIATE", step))

    async def write_if(
        self, look: Callable[[Connection], bool], step: Callable[[Connection], T], otherwise: T
    ) -> T:
        """Run a step as ``write`` does, but only if a look without the write lock says so.

        For verbs that idle processes repeat: they must not queue before those that work. What
        the look saw may be gone when the step runs, so the step looks again.
        """

        def both() -> T:
            if not self._transact("BEGIN", look):
                return otherwise
            return self._transact("BEGIN IMMEDIATE", step)

        return await self._on_thread(both)

    async def aclose(self) -> None:
        """Close the connection after the step that is running. A second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _on_thread(self, step: Callable[[], T]) -> T:
        if self._is_closed:
            raise StoreUnavailable(location=str(self._path), detail="it is closed", permanent=True)
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    # What follows runs on the thread.

    def _transact(self, begin: str, step: Callable[[Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(location=str(self._path), detail="it is closed", permanent=True)
        with self._translating():
            connection.execute(begin)
            try:
                outcome = step(connection)
                connection.execute("COMMIT")
            except BaseException:
                # Some errors (a full disk) have rolled back already; a second one is an error.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return outcome

    def _connect(self) -> None:
        with self._translating():
            # Autocommit: every BEGIN in this house is written out.
            connection = sqlite3.connect(
                self._path, timeout=self._busy_timeout_s, isolation_level=None
            )
            self._connection = connection
            patiently = functools.partial(repeated_while_busy, patience_s=self._busy_timeout_s)
            patiently(lambda: self._check(connection))
            patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
            connection.execute("PRAGMA synchronous = NORMAL")
            self._transact("BEGIN IMMEDIATE", self._create)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check(self, connection: Connection) -> None:
        """Refuse a file that is not ours, before anything is written to it."""
        # On one snapshot, or a file that another process is just making looks foreign.
        connection.execute("BEGIN")
        try:
            self._check_snapshot(connection)
        finally:
            connection.execute("ROLLBACK")

    def _check_snapshot(self, connection: Connection) -> None:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if not tables and application_id == 0:
            return
        if application_id != sqlite_schema.APPLICATION_ID or "schema_version" not in tables:
            raise self._refused("it is a database of something else")
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        version = row[0] or 0
        if version > sqlite_schema.VERSION:
            raise self._refused(
                f"it was written by a newer version (schema {version}, "
                f"this version knows {sqlite_schema.VERSION})"
            )

    def _create(self, connection: Connection) -> None:
        """Make the tables, unless another process was faster."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            self._upgrade(connection)
            return
        connection.execute(f"PRAGMA application_id = {sqlite_schema.APPLICATION_ID}")
        for statement in _statements(sqlite_schema.TABLES):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (?)", (sqlite_schema.VERSION,))
        connection.execute("INSERT INTO progress VALUES (1, 0, 0, NULL)")
        connection.executemany(
            "INSERT INTO tally VALUES (?, 0, 0)", [(state.value,) for state in TaskState]
        )

    def _upgrade(self, connection: Connection) -> None:
        """Bring a file of an older version up to this one, step by step, in one transaction."""
        (version,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        for older in range(version, sqlite_schema.VERSION):
            for statement in _statements(sqlite_schema.UPGRADES[older]):
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version VALUES (?)", (older + 1,))

    def _refused(self, detail: str) -> StoreUnavailable:
        return StoreUnavailable(location=str(self._path), detail=detail, permanent=True)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn what SQLite says of the file into ``StoreUnavailable``; our own bugs fly."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            primary = code & 0xFF if isinstance(code, int) else None
            if primary in _PASSING:
                raise StoreUnavailable(location=str(self._path), detail=str(error)) from error
            if primary in _LASTING:
                raise self._refused(str(error)) from error
            raise


def _statements(script: str) -> Iterator[str]:
    """Cut a script at the statements' ends (``executescript`` would commit in between)."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

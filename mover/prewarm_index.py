"""The index of a cache directory: one SQLite file that several processes share, and the thread that talks to it.

Nothing here decides; ``prewarm_shelf`` has the steps. The file is in WAL mode with ``synchronous = NORMAL``, as the
embedded queue is: a commit survives ``kill -9``, and a power cut takes at most the last ones. A file is on disk
before its row is, so what is lost is known to be missing and copied again.

A *holder* is a process that has the directory open for a job. It holds a lock (flock(2)) on a file of its own, which
ends with the process however it ends: there is no sign of life to be late with.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

from mover.prewarm.origins import HOME
from scheduler.sqlite_busy import repeated_while_busy
from transports.errors import Denied, NoSpace, Permanent, TransportError, Unavailable
from transports.local_files import failure

T = TypeVar("T")

Connection: TypeAlias = sqlite3.Connection

APPLICATION_ID: Final = 0x6D6F7677
"""Marks the file as ours; the bytes spell "movw"."""

VERSION: Final = 1
BUSY_S: Final = 30.0
"""How long a step waits for another process's; they take milliseconds."""

HALF: Final = """CREATE TABLE IF NOT EXISTS half (
        path BLOB PRIMARY KEY,
        upload_id TEXT NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        version TEXT NOT NULL,
        holder TEXT NOT NULL,
        job TEXT NOT NULL
    ) WITHOUT ROWID"""
"""A file that has landed in part. An index of before there were any gets the table when it is opened."""

TABLES: Final = (
    """CREATE TABLE file (
        file_id INTEGER PRIMARY KEY,
        path BLOB NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        version TEXT NOT NULL,
        mtime_ns INTEGER NOT NULL,
        digest TEXT NOT NULL,
        identity TEXT NOT NULL,
        ctime_ns INTEGER NOT NULL,
        origin TEXT NOT NULL,
        used_ns INTEGER NOT NULL
    )""",
    "CREATE INDEX file_used ON file (used_ns)",
    """CREATE TABLE reservation (
        holder TEXT NOT NULL,
        path BLOB NOT NULL,
        size INTEGER NOT NULL,
        at_ns INTEGER NOT NULL,
        PRIMARY KEY (holder, path)
    ) WITHOUT ROWID""",
    "CREATE TABLE job (job_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE holder (name TEXT PRIMARY KEY, job_id INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE mark (
        file_id INTEGER NOT NULL,
        job_id INTEGER NOT NULL,
        PRIMARY KEY (file_id, job_id)
    ) WITHOUT ROWID""",
    "CREATE TABLE store (root TEXT PRIMARY KEY, endpoint TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE tally (held INTEGER NOT NULL, reserved INTEGER NOT NULL)",
    "INSERT INTO tally VALUES (0, 0)",
    """CREATE TRIGGER file_came AFTER INSERT ON file BEGIN
        UPDATE tally SET held = held + NEW.size; END""",
    """CREATE TRIGGER file_changed AFTER UPDATE OF size ON file BEGIN
        UPDATE tally SET held = held + NEW.size - OLD.size; END""",
    """CREATE TRIGGER file_went AFTER DELETE ON file BEGIN
        UPDATE tally SET held = held - OLD.size;
        DELETE FROM mark WHERE file_id = OLD.file_id; END""",
    """CREATE TRIGGER reservation_came AFTER INSERT ON reservation BEGIN
        UPDATE tally SET reserved = reserved + NEW.size; END""",
    """CREATE TRIGGER reservation_changed AFTER UPDATE OF size ON reservation BEGIN
        UPDATE tally SET reserved = reserved + NEW.size - OLD.size; END""",
    """CREATE TRIGGER reservation_went AFTER DELETE ON reservation BEGIN
        UPDATE tally SET reserved = reserved - OLD.size; END""",
    HALF,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
"""The tables; docs/formats.md says what is in them. ``tally`` is kept by triggers, so that a look at the room
costs the same with ten files and with a million."""

_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM})


class Index:
    """An index as one process has it open for one job. Made by ``open``, ended by ``close``.

    ``directory`` is the cache directory, absolute. ``holder`` and ``job_id`` are this process's and its job's names in
    the index, ``job`` is the job's own.
    """

    def __init__(self, directory: str) -> None:
        self.directory = os.fsencode(os.path.abspath(directory))
        self.holder = secrets.token_hex(8)
        self.job = ""
        self.job_id = 0
        self._home = os.path.join(self.directory, HOME.encode())
        self._location = os.path.join(directory, HOME, "index")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-index")
        self._connection: Connection | None = None
        self._lock_fd = -1

    @classmethod
    async def open(cls, directory: str, job: str) -> "Index":
        """Open the index of a directory, and be a holder for the job. Makes both where there are none.

        Raises ``TransportError`` for a directory or a file that cannot be used.
        """
        index = cls(directory)
        try:
            await index._on_thread(lambda: index._open(job))
        except BaseException:
            await index.close()
            raise
        return index

    async def read(self, step: Callable[[Connection], T]) -> T:
        """Run a step that writes nothing, on one snapshot."""
        return await self._on_thread(lambda: self._transact("BEGIN", step))

    async def write(self, step: Callable[[Connection], T]) -> T:
        """Run a step as one transaction, alone among all processes: all of it or nothing.

        A cancelled call leaves it to be done.
        """
        # A step may be of several callers, of whom one is cancelled.
        return await asyncio.shield(
            self._on_thread(lambda: self._transact("BEGIN IMMEDIATE", step))
        )

    def leave(
        self, step: Callable[[Connection], object], before: Callable[[], object] = lambda: None
    ) -> None:
        """Have a step done as ``write`` does, soon, with nobody to hear of it.

        It is done at the latest when ``close`` returns. ``before`` is called first, on the same thread, and whether the
        step can be done or not.
        """

        def both() -> None:
            before()
            self._quietly(step)

        if self._connection is not None:
            self._thread.submit(both)

    def dead_holders(self, connection: Connection) -> list[str]:
        """The holders whose processes are gone. Their lock files go too."""
        dead = []
        for (name,) in connection.execute("SELECT name FROM holder").fetchall():
            if name != self.holder and self._is_dead(name):
                dead.append(name)
        return dead

    async def close(self) -> None:
        """Let go, after the step that is running. May be repeated."""
        with contextlib.suppress(RuntimeError):  # closed before
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    # -- on the thread -------------------------------------------------------------------------

    def _on_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _quietly(self, step: Callable[[Connection], object]) -> None:
        with contextlib.suppress(TransportError):  # the next holder clears up
            self._transact("BEGIN IMMEDIATE", step)

    def _transact(self, begin: str, step: Callable[[Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise Permanent(self._location, "the index is closed")
        with self._translating():
            connection.execute(begin)
            try:
                outcome = step(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return outcome

    def _open(self, job: str) -> None:
        with self._translating():
            os.makedirs(self._home, exist_ok=True)
            self._lock_fd = os.open(
                self._lock_path(self.holder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = os.fsdecode(os.path.join(self._home, b"index"))
            connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self._connection = connection
            patiently = functools.partial(repeated_while_busy, patience_s=BUSY_S)
            patiently(lambda: self._check(connection))
            patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
            connection.execute("PRAGMA synchronous = NORMAL")
            self._transact("BEGIN IMMEDIATE", lambda each: self._join(each, job))

    def _check(self, connection: Connection) -> None:
        """Refuse a file that is not ours, before anything is written to it."""
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (tables or application_id) and application_id != APPLICATION_ID:
            raise Permanent(self._location, "it is a database of something else")
        if version > VERSION:
            raise Permanent(self._location, f"it was written by a newer version ({version})")

    def _join(self, connection: Connection, job: str) -> None:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            for statement in TABLES:
                connection.execute(statement)
        connection.execute(HALF)
        self.job = job
        connection.execute("INSERT OR IGNORE INTO job (name) VALUES (?)", (job,))
        (self.job_id,) = connection.execute(
            "SELECT job_id FROM job WHERE name = ?", (job,)
        ).fetchone()
        connection.execute("INSERT INTO holder VALUES (?, ?)", (self.holder, self.job_id))

    def _close(self) -> None:
        connection = self._connection
        if connection is not None:
            self._quietly(
                lambda each: each.execute("DELETE FROM holder WHERE name = ?", (self.holder,))
            )
            self._connection = None
            connection.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
            with contextlib.suppress(OSError):
                os.unlink(self._lock_path(self.holder))

    def _lock_path(self, holder: str) -> bytes:
        return os.path.join(self._home, f"holder-{holder}".encode())

    def _is_dead(self, holder: str) -> bool:
        path = self._lock_path(holder)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return True
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn what SQLite and the file system say of the index into the transport's errors."""
        try:
            yield
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code in _PASSING:
                raise Unavailable(self._location, str(error)) from error
            if code == sqlite3.SQLITE_READONLY:
                raise Denied(self._location, str(error)) from error
            if code == sqlite3.SQLITE_FULL:
                raise NoSpace(self._location, "the disk is full: free some of it") from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                place = os.fsdecode(self.directory)
                detail = f"the index cannot be read ({error}): remove all in {place}, to begin anew"
                raise Permanent(self._location, detail) from error
            raise Permanent(self._location, str(error)) from error
        except OSError as error:
            raise failure(error, self._location) from error

"""Walk a tree on a mount with many threads: directories in any order, each one's files together.

A directory is one hop to a thread for each thousand of its names, so what is in memory does not grow
with it. Links are never followed. What vanishes meanwhile is left out; it is gone.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mover.naming import HIDDEN
from mover.prewarm_faults import MountFaults
from mover.prewarm_threads import Threads
from mover.selecting import Selector
from transports.errors import Denied, NotFound, TransportError
from transports.local_files import STAGE_PREFIX, version_of
from transports.model import Entry, Kind

PAGE_ENTRIES: Final = 1_000
WALKERS: Final = 16
PAGES_AHEAD: Final = 8
SOUGHT_DIRECTORIES: Final = 100
_SPECIAL_INODES: Final = 0x7FFFFFFF_00000000
"""From here on JuiceFS numbers what it shows of itself; one of these files never ends."""


_Ready: TypeAlias = "asyncio.Queue[Sequence[Entry] | TransportError | None]"


@dataclass(slots=True)
class _Visit:
    """One directory on its way: its key ends in a slash, "" is the root."""

    key: str
    names: Iterator[os.DirEntry[str]] | None = None


@dataclass(slots=True)
class _Found:
    """What one hop found: entries, directories to visit, and whether names are left."""

    page: list[Entry] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    goes_on: bool = False


class Walk:
    """One walk of the directory ``root`` (absolute, without a slash at its end)."""

    def __init__(self, root: str, threads: Threads, faults: MountFaults) -> None:
        self._root = root
        self._threads = threads
        self._faults = faults
        self._waiting: list[_Visit] = []
        self._wake = asyncio.Condition()
        self._busy = 0
        self._denied: list[str] = []

    async def pages(self, selector: Selector) -> AsyncIterator[Sequence[Entry]]:
        """Yield what the selector wants, page by page.

        Raises ``NotFound`` and ``Unavailable``; ``Denied`` after all else was yielded, where directories
        could not be read.
        """
        ready: _Ready = asyncio.Queue(maxsize=PAGES_AHEAD)
        self._waiting.append(_Visit(""))
        failure: TransportError | None = None
        async with asyncio.TaskGroup() as group:
            leader = group.create_task(self._lead(selector, ready), name="walk")
            while (page := await ready.get()) is not None:
                if isinstance(page, TransportError):
                    failure = page
                    break
                try:
                    yield page
                except GeneratorExit:
                    # Left early: end in the plain way, or the group wraps this exception.
                    leader.cancel()
                    return
            leader.cancel()
        if failure is None:
            # An unmounted directory looks like an empty one, and like one that is not denied.
            await self._threads.run(self._faults.check)
        if failure is not None:  # raised here, since the group would wrap it as well
            raise failure
        if self._denied:
            count = f"{len(self._denied)} directories cannot be read, this is one: "
            raise Denied(
                self._denied[0], (count if len(self._denied) > 1 else "") + "access denied"
            )

    async def _lead(self, selector: Selector, ready: _Ready) -> None:
        async with asyncio.TaskGroup() as crew:
            for number in range(WALKERS):
                crew.create_task(self._serve(selector, ready), name=f"walker-{number}")
        await ready.put(None)

    async def _serve(self, selector: Selector, ready: _Ready) -> None:
        while (visit := await self._next()) is not None:
            try:
                found = await self._threads.run(self._visit, visit)
            except TransportError as error:
                await ready.put(error)
                return
            below = [key for key in found.below if selector.wants_directory(key)]
            page = [e for e in found.page if selector.wants(e.key, e.size, e.mtime_ns)]
            if page:
                await ready.put(page)
            async with self._wake:
                # The last in is the first out: what is near in the tree is near in time.
                self._waiting.extend(_Visit(key) for key in reversed(below))
                if found.goes_on:
                    self._waiting.append(visit)
                self._busy -= 1
                self._wake.notify_all()

    async def _next(self) -> _Visit | None:
        async with self._wake:
            while not self._waiting:
                if self._busy == 0:
                    return None
                await self._wake.wait()
            self._busy += 1
            return self._waiting.pop()

    def _visit(self, visit: _Visit) -> _Found:
        """Read up to a page of one directory; blocks."""
        path = os.path.join(self._root, visit.key)
        found = _Found()
        try:
            if visit.names is None:
                visit.names = os.scandir(path)
            found.goes_on = self._read(visit, found)
        except OSError as error:
            fault = self._faults.of(error, path)
            if isinstance(fault, Denied):
                self._denied.append(fault.location)
            elif not isinstance(fault, NotFound) or not visit.key:
                raise fault from error
        return found

    def _read(self, visit: _Visit, found: _Found) -> bool:
        if visit.names is None:
            return False
        for item in visit.names:
            key = visit.key + item.name
            if item.name.startswith(STAGE_PREFIX) or item.inode() >= _SPECIAL_INODES:
                continue
            if item.is_dir(follow_symlinks=False):
                if f"{item.name}/" != HIDDEN:
                    found.below.append(key + "/")
            elif item.is_file(follow_symlinks=False):
                self._add(item.path, key, found.page)
            if len(found.page) >= PAGE_ENTRIES:
                return True
        return False

    def _add(self, path: str, key: str, page: list[Entry]) -> None:
        try:
            seen = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISREG(seen.st_mode):
            page.append(file_entry(key, seen))


def some_files(root: str, selector: Selector, *, count: int) -> list[Entry]:
    """Up to so many files that the selector wants and that are not empty: those that are found soon; blocks."""
    found: list[Entry] = []
    for number, (directory, below, names) in enumerate(os.walk(root)):
        prefix = os.path.relpath(directory, root) + "/" if number else ""
        below[:] = [name for name in below if f"{name}/" != HIDDEN]
        for name in names:
            with contextlib.suppress(OSError):
                seen = os.stat(os.path.join(directory, name), follow_symlinks=False)
                entry = file_entry(prefix + name, seen)
                is_file = stat.S_ISREG(seen.st_mode) and seen.st_ino < _SPECIAL_INODES
                if is_file and entry.size and selector.wants(entry.key, entry.size, entry.mtime_ns):
                    found.append(entry)
            if len(found) >= count:
                return found
        if number >= SOUGHT_DIRECTORIES:
            return found
    return found


def file_entry(key: str, seen: os.stat_result) -> Entry:
    """The entry of a regular file."""
    return Entry(
        key, seen.st_size, seen.st_mtime_ns, "", version_of(seen), Kind.OBJECT, seen.st_ctime_ns
    )

"""The parcels that one worker keeps: files of a bounded total size in a directory of its own.

Only its owner may read them. They go with the object or the job that they belong to, when nobody has
touched them for an hour and the job is not this worker's, and with the process: what a killed one left is
removed by the next that starts on the host.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Final

from mover.peer_protocol import Name
from mover.seeing_out import in_thread

ROOM_BYTES: Final = 1024 * 1024 * 1024
"""What the pieces may take together, unless somebody says otherwise."""

BLOCK_BYTES: Final = 4096
"""What a piece counts as at least: files take blocks."""

KEPT_S: Final = 3600.0
"""How long pieces of a job that is not this worker's stay untouched."""

LOOK_EVERY_S: Final = 60.0

_STEM: Final = "mover-parcels-"
_LOCK: Final = "lock"


class Full(Exception):
    """There is no room for a piece."""


class Shelf:
    """Keeps pieces below ``root``, of at most ``room_bytes``. ``clock`` gives seconds.

    May be used by one loop only. A cancelled ``put`` leaves nothing.
    """

    def __init__(
        self, root: Path, room_bytes: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._room_bytes = room_bytes
        self._clock = clock
        self._taken_bytes = 0
        self._kept: dict[Name, int] = {}  # what each counts as
        self._touched_s: dict[Name, float] = {}  # by object
        self._held: Counter[str] = Counter()
        self._puts = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def taken_bytes(self) -> int:
        """What is kept and what is arriving counts as."""
        return self._taken_bytes

    async def put(
        self, name: Name, size: int, pieces: AsyncIterable[bytes], *, digest: str = ""
    ) -> None:
        """Keep a piece of ``size`` bytes, in the place of an earlier one of the name.

        Raises ``Full``, and ``ValueError`` where size or SHA-256 of the bytes are others.
        """
        counted = max(size, BLOCK_BYTES)
        if self._taken_bytes + counted > self._room_bytes:
            raise Full
        self._taken_bytes += counted
        self._puts += 1
        arriving = self._root / f"{self._puts}.arriving"
        try:
            await _write(arriving, size, pieces, digest)
            arriving.replace(self._file(name))
        except BaseException as error:
            self._taken_bytes -= counted
            arriving.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise Full from error
            raise
        self._taken_bytes -= self._kept.pop(name, 0)
        self._kept[name] = counted
        self._touch(name)

    async def read(self, name: Name, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes of a piece. Raises ``FileNotFoundError``."""
        if name not in self._kept:
            raise FileNotFoundError
        self._touch(name)
        return await in_thread(_read, self._file(name), start, stop)

    def remove(self, owner: Name) -> None:
        """Remove all that belongs to an object of a job."""
        for name in [name for name in self._kept if name[:2] == owner[:2]]:
            self._drop(name)
        self._touched_s.pop(owner._replace(piece=""), None)

    def remove_job(self, job: str) -> None:
        """Remove all that belongs to a job."""
        for owner in {name._replace(piece="") for name in self._kept if name.job == job}:
            self.remove(owner)

    @contextlib.contextmanager
    def holding(self, job: str) -> Iterator[None]:
        """Nothing of the job is too old while the block runs."""
        self._held[job] += 1
        try:
            yield
        finally:
            self._held[job] -= 1
            for owner in self._touched_s:
                if owner.job == job:
                    self._touched_s[owner] = self._clock()

    def expire(self) -> None:
        """Remove what nobody has touched for an hour, of jobs that nobody holds."""
        past_s = self._clock() - KEPT_S
        for owner, touched_s in list(self._touched_s.items()):
            if touched_s < past_s and not self._held[owner.job]:
                self.remove(owner)

    async def tend(self) -> None:
        """Remove what is too old, now and then; ends by cancellation."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.expire()

    def _file(self, name: Name) -> Path:
        return self._root / "+".join(name)  # which is in no name

    def _touch(self, name: Name) -> None:
        self._touched_s[name._replace(piece="")] = self._clock()

    def _drop(self, name: Name) -> None:
        self._taken_bytes -= self._kept.pop(name)
        self._file(name).unlink(missing_ok=True)


async def _write(path: Path, size: int, pieces: AsyncIterable[bytes], digest: str) -> None:
    found, taken = hashlib.sha256(), 0
    with _created(path) as file:
        async for piece in pieces:
            taken += len(piece)
            if taken > size:
                break
            found.update(piece)
            await in_thread(file.write, piece)
    if taken != size or digest not in ("", found.hexdigest()):
        raise ValueError("the body is not what was announced")


def _created(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _read(path: Path, start: int, stop: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(-1 if stop is None else stop - start)


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    """Bytes in memory as ``Shelf.put`` takes them."""
    yield data


@contextlib.contextmanager
def open_shelf(room_bytes: int, *, within: str | None = None) -> Iterator[Shelf]:
    """A shelf in a new temporary directory, which goes at the end. Raises ``OSError``."""
    parent = Path(within or tempfile.gettempdir())
    _remove_orphans(parent)
    root = Path(tempfile.mkdtemp(prefix=_STEM, dir=parent))  # nobody else may look into it
    try:
        with (root / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Shelf(root, room_bytes)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _remove_orphans(parent: Path) -> None:
    """Remove the directories of processes that were killed: nobody holds their locks."""
    for root in parent.glob(f"{_STEM}*"):
        with contextlib.suppress(OSError):
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                continue
            with (root / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)

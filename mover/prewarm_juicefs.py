"""JuiceFS: the mount itself is asked what is in its cache, and told to load or to free it.

One message for many files at once, by their inodes (``prewarm.juicefs`` says how it is put). What the
mount answers is exact, of whole blocks; what fails inside it it only writes into its own log.
All of it blocks, until it is told to stop.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from time import sleep
from typing import Final

from mover.prewarm.juicefs import (
    CONFIG_NAMES,
    CONTROL_NAMES,
    Act,
    Counted,
    Facts,
    Unreadable,
    answer_of,
    facts_of,
    inode_of,
    message,
    split_marks,
)
from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed, Whole
from mover.prewarm.narrowing import Narrowing, Told
from mover.prewarm_faults import MountFaults
from mover.prewarm_judges import MountJudge
from transports.errors import Unavailable
from transports.local_files import show

ANSWER_BYTES: Final = 128 * 1024
POLL_MIN_S, POLL_MAX_S = 0.0005, 0.02
CHECK_THREADS: Final = 16
QUESTIONS: Final = 64
"""A look asks at most so many times more to find what is missing; each time costs 2 ms."""


class Stopped(Exception):
    """Whoever waited for the mount's answer has gone."""


class JuiceMountPoint:
    """A JuiceFS mount as one who may send it messages. ``point`` is its root."""

    def __init__(self, point: str, faults: MountFaults) -> None:
        self.point = point.rstrip("/")
        self._faults = faults

    def facts(self) -> Facts:
        """What the mount says of itself. Raises ``Unreadable``, ``TransportError``."""
        with self._naming(), open(self._of(CONFIG_NAMES), "rb") as config:
            return facts_of(config.read())

    def tell(
        self, act: Act, pieces: Sequence[Piece], *, threads: int, stop: threading.Event
    ) -> Counted:
        """Have this done with the files of these pieces, and wait for it.

        Raises ``MountGone``, ``Unavailable`` where the mount refuses, ``Stopped``.
        """
        inodes = [inode_of(piece.entry.version) for piece in pieces]
        with self._naming():
            return self._told(act, inodes, threads, stop)

    def tell_below(
        self,
        act: Act,
        directory: str,
        *,
        threads: int,
        stop: threading.Event,
        told: Callable[[int, int], None] = lambda files, size: None,
    ) -> Counted:
        """The same with all files below a directory: half the work of naming each.

        ``told`` hears how many files and bytes it has come to. Raises as ``tell``.
        """
        with self._naming():
            return self._told(act, [os.stat(directory).st_ino], threads, stop, told)

    def _told(
        self,
        act: Act,
        inodes: Sequence[int],
        threads: int,
        stop: threading.Event,
        told: Callable[[int, int], None] = lambda files, size: None,
    ) -> Counted:
        with self._control() as fd:
            os.write(fd, message(act, inodes, threads=threads))
            return self._answer(fd, stop, told)

    def stats(self, *names: str) -> list[int]:
        """Some of the mount's own counters, by their names in ``.stats``; 0 for one that it does not have.

        It costs the mount 4 ms of a processor to put its counters together.
        """
        found = dict.fromkeys(names, 0)
        with (
            contextlib.suppress(OSError, ValueError),
            open(self._of((".jfs.stats", ".stats")), encoding="ascii", errors="replace") as stats,
        ):
            for line in stats:
                name, _, value = line.partition(" ")
                if name in found:
                    found[name] = int(float(value))
        return list(found.values())

    def _answer(self, fd: int, stop: threading.Event, told: Callable[[int, int], None]) -> Counted:
        received, pause_s = b"", POLL_MIN_S
        while not stop.is_set():
            more = os.read(fd, ANSWER_BYTES)
            if not more:
                sleep(pause_s)
                pause_s = min(2 * pause_s, POLL_MAX_S)
                continue
            marks, received = split_marks(received + more)
            if marks:
                told(*marks[-1])
            answer = answer_of(received)
            if isinstance(answer, Counted):
                return answer
            if answer is not None:
                raise Unavailable(show(self.point), f"JuiceFS says: {os.strerror(answer)}")
        raise Stopped

    @contextlib.contextmanager
    def _control(self) -> Iterator[int]:
        fd = os.open(self._of(CONTROL_NAMES), os.O_RDWR | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _of(self, names: Sequence[str]) -> str:
        paths = [f"{self.point}/{name}" for name in names]
        return next((path for path in paths if os.path.exists(path)), paths[-1])

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._faults.of(error, self.point) from error
        except Unreadable as error:
            raise Unavailable(show(self.point), f"no answer of JuiceFS: {error}") from error


class JuiceJudge(MountJudge):
    """Judges by what the mount says of the blocks of whole files."""

    judge = Judge.JUICEFS
    certainty = Certainty.PROVEN
    cut_bytes = 0

    def __init__(self, mount: JuiceMountPoint, *, threads: int = CHECK_THREADS) -> None:
        """``threads`` are the mount's own that look."""
        self._mount = mount
        self._threads = threads

    def look(self, pieces: Sequence[Piece], stop: threading.Event) -> Look:
        narrowing = Narrowing(pieces, questions=QUESTIONS)
        while group := narrowing.group:
            counted = self._mount.tell(Act.CHECK, group, threads=self._threads, stop=stop)
            narrowing.told(_told(group, counted))
        return narrowing.look

    def look_whole(self, root: str, stop: threading.Event) -> Whole:
        counted = self._mount.tell_below(Act.CHECK, root, threads=self._threads, stop=stop)
        return Whole(counted.files, counted.bytes, counted.bytes - counted.missing_bytes)

    def evict(self, pieces: Sequence[Piece], stop: threading.Event) -> Warmed:
        before = self.look(pieces, stop)
        self._mount.tell(Act.EVICT, pieces, threads=self._threads, stop=stop)
        after = self.look(pieces, stop)
        freed = max(0, (before.resident_bytes or 0) - (after.resident_bytes or 0))
        return Warmed(read_bytes=freed, read_files=len(pieces))


class JuiceLoader:
    """Loads files by JuiceFS's own workers, which skip what is in the cache and wait where it is slow.

    ``failure_of`` says why a file cannot be read.
    """

    def __init__(
        self,
        mount: JuiceMountPoint,
        failure_of: Callable[[Piece], tuple[str, str, str] | None],
    ) -> None:
        self._mount = mount
        self._failure_of = failure_of

    def load(self, pieces: Sequence[Piece], threads: int, stop: threading.Event) -> Warmed:
        """Load the files of these pieces whole. Those that are gone are failures; of others see ``blame``."""
        counted = self._mount.tell(Act.LOAD, pieces, threads=threads, stop=stop)
        warmed = Warmed(read_bytes=sum(piece.size for piece in pieces), read_files=len(pieces))
        if counted.files != len(pieces):
            self.blame(pieces, warmed, stop)
        return warmed

    def load_below(
        self,
        directory: str,
        threads: int,
        told: Callable[[int, int], None],
        stop: threading.Event,
    ) -> Warmed | None:
        """Load all files below a directory. None where one failed: nobody says which."""
        errors = self.errors()
        counted = self._mount.tell_below(Act.LOAD, directory, threads=threads, stop=stop, told=told)
        if self.errors() != errors:
            return None
        return Warmed(read_bytes=counted.bytes, read_files=counted.files)

    def errors(self) -> int:
        """How many requests of the mount to its store have failed; where it moves, ask ``blame``."""
        return self._mount.stats("juicefs_object_request_errors")[0]

    def missing(self, pieces: Sequence[Piece], stop: threading.Event) -> int:
        """How many bytes of these files are not in the cache."""
        counted = self._mount.tell(Act.CHECK, pieces, threads=CHECK_THREADS, stop=stop)
        return counted.missing_bytes

    def blame(self, pieces: Sequence[Piece], warmed: Warmed, stop: threading.Event) -> None:
        """Find the files that failed: what JuiceFS could not load does not come when it is read, either.

        They are taken out of what was ``warmed``, and added to its failures.
        """
        known = {key for key, _, _ in warmed.failures}
        for piece in JuiceJudge(self._mount).look(pieces, stop).missing:
            if stop.is_set():
                return
            if piece.entry.key not in known and (failure := self._failure_of(piece)):
                warmed.failures.append(failure)
                warmed.read_bytes -= piece.size
                warmed.read_files -= 1


def _told(group: Sequence[Piece], counted: Counted) -> Told:
    wanted = sum(piece.size for piece in group)
    resident = min(wanted, counted.bytes) - counted.missing_bytes
    is_all = counted.files == len(group) and counted.missing_bytes == 0
    return Told(wanted if is_all else max(0, min(resident, wanted)), is_all)


def known_version(version: str) -> bool:
    """Whether this version of JuiceFS answers what it is asked here: 1.2 and later."""
    parts = version.split("+")[0].split(".")
    try:
        return (int(parts[0]), int(parts[1])) >= (1, 2)
    except (ValueError, IndexError):
        return False

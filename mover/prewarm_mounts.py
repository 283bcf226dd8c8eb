"""A mounted file system as a place to warm: whatever its cache is, the reads themselves fill it.

``open_mount`` finds out what is mounted and who can judge it: JuiceFS is asked itself, of a disk and
of NFS the page cache is the cache, and of any other FUSE mount only the time of reads says something.
"""

import functools
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from mover.beside import running_beside
from mover.ends import closing_pages
from mover.errors import Rejected
from mover.prewarm.juicefs import Facts, Unreadable
from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed, WarmSpec, Whole
from mover.prewarm.mounts import Mount, mount_of, natural_judge
from mover.prewarm.summing import sum_of_looks
from mover.prewarm.yielding import Yielder
from mover.prewarm_faults import MountFaults, MountGone, mounts_now
from mover.prewarm_judges import CUT_BYTES, MountJudge
from mover.prewarm_juicefs import (
    CHECK_THREADS,
    JuiceJudge,
    JuiceLoader,
    JuiceMountPoint,
    known_version,
)
from mover.prewarm_pages import PageJudge
from mover.prewarm_places import Ground, Nature, Place, Told, unheard
from mover.prewarm_probing import PROBED_FILES, Prober
from mover.prewarm_pulling import (
    READERS_MAX,
    YIELDING_FILES,
    JuicePuller,
    KeepingPuller,
    PlainPuller,
    Puller,
    Tools,
)
from mover.prewarm_reading import Reader
from mover.prewarm_threads import Threads
from mover.prewarm_timing import TimedJudge
from mover.prewarm_walking import Walk, file_entry, some_files
from mover.selecting import Selector
from transports.errors import Permanent, TransportError, Unsupported
from transports.local_files import show
from transports.location import BadLocation, parse_location
from transports.model import Entry

GLANCED_FILES: Final = 8
"""Files of a shard that are looked at before it is loaded."""

THREADS: Final = READERS_MAX + 32
"""Readers, touchers, and those that walk, look and probe beside them."""


class MountPlace(Place):
    """A directory, or one file, on a mount."""

    def __init__(
        self,
        location: str,
        *,
        root: str,
        name: str,
        threads: Threads,
        faults: MountFaults,
        judge: MountJudge | None,
        puller: Puller,
        prober: Prober | None,
        nature: Nature,
    ) -> None:
        """``name`` is the file's where the target is one; ``root`` then is its directory."""
        self.location = location
        self.nature = nature
        self._root = root
        self._name = name
        self._threads = threads
        self._faults = faults
        self._judge = judge
        self._puller = puller
        self._prober = prober

    async def walk(self, selector: Selector, *, metadata: bool) -> AsyncIterator[Sequence[Entry]]:
        # Each entry is asked for by name in any case: no listing of names tells sizes.
        if not self._name:
            await self._learn_idle(selector)
            walk = Walk(self._root, self._threads, self._faults)
            async with closing_pages(walk.pages(selector)) as pages:
                async for page in pages:
                    yield page
            return
        entry = await self._threads.run(self._stat)
        if selector.wants(entry.key, entry.size, entry.mtime_ns):
            yield [entry]

    async def _learn_idle(self, selector: Selector) -> None:
        """Before the walk: it would be in the way of what is measured."""
        if self._prober is not None:
            some = functools.partial(some_files, count=PROBED_FILES)
            entries = await self._threads.run(some, self._root, selector)
            await self._prober.begin([Piece(entry, 0, entry.size) for entry in entries])

    async def look(self, pieces: Sequence[Piece]) -> Look:
        if self._judge is None:
            return Look(sum(piece.size for piece in pieces), None)
        if self._prober is None:
            return await self._threads.run_long(self._judge.look, pieces)
        looks = list[Look]()
        for at in range(0, len(pieces), YIELDING_FILES):
            async with self._puller.gates[0].slots():
                part = pieces[at : at + YIELDING_FILES]
                looks.append(await self._threads.run_long(self._judge.look, part))
        return sum_of_looks(looks)

    async def glance(self, pieces: Sequence[Piece]) -> Look:
        """A look at a few, where the puller skips what is there: a look at all would cost a quarter of the loading."""
        if not self.nature.loads_whole or len(pieces) <= 2 * GLANCED_FILES:
            return await self.look(pieces)
        sample = pieces[:: len(pieces) // GLANCED_FILES]
        if (await self.look(sample)).missing:
            return Look(sum(piece.size for piece in pieces), 0, pieces)
        return await self.look(pieces)

    async def look_whole(self) -> Whole | None:
        if self._judge is None or self._name or self._prober is not None:
            return None  # so much at once leaves nothing to others
        return await self._threads.run_long(self._judge.look_whole, self._root)

    async def warm(
        self,
        pieces: Sequence[Piece],
        *,
        holders: Sequence[str] = (),
        again: bool = False,
        told: Told = unheard,
    ) -> Warmed:
        if self._prober is None:
            return await self._puller.pull(pieces, again=again, told=told)
        await self._prober.begin(pieces)
        async with running_beside(self._prober.watch):
            return await self._puller.pull(pieces, again=again, told=told)

    async def warm_whole(self, told: Callable[[int, int], None]) -> Warmed | None:
        return None if self._name else await self._puller.pull_below(self._root, told)

    async def evict(self, pieces: Sequence[Piece]) -> Warmed:
        if self._judge is None:
            raise Unsupported(
                self.location, "nobody knows how this cache is told to free something"
            )
        return await self._threads.run_long(self._judge.evict, pieces)

    async def close(self) -> None:
        self._threads.close()

    def _stat(self) -> Entry:
        path = f"{self._root}/{self._name}"
        try:
            return file_entry(self._name, os.stat(path, follow_symlinks=False))
        except OSError as error:
            raise self._faults.of(error, path) from error


async def open_mount(location: str, ground: Ground) -> Place:
    """Open a directory or a file of a mounted file system, or of a disk.

    Raises ``Rejected`` where the location or the judge that was asked for makes no sense there,
    ``TransportError`` where the mount does not answer.
    """
    path = _path_of(location)
    threads = Threads(THREADS)
    try:
        return await _open(location, path, ground, threads)
    except BaseException:
        threads.close()
        raise


async def _open(location: str, path: str, ground: Ground, threads: Threads) -> Place:
    root, name, mount = await threads.run(_find, path)
    faults = MountFaults(root, mount)
    judge_name = ground.spec.judge
    if judge_name is Judge.AUTO:
        judge_name = natural_judge(mount)
    point = JuiceMountPoint(mount.point, faults) if mount and mount.is_juicefs else None
    facts = await threads.run(_facts_of, point) if point else None
    if point and facts is None and judge_name is Judge.JUICEFS:
        if ground.spec.judge is Judge.JUICEFS:
            raise Rejected(
                f"{show(path)}: this JuiceFS does not say what it has; see --residency timed"
            )
        ground.note(f"{show(path)}: this JuiceFS does not say what it has, so reads are timed")
        judge_name = Judge.TIMED
    _refuse_judge(path, judge_name, facts)
    keeps_pages = ground.spec.keep_page_cache or judge_name is Judge.PAGES
    reader = Reader(root, faults, keeps_pages=keeps_pages)
    yielder = _yielder_of(ground.spec)
    judge = _judge_of(judge_name, root, faults, reader, point, yields=yielder is not None)
    tools = Tools(threads=threads, reader=reader, ground=ground, yielder=yielder)
    puller: Puller = PlainPuller(tools)
    if point and facts:
        loading = JuicePuller(
            tools, JuiceLoader(point, reader.failure_of), point, facts.block_bytes
        )
        puller = KeepingPuller(loading, tools) if keeps_pages else loading
    prober = (
        Prober(yielder, threads, reader, take=ground.take, gates=lambda: puller.gates)
        if yielder
        else None
    )
    return MountPlace(
        location,
        root=root,
        name=name,
        threads=threads,
        faults=faults,
        judge=judge,
        puller=puller,
        prober=prober,
        nature=_nature_of(judge_name, judge, facts, mount),
    )


def _path_of(location: str) -> str:
    if not location:
        raise Rejected("the target is empty: name a directory on a mount")
    try:
        parsed = parse_location(location)
    except BadLocation as error:
        raise Rejected(str(error)) from error
    if parsed.scheme != "file":
        raise Rejected(f"{location}: this is no path of a mount")
    return parsed.path


def _find(path: str) -> tuple[str, str, Mount | None]:
    """The directory, the file in it ("" for the whole directory) and the mount; blocks."""
    real = os.path.realpath(path)
    mount = mount_of(real, mounts_now())
    try:
        found = os.stat(real)
    except FileNotFoundError:
        raise Rejected(f"{show(path)}: there is no such directory or file") from None
    except OSError as error:
        fault = MountFaults(real, None).of(error, path)
        raise (Rejected(str(fault)) if isinstance(fault, Permanent) else fault) from error
    if stat.S_ISDIR(found.st_mode):
        return real.rstrip("/"), "", mount
    if stat.S_ISREG(found.st_mode):
        directory, name = os.path.split(real)
        return directory.rstrip("/"), name, mount
    raise Rejected(f"{show(path)}: this is neither a directory nor a file")


def _facts_of(point: JuiceMountPoint) -> Facts | None:
    """What JuiceFS says of itself; None where it is none that can be asked. Raises ``MountGone``."""
    try:
        facts = point.facts()
    except MountGone:
        raise
    except (TransportError, Unreadable):
        return None
    return facts if known_version(facts.version) else None


def _refuse_judge(path: str, judge: Judge, facts: Facts | None) -> None:
    if judge is Judge.JUICEFS and facts is None:
        raise Rejected(f"{show(path)}: --residency juicefs needs a JuiceFS mount, and this is none")
    if judge in (Judge.HEADER, Judge.CACHE):
        raise Rejected(f"{show(path)}: --residency {judge} does not go with a mount")


def _judge_of(
    judge: Judge,
    root: str,
    faults: MountFaults,
    reader: Reader,
    point: JuiceMountPoint | None,
    *,
    yields: bool,
) -> MountJudge | None:
    if judge is Judge.JUICEFS and point is not None:
        return JuiceJudge(point, threads=1 if yields else CHECK_THREADS)
    if judge is Judge.PAGES:
        return PageJudge(root, faults)
    if judge is Judge.TIMED:
        return TimedJudge(reader, faults)
    return None


def _yielder_of(spec: WarmSpec) -> Yielder | None:
    if spec.yield_factor <= 0:
        return None
    return Yielder(factor=max(spec.yield_factor, 1.05), most=READERS_MAX)


def _nature_of(
    name: Judge, judge: MountJudge | None, facts: Facts | None, mount: Mount | None
) -> Nature:
    if judge is None:
        return Nature(judge=name, certainty=Certainty.UNKNOWN, cut_bytes=0 if facts else CUT_BYTES)
    where = facts.where if facts and name is Judge.JUICEFS else ""
    return Nature(
        judge=name,
        certainty=judge.certainty,
        where=where or ("page cache" if name is Judge.PAGES else mount.point if mount else ""),
        # The loader takes whole files, whoever judges.
        cut_bytes=0 if facts else judge.cut_bytes,
        loads_whole=facts is not None and name is Judge.JUICEFS,
        capacity_bytes=facts.cache_bytes if facts else 0,
    )

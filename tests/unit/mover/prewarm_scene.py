"""A cache that is a dictionary, and one prewarm run on it: for tests of what is the same for every cache."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mover.gathering import gather_results
from mover.model import Tally
from mover.pools import listing_pool, node_pool
from mover.prewarm.model import Certainty, Judge, Look, Piece, Round, Warmed, WarmSpec, Whole
from mover.prewarm_ground import WarmGround
from mover.prewarm_nodes import NODES, round_task
from mover.prewarm_places import Nature, Place, Told, unheard
from mover.prewarm_recording import WarmRecorder
from mover.prewarm_report import WarmReport, conclude_warm
from mover.prewarm_work import WarmWork
from scheduler.model import ANY_POOL
from scheduler.worker import Worker
from scheduler.worker_policy import LanePolicy, WorkerPolicy
from transports.errors import Unavailable
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from mover.prewarm_recalling import FormerJob
    from mover.selecting import Selector
    from scheduler.store import TaskStore


@dataclass
class CacheInMemory:
    """One node's cache, and the dataset behind it: sizes by key.

    ``keeps`` is how many pieces it holds before it evicts the oldest; ``lies`` are keys that never stay;
    ``broken`` ones cannot be read. ``away`` counts down looks that fail for now. With ``whole`` all can be loaded
    in one go; what was loaded so is seen after ``behind`` more looks.
    """

    files: dict[str, int]
    judge: Judge = Judge.CACHE
    capacity_bytes: int = 0
    cut_bytes: int = 0
    shares: bool = False
    address: str = ""
    keeps: int = 1_000_000
    lies: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    away: int = 0
    coarse: bool = False
    resident: dict[tuple[str, int], int] = field(default_factory=dict)
    origin_bytes: int = 0
    peer_bytes: int = 0
    reads: list[str] = field(default_factory=list)
    looked_for_names: int = 0
    whole: bool = False
    behind: int = 0
    brought: set[str] = field(default_factory=set)


class PlaceInMemory(Place):
    """A place on a ``CacheInMemory``."""

    location = "memory"

    def __init__(self, cache: CacheInMemory) -> None:
        self._cache = cache
        unknown = cache.judge is Judge.NONE
        self.nature = Nature(
            judge=cache.judge,
            certainty=Certainty.UNKNOWN if unknown else Certainty.PROVEN,
            where="here",
            cut_bytes=cache.cut_bytes,
            capacity_bytes=cache.capacity_bytes,
            shares=cache.shares,
            loads_whole=cache.whole,
        )

    @property
    def address(self) -> str:
        return self._cache.address

    async def walk(self, selector: Selector, *, metadata: bool) -> AsyncIterator[Sequence[Entry]]:
        entries = [Entry(key, size, 0) for key, size in sorted(self._cache.files.items())]
        entries = [each for each in entries if selector.wants(each.key, each.size, 0)]
        self._cache.looked_for_names += len(entries) if metadata else 0
        for at in range(0, len(entries), 7):
            yield entries[at : at + 7]

    async def look(self, pieces: Sequence[Piece]) -> Look:
        if self._cache.away:
            self._cache.away -= 1
            raise Unavailable("memory", "the mount is gone")
        size = sum(piece.size for piece in pieces)
        if self._cache.judge is Judge.NONE:
            return Look(size, None)
        lacks = [
            each for each in pieces if (each.entry.key, each.start) not in self._cache.resident
        ]
        have = size - sum(piece.size for piece in lacks)
        return Look(size, have, pieces if lacks and self._cache.coarse else lacks)

    async def warm(
        self,
        pieces: Sequence[Piece],
        *,
        holders: Sequence[str] = (),
        again: bool = False,
        told: Told = unheard,
    ) -> Warmed:
        warmed, cache = Warmed(), self._cache
        for piece in pieces:
            key = piece.entry.key
            if key in cache.broken:
                warmed.failures.append((key, "Denied", f"{key}: permission denied"))
                continue
            cache.reads.append(key)
            warmed.read_files += 1
            warmed.read_bytes += piece.size
            if holders:
                cache.peer_bytes += piece.size
                warmed.peer_bytes += piece.size
            else:
                cache.origin_bytes += piece.size
                warmed.origin_bytes += piece.size
            if key not in cache.lies:
                cache.resident[key, piece.start] = piece.size
            while len(cache.resident) > cache.keeps:
                del cache.resident[next(iter(cache.resident))]
        return warmed

    async def look_whole(self) -> Whole | None:
        cache = self._cache
        if not cache.whole:
            return None
        total, resident = sum(cache.files.values()), sum(cache.resident.values())
        if resident and cache.behind:
            resident -= cache.behind
            cache.behind -= 1
        return Whole(len(cache.files), total, resident)

    async def warm_whole(self, told: Callable[[int, int], None]) -> Warmed | None:
        pieces = [Piece(Entry(key, size, 0), 0, size) for key, size in self._cache.files.items()]
        if not self._cache.whole:
            return None
        return await self.warm(pieces)

    async def evict(self, pieces: Sequence[Piece]) -> Warmed:
        freed = Warmed()
        for piece in pieces:
            if (size := self._cache.resident.pop((piece.entry.key, piece.start), None)) is not None:
                freed.read_files += 1
                freed.read_bytes += size
        return freed

    async def brought(self, entries: Sequence[Entry]) -> Collection[str]:
        return {each.key for each in entries} & self._cache.brought

    async def close(self) -> None:
        """Nothing is held."""


def work_on(
    spec: WarmSpec,
    cache: CacheInMemory,
    node: str = "a",
    record: WarmRecorder | None = None,
    former: FormerJob | None = None,
) -> WarmWork:
    async def opens(location: str) -> Place:
        return PlaceInMemory(cache)

    ground = WarmGround(
        spec=spec,
        node=node,
        live=Tally(),
        opens=opens,
        record=record or WarmRecorder(),
        former=former,
    )
    return WarmWork(ground=ground)


def worker_on(store: TaskStore, work: WarmWork, name: str) -> Worker:
    runner = work.runner(store, notify=lambda: worker.notify())
    lane = LanePolicy(slots=2, pools=(listing_pool(ANY_POOL),))
    policy = WorkerPolicy(pools=(ANY_POOL, *work.pools), beside=(lane,), beat_every_s=0.1)
    worker = Worker(store, runner.run, worker_id=name, policy=policy, note=work.beat)
    return worker


async def put_up(store: TaskStore, spec: WarmSpec, nodes: Sequence[str] = ("a",)) -> None:
    await store.set_control(NODES, json.dumps(list(nodes)).encode())
    await store.enqueue([round_task(Round(number=0, now_s=0.0), spec.pool)])
    await store.close_intake()


async def reported(store: TaskStore, spec: WarmSpec, directory: Path) -> WarmReport:
    gathered = await gather_results(store, directory / "retry.txt")
    return functools.partial(conclude_warm, spec)(gathered, "job", 1.0, None)


async def warmed(
    store: TaskStore,
    spec: WarmSpec,
    cache: CacheInMemory,
    directory: Path,
    record: WarmRecorder | None = None,
    former: FormerJob | None = None,
) -> WarmReport:
    """Run a prewarm of one node to its end."""
    await put_up(store, spec)
    work = work_on(spec, cache, record=record, former=former)
    await work.begin("w")
    await worker_on(store, work, "w").run(until="drained")
    return await reported(store, spec, directory)


__all__ = ["CacheInMemory", "node_pool", "put_up", "reported", "warmed", "work_on", "worker_on"]

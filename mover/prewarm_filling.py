"""Fill a cache directory: room first, then copies by the engine's own copiers, all within one call."""

import asyncio
import functools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mover.beside import alone, running_beside
from mover.budget import ByteBudget
from mover.copying import ShardCopier
from mover.copying_large import ChunkCopier, assemble, open_object, pin
from mover.copying_streamed import copy_streamed
from mover.ends import Ends
from mover.model import CopySpec, LargeObject, SmallShard, Tally
from mover.prewarm.origins import Origin
from mover.prewarm_halves import Halves
from mover.prewarm_landing import Landing
from mover.prewarm_peers import PeerFirst, Peers
from mover.prewarm_places import Told, unheard
from mover.prewarm_room import Reserved
from mover.prewarm_shelf import Shelf
from mover.units import format_bytes
from mover.uploading import abandon, abandon_late
from transports.base import Transport
from transports.errors import Changed, NoSpace, Transient, TransportError, Unavailable
from transports.model import Entry

BUSY_LOOK_S = 0.1
BUSY_S = 300.0
"""How often it is looked whether others have brought what they copy, and for how long while nothing comes."""

TELL_EVERY_S = 0.25
"""How often it is told how much has come: twice for each sign of life."""

LARGE_LANES = 2
"""Large files under way in one call: the second moves its parts while the first is made durable."""


@dataclass(slots=True, kw_only=True)
class Filled:
    """What a fill came to. ``failures`` are (key, class of the error, one line for a person).

    ``peer_bytes`` of the ``bytes`` came from other nodes, ``found_bytes`` had landed before a process was killed.
    """

    files: int = 0
    bytes: int = 0
    peer_bytes: int = 0
    found_bytes: int = 0
    transient: list[Transient] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def fail(self, key: str, error: TransportError) -> None:
        """Note a file that did not make it."""
        if isinstance(error, Transient):
            self.transient.append(error)
        self.failures.append((key, type(error).__name__, str(error)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """Copies files of one origin into a cache directory. ``token`` names this process's unfinished files there.

    ``peers`` is None where no other node is ever asked.
    """

    spec: CopySpec
    origin: Origin
    directory: Transport
    shelf: Shelf
    token: str
    budget: ByteBudget
    peers: Peers | None
    halves: Halves

    async def fill(
        self,
        entries: Sequence[Entry],
        source: Transport,
        *,
        holders: Sequence[str] = (),
        told: Told = unheard,
    ) -> Filled:
        """Copy files from holders that have them, else from a source.

        What there is no room for is a failure of its own. What another process, or another call, is copying here
        already is waited for. ``told`` hears now and then how many more bytes have come.

        A cancel leaves each file as it was or whole, and gives the room back. Raises ``TransportError`` where the
        cache directory itself fails.
        """
        filled, live = Filled(), Tally()
        async with running_beside(functools.partial(_tell, live, told)):
            await self._fill(list(entries), source, holders, filled, live)
        filled.failures = [_with_remedy(each) for each in filled.failures]
        return filled

    async def _fill(
        self,
        left: list[Entry],
        source: Transport,
        holders: Sequence[str],
        filled: Filled,
        live: Tally,
    ) -> None:
        waited_s = 0.0
        while left:
            before = len(left)
            left, copied = await self._fill_once(left, source, holders, filled, live)
            waited_s = 0.0 if copied or len(left) < before else waited_s + BUSY_LOOK_S
            if left and waited_s >= BUSY_S:
                for entry in left:
                    filled.fail(
                        entry.key, Unavailable(self._name(entry), "another process is at it")
                    )
                break
            if left:
                await asyncio.sleep(BUSY_LOOK_S)

    async def _fill_once(
        self,
        entries: Sequence[Entry],
        source: Transport,
        holders: Sequence[str],
        filled: Filled,
        live: Tally,
    ) -> tuple[list[Entry], bool]:
        """Copy what nobody else copies: what others copy and have not brought yet, and whether anything was copied."""
        mine = list(entries)
        try:
            reserved = await self.shelf.reserve(entries)
            mine = [entries[place] for place in reserved.granted]
            again = await self._no_room(entries, reserved, filled)
            # What somebody else has brought since it was looked for need not come again.
            there = await self.shelf.look(mine, marks=True)
            coming = {entry.key: entry for place, entry in enumerate(mine) if place not in there}
            if holders and self.peers is not None:
                peers = PeerFirst(source, self.peers, holders, coming)
                await self._copy(coming, peers, source, filled, live)
                filled.peer_bytes += sum(peers.taken.values())
            else:
                await self._copy(coming, source, source, filled, live)
        finally:
            self.shelf.release(mine)
        busy = [entries[place] for place in reserved.busy]
        present = await self.shelf.look(busy, marks=True) if busy else set()
        left = [entry for place, entry in enumerate(busy) if place not in present]
        return left + again, bool(mine)

    async def _no_room(
        self, entries: Sequence[Entry], reserved: Reserved, filled: Filled
    ) -> list[Entry]:
        """Fail what there is no room for; what there may be room for now is returned instead."""
        lacking = set(range(len(entries))).difference(reserved.granted, reserved.busy)
        if lacking and await self.halves.make_room():
            return [entries[place] for place in sorted(lacking)]
        why = (
            f"there was room for {format_bytes(reserved.room_bytes)} more, and all else in the cache"
            " directory is needed by jobs that run"
        )
        for place in sorted(lacking):
            entry = entries[place]
            filled.fail(entry.key, NoSpace(self._name(entry), why))
        return []

    def _name(self, entry: Entry) -> str:
        return f"{self.origin.text}{entry.key}"

    async def _copy(
        self,
        coming: dict[str, Entry],
        source: Transport,
        origin: Transport,
        filled: Filled,
        live: Tally,
    ) -> None:
        landing = Landing(self.directory, self.shelf, self.origin, coming)
        ends = Ends(
            spec=self.spec,
            source=source,
            target=landing,
            token=self.token,
            budget=self.budget,
            live=live,
        )
        entries = list(coming.values())
        small = [entry for entry in entries if entry.size <= self.spec.split_bytes]
        if small:
            copier = ShardCopier(ends)
            result = await alone(copier.run(SmallShard(copies=small, probes=[]), repeated=False))
            filled.files += result.tally.copied_objects
            filled.bytes += result.tally.copied_bytes
            filled.transient += copier.transient.values()
            filled.failures += [(each.key, each.error, each.detail) for each in result.failures]
        waiting = iter([entry for entry in entries if entry.size > self.spec.split_bytes])
        async with asyncio.TaskGroup() as crew:
            for number in range(min(LARGE_LANES, len(entries) - len(small))):
                lane = self._large_lane(ends, origin, waiting, coming, filled)
                crew.create_task(lane, name=f"large-lane-{number}")

    async def _large_lane(
        self,
        ends: Ends,
        origin: Transport,
        waiting: Iterator[Entry],
        coming: dict[str, Entry],
        filled: Filled,
    ) -> None:
        for entry in waiting:
            try:
                if isinstance(ends.source, PeerFirst):
                    with suppress(TransportError):
                        await copy_large(ends, entry)
                        await self.halves.drop(entry.key)
                        filled.files += 1
                        filled.bytes += entry.size
                        continue
                    ends.source.taken.pop(entry.key, None)
                size = await self._large(ends, origin, entry, coming, filled)
            except TransportError as error:
                filled.fail(entry.key, error)
            else:
                filled.files += 1
                filled.bytes += size

    async def _large(
        self,
        ends: Ends,
        origin: Transport,
        entry: Entry,
        coming: dict[str, Entry],
        filled: Filled,
    ) -> int:
        """Copy a large file from the origin, once more if it changed meanwhile; the bytes that it has.

        It goes on with a half, and leaves one where it fails for now.
        """
        # Parts from other nodes are proven by the whole only: no half may hold any.
        landing = Landing(self.directory, self.shelf, self.origin, coming, self.halves)
        ends = replace(ends, source=origin, target=landing)
        try:
            filled.found_bytes += await copy_large(ends, entry, goes_on=True)
        except Changed:
            fresh = (await ends.source.head(entry.key)).entry
            reserved = await self.shelf.reserve([fresh], anew=True)
            if not reserved.granted:
                raise
            coming[entry.key] = entry = fresh
            await copy_large(ends, fresh)
        return entry.size


def _with_remedy(failure: tuple[str, str, str]) -> tuple[str, str, str]:
    key, error, detail = failure
    if error != NoSpace.__name__:
        return failure
    return key, error, f"{detail}: raise --capacity, free some of the disk, or warm less"


async def _tell(live: Tally, told: Told) -> None:
    """Tell what the copiers count, until nobody waits any more."""
    known = 0
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        told(live.copied_bytes - known)
        known = live.copied_bytes


async def copy_large(ends: Ends, entry: Entry, *, goes_on: bool = False) -> int:
    """Copy one file as parts, all of them here; how many bytes of it were there.

    Raises ``TransportError``; its upload is dropped then. Where the target ``goes_on`` with uploads, only after
    failures that will not pass.
    """
    info = await pin(ends, entry)
    if not info.ranges or not ends.source.capabilities.ranges:
        await copy_streamed(ends, entry, info, _unfenced)
        return 0
    chunks, assembly = await open_object(
        ends, LargeObject(entry=entry), info, "", _unfenced, repeated=False
    )
    copier = ChunkCopier(ends, replace(chunks[0], last=chunks[-1].last))
    try:
        await copier.run(repeated=goes_on)
        await assemble(ends, assembly, copier.result.parts)
    except asyncio.CancelledError:
        await abandon_late(ends, entry.key, assembly.upload_id)
        raise
    except TransportError as error:
        if not (goes_on and isinstance(error, Transient)):
            await abandon(ends, entry.key, assembly.upload_id)
        raise
    return copier.found_bytes


async def _unfenced() -> None:
    """Nobody else writes what this process has reserved under a token of its own."""

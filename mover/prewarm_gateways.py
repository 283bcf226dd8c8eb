"""A gateway as a place of prewarming: an S3 or HTTP endpoint in front of a cache.

What is read through it fills the cache, so everything is read and nothing is kept: ``Transport.drop``. Whether a
byte is in the cache is said in the headers of the answers, for nothing with those that are read, and for one byte
each with those that are only looked at. docs/prewarm.md says what a gateway can and cannot prove.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from mover.beside import alone
from mover.ends import closing_pages
from mover.prewarm.dropping import RANGE_BYTES, Batch, Unit, units_of
from mover.prewarm.hits import Hit, HitHeader, came_sooner, hit_header, hit_of
from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed
from mover.prewarm_places import Ground, Nature, Place, Told, unheard
from mover.selecting import Selector
from transports.base import Transport
from transports.decorator import closing
from transports.errors import Changed, NotFound, Transient, TransportError, Unsupported
from transports.location import parse_location
from transports.model import ByteRange, Entry, Kind

Item = TypeVar("Item")

CUT_BYTES: Final = 64 * 1024 * 1024
"""Larger objects of an S3 gateway are shared by several tasks, and so by workers."""

ASKED_MIN: Final = 8
"""So many answers without a word on a cache, and none with one: the gateway says nothing, and is not asked again."""

GLANCED_BYTES_MAX: Final = 16 * 1024 * 1024
"""A byte of a larger object may make a cache fetch all of it behind the answer, while it is read a second time."""

TIMED_PIECES: Final = 8
FIRST_TIMES_MAX: Final = 4096

_JUDGES: Final = {
    Judge.AUTO: (Judge.HEADER, Certainty.PROVEN),
    Judge.HEADER: (Judge.HEADER, Certainty.PROVEN),
    Judge.TIMED: (Judge.TIMED, Certainty.INFERRED),
    Judge.NONE: (Judge.NONE, Certainty.UNKNOWN),
}


async def open_gateway(location: str, ground: Ground) -> Place:
    """Open a gateway's bucket, prefix, directory page or single object.

    Raises ``ValueError`` for a judge or a header that makes no sense here, and for a location that cannot be read;
    ``TransportError`` where the gateway does not let us in.
    """
    spec = ground.spec
    if spec.judge not in _JUDGES:
        raise ValueError(
            f"--residency {spec.judge} knows nothing of a gateway: header, timed or none"
        )
    judge, certainty = _JUDGES[spec.judge]
    named = hit_header(spec.hit_header)
    parsed = parse_location(location)
    by_ranges = parsed.scheme not in {"http", "https"}
    nature = Nature(
        judge=judge,
        certainty=certainty,
        # Caches of HTTP keep whole objects, and many of them nothing that was asked for by ranges.
        cut_bytes=CUT_BYTES if by_ranges else 0,
    )
    single = ""
    source = await ground.open_source(location if parsed.is_tree else _parent_of(location))
    if not parsed.is_tree:
        try:
            await source.head(parsed.name)
            single = parsed.name
        except NotFound:  # then it is a tree, written without its slash
            source = await ground.open_source(location)
    gate = _Gate(source=source, named=named, judge=judge, by_ranges=by_ranges)
    return Gateway(parsed.text, gate, nature, single=single, note=ground.note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """What reads and looks need of a gateway."""

    source: Transport
    named: HitHeader | None
    judge: Judge
    by_ranges: bool

    async def read(self, entry: Entry, span: ByteRange) -> tuple[int, Hit]:
        """Read and drop; returns the number of bytes and whether they came from the cache."""
        if entry.size < 0:  # a body without a length ends where it ends
            size = 0
            async with closing(self.source.stream(entry)) as pieces:
                async for piece in pieces:
                    size += len(piece)
            return size, Hit.UNKNOWN
        told = await self.source.drop(entry, span)
        return len(span), hit_of(told, self.named)

    async def read_small(self, entries: Sequence[Entry]) -> list[Hit | TransportError]:
        """Read and drop whole objects; says of each whether it came from the cache, or what was wrong."""
        results = await self.source.drop_small(entries)
        return [
            told if isinstance(told, TransportError) else hit_of(told, self.named)
            for told in results
        ]

    async def ask(self, entry: Entry, at: int) -> tuple[Hit, bool]:
        """Ask for one byte; returns what is said of it, and whether the cache minds not to fetch."""
        told = await self.source.drop(entry, ByteRange(at, at + 1), cached_only=True)
        return hit_of(told, self.named), told.get(b":status") == b"504"

    async def together(self, items: Sequence[Item], run: Callable[[Item], Awaitable[None]]) -> None:
        """Run all items; how many at once is for the source's limit to say. Raises the first error."""
        waiting = iter(items)

        async def lane() -> None:
            for item in waiting:
                await run(item)

        async def crew() -> None:
            async with asyncio.TaskGroup() as lanes:
                for number in range(min(self.source.capabilities.concurrency_max, len(items))):
                    lanes.create_task(lane(), name=f"gateway-{number}")

        await alone(crew())


class Gateway(Place):
    """See the port. What the answers have said so far is remembered in this process, and nowhere else."""

    def __init__(
        self,
        location: str,
        gate: _Gate,
        nature: Nature,
        *,
        single: str,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.location = location
        self.nature = nature
        self._gate = gate
        self._single = single
        self._note = note
        self._clock = clock
        self._unsaid = 0  # answers without a word; -1 as soon as there was one
        self._spares_origin = False  # it has refused to fetch when it was asked not to
        self._last = Hit.UNKNOWN
        self._first_s: dict[tuple[str, int], float] = {}

    async def walk(self, selector: Selector, *, metadata: bool) -> AsyncIterator[Sequence[Entry]]:
        source = self._gate.source
        if self._single:
            entry = (await source.head(self._single)).entry
            if selector.wants(entry.key, entry.size, entry.mtime_ns):
                yield [entry]
            return
        async with closing_pages(source.list(selector.literal_prefix)) as pages:
            async for page in pages:
                wanted: Sequence[Entry] = [
                    entry
                    for entry in page
                    if entry.kind is Kind.OBJECT
                    and selector.wants(entry.key, entry.size, entry.mtime_ns)
                ]
                if metadata:
                    wanted = await self._asked_for(wanted)
                if wanted:
                    yield wanted

    async def _asked_for(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries as they are when asked for one by one, without those that have gone."""
        found: dict[str, Entry] = {}

        async def ask(entry: Entry) -> None:
            try:
                found[entry.key] = (await self._gate.source.head(entry.key)).entry
            except NotFound:
                return

        await self._gate.together(entries, ask)
        return [found[entry.key] for entry in entries if entry.key in found]

    # -- looking -------------------------------------------------------------------------------

    async def glance(self, pieces: Sequence[Piece]) -> Look:
        """A look before the first read, where to be wrong costs a read from the cache and no more.

        Two small pieces are asked about; only where both are resident are all.
        """
        if self.nature.judge is not Judge.HEADER or self._says_nothing:
            return await self.look(pieces)
        size_max = self._bytes_max_to_glance()
        small = sorted((piece for piece in pieces if piece.size), key=lambda each: each.entry.size)
        small = [piece for piece in small[:2] if piece.entry.size <= size_max]
        sample = await self._look(small)
        if not sample.missing and (small or self._last is Hit.YES):
            return await self.look(pieces)
        size = sum(piece.size for piece in pieces)
        return Look(size, None if sample.resident_bytes is None and small else 0, pieces)

    def _bytes_max_to_glance(self) -> int:
        return 1 << 62 if self._spares_origin else GLANCED_BYTES_MAX

    async def look(self, pieces: Sequence[Piece]) -> Look:
        """See the port. Costs one byte of a piece, or two of a large one.

        Of an object whose piece is not resident no other piece is asked about, unless the cache minds
        ``only-if-cached``: it would fetch what it is asked for, again and again while it does.
        """
        size = sum(piece.size for piece in pieces)
        if self.nature.judge is Judge.TIMED:
            sooner = await self._came_sooner(pieces)
            return Look(size, size) if sooner else Look(size, None)
        if self.nature.judge is not Judge.HEADER or self._says_nothing:
            return Look(size, None)
        return await self._look(pieces)

    async def _look(self, pieces: Sequence[Piece]) -> Look:
        missing: list[Piece] = []
        known = 0
        by_object: dict[str, list[Piece]] = {}
        for piece in pieces:
            if piece.size:
                by_object.setdefault(piece.entry.key, []).append(piece)

        async def ask(group: list[Piece]) -> None:
            nonlocal known
            for number, piece in enumerate(group):
                if self._says_nothing:
                    return
                hit = await self._ask(piece)
                known += hit is not Hit.UNKNOWN
                if hit is Hit.YES:
                    continue
                if hit is Hit.NO and not self._spares_origin:
                    missing.extend(group[number:])
                    return
                missing.append(piece)

        await self._gate.together(list(by_object.values()), ask)
        size = sum(piece.size for piece in pieces)
        # Whoever was not asked any more is not resident for that.
        if by_object and (not known or self._says_nothing):
            return Look(size, None)
        return Look(size, size - sum(piece.size for piece in missing), missing)

    async def _ask(self, piece: Piece) -> Hit:
        """Whether the first and the last byte of a piece are resident; a piece that has gone is not."""
        ends = {piece.start, piece.stop - 1} if piece.size > RANGE_BYTES else {piece.start}
        for at in sorted(ends):
            try:
                hit, minds = await self._gate.ask(piece.entry, at)
            except (NotFound, Changed):
                return Hit.NO
            self._spares_origin = self._spares_origin or minds
            self._heard(hit)
            if hit is not Hit.YES:
                return hit
        return Hit.YES

    @property
    def _says_nothing(self) -> bool:
        return self._unsaid >= ASKED_MIN

    def _heard(self, hit: Hit) -> None:
        if hit is not Hit.UNKNOWN:
            self._unsaid, self._last = -1, hit
            return
        if self._unsaid < 0 or self._says_nothing or self.nature.judge is not Judge.HEADER:
            return
        self._unsaid += 1
        if self._says_nothing:
            self.nature = replace(self.nature, certainty=Certainty.UNKNOWN)
            self._note(
                f"{self.location} does not say what is in its cache: name the header that does"
                " (--hit-header NAME=REGEX), or see how soon it answers (--residency timed)"
            )

    async def _came_sooner(self, pieces: Sequence[Piece]) -> bool:
        known = [piece for piece in pieces if (piece.entry.key, piece.start) in self._first_s]
        first_s = [self._first_s[piece.entry.key, piece.start] for piece in known[:TIMED_PIECES]]
        now_s = [await self._first_byte_s(piece) for piece in known[:TIMED_PIECES]]
        return came_sooner(first_s, now_s)

    async def _first_byte_s(self, piece: Piece) -> float:
        started_s = self._clock()
        try:
            await self._gate.source.drop(piece.entry, ByteRange(piece.start, piece.start + 1))
        except (NotFound, Changed):
            return float("inf")
        return self._clock() - started_s

    async def _time_first_bytes(self, pieces: Sequence[Piece]) -> None:
        """One by one, before anything else is under way, as they are timed again afterwards."""
        sized = [piece for piece in pieces if piece.size]
        for piece in sized[:: max(1, len(sized) // TIMED_PIECES)][:TIMED_PIECES]:
            self._first_s[piece.entry.key, piece.start] = await self._first_byte_s(piece)
        while len(self._first_s) > FIRST_TIMES_MAX:
            del self._first_s[next(iter(self._first_s))]

    # -- reading -------------------------------------------------------------------------------

    async def warm(
        self,
        pieces: Sequence[Piece],
        *,
        holders: Sequence[str] = (),
        again: bool = False,
        told: Told = unheard,
    ) -> Warmed:
        """See the port. What an answer calls a miss has come from the origin.

        Raises ``Transient`` where nothing at all could be read for a reason that may pass.
        """
        if self.nature.judge is Judge.TIMED and not again:
            await self._time_first_bytes(pieces)
        warmed = Warmed()
        failed: dict[str, TransportError] = {}

        def came(size: int, hit: Hit) -> None:
            self._heard(hit)
            warmed.read_bytes += size
            if hit is Hit.NO:
                warmed.origin_bytes += size

        async def read(unit: Unit | Batch) -> None:
            if isinstance(unit, list):
                results = await self._gate.read_small(unit)
                for entry, result in zip(unit, results, strict=True):
                    if isinstance(result, TransportError):
                        failed[entry.key] = result
                    else:
                        came(entry.size, result)
                told(sum(entry.size for entry in unit if entry.key not in failed))
                return
            key = unit.piece.entry.key
            if key in failed:
                return
            try:
                size, hit = await self._gate.read(unit.piece.entry, unit.span)
            except TransportError as error:
                failed[key] = error
                return
            came(size, hit)
            told(size)

        await self._gate.together(units_of(pieces, by_ranges=self._gate.by_ranges), read)
        _raise_if_away(failed.values(), warmed)
        begun = {piece.entry.key for piece in pieces if piece.start == 0}
        warmed.read_files = len(begun - failed.keys())
        warmed.failures = [(key, type(error).__name__, str(error)) for key, error in failed.items()]
        return warmed

    async def evict(self, pieces: Sequence[Piece]) -> Warmed:
        raise Unsupported(self.location, "a gateway cannot be told to forget what it has cached")

    async def close(self) -> None:
        """Nothing: the source is the job's."""


def _raise_if_away(errors: Iterable[TransportError], warmed: Warmed) -> None:
    """A gateway that gave nothing for now is away, which is no failure of its objects."""
    for error in errors:
        if isinstance(error, Transient) and not warmed.read_bytes:
            raise error


def _parent_of(location: str) -> str:
    """The tree that holds an object, as text with its options."""
    cut = min(at for at in (location.find("?"), location.find("#"), len(location)) if at >= 0)
    if not location.startswith(("http://", "https://")):
        cut = location.rfind("?") if "?" in location else len(location)
    return location[: location.rindex("/", 0, cut) + 1] + location[cut:]

"""What a gateway is asked and what is made of its answers, over a cache that is played in memory."""

import itertools
from collections.abc import Callable, Sequence

import pytest

from mover.prewarm.dropping import RANGE_BYTES
from mover.prewarm.model import Certainty, Judge, Piece, WarmSpec
from mover.prewarm_gateways import ASKED_MIN, CUT_BYTES, open_gateway
from mover.prewarm_places import Ground, Place
from transports.base import Told, Transport
from transports.errors import Changed, NotFound, TransportError, Unavailable
from transports.memory import MemoryTransport
from transports.model import ByteRange, Entry

MIB = 1 << 20
BLOCK = 4 * MIB


class PlayedCache(MemoryTransport):
    """A store behind a cache of blocks (or of ``whole`` objects) that says what it has.

    ``asked`` and ``read`` are the ranges that came, as (key, start, stop); ``fetched`` counts bytes from the origin.
    """

    def __init__(self, *, says: bool = True, minds: bool = False, whole: bool = False) -> None:
        super().__init__()
        self.says, self.minds, self.whole = says, minds, whole
        self.held: set[tuple[str, int]] = set()
        self.asked: list[tuple[str, int, int]] = []
        self.read: list[tuple[str, int, int]] = []
        self.fetched = 0
        self.keeps = True
        self.failing: dict[str, TransportError] = {}

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        (self.asked if cached_only else self.read).append((entry.key, span.start, span.stop))
        if entry.key in self.failing:
            raise self.failing[entry.key]
        needed = {
            (entry.key, block) for block in range(span.start // BLOCK, -(-span.stop // BLOCK))
        }
        if self.whole:
            needed = {(entry.key, block) for block in range(-(-entry.size // BLOCK))}
        hit = needed <= self.held
        if cached_only and self.minds and not hit:
            return {b":status": b"504"}
        if not hit:
            self.fetched += len(needed - self.held) * BLOCK
            if self.keeps:
                self.held |= needed
        return {b":status": b"206"} | (
            {b"x-cache": b"HIT" if hit else b"MISS"} if self.says else {}
        )


def entries(*sizes: int) -> list[Entry]:
    return [Entry(f"k{number:04}", size, 0) for number, size in enumerate(sizes)]


def cut(listed: Sequence[Entry], step: int = CUT_BYTES) -> list[Piece]:
    return [
        Piece(entry, start, min(start + step, entry.size))
        for entry in listed
        for start in range(0, max(entry.size, 1), step)
    ]


async def place_of(
    cache: Transport, location: str = "s3://b/", notes: list[str] | None = None, **wishes: object
) -> Place:
    async def nothing(_: int) -> None: ...

    async def opens(_: str) -> Transport:
        return cache

    async def token() -> str:
        return ""

    ground = Ground(
        spec=WarmSpec(targets=(location,), **wishes),  # type: ignore[arg-type]
        job="j",
        node="n",
        environment={},
        take=nothing,
        limited=lambda: False,
        open_source=opens,
        token=token,
        note=(notes if notes is not None else []).append,
    )
    return await open_gateway(location, ground)


def ticking(*steps_s: float) -> Callable[[], float]:
    """A clock whose every second reading is so much later."""
    moments = itertools.accumulate(itertools.chain.from_iterable((0.0, step) for step in steps_s))
    return lambda: next(moments)


async def test_ranges_of_an_object_are_read_side_by_side_and_count_as_one_file() -> None:
    cache = PlayedCache()
    place = await place_of(cache)
    pieces = cut(entries(CUT_BYTES + 5, 100))
    assert [piece.size for piece in pieces] == [CUT_BYTES, 5, 100]
    warmed = await place.warm(pieces)
    sizes = sorted(stop - start for _, start, stop in cache.read)
    assert sizes == [5, 100, *[RANGE_BYTES] * (CUT_BYTES // RANGE_BYTES)]
    assert (warmed.read_files, warmed.read_bytes) == (2, CUT_BYTES + 105)
    assert warmed.origin_bytes == warmed.read_bytes
    look = await place.look(pieces)
    assert (look.resident_bytes, look.missing) == (look.bytes, [])


async def test_objects_of_an_http_cache_are_read_whole() -> None:
    cache = PlayedCache(whole=True)
    place = await place_of(cache, "http://host/d/")
    assert place.nature.cut_bytes == 0
    (entry,) = entries(300 * MIB)
    await place.warm([Piece(entry, 0, entry.size)])
    assert cache.read == [(entry.key, 0, entry.size)]


async def test_a_cold_cache_is_asked_about_two_small_objects_and_no_more() -> None:
    cache = PlayedCache()
    place = await place_of(cache)
    pieces = cut(entries(*[100] * 500, 200 * MIB))
    glance = await place.glance(pieces)
    assert (glance.resident_bytes, len(glance.missing)) == (0, len(pieces))
    assert len(cache.asked) == 2


async def test_a_cold_cache_is_not_made_to_fetch_a_large_object_by_a_glance() -> None:
    cache = PlayedCache(whole=True)
    place = await place_of(cache)
    pieces = cut(entries(200 * MIB, 300 * MIB))
    assert len((await place.glance(pieces)).missing) == len(pieces)
    assert cache.asked == []


async def test_a_warm_cache_is_asked_about_everything_and_read_not_at_all() -> None:
    cache = PlayedCache()
    pieces = cut(entries(100, 100, 100, 200 * MIB))
    await (await place_of(cache)).warm(pieces)
    place = await place_of(cache)
    glance = await place.glance(pieces)
    assert (glance.resident_bytes, glance.missing) == (glance.bytes, [])
    # Two to begin with, then each piece: its first byte, and the last one of a large one.
    assert len(cache.asked) == 2 + 3 + 2 * 3 + 1


async def test_a_look_says_what_is_missing_and_does_not_repeat_what_would_be_fetched() -> None:
    cache = PlayedCache()
    listed = entries(100, 200 * MIB, 100)
    pieces = cut(listed)
    await (place := await place_of(cache)).warm(pieces)
    cache.held = {
        (key, block) for key, block in cache.held if (key, block < 20) != ("k0001", False)
    }
    cache.asked.clear()
    look = await place.look(pieces)
    # The second piece begins within what is held and ends behind it; those behind it were not asked about.
    assert [piece.start for piece in look.missing] == [CUT_BYTES, 2 * CUT_BYTES, 3 * CUT_BYTES]
    assert look.resident_bytes == look.bytes - 200 * MIB + CUT_BYTES
    assert max(stop for _, _, stop in cache.asked) == 2 * CUT_BYTES


async def test_a_cache_that_minds_is_asked_about_all_and_fetches_nothing() -> None:
    cache = PlayedCache(minds=True)
    place = await place_of(cache)
    listed = entries(200 * MIB, *[100] * 10)
    pieces = cut(listed)
    cache.held = {("k0000", block) for block in range(32, 64)}
    look = await place.look(pieces)
    held = [piece.start for piece in pieces if piece not in look.missing]
    assert held == [2 * CUT_BYTES, 3 * CUT_BYTES]
    assert cache.fetched == 0


async def test_a_cache_that_keeps_nothing_has_nothing() -> None:
    cache = PlayedCache()
    cache.keeps = False
    place = await place_of(cache)
    pieces = cut(entries(*[100] * 20))
    await place.warm(pieces)
    look = await place.look(pieces)
    assert (look.resident_bytes, list(look.missing)) == (0, pieces)


async def test_a_gateway_that_says_nothing_is_soon_left_alone() -> None:
    cache, notes = PlayedCache(says=False), list[str]()
    place = await place_of(cache, notes=notes)
    pieces = cut(entries(*[100] * 500))
    assert (await place.glance(pieces)).resident_bytes is None
    await place.warm(pieces)
    cache.asked.clear()
    assert (await place.look(pieces)).resident_bytes is None
    assert cache.asked == []
    assert place.nature.certainty is Certainty.UNKNOWN
    assert len(notes) == 1


async def test_few_objects_that_say_nothing_are_not_called_resident() -> None:
    place = await place_of(PlayedCache(says=False))
    pieces = cut(entries(*[100] * (ASKED_MIN // 4)))
    await place.warm(pieces)
    assert (await place.look(pieces)).resident_bytes is None


async def test_what_was_not_asked_any_more_is_not_resident_for_that() -> None:
    cache = PlayedCache(says=False)
    cache.failing = {"k0000": NotFound("b/k0000")}
    place = await place_of(cache)
    assert (await place.look(cut(entries(*[100] * 500)))).resident_bytes is None


async def test_failures_of_objects_are_values() -> None:
    cache = PlayedCache()
    cache.failing = {
        "k0000": NotFound("b/k0000"),
        "k0001": Changed("b/k0001"),
        "k0002": Unavailable("b/k0002"),
    }
    place = await place_of(cache)
    pieces = cut(entries(100, 40 * MIB, 100, 100))
    warmed = await place.warm(pieces)
    assert [(key, kind) for key, kind, _ in sorted(warmed.failures)] == [
        ("k0000", "NotFound"),
        ("k0001", "Changed"),
        ("k0002", "Unavailable"),
    ]
    assert (warmed.read_files, warmed.read_bytes) == (1, 100)
    del cache.failing["k0002"]
    look = await place.look(pieces)
    assert {piece.entry.key for piece in look.missing} == {"k0000", "k0001", "k0002"}


async def test_a_gateway_that_is_away_is_no_failure_of_its_objects() -> None:
    cache = PlayedCache()
    pieces = cut(entries(100, 100))
    cache.failing = {piece.entry.key: Unavailable("b") for piece in pieces}
    place = await place_of(cache)
    for call in (place.warm, place.look):
        with pytest.raises(Unavailable):
            await call(pieces)


async def test_empty_objects_are_read_and_are_resident() -> None:
    cache = PlayedCache()
    place = await place_of(cache)
    pieces = cut(entries(0, 0))
    warmed = await place.warm(pieces)
    assert (warmed.read_files, warmed.read_bytes, len(cache.read)) == (2, 0, 2)
    look = await place.look(pieces)
    assert (look.bytes, look.resident_bytes) == (0, 0)
    assert cache.asked == []


@pytest.mark.parametrize(("later_s", "resident"), [(0.001, True), (0.04, False)])
async def test_a_timed_judge_concludes_or_does_not_know(later_s: float, resident: bool) -> None:
    place = await place_of(PlayedCache(says=False), judge=Judge.TIMED)
    place._clock = ticking(*[0.05] * 8, *[later_s] * 8)  # type: ignore[attr-defined]
    pieces = cut(entries(*[100] * 8))
    assert place.nature.certainty is Certainty.INFERRED
    assert (await place.look(pieces)).resident_bytes is None
    await place.warm(pieces)
    look = await place.look(pieces)
    assert look.resident_bytes == (look.bytes if resident else None)


async def test_nobody_judges_where_nobody_shall() -> None:
    cache = PlayedCache()
    place = await place_of(cache, judge=Judge.NONE)
    pieces = cut(entries(100))
    assert (await place.glance(pieces)).resident_bytes is None
    assert (await place.look(pieces)).resident_bytes is None
    assert cache.asked == []

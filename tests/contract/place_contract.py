"""What every place of a prewarm is held to.

A place's own test file is a subclass named ``Test...`` with fixtures ``place`` (fresh, over what
``seed`` puts there) and whatever those need:

    class TestMine(PlaceContract):
        @pytest.fixture
        async def place(self, ...) -> AsyncIterator[Place]: ...

        def seed(self, files: Mapping[str, int]) -> None: ...  # key to size in bytes

``certain`` is False where its judge only infers, ``evicts`` where its cache cannot be told to free.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from mover.ends import closing_pages
from mover.filtering import Selection
from mover.prewarm.model import Piece, Warmed
from transports.errors import Unsupported
from transports.model import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mover.prewarm_places import Place
    from transports.model import Entry

FILES = {"a": 10, "b/c": 100_000, "b/d/e": 5_000_000, "b/empty": 0, "z/with space": 70_000}


async def entries(
    place: Place, selection: Selection | None = None, *, metadata: bool = False
) -> list[Entry]:
    pages = place.walk((selection or Selection()).compile(0.0), metadata=metadata)
    return [entry async for page in pages for entry in page]


async def pieces(place: Place, *keys: str) -> list[Piece]:
    """Whole files of the place, all of them or those of these keys."""
    found = await entries(place)
    return [Piece(e, 0, e.size) for e in found if not keys or e.key in keys]


def size_of(some: Sequence[Piece]) -> int:
    return sum(piece.size for piece in some)


class PlaceContract:
    certain = True
    evicts = True

    def seed(self, files: Mapping[str, int]) -> None:
        """Put files of these sizes where the place looks, and none of them into its cache."""
        raise NotImplementedError

    def vanish(self, key: str) -> None:
        """Take a file away behind the place's back."""
        raise NotImplementedError

    async def test_a_walk_is_complete(self, place: Place) -> None:
        self.seed(FILES)
        for metadata in (False, True):
            found = await entries(place, metadata=metadata)
            assert {entry.key: entry.size for entry in found} == FILES
            assert len(found) == len(FILES)
            assert {entry.kind for entry in found} == {Kind.OBJECT}

    async def test_a_walk_that_is_left_early_leaves_nothing_running(self, place: Place) -> None:
        self.seed(FILES)
        before = asyncio.all_tasks()
        async with closing_pages(place.walk(Selection().compile(0.0), metadata=False)) as pages:
            await anext(pages)
        assert asyncio.all_tasks() == before

    async def test_a_walk_yields_what_the_selector_wants(self, place: Place) -> None:
        self.seed(FILES)
        found = await entries(place, Selection(names=("b/c", "z/with space", "none")))
        assert sorted(entry.key for entry in found) == ["b/c", "z/with space"]
        found = await entries(place, Selection(size_min_bytes=70_000, size_max_bytes=100_000))
        assert sorted(entry.key for entry in found) == ["b/c", "z/with space"]

    async def test_a_walk_may_be_left_early(self, place: Place) -> None:
        self.seed({f"d{n % 7}/f{n}": 1 for n in range(300)})
        async with contextlib.aclosing(  # type: ignore[type-var]
            place.walk(Selection().compile(0.0), metadata=False)
        ) as pages:
            async for _ in pages:
                break
        assert len(await entries(place)) == 300

    async def test_what_is_warmed_is_seen(self, place: Place) -> None:
        self.seed(FILES)
        wanted = await pieces(place)
        before = await place.look(wanted)
        assert before.bytes == size_of(wanted)
        warmed = await place.warm(wanted)
        assert warmed.failures == []
        assert warmed.read_files == len(FILES)
        after = await place.look(wanted)
        if self.certain:
            assert before.resident_bytes == 0
            assert {p.entry.key for p in before.missing} >= {k for k, s in FILES.items() if s}
            assert after.resident_bytes == after.bytes
            assert list(after.missing) == []

    async def test_bytes_are_told_as_they_come_and_not_too_many(self, place: Place) -> None:
        self.seed(FILES)
        told: list[int] = []
        warmed = await place.warm(await pieces(place), told=told.append)
        assert warmed.failures == []
        assert all(size >= 0 for size in told)
        assert sum(told) <= sum(FILES.values())
        assert len(told) <= len(FILES) + sum(FILES.values()) // 1_000_000

    async def test_what_was_not_warmed_is_called_missing(self, place: Place) -> None:
        if not self.certain:
            return
        self.seed(FILES)
        await place.warm(await pieces(place, "b/d/e"))
        look = await place.look(await pieces(place))
        assert look.resident_bytes == 5_000_000
        assert {piece.entry.key for piece in look.missing} >= {"a", "b/c", "z/with space"}
        assert size_of(look.missing) >= look.bytes - 5_000_000

    async def test_warming_again_changes_nothing(self, place: Place) -> None:
        self.seed(FILES)
        wanted = await pieces(place)
        for again in (False, False, True):
            assert (await place.warm(wanted, again=again)).failures == []
        if self.certain:
            assert (await place.look(wanted)).missing == []

    async def test_several_calls_go_at_once(self, place: Place) -> None:
        self.seed({f"d/f{n}": 40_000 for n in range(60)})
        wanted = await pieces(place)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(place.warm(wanted[n::3])) for n in range(3)]
            looks = [group.create_task(place.look(wanted[n::3])) for n in range(3)]
        assert sum(call.result().read_files for call in calls) == 60
        assert sum(look.result().bytes for look in looks) == size_of(wanted)

    async def test_nothing_is_no_work(self, place: Place) -> None:
        self.seed({})
        assert await entries(place) == []
        look = await place.look([])
        assert (look.bytes, list(look.missing)) == (0, [])
        assert await place.warm([]) == Warmed()

    async def test_what_vanished_is_a_failure_of_its_own(self, place: Place) -> None:
        self.seed(FILES)
        wanted = await pieces(place)
        self.vanish("b/c")
        warmed = await place.warm(wanted)
        assert [(key, kind) for key, kind, _ in warmed.failures] == [("b/c", "NotFound")]
        assert warmed.read_files == len(FILES) - 1
        if self.certain:
            look = await place.look(wanted)
            assert [piece.entry.key for piece in look.missing] == ["b/c"]
            assert look.resident_bytes == size_of(wanted) - 100_000

    async def test_evicted_is_gone(self, place: Place) -> None:
        self.seed(FILES)
        wanted = await pieces(place)
        await place.warm(wanted)
        if not self.evicts:
            with pytest.raises(Unsupported):
                await place.evict(wanted)
            return
        freed = await place.evict([piece for piece in wanted if piece.entry.key != "a"])
        assert freed.failures == []
        assert freed.read_bytes >= size_of(wanted) - 10 - 4096
        look = await place.look(wanted)
        assert look.resident_bytes == 10
        assert (await place.evict(wanted)).failures == []

    async def test_a_cancelled_call_leaves_the_place_fit(self, place: Place) -> None:
        self.seed({f"d/f{n}": 400_000 for n in range(40)})
        wanted = await pieces(place)
        for delay_s in (0.0, 0.005, 0.02):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await place.warm(wanted)
        assert (await place.warm(wanted)).failures == []
        if self.certain:
            assert (await place.look(wanted)).missing == []

    async def test_closing_may_be_repeated(self, place: Place) -> None:
        self.seed(FILES)
        await place.warm(await pieces(place))
        await place.close()
        await place.close()

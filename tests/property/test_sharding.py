"""Any keys, any points, any recursion of cuts: the ranges hold every key exactly once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from hypothesis import given, settings
from hypothesis import strategies as st

from mover.bisecting import Search, find_points
from mover.interpolating import interpolate
from mover.sharding import KeyRange
from mover.splitting import split_range
from tests.unit.mover.sorted_store import SortedStore
from transports.memory import MemoryTransport
from transports.testing import put

# Few characters, on both sides of "/", with one beyond the plane and one invalid byte.
texts = st.text(alphabet="ab01/-.\udcff\U0001f600\U0010ffff", min_size=1, max_size=6)
key_sets = st.sets(texts, max_size=60)


def spans(texts_: st.SearchStrategy[str]) -> st.SearchStrategy[KeyRange]:
    bounds = st.tuples(st.one_of(st.just(""), texts_), st.one_of(st.none(), texts_))
    return bounds.filter(lambda pair: pair[1] is None or pair[0] < pair[1]).map(
        lambda pair: KeyRange(*pair)
    )


@given(key_sets, spans(texts), st.lists(st.lists(texts, max_size=6), max_size=3))
def test_ranges_hold_every_key_exactly_once(
    keys: set[str], span: KeyRange, rounds: list[list[str]]
) -> None:
    ranges = [span]
    for points in rounds:
        ranges = [part for each in ranges for part in each.split(points)]
    for key in keys:
        assert sum(each.contains(key) for each in ranges) == span.contains(key)
        for each in ranges:
            inside = each.after < key and (each.stop_at is None or key < each.stop_at)
            assert inside == each.contains(key)
    assert ranges[0].after == span.after
    assert ranges[-1].upto == span.upto


@settings(max_examples=300)
@given(
    key_sets, texts.map(lambda text: text[:1]), spans(texts), st.integers(1, 5), st.integers(1, 9)
)
def test_any_search_ends_and_its_points_cut_correctly(
    keys: set[str], prefix: str, span: KeyRange, limit: int, wanted: int
) -> None:
    """Also with answers of one to five names, where everything is a flat prefix."""
    for within in ("", prefix):
        store = SortedStore(keys)
        search = Search(limit=limit, whole=0)
        points = store.run(find_points(search, within, span, wanted))
        ranges = span.split(points)
        assert store.looks <= 40 * wanted
        wanted_keys = [key for key in store.keys if span.contains(key)]
        found = [key for each in ranges for key in store.keys if each.contains(key)]
        assert found == wanted_keys


@settings(max_examples=100)
@given(st.data(), key_sets, st.integers(1, 9))
def test_a_search_survives_any_answers(data: st.DataObject, keys: set[str], wanted: int) -> None:
    """A store that changes or lies all the time: the search ends, and its points are texts."""
    steps = find_points(Search(limit=3, whole=0), "", KeyRange(), wanted)
    names = st.lists(texts, max_size=3)
    try:
        looks = next(steps)
        for _ in range(1000):
            looks = steps.send([data.draw(names) for _ in looks])
        raise AssertionError("the search goes on and on")
    except StopIteration as end:
        assert all(isinstance(point, str) for point in end.value)  # noqa: PT017 - its result


@given(texts, texts, st.lists(texts, min_size=1, max_size=6))
def test_interpolated_points_are_in_order(one: str, other: str, samples: list[str]) -> None:
    first, last = sorted((one, other))
    points = interpolate(first, last, [0.0, 0.25, 0.5, 0.75, 0.999], [first, last, *samples])
    assert points == sorted(points)


@settings(max_examples=50)
@given(key_sets, spans(texts), st.integers(1, 9), st.integers(1, 4))
def test_listing_the_ranges_is_listing_the_whole(
    keys: set[str], span: KeyRange, wanted: int, deep: int
) -> None:
    async def check() -> None:
        transport = MemoryTransport()
        await put(transport, dict.fromkeys(keys, b""))
        ranges = [span]
        for _ in range(deep):
            ranges = [
                part
                for each in ranges
                for part in await split_range(transport, "", each, wanted=wanted)
            ]
        found: list[str] = []
        for each in ranges:
            pages = transport.list("", start_after=each.after, stop_at=each.stop_at)
            async with aclosing(pages) as listing:  # type: ignore[type-var]
                found += [entry.key async for page in listing for entry in page]
        assert found == sorted(key for key in keys if span.contains(key))

    asyncio.run(check())

"""The merge-join against a dictionary, for every way of cutting listings into pages."""

import asyncio
import unittest.mock
from collections.abc import AsyncIterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from mover import listing
from mover.listing import PairPage, merge
from transports.model import Entry

keys = st.sets(st.text(alphabet="ab/-é\U0001f600", min_size=1, max_size=4), max_size=12)


async def pages(names: set[str], cut: int) -> AsyncIterator[Sequence[Entry]]:
    ordered = [Entry(name, 1, 0) for name in sorted(names)]
    for start in range(0, len(ordered), cut):
        yield ordered[start : start + cut]


async def collect(
    source: set[str], target: set[str], cuts: tuple[int, int], extras: bool
) -> list[PairPage]:
    merged = merge(pages(source, cuts[0]), pages(target, cuts[1]), extras=extras)
    return [page async for page in merged]


@given(keys, keys, st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_every_key_comes_once_with_its_partner(
    source: set[str], target: set[str], cuts: tuple[int, int]
) -> None:
    merged = asyncio.run(collect(source, target, cuts, extras=True))
    pairs = [pair for page in merged for pair in page.pairs]
    assert [entry.key for entry, _ in pairs] == sorted(source)
    assert {entry.key for entry, other in pairs if other is not None} == source & target
    assert all(other is None or other.key == entry.key for entry, other in pairs)
    extras = [entry.key for page in merged for entry in page.extras]
    assert extras == sorted(target - source)
    lasts = [page.last_key for page in merged]
    assert lasts == sorted(lasts)


@given(keys, keys, st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_without_extras_the_pairs_are_the_same(
    source: set[str], target: set[str], cuts: tuple[int, int]
) -> None:
    whole = asyncio.run(collect(source, target, cuts, extras=True))
    short = asyncio.run(collect(source, target, cuts, extras=False))
    assert [p for page in short for p in page.pairs] == [p for page in whole for p in page.pairs]


@given(keys, keys, st.tuples(st.integers(1, 5), st.integers(1, 5)), st.text("ab/", max_size=3))
def test_a_page_that_ends_earlier(
    source: set[str], target: set[str], cuts: tuple[int, int], upto: str
) -> None:
    for page in asyncio.run(collect(source, target, cuts, extras=True)):
        short = page.up_to(upto)
        assert short.pairs == [pair for pair in page.pairs if pair[0].key <= upto]
        assert list(short.extras) == [entry for entry in page.extras if entry.key <= upto]
        assert short.last_key == min(page.last_key, upto)


@given(keys, keys, st.tuples(st.integers(1, 12), st.integers(1, 3)), st.booleans())
def test_a_gap_between_two_sources_is_not_held(
    source: set[str], target: set[str], cuts: tuple[int, int], extras: bool
) -> None:
    with unittest.mock.patch.object(listing, "WAITING_ENTRIES_MAX", 2):
        short = asyncio.run(collect(source, target, cuts, extras=extras))
    whole = asyncio.run(collect(source, target, cuts, extras=extras))
    assert [p for page in short for p in page.pairs] == [p for page in whole for p in page.pairs]
    assert [e for page in short for e in page.extras] == [e for page in whole for e in page.extras]
    assert all(len(page.extras) <= 2 + 2 * cuts[1] for page in short)
    for page in short:  # a checkpoint behind a page covers it and nothing else
        assert all(entry.key <= page.last_key for entry in (*page.sources, *page.extras))
    lasts = [page.last_key for page in short]
    assert lasts == sorted(lasts)

"""Which objects of a target are looked at for one that it lacks: by size, by name, within bounds."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.delta_similar import (
    APART,
    CANDIDATES,
    NEIGHBOURS,
    Roster,
    RosterMaker,
    family_of,
    likeness,
)
from transports.model import Entry, Kind

MIB = 1024 * 1024


def entry(key: str, size: int = 100 * MIB, etag: str = "") -> Entry:
    return Entry(key, size, 0, etag)


@pytest.mark.parametrize(
    ("wanted", "better", "worse"),
    [
        # The same size and ETag, whatever it is called.
        (entry("a/x.bin", etag="1"), entry("z/other", etag="1"), entry("b/x.bin", etag="2")),
        # The same name in another directory before a piece of the same size and another name.
        (entry("v2/model.bin", 101 * MIB), entry("v1/model.bin"), entry("part", 101 * MIB)),
        # The next version before another thing of nearly that size.
        (entry("app-1.3.tar"), entry("app-1.2.tar", 90 * MIB), entry("manual.iso", 99 * MIB)),
        # The nearer size, of two with equal names.
        (entry("c/x"), entry("a/x", 99 * MIB), entry("b/x", 60 * MIB)),
        # The nearer name, of two of one family and size.
        (entry("log-2026-11-28"), entry("log-2026-11-27"), entry("log-2019-01-01")),
        # An empty ETag is no ETag.
        (entry("a/x.bin"), entry("b/x.bin"), entry("zz")),
    ],
)
def test_what_is_likelier(wanted: Entry, better: Entry, worse: Entry) -> None:
    assert likeness(wanted, better) > likeness(wanted, worse)
    assert Roster([worse, better]).candidates(wanted)[0] == better


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], []),
        ([entry("m/v2/x")], []),  # the object itself
        ([entry("m/v1/x", 100 * MIB // APART)], ["m/v1/x"]),
        ([entry("m/v1/x", 100 * MIB // APART - 1)], []),  # too little could come of it
        ([entry("m/v1/x", 100 * MIB * APART)], ["m/v1/x"]),
        ([entry("m/v1/x", 100 * MIB * APART + 1)], []),  # too much would be signed
        ([entry("other")], ["other"]),
        ([entry("other", 40 * MIB)], ["other"]),
    ],
)
def test_who_is_a_candidate(there: list[Entry], found: list[str]) -> None:
    assert [each.key for each in Roster(there).candidates(entry("m/v2/x"))] == found


def test_a_shard_finds_its_own_number_among_thousands_of_one_size() -> None:
    there = [entry(f"m/v1/model-{number:05d}-of-03000.bin") for number in range(3000)]
    wanted = entry("m/v2/model-01234-of-03000.bin")
    assert Roster(there).candidates(wanted)[0].key == "m/v1/model-01234-of-03000.bin"
    cut_anew = entry("m/v2/model-01234-of-03001.bin")
    assert Roster(there).candidates(cut_anew)[0].key == "m/v1/model-01234-of-03000.bin"


def test_a_name_that_nobody_shares_is_found_among_many_of_other_sizes() -> None:
    there = [entry(f"data/{number}", (20 + number) * MIB) for number in range(1000)]
    there.append(entry("old/unlike-anything", 300 * MIB))
    assert entry("old/unlike-anything", 300 * MIB) in Roster(there).candidates(
        entry("new/renamed", 300 * MIB)
    )


@pytest.mark.parametrize(
    ("leaf", "family"),
    [("Model-00001-of-00003.bin", "model-#-of-#.bin"), ("plain", "plain"), ("", ""), ("7", "#")],
)
def test_families(leaf: str, family: str) -> None:
    assert family_of(leaf) == family


def test_only_large_objects_are_remembered() -> None:
    maker = RosterMaker(16)
    maker.add([entry("small", 16), entry("large", 17), entry("unknown", -1)])
    maker.add([Entry("link", 99, 0, kind=Kind.SYMLINK), Entry("dir/", 99, 0, kind=Kind.DIRECTORY)])
    assert len(maker) == 1


KEYS = st.text("ab1/", min_size=1, max_size=6)
LISTINGS = st.lists(
    st.tuples(KEYS, st.integers(0, 9)), max_size=60, unique_by=lambda pair: pair[0]
).map(lambda pairs: [entry(key, size) for key, size in sorted(pairs)])


@given(LISTINGS, st.integers(1, 8), st.integers(1, 20), KEYS, st.integers(1, 9))
def test_what_is_kept_and_asked_is_bounded_however_long_the_listing(
    listing: list[Entry], count_max: int, page: int, key: str, size: int
) -> None:
    maker, pages = RosterMaker(2, count_max=count_max), iter(listing)
    while entries := list(islice(pages, page)):
        maker.add(entries)
        assert len(maker) <= count_max
    large = [each for each in listing if each.size > 2]
    kept = sorted(large, key=lambda each: -each.size)[:count_max]  # stable: the first of equals
    found = maker.finish().candidates(entry(key, size), count_max=count_max)
    assert len(found) <= count_max
    assert set(found) <= set(kept)
    if count_max <= NEIGHBOURS:  # then all of them are weighed
        wanted = {e for e in kept if e.key != key and e.size <= 4 * size and size <= 4 * e.size}
        assert set(found) == wanted


@given(LISTINGS, KEYS, st.integers(1, 9))
def test_candidates_are_few_and_in_an_order_that_does_not_depend_on_the_listing(
    listing: list[Entry], key: str, size: int
) -> None:
    wanted = entry(key, size)
    found = Roster(listing).candidates(wanted)
    assert len(found) <= CANDIDATES
    assert found == Roster(reversed(listing)).candidates(wanted)
    likes = [likeness(wanted, each) for each in found]
    assert likes == sorted(likes, reverse=True)

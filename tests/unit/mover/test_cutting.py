"""Cutting listings and plans, as tables: the ranges, the points, the numbers of looks, the sizes."""

from __future__ import annotations

import pytest

from mover.bisecting import FirstAfter, Search, Steps, find_points, spread, together
from mover.interpolating import alphabet_at, interpolate, narrowest
from mover.listing import PairPage
from mover.model import CopySpec
from mover.planning import (
    SHARD_BYTES,
    Planner,
    Policy,
    ShardLimits,
)
from mover.sharding import KeyRange
from tests.unit.mover.sorted_store import KEY_SETS, SortedStore
from transports.memory import CAPABILITIES
from transports.model import Entry

MIB = 1024 * 1024


# -- ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "points", "bounds"),
    [
        (KeyRange(), [], [("", None)]),
        (KeyRange(), ["m"], [("", "m"), ("m", None)]),
        (KeyRange(), ["m", "c", "m", ""], [("", "c"), ("c", "m"), ("m", None)]),
        (KeyRange("c", "m"), ["a", "c", "m", "z"], [("c", "m")]),
        (KeyRange("c", "m"), ["c\0", "lz"], [("c", "c\0"), ("c\0", "lz"), ("lz", "m")]),
        (KeyRange("c"), ["b", "d"], [("c", "d"), ("d", None)]),
    ],
)
def test_ranges_are_cut_behind_points(
    span: KeyRange, points: list[str], bounds: list[tuple[str, str | None]]
) -> None:
    assert [(each.after, each.upto) for each in span.split(points)] == bounds


def test_a_range_has_its_end_and_not_its_beginning() -> None:
    span = KeyRange("a/b", "a/c")
    assert [span.contains(key) for key in ("a/b", "a/b\0", "a/c", "a/c\0")] == [
        False,
        True,
        True,
        False,
    ]
    assert span.stop_at == "a/c\0"
    assert KeyRange("a").stop_at is None
    assert KeyRange("a").contains("\U0010ffff")


@pytest.mark.parametrize("upto", ["", "a", "b"])
def test_an_empty_range_is_none(upto: str) -> None:
    with pytest.raises(ValueError, match="no such key range"):
        KeyRange("b", upto)


# -- points --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEY_SETS)
def test_ranges_are_balanced_and_cost_few_looks(name: str) -> None:
    store = SortedStore(KEY_SETS[name])
    ranges = KeyRange().split(store.points(8))
    sizes = store.sizes(ranges)
    assert sum(sizes) == len(store.keys)
    assert len(ranges) == 8
    assert max(sizes) <= 1.3 * len(store.keys) / 8, sizes
    assert store.looks <= 72, (store.looks, store.rounds)


def test_a_million_padded_numbers_cost_two_dozen_looks() -> None:
    store = SortedStore(f"obj-{number:07}" for number in range(1_000_000))
    sizes = store.sizes(KeyRange().split(store.points(8)))
    assert len(sizes) == 8
    assert max(sizes) <= 1.01 * 125_000
    assert store.looks <= 24
    assert store.rounds <= 8


def test_a_range_of_a_range_is_cut_as_well() -> None:
    store = SortedStore(KEY_SETS["decimal"])
    span = KeyRange("obj-0005000", "obj-0013000")
    inside = SortedStore(key for key in store.keys if span.contains(key))
    points = store.points(4, span=span)
    sizes = inside.sizes(span.split(points))
    assert len(sizes) == 4
    assert max(sizes) <= 1.1 * 2_000


def test_what_is_left_of_a_tree_is_cut_as_well() -> None:
    store = SortedStore(KEY_SETS["few-large-directories"])
    span = KeyRange("d7/01000")
    inside = SortedStore(key for key in store.keys if span.contains(key))
    ranges = span.split(store.points(4, span=span))
    assert len(ranges) == 4
    assert max(inside.sizes(ranges)) <= 2 * len(inside.keys) / 4  # what is left of d7 counts whole


@pytest.mark.parametrize(
    ("keys", "prefix", "span", "wanted"),
    [
        ([], "", KeyRange(), 8),
        (["only"], "", KeyRange(), 8),
        ([f"{n:03}" for n in range(900)], "", KeyRange(), 8),  # one page: not worth a cut
        ([f"{n:05}" for n in range(5_000)], "", KeyRange(), 1),
        ([f"{n:05}" for n in range(5_000)], "other/", KeyRange(), 8),
        ([f"{n:05}" for n in range(5_000)], "0", KeyRange("9"), 8),
        ([f"{n:05}" for n in range(5_000)], "", KeyRange("04999"), 8),
    ],
)
def test_what_is_not_worth_a_cut_is_left_whole(
    keys: list[str], prefix: str, span: KeyRange, wanted: int
) -> None:
    store = SortedStore(keys)
    assert span.split(store.points(wanted, prefix=prefix, span=span)) == [span]
    assert store.looks <= 1


def test_a_store_that_does_not_seek_is_asked_for_names_only() -> None:
    store = SortedStore(KEY_SETS["decimal"])
    assert store.run(find_points(Search(limit=1000, seeks=False), "", KeyRange(), 8)) == []
    assert store.looks == 1


def test_prefixes_that_are_keys_and_short_keys() -> None:
    keys = ["d", "d/"] + [f"d/{n:04}" for n in range(3_000)] + [chr(c) for c in range(33, 127)]
    store = SortedStore(keys)
    assert len(KeyRange().split(store.points(4, prefix="d"))) == 4
    assert sum(store.sizes(KeyRange().split(store.points(4)))) == len(store.keys)


def test_searches_side_by_side_ask_together() -> None:
    def search(count: int) -> Steps[int]:
        total = 0
        for number in range(count):
            answers = yield [FirstAfter(str(number), "")]
            total += len(answers[0])
        return total

    steps = together([search(0), search(2), search(1)])
    assert len(next(steps)) == 2
    assert len(steps.send([("x",), ()])) == 1
    with pytest.raises(StopIteration) as end:
        steps.send([("y",)])
    assert end.value.value == [0, 2, 0]


@pytest.mark.parametrize(
    ("places", "count", "expected"),
    [(5, 0, []), (2, 3, [0, 1]), (9, 3, [1, 4, 7]), (100, 3, [16, 50, 83])],
)
def test_places_are_spread(places: int, count: int, expected: list[int]) -> None:
    assert spread(range(places), count) == expected


# -- interpolation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "samples", "expected"),
    [
        ("000", "999", ["000", "123"], ["25", "5", "75"]),
        ("n-00", "n-39", ["n-00", "n-12", "n-39"], ["n-1", "n-2", "n-3"]),
        ("00", "f", ["00", "1a", "ff"], ["4", "8", "c"]),
        ("a", "b", ["a", "b"], ["a", "b", "b"]),
        ("same", "same", ["same"], ["same"] * 3),
    ],
)
def test_interpolation(first: str, last: str, samples: list[str], expected: list[str]) -> None:
    found = interpolate(first, last, [0.25, 0.5, 0.75], samples)
    assert [each[: len(want)] for each, want in zip(found, expected, strict=True)] == expected
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("07", "0123456789"),
        ("0a", "0123456789abcdef"),
        ("0F", "0123456789ABCDEF"),
        ("xyz", "abcdefghijklmnopqrstuvwxyz"),
        ("éa", "aé"),
    ],
)
def test_the_narrowest_alphabet(characters: str, expected: str) -> None:
    assert narrowest(set(characters)) == expected


def test_an_alphabet_is_learnt_from_its_neighbours_but_not_across_borders() -> None:
    samples = ["12-x0.jpg", "34-x7.jpg", "5a-x9.jpg"]
    assert alphabet_at(samples, 0) == "0123456789abcdef"
    assert alphabet_at(samples, 2) == "-"
    assert alphabet_at(samples, 3) == "x"
    assert alphabet_at(samples, 4) == "0123456789"
    assert alphabet_at(samples, 40) == ""


def test_a_planner_keeps_to_its_limits() -> None:
    policy = Policy.of(
        CopySpec(source="memory://a/", target="memory://b/"), CAPABILITIES, CAPABILITIES, 0.0
    )
    page = PairPage([Entry(f"{n:03}", MIB, 0) for n in range(100)], [], [], "099")
    planner = Planner(policy)
    assert [len(shard.copies) for shard in planner.feed(page).small] == [64, 36]
    assert SHARD_BYTES == 64 * MIB
    planner.limits = ShardLimits(objects=30)
    assert [len(shard.copies) for shard in planner.feed(page).small] == [30, 30, 30, 10]
    planner.limits = ShardLimits(bytes=40 * MIB)
    assert [len(shard.copies) for shard in planner.feed(page).small] == [40, 40, 20]

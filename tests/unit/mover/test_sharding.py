"""Cutting ranges: gapless whatever the points, and even where names are spread evenly."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mover.sharding import (
    PIECE_OBJECTS_MIN,
    PIECE_S,
    PIECES_MAX,
    KeyRange,
    first_ranges,
    packs_payloads,
    piece_size,
    shard_size,
    smallest_shard,
    tasks_ahead,
)

_keys = st.text(alphabet="ab/\0é\U0001f600\udc80", max_size=5)


@given(st.sets(_keys, max_size=30), st.lists(st.lists(_keys, max_size=4), max_size=4), st.data())
def test_ranges_hold_every_key_exactly_once(
    keys: set[str], cuts: list[list[str]], data: st.DataObject
) -> None:
    ranges = [KeyRange()]
    for points in cuts:
        number = data.draw(st.integers(0, len(ranges) - 1))
        ranges[number : number + 1] = ranges[number].split(points)
    held = [key for span in ranges for key in sorted(keys) if span.contains(key)]
    assert held == sorted(keys - {""})
    for before, after in zip(ranges, ranges[1:], strict=False):
        assert before.upto == after.after
    assert (ranges[0].after, ranges[-1].upto) == ("", None)


@given(_keys.filter(bool), _keys)
def test_the_bound_of_a_listing_is_the_range(upto: str, key: str) -> None:
    stop_at = KeyRange("", upto).stop_at
    assert stop_at is not None
    assert (key < stop_at) == (key <= upto)


def test_shards_get_smaller_towards_the_end() -> None:
    sizes = [
        shard_size(waiting, 16, largest=1000, smallest=50) for waiting in (100, 16, 8, 4, 1, 0)
    ]
    assert sizes == [1000, 1000, 500, 250, 62, 62]
    assert shard_size(5, 0, largest=1000, smallest=50) == 1000


def test_shards_are_cut_less_for_larger_fleets() -> None:
    least = [
        smallest_shard(slots, largest=1000, smallest=50) for slots in (0, 8, 100, 200, 1000, 2000)
    ]
    assert least == [50, 50, 50, 100, 500, 1000]
    assert smallest_shard(40_000, largest=1000, smallest=50) == 1000


def test_what_waits_and_how_many_list_grow_with_the_fleet() -> None:
    assert [tasks_ahead(slots, least=2000) for slots in (8, 1000, 4000)] == [2000, 2000, 8000]
    assert [first_ranges(slots, least=8) for slots in (8, 128, 4000)] == [8, 8, 250]
    assert [packs_payloads(slots) for slots in (0, 8, 399, 400, 4000)] == [False] * 3 + [True] * 2


@given(st.integers(0, 5000), st.floats(0.0, 5000.0))
def test_a_shard_is_cut_into_a_few_pieces_of_some_work(left: int, per_s: float) -> None:
    piece = piece_size(left, per_s)
    if piece == left:
        assert left < 2 * max(PIECE_OBJECTS_MIN, math.ceil(per_s * PIECE_S))
    else:
        assert piece >= max(PIECE_OBJECTS_MIN, per_s * PIECE_S)
        assert 2 <= -(-left // piece) <= PIECES_MAX

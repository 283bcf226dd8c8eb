"""Cutting ranges: gapless whatever the points, and even where names are spread evenly."""

from __future__ import annotations

import bisect
import math
import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.sharding import (
    PIECE_OBJECTS_MIN,
    PIECE_S,
    PIECES_MAX,
    KeyRange,
    find_last,
    piece_size,
    points_between,
    shard_size,
)
from mover.splitting import split_range
from tests.unit.mover.engine import fill
from transports.memory import MemoryTransport

_keys = st.text(alphabet="ab/\0é\U0001f600\udc80", max_size=5)


@given(st.sets(_keys, max_size=30), st.lists(st.lists(_keys, max_size=4), max_size=4), st.data())
def test_ranges_hold_every_key_exactly_once(
    keys: set[str], cuts: list[list[str]], data: st.DataObject
) -> None:
    ranges = [KeyRange()]
    for points in cuts:
        number = data.draw(st.integers(0, len(ranges) - 1))
        ranges[number : number + 1] = ranges[number].split(points)
    held = [key for span in ranges for key in sorted(keys) if span.holds(key)]
    assert held == sorted(keys - {""})
    for before, after in zip(ranges, ranges[1:], strict=False):
        assert before.upto == after.after
    assert (ranges[0].after, ranges[-1].upto) == ("", None)


@given(_keys, _keys)
def test_the_bound_of_a_listing_is_the_range(upto: str, key: str) -> None:
    stop_at = KeyRange("", upto).stop_at
    assert stop_at is not None
    assert (key < stop_at) == (key <= upto)


def decimal(count: int) -> list[str]:
    return [f"part-{number:07d}.parquet" for number in range(count)]


def hexadecimal(count: int) -> list[str]:
    rng = random.Random(1)
    return sorted(f"{rng.getrandbits(64):016x}" for _ in range(count))


def uuids(count: int) -> list[str]:
    rng = random.Random(2)
    return sorted(f"x/{uuid.UUID(int=rng.getrandbits(128))}.bin" for _ in range(count))


def dated(count: int) -> list[str]:
    return sorted(f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}/{n:07d}" for n in range(count))


@pytest.mark.parametrize("names", [decimal, hexadecimal, uuids])
def test_a_flat_range_is_cut_evenly_in_few_questions(names: object) -> None:
    assert callable(names)
    keys: list[str] = names(40_000)
    search = find_last(keys[999], "", keys[:1000])
    questions, answer = 0, None
    try:
        question = next(search)
        while True:
            questions += 1
            at = bisect.bisect_right(keys, question)
            question = search.send(keys[at] if at < len(keys) else None)
    except StopIteration as end:
        answer = end.value
    assert questions <= 24
    assert isinstance(answer, str)
    points = points_between(keys[1000], answer, 8, keys[:1000])
    sizes = [sum(span.holds(key) for key in keys) for span in KeyRange(keys[999]).split(points)]
    assert len(sizes) == 8
    assert max(sizes) / (sum(sizes) / 8) <= 1.3, sizes


@pytest.mark.parametrize("names", [decimal, hexadecimal, uuids, dated])
async def test_a_store_is_cut_where_its_names_are(names: object) -> None:
    assert callable(names)
    keys: list[str] = names(4000)
    transport = MemoryTransport()
    await fill(transport, dict.fromkeys(keys, b""))
    ranges = await split_range(transport, "", KeyRange(keys[499]), wanted=8, seen=keys[:500])
    sizes = [sum(span.holds(key) for key in keys) for span in ranges]
    assert sum(sizes) == 3500
    assert len(ranges) == 8
    assert max(sizes) / (sum(sizes) / 8) <= 1.4, sizes


async def test_what_cannot_be_cut_stays_whole() -> None:
    transport = MemoryTransport()
    await fill(transport, {"a": b"", "b": b""})
    for span in (KeyRange("b"), KeyRange("a"), KeyRange("", "a"), KeyRange("x", "y")):
        assert await split_range(transport, "", span, wanted=8) == [span]


def test_shards_get_smaller_towards_the_end() -> None:
    sizes = [
        shard_size(waiting, 16, largest=1000, smallest=50) for waiting in (100, 16, 8, 4, 1, 0)
    ]
    assert sizes == [1000, 1000, 500, 250, 62, 62]
    assert shard_size(5, 0, largest=1000, smallest=50) == 1000


@given(st.integers(0, 5000), st.floats(0.0, 5000.0))
def test_a_shard_is_cut_into_a_few_pieces_of_some_work(left: int, per_s: float) -> None:
    piece = piece_size(left, per_s)
    if piece == left:
        assert left < 2 * max(PIECE_OBJECTS_MIN, math.ceil(per_s * PIECE_S))
    else:
        assert piece >= max(PIECE_OBJECTS_MIN, per_s * PIECE_S)
        assert 2 <= -(-left // piece) <= PIECES_MAX

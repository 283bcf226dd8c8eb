"""Whoever was not used longest goes first, whatever is known of it when: against sorting all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mover.prewarm.evicting import Candidate, Room, admitted, victims

SIZES = st.integers(0, 50)
TIMES = st.integers(0, 20)
FILES = st.lists(st.tuples(SIZES, TIMES, TIMES), max_size=30)


@given(files=FILES, wanted_bytes=st.integers(-5, 600))
def test_the_oldest_go_and_no_more_than_need_be(
    files: list[tuple[int, int, int]], wanted_bytes: int
) -> None:
    candidates = sorted(
        (
            Candidate(number, f"f{number:02}".encode(), size, used)
            for number, (size, used, _) in enumerate(files)
        ),
        key=lambda each: (each.used_ns, each.path),
    )
    read = {number: read for number, (_, _, read) in enumerate(files)}
    asked: list[int] = []

    def last_read_ns(candidate: Candidate) -> int:
        asked.append(candidate.number)
        return read[candidate.number]

    found = victims(candidates, last_read_ns, wanted_bytes)
    exact = sorted(
        (each._replace(used_ns=max(each.used_ns, read[each.number])) for each in candidates),
        key=lambda each: (each.used_ns, each.path),
    )
    assert found == exact[: len(found)]
    freed = sum(each.size for each in found)
    assert freed >= wanted_bytes or len(found) == len(files)
    assert not found or freed - found[-1].size < wanted_bytes
    assert len(set(asked)) == len(asked)


@given(sizes=st.lists(SIZES, max_size=30), room_bytes=st.integers(-10, 400))
def test_what_is_admitted_fits_and_nothing_that_fits_is_turned_away(
    sizes: list[int], room_bytes: int
) -> None:
    found = admitted(sizes, room_bytes)
    taken = sum(sizes[place] for place in found)
    assert taken <= max(room_bytes, 0)
    assert found == sorted(set(found))
    left = room_bytes - taken
    assert all(sizes[place] > left for place in set(range(len(sizes))) - set(found))


@given(
    capacity=st.integers(1, 1000),
    held=st.integers(0, 1000),
    reserved=st.integers(0, 1000),
    free=st.integers(0, 1000),
)
def test_what_is_left_never_breaks_a_bound(
    capacity: int, held: int, reserved: int, free: int
) -> None:
    room = Room(capacity=capacity, held=held, reserved=reserved, free=free, disk=2000)
    assert room.left + held + reserved <= capacity
    assert room.left <= free - room.margin - reserved
    assert room.left <= room._replace(capacity=0).left
    assert 0 <= room.most <= capacity

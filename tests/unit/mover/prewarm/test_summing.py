"""A cache is called full when nothing is missing, and never a moment before."""

from __future__ import annotations

import pytest

from mover.prewarm.holding import Cache, Part, Rooms, is_taken
from mover.prewarm.model import Certainty, Residence
from mover.prewarm.summing import Fullness, percent_of, without_looks


def row(node: str, have: int, of: int, *, unknown: int = 0, **more: object) -> Residence:
    return Residence(
        node=node, files=of, bytes=of * 10, resident_files=have, resident_bytes=have * 10,
        unknown_bytes=unknown, **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("have", "of", "percent"),
    [(0, 0, 100.0), (0, 3, 0.0), (1, 3, 33.33), (3, 3, 100.0), (999_999_999, 1_000_000_000, 99.99)],
)
def test_percent_is_never_rounded_up(have: int, of: int, percent: float) -> None:
    assert percent_of(have, of) == percent


def test_nodes_are_summed_apart_and_together() -> None:
    fullness = Fullness.of([row("b", 1, 2), row("a", 3, 3), row("b", 2, 2)])
    assert [(each.node, each.resident_files, each.files) for each in fullness.nodes] == [
        ("a", 3, 3),
        ("b", 3, 4),
    ]
    assert fullness.percent() == fullness.percent(of_files=True) == 85.71
    assert not fullness.is_full


def test_what_nobody_can_tell_is_no_percentage_and_enough_for_nothing() -> None:
    fullness = Fullness.of([row("a", 0, 3, unknown=30)])
    assert (fullness.percent(), fullness.is_known, fullness.is_full) == (None, False, True)
    assert not fullness.reaches(1.0)


@pytest.mark.parametrize(("wish", "enough"), [(75.0, True), (75.1, False), (0.0, True)])
def test_enough_is_exact(wish: float, enough: bool) -> None:
    assert Fullness.of([row("a", 3, 4)]).reaches(wish) is enough


def test_the_least_certain_speaks_for_all() -> None:
    proven = row("a", 1, 1, certainty=Certainty.PROVEN, judge="cache", where="/x")
    inferred = row("a", 1, 1, certainty=Certainty.INFERRED, judge="timed", where="/y")
    (one,) = Fullness.of([proven, inferred, proven]).nodes
    assert (one.certainty, one.judge, one.where) == (Certainty.INFERRED, "cache, timed", "/x, /y")


def test_an_empty_dataset_is_full() -> None:
    empty = Fullness.of([])
    assert (empty.percent(), empty.is_full, empty.reaches(100.0)) == (100.0, True, True)


def test_a_void_look_keeps_what_was_read() -> None:
    kept = without_looks(row("a", 1, 2, read_bytes=7, origin_bytes=6, peer_bytes=1))
    assert (kept.bytes, kept.resident_bytes, kept.read_bytes, kept.origin_bytes) == (0, 0, 7, 6)


def test_the_fullest_cache_says_what_fits() -> None:
    rooms = Rooms()
    caches = {"a": Cache("/c", 100), "b": Cache("/c", 100)}
    rooms.need(caches, ["a", "b"], 60)
    assert rooms.is_enough
    rooms.need(caches, ["b"], 60)
    assert not rooms.is_enough
    assert rooms.fraction("a") == 1.0
    assert rooms.fraction("b") == pytest.approx(100 / 120 * 0.97)
    assert "120 B on node b" in rooms.shortage()
    assert "/c can hold 100 B" in rooms.shortage()


def test_what_is_larger_than_the_cache_is_in_nobodys_way() -> None:
    rooms = Rooms()
    caches = {"a": Cache("/c", 100)}
    rooms.need(caches, ["a"], 50)
    rooms.need(caches, ["a"], 101)
    assert (rooms.is_enough, rooms.fraction("a")) == (False, 1.0)


def test_a_part_is_chosen_by_names() -> None:
    names = [f"n{number}" for number in range(2000)]
    taken = [name for name in names if is_taken(name, 0.3)]
    assert 0.25 < len(taken) / len(names) < 0.35
    assert set(taken) <= {name for name in names if is_taken(name, 0.5)}
    assert not any(is_taken(name, 0.0) for name in names)
    assert all(is_taken(name, 1.0) for name in names)


def test_each_node_has_room_of_its_own() -> None:
    caches = {"a": Cache("/a", 100), "b": Cache("/b", 1000), "c": Cache("", 0)}
    rooms = Rooms()
    for _ in range(4):
        rooms.need(caches, ["a", "b", "c"], 50)
    assert not rooms.is_enough
    assert [rooms.fraction(node) for node in "abc"] == [pytest.approx(0.5 * 0.97), 1.0, 1.0]
    assert "200 B on node a, and the cache /a can hold 100 B" in rooms.shortage()


@pytest.mark.parametrize(
    ("part", "size", "left_by"),
    [
        (Part(), 500, set()),
        (Part({"a": 1.0, "b": 1.0}, "full"), 500, {"a"}),
        (Part({"a": 0.0, "b": 1.0}, "full"), 50, {"a"}),
        (Part({"a": 0.0, "b": 0.0}, "refused"), 50, {"a", "b"}),
    ],
)
def test_who_leaves_a_file_out(part: Part, size: int, left_by: set[str]) -> None:
    caches = {"a": Cache("/a", 100), "b": Cache("/b", 1000)}
    assert part.leaves("name", size, caches) == left_by
    assert part.is_nothing is (part.why == "refused")

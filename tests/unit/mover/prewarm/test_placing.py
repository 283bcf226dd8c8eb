"""Who holds what: the same for everybody, spread evenly, and moved only to whoever comes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mover.prewarm.model import EVERY_NODE, WarmSpec
from mover.prewarm.placing import holders_of, ranked, successor
from mover.prewarm.sharding import SHARD_FILES, Packer, pieces_of
from transports.model import Entry

NAMES = [f"train/{number:05d}" for number in range(3000)]
nodes_of = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=8)


@given(nodes=nodes_of, name=st.text(max_size=20))
def test_the_order_of_nodes_does_not_matter(nodes: set[str], name: str) -> None:
    assert ranked(name, sorted(nodes)) == ranked(name, sorted(nodes, reverse=True))


@given(nodes=nodes_of, newcomer=st.text(min_size=1, max_size=8))
def test_who_comes_takes_and_nobody_else_moves(nodes: set[str], newcomer: str) -> None:
    for name in NAMES[:50]:
        before = holders_of(name, nodes, 1)
        after = holders_of(name, nodes | {newcomer}, 1)
        assert after in (before, [newcomer])


def test_a_fifth_node_takes_a_fifth() -> None:
    nodes = ["a", "b", "c", "d"]
    moved = sum(holders_of(name, nodes, 1) != holders_of(name, [*nodes, "e"], 1) for name in NAMES)
    assert 0.17 < moved / len(NAMES) < 0.23


def test_nodes_get_even_shares() -> None:
    counts = Counter(holders_of(name, ["a", "b", "c", "d"], 1)[0] for name in NAMES)
    assert all(650 < count < 850 for count in counts.values())


def test_replicas_are_different_nodes_and_all_at_the_most() -> None:
    nodes = ["a", "b", "c"]
    assert len(set(holders_of("x", nodes, 2))) == 2
    assert sorted(holders_of("x", nodes, 9)) == nodes
    assert sorted(holders_of("x", nodes, EVERY_NODE)) == nodes


def test_who_takes_over_does_not_hold_it_already() -> None:
    first, second, third = ranked("x", ["a", "b", "c"])
    assert successor("x", [second, third], [second]) == third
    assert successor("x", [second], [second]) is None
    assert successor("x", [first, third], []) == first


def test_names_with_stray_bytes_have_a_place() -> None:
    assert holders_of("a\udcff", ["n"], 1) == ["n"]


@given(size=st.integers(0, 5000), cut=st.integers(0, 900))
def test_pieces_are_the_file_without_gap_or_overlap(size: int, cut: int) -> None:
    pieces = list(pieces_of(Entry("k", size, 0), cut))
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == size
    assert all(piece.size <= cut or cut == 0 for piece in pieces)


def test_shards_hold_all_pieces_once_and_not_too_many() -> None:
    spec = WarmSpec(targets=("x",), replicas=2)
    packer = Packer(spec, ["a", "b", "c"], cut_bytes=0)
    shards = [shard for name in NAMES for shard in packer.add(Entry(name, 10, 0))]
    shards += packer.rest()
    assert sorted(piece.entry.key for _, pieces in shards for piece in pieces) == NAMES
    assert all(len(pieces) <= SHARD_FILES and len(nodes) == 2 for nodes, pieces in shards)

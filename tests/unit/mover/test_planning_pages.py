"""A page of new, small objects is planned as a whole, and comes to what pair by pair it comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.filtering import Selection
from mover.listing import PairPage
from mover.model import CopySpec
from mover.planning import Planner, Policy, ShardLimits
from transports.model import Capabilities, Entry, Kind

MIB = 1024 * 1024
STORE = Capabilities(scheme="s3")
DISK = Capabilities(scheme="file", local=True, has_directories=True)

sizes = st.one_of(st.integers(-1, 100), st.integers(15 * MIB, 17 * MIB))
kinds = st.sampled_from([Kind.OBJECT] * 9 + [Kind.SYMLINK, Kind.SPECIAL])
names = st.sampled_from(["a", "b/c", "\u00fc", "\udc80", "d\0"])


@st.composite
def pages(draw: st.DrawFn) -> PairPage:
    odd = draw(st.booleans())
    sources: list[Entry] = []
    targets: list[Entry | None] = []
    for number in range(draw(st.integers(0, 30))):
        name = draw(names) if odd else "plain"
        size = draw(sizes) if odd else draw(st.integers(0, 16 * MIB) | st.just(16 * MIB))
        kind = draw(kinds) if odd else Kind.OBJECT
        entry = Entry(f"{number:03d}{name}", size, 1_000, "e", "", kind, 1_000)
        sources.append(entry)
        targets.append(entry if odd and draw(st.booleans()) else None)
    if not any(targets):
        targets = draw(st.sampled_from([targets, []]))
    return PairPage(sources, targets, [], sources[-1].key if sources else "")


@given(pages(), st.sampled_from([STORE, DISK]), st.integers(1, 40))
def test_a_page_as_a_whole_and_pair_by_pair(
    page: PairPage, target: Capabilities, objects: int
) -> None:
    spec = CopySpec(source="s3://a/", target="s3://b/")
    planner = Planner(Policy.of(spec, STORE, target, now_s=1.0))
    planner.limits = ShardLimits(objects, 64 * MIB)
    assert planner.feed(page) == planner._feed_any(page)


@pytest.mark.parametrize(
    ("size", "kind", "there", "fuzzy", "seeks"),
    [
        (17 * MIB, Kind.OBJECT, None, True, True),
        (17 * MIB, Kind.OBJECT, None, False, False),
        (16 * MIB, Kind.OBJECT, None, True, False),  # it is moved in a shard
        (-1, Kind.OBJECT, None, True, False),
        (17 * MIB, Kind.OBJECT, 5, True, False),  # its basis is what it replaces
    ],
)
def test_what_may_be_made_of_another_name(
    size: int, kind: Kind, there: int | None, fuzzy: bool, seeks: bool
) -> None:
    spec = CopySpec(source="s3://a/", target="s3://b/", fuzzy=fuzzy)
    target = None if there is None else Entry("k", there, 0)
    page = PairPage([Entry("k", size, 1_000, kind=kind)], [target], [], "k")
    planned = Planner(Policy.of(spec, STORE, STORE, now_s=1e9)).feed(page)
    assert [large.seeks for large in planned.large] == ([seeks] if size != 16 * MIB else [])


@pytest.mark.parametrize(
    "selection", [Selection(size_max_bytes=10), Selection(size_min_bytes=12), Selection(newer="1h")]
)
def test_filters_are_not_passed_over(selection: Selection) -> None:
    spec = CopySpec(source="s3://a/", target="s3://b/", selection=selection)
    planner = Planner(Policy.of(spec, STORE, STORE, now_s=1e9))
    page = PairPage([Entry("k", 11, 1_000), Entry("l", 11, 1_000)], [], [], "l")
    assert planner.feed(page).tally.planned_objects == 0


def test_names_of_any_script_are_planned_as_a_whole() -> None:
    planner = Planner(Policy.of(CopySpec(source="s3://a/", target="s3://b/"), STORE, STORE, 1.0))
    sources = [Entry("ascii", 1, 1_000), Entry("\u00fc\U0001f600", 1, 1_000)]
    assert planner._feed_new(PairPage(sources, [], [], "")) is not None
    stray = [*sources, Entry("\u00fc\udc80", 1, 1_000)]
    assert planner._feed_new(PairPage(stray, [], [], "")) is None

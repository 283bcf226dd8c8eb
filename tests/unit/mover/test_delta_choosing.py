"""Which objects go as differences: by wish, by who is near, by what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mover.delta.block_sizes import MENDED_ROW_BYTES
from mover.delta.costing import Way
from mover.delta.optimising import Optimise
from mover.delta_choosing import (
    asks_samples,
    finer_bytes,
    first_bytes,
    is_another,
    may_be_sent,
    may_go_as_difference,
    saved_usd,
    sends_difference,
    single_bytes,
    still_pays,
    way_of,
)
from mover.delta_tasks import Spent
from mover.measuring import Measured
from mover.model import CopySpec, Delta
from mover.naming import is_hidden, visible
from transports.memory import CAPABILITIES
from transports.model import Entry, Kind

MIB, GIB = 1 << 20, 1 << 30
SLOW, FAST = 12.5e6, 10e9


def spec(delta: Delta, *, sides: bool = True, optimise: Optimise = Optimise.TIME) -> CopySpec:
    return CopySpec(
        source="s3://a/",
        target="s3://b/",
        delta=delta,
        optimise=optimise,
        source_pool="us" if sides else "",
        target_pool="eu" if sides else "",
    )


def entry(size: int) -> Entry:
    return Entry("big", size, 0)


@pytest.mark.parametrize(
    ("delta", "sides", "size", "link", "optimise", "sends"),
    [
        (Delta.NEVER, True, GIB, SLOW, Optimise.TIME, False),
        (Delta.ALWAYS, False, 20 * MIB, FAST, Optimise.TIME, True),
        (Delta.AUTO, False, GIB, SLOW, Optimise.TIME, False),
        (Delta.AUTO, True, GIB, SLOW, Optimise.TIME, True),
        (Delta.AUTO, True, GIB, None, Optimise.TIME, True),  # the guess for a link
        (Delta.AUTO, True, 20 * MIB, None, Optimise.TIME, True),
        (Delta.AUTO, True, 20 * MIB, 125e6, Optimise.TIME, False),
        (Delta.AUTO, True, GIB, FAST, Optimise.TIME, False),
        (Delta.AUTO, True, GIB, FAST, Optimise.COST, True),
        (Delta.AUTO, True, 20 * MIB, FAST, Optimise.COST, True),
    ],
)
def test_before_anybody_has_looked(
    delta: Delta, sides: bool, size: int, link: float | None, optimise: Optimise, sends: bool
) -> None:
    wish = spec(delta, sides=sides, optimise=optimise)
    assert sends_difference(wish, entry(size), entry(size), Measured(out=link)) is sends
    assert may_go_as_difference(wish) or not sends


@pytest.mark.parametrize(
    ("known", "sends"),
    [
        (Measured(out=SLOW), True),
        (Measured(out=FAST), False),
        (Measured(back=FAST), False),  # until something went to the target
        (Measured(out=SLOW, back=FAST), True),
        (Measured(out=FAST, back=SLOW), False),
        (Measured(out=FAST, limit=SLOW), True),
        (Measured(out=SLOW, limit=FAST), True),
        (Measured(limit=FAST), True),  # who allows much may have less
        (Measured(out=300e6), False),
        (Measured(out=300e6, source_read=5e9, target_read=5e9, target_write=3e9), True),
        (Measured(out=125e6), True),
        (Measured(out=125e6, target_read=20e6), False),  # to sign takes longer than to send
        (Measured(out=125e6, target_copy=50e6), False),
    ],
)
def test_a_slow_link_turns_the_choice_and_so_do_slow_stores(known: Measured, sends: bool) -> None:
    assert sends_difference(spec(Delta.AUTO), entry(GIB), entry(GIB), known) is sends


@pytest.mark.parametrize(
    ("delta", "optimise", "known", "asks"),
    [
        (Delta.AUTO, Optimise.TIME, Measured(), True),
        (Delta.AUTO, Optimise.TIME, Measured(out=125e6), True),
        (Delta.AUTO, Optimise.TIME, Measured(out=SLOW), True),
        (Delta.AUTO, Optimise.TIME, Measured(out=2.5e6), False),  # minutes to be saved
        (Delta.AUTO, Optimise.TIME, Measured(out=SLOW, target_read=5e9), False),
        (Delta.AUTO, Optimise.COST, Measured(out=125e6), False),  # to read near by is cheap
        (Delta.ALWAYS, Optimise.TIME, Measured(out=125e6), False),
    ],
)
def test_samples_are_asked_where_a_signature_takes_longer_than_it_may_save(
    delta: Delta, optimise: Optimise, known: Measured, asks: bool
) -> None:
    wish = spec(delta, optimise=optimise)
    assert asks_samples(wish, entry(GIB), entry(GIB), known) is asks


@pytest.mark.parametrize(
    ("delta", "share", "pays"),
    [
        (Delta.AUTO, 0.01, True),
        (Delta.AUTO, 0.97, False),
        (Delta.AUTO, 0.999, False),
        (Delta.ALWAYS, 0.97, True),
        (Delta.ALWAYS, 0.996, False),
    ],
)
def test_once_it_is_known_what_is_different(delta: Delta, share: float, pays: bool) -> None:
    new = entry(GIB)
    literal_bytes = round(share * GIB)
    known = Measured(out=SLOW)
    wish = spec(delta)
    assert still_pays(wish, new, new, literal_bytes=literal_bytes, edits=9, known=known) is pays


def test_another_object() -> None:
    assert is_another(literal_bytes=1000, size_bytes=1000)
    assert is_another(literal_bytes=996, size_bytes=1000)
    assert not is_another(literal_bytes=995, size_bytes=1000)


@pytest.mark.parametrize("size", [16 * MIB, 64 * MIB, GIB, 1 << 40])
def test_a_signature_is_next_to_nothing_beside_its_object(size: int) -> None:
    assert size / single_bytes(size) * MENDED_ROW_BYTES <= 0.003 * size


@pytest.mark.parametrize(
    ("optimise", "link", "first", "finer"),
    [
        (Optimise.TIME, None, 1024 * 1024, True),  # nobody knows the link: bytes count
        (Optimise.COST, SLOW, 1024 * 1024, True),
        (Optimise.TIME, SLOW, 8 * 1024, False),
        (Optimise.TIME, FAST, 8 * 1024, False),
    ],
)
def test_how_large_blocks_are(
    optimise: Optimise, link: float | None, first: int, finer: bool
) -> None:
    wish = spec(Delta.AUTO, optimise=optimise)
    assert first_bytes(wish, GIB, link) == first
    asked = finer_bytes(wish, open_bytes=first, edits=1, level=1, link=link)
    assert (asked is not None) is finer
    assert finer_bytes(wish, open_bytes=GIB, edits=99, level=4, link=None) is None
    assert finer_bytes(wish, open_bytes=0, edits=0, level=1, link=None) is None


def test_what_stores_and_objects_must_be() -> None:
    new, old = entry(GIB), entry(GIB)
    assert may_be_sent(new, old, CAPABILITIES, CAPABILITIES)
    assert not may_be_sent(new, entry(0), CAPABILITIES, CAPABILITIES)
    assert not may_be_sent(entry(-1), old, CAPABILITIES, CAPABILITIES)
    assert not may_be_sent(new, old._replace(kind=Kind.SYMLINK), CAPABILITIES, CAPABILITIES)
    no_ranges = replace(CAPABILITIES, ranges=False)
    assert not may_be_sent(new, old, no_ranges, CAPABILITIES)
    assert not may_be_sent(new, old, CAPABILITIES, no_ranges)
    assert not may_be_sent(new, old, CAPABILITIES, replace(CAPABILITIES, multipart=False))


def test_what_is_saved_is_the_copy_in_full_less_what_was_spent() -> None:
    few = Spent(wire_bytes=MIB, gets=300, puts=10, hashed_bytes=3 * GIB)
    assert 0.019 < saved_usd(entry(GIB), few) < 0.0225
    many = replace(few, wire_bytes=GIB, puts=1000)
    assert saved_usd(entry(GIB), many) < 0


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        (".mover-delta/j/o/1-1.delta-000000", True),
        ("eu/.mover-delta/j/o/x", True),
        (".mover-delta/", True),
        ("a.mover-delta/x", False),
        (".mover-delta", False),
        (".mover-deltas/x", False),
    ],
)
def test_what_jobs_hide_is_no_data(key: str, hidden: bool) -> None:
    page = [entry(1), Entry(key, 1, 0)]
    assert is_hidden(key) is hidden
    assert len(visible(page)) == 2 - hidden


@pytest.mark.parametrize(
    ("delta", "sides", "size", "link", "proven", "way"),
    [
        (Delta.NEVER, True, GIB, SLOW, True, Way.FULL),
        (Delta.ALWAYS, False, 20 * MIB, FAST, None, Way.DELTA),
        (Delta.ALWAYS, False, 20 * MIB, FAST, False, Way.DIRECT),
        (Delta.AUTO, False, GIB, SLOW, True, Way.FULL),
        (Delta.AUTO, True, GIB, SLOW, None, Way.DELTA),
        (Delta.AUTO, True, GIB, SLOW, True, Way.DIRECT),
        (Delta.AUTO, True, GIB, SLOW, False, Way.DIRECT),
        # Where the link is quick, one more reading of the old version costs more than it saves,
        (Delta.AUTO, True, GIB, 125e6, True, Way.DIRECT),
        (Delta.AUTO, True, GIB, 125e6, False, Way.DELTA),
        # and where it is quicker than a store any difference does.
        (Delta.AUTO, True, GIB, FAST, True, Way.FULL),
    ],
)
def test_beside_a_base(
    delta: Delta, sides: bool, size: int, link: float, proven: bool | None, way: Way
) -> None:
    wish = spec(delta, sides=sides)
    known = Measured(out=link)
    assert way_of(wish, entry(size), entry(size), known, proven=proven) is way


@pytest.mark.parametrize("size", [20 * MIB, GIB, 100 * GIB])
@pytest.mark.parametrize("link", [None, SLOW, FAST])
def test_money_always_speaks_for_a_base_that_is_proven(size: int, link: float | None) -> None:
    wish = spec(Delta.AUTO, optimise=Optimise.COST)
    known = Measured(out=link)
    assert way_of(wish, entry(size), entry(size), known, proven=True) is Way.DIRECT

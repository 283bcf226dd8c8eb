"""What a prewarm's manifest says of a file, and whose a file is by it."""

from __future__ import annotations

from functools import reduce
from itertools import permutations

import pytest

from mover.manifest import Deed, Row
from mover.prewarm_rows import is_own, rows_of, shard_rows, standing
from transports.model import Entry, Proof

ENTRY = Entry("k", 10, 5, "e1", "v1")


def row(action: Deed, at_ms: int = 1, entry: Entry = ENTRY) -> Row:
    return Row("k", entry.size, action, at_ms, entry.etag, entry.version, entry.mtime_ns)


def test_each_file_of_a_shard_has_one_row() -> None:
    entries = {name: Entry(name, 3, 7, f"e-{name}", "v") for name in "abcd"}
    rows = shard_rows(
        entries,
        read=["a", "b"],
        found=["c", "d"],
        failures=[("b", "Denied", "b: no"), ("gone", "NotFound", "gone: no")],
        proof=Proof.STRONG,
        at_ms=9,
    )
    assert {each.key: each.action for each in rows} == {
        "a": Deed.WARMED, "c": Deed.RESIDENT, "d": Deed.RESIDENT, "b": Deed.FAILED, "gone": Deed.FAILED,
    }  # fmt: skip
    found = {each.key: each for each in rows}
    assert found["a"] == Row("a", 3, Deed.WARMED, 9, "e-a", "v", 7, verified=Proof.STRONG)
    assert (found["b"].error, found["b"].detail, found["b"].size) == ("Denied", "b: no", 3)
    assert (found["b"].verified, found["gone"].size) == (None, -1)


@pytest.mark.parametrize(
    ("deeds", "stands"),
    [
        ("warmed", "warmed"),
        ("warmed resident", "warmed"),  # the same command again
        ("resident warmed", "warmed"),  # it had gone meanwhile
        ("warmed failed", "warmed"),
        ("resident failed", "resident"),
        ("failed warmed", "warmed"),
        ("failed resident", "resident"),
        ("warmed evicted", "evicted"),
        ("warmed evicted resident", "resident"),  # somebody else's by now
        ("warmed evicted warmed resident", "warmed"),
        ("warmed evicted failed", "evicted"),
    ],
)
def test_whose_a_file_is_by_all_rows_of_a_node(deeds: str, stands: str) -> None:
    rows = [row(Deed(deed), at_ms) for at_ms, deed in enumerate(deeds.split())]
    assert reduce(standing, rows).action is Deed(stands)
    if len(rows) == 2:
        assert {standing(*each).action for each in permutations(rows)} == {Deed(stands)}


def test_another_version_that_was_found_is_not_the_jobs() -> None:
    other = row(Deed.RESIDENT, 2, ENTRY._replace(version="v2"))
    assert standing(row(Deed.WARMED, 1), other) is other


@pytest.mark.parametrize(
    ("action", "brought", "own"),
    [
        (Deed.WARMED, False, True),
        (Deed.RESIDENT, False, False),
        (Deed.RESIDENT, True, True),
        (Deed.FAILED, True, False),
        (Deed.EVICTED, True, False),
        (Deed.COPIED, True, False),
    ],
)
def test_what_goes_with_a_job(action: Deed, brought: bool, own: bool) -> None:
    assert is_own(row(action), ENTRY, brought=brought) is own
    assert not is_own(None, ENTRY, brought=brought)


@pytest.mark.parametrize(
    ("recorded", "there", "own"),
    [
        (ENTRY, ENTRY._replace(size=11), False),
        (ENTRY, ENTRY._replace(version="v2"), False),
        (ENTRY._replace(version=""), ENTRY._replace(etag="e2"), False),
        (ENTRY, ENTRY._replace(mtime_ns=6), True),  # pinned by more than a time
        (ENTRY._replace(version="", etag=""), ENTRY._replace(mtime_ns=6), False),
        (ENTRY._replace(version="", etag=""), ENTRY, True),
    ],
)
def test_what_changed_stays(recorded: Entry, there: Entry, own: bool) -> None:
    (warmed,) = rows_of([recorded], Deed.WARMED, 1)
    assert is_own(warmed, there, brought=True) is own

"""After a deletion the two listings are equal as far as the filters take them, and nothing else went."""

import asyncio
import tempfile
import unittest.mock
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mover import listing, sweeping
from mover.filtering import Rule, Selection
from mover.model import State
from scheduler.memory_store import MemoryTaskStore
from tests.unit.mover.engine import fill, make_ends, run_engine, stored
from transports.memory import MemoryTransport

parts = st.sampled_from(["a", "b", "é", "x.tmp", "c d", "-"])
keys = st.lists(parts, min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(keys, st.sampled_from([b"", b"1", b"22" * 200]), max_size=12)
SELECTIONS = (Selection(), Selection(rules=(Rule(verdict="exclude", pattern="*.tmp"),)))


def is_taken(key: str, *, filtered: bool) -> bool:
    return not (filtered and any(part.endswith(".tmp") for part in key.split("/")))


@given(trees, trees, st.booleans(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_both_ends_are_equal_afterwards(
    source_tree: dict[str, bytes], target_tree: dict[str, bytes], filtered: bool, held: int
) -> None:
    async def mirror() -> tuple[State, dict[str, bytes]]:
        source, target = MemoryTransport(), MemoryTransport()
        await fill(target, target_tree)
        await fill(source, source_tree)
        ends = make_ends(
            source,
            target,
            selection=SELECTIONS[filtered],
            delete=True,
            allow_empty_source=True,
            compare="checksum",
        )
        with tempfile.TemporaryDirectory() as directory:
            report = await run_engine(ends, Path(directory), MemoryTaskStore())
        gone = {key for key in target_tree if is_taken(key, filtered=filtered)} - set(source_tree)
        assert report.tally.deleted_objects == len(gone)
        return report.state, stored(target)

    with (
        unittest.mock.patch.object(sweeping, "pause_s", return_value=0.0),
        unittest.mock.patch.object(sweeping, "REMOVAL_OBJECTS", 2),
        unittest.mock.patch.object(listing, "WAITING_ENTRIES_MAX", held),
    ):
        state, left = asyncio.run(mirror())
    assert state is State.DONE
    taken = {key: data for key, data in source_tree.items() if is_taken(key, filtered=filtered)}
    kept = {k: data for k, data in target_tree.items() if not is_taken(k, filtered=filtered)}
    assert left == taken | kept

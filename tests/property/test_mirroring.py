"""After a deletion the two listings are equal as far as the filters take them, and nothing else went."""

import asyncio
import random
import tempfile
import unittest.mock
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mover import listing, sweeping
from mover.filtering import Rule, Selection
from mover.model import Delta, State
from scheduler.memory_store import MemoryTaskStore
from tests.unit.mover.engine import fill, make_ends, run_engine, stored
from transports.memory import MemoryTransport

parts = st.sampled_from(["a", "b", "é", "x.tmp", "c d", "-"])
keys = st.lists(parts, min_size=1, max_size=3).map("/".join)
LARGE = random.Random(3).randbytes(3000)
BODIES = {
    "empty": b"",
    "small": b"1",
    "constant": b"22" * 200,
    "large": LARGE,
    "grown": b"a head" + LARGE,
    "cut": LARGE[:2500] + b"cut",
}
trees = st.dictionaries(keys, st.sampled_from(sorted(BODIES)), max_size=12)
SELECTIONS = (Selection(), Selection(rules=(Rule(verdict="exclude", pattern="*.tmp"),)))


def is_taken(key: str, *, filtered: bool) -> bool:
    return not (filtered and any(part.endswith(".tmp") for part in key.split("/")))


@given(trees, trees, st.booleans(), st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_both_ends_are_equal_afterwards(
    source_names: dict[str, str],
    target_names: dict[str, str],
    filtered: bool,
    held: int,
    fuzzy: bool,
) -> None:
    source_tree = {key: BODIES[name] for key, name in source_names.items()}
    target_tree = {key: BODIES[name] for key, name in target_names.items()}

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
            fuzzy=fuzzy,
            part_bytes=1024,
            delta=Delta.ALWAYS if fuzzy else Delta.NEVER,
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

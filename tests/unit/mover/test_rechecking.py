"""A target that was tampered with, against its record; everything in memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from mover.ends import Single
from mover.errors import Rejected
from mover.filtering import Rule, Selection
from mover.jobs import JobDirectory
from mover.manifest import Deed, Row
from mover.model import Compare, Report, State
from mover.name_lists import read_name_list
from mover.progress import Silent
from mover.recalling import PAGE_ROWS
from mover.rechecking import recheck
from mover.recording import ManifestWriter
from tests.unit.mover.engine import entries_of, fill, make_ends
from transports.memory import MemoryTransport
from transports.memory_store import damage
from transports.model import Checksum
from transports.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mover.checking import Difference
    from mover.ends import Ends
    from transports.base import Transport

OBJECTS = {f"k{number:02d}": bytes([number]) * (number + 1) for number in range(40)}


async def recorded(
    target: Transport, *, checksums: Mapping[str, Checksum] | None = None
) -> MemoryTransport:
    """A manifest of what the target holds now."""
    place = MemoryTransport()
    rows = [
        Row(
            entry.key,
            entry.size,
            Deed.COPIED,
            1,
            target_etag=entry.etag,
            checksum=(checksums or {}).get(entry.key),
        )
        for entry in (await entries_of(target)).values()
    ]
    await write(place, rows)
    return place


async def write(place: MemoryTransport, rows: Sequence[Row]) -> None:
    manifest = ManifestWriter(place, job="job", source="s", target="t")
    await manifest.write(rows, task=1, generation=1, worker="w")


async def verdict(ends: Ends, directory: Path) -> tuple[Report, list[str]]:
    found: list[Difference] = []
    report = await recheck(ends, JobDirectory(directory), found.append, Silent())
    names = [each.key for each in found if each.what != "extra"]
    listed = read_name_list((directory / "differences.txt").read_text()) if names else ()
    assert list(listed) == names
    return report, [f"{each.what} {each.key}" for each in found]


async def test_an_untouched_target_is_verified_by_its_listing_alone(tmp_path: Path) -> None:
    target = Record(MemoryTransport())
    await fill(target, OBJECTS | {"extra": b"not ours"})
    place = await recorded(target)
    await fill(target, {"extra2": b"later"})
    target.log.take()
    report, lines = await verdict(make_ends(place, target), tmp_path)
    assert (report.state, lines) == (State.DONE, [])
    assert report.tally.skipped_objects == 41
    assert dict(target.log.counts) == {"list": 1}


async def test_what_was_tampered_with_is_named(tmp_path: Path) -> None:
    target = MemoryTransport()
    await fill(target, OBJECTS)
    place = await recorded(target)
    await fill(target, {"k01": b"longer than before", "k02": b"abc"})
    del target.store.objects["k39"]
    report, lines = await verdict(make_ends(place, target), tmp_path)
    assert lines == ["differs k01", "differs k02", "missing k39"]
    assert (report.state, report.exit_code) == (State.DAMAGED, 3)
    assert (report.tally.failed_objects, report.tally.skipped_objects) == (3, 37)


async def test_only_missing_objects_are_no_damage(tmp_path: Path) -> None:
    target = MemoryTransport()
    await fill(target, OBJECTS)
    place = await recorded(target)
    del target.store.objects["k00"]
    report, lines = await verdict(make_ends(place, target), tmp_path)
    assert (lines, report.exit_code) == (["missing k00"], 1)


async def test_rotten_bytes_are_found_by_reading(tmp_path: Path) -> None:
    target = MemoryTransport()
    await fill(target, {"a": b"good", "b": b"fine"})
    good = hashlib.sha256(b"good").hexdigest()
    sums = {"a": Checksum("sha256", good), "b": Checksum("of another version", "00")}
    place = await recorded(target, checksums=sums)
    report, lines = await verdict(make_ends(place, target, compare=Compare.CHECKSUM), tmp_path)
    assert (lines, report.exit_code) == (["error b"], 1)
    damage(target.store, "a", b"g00d")
    report, lines = await verdict(make_ends(place, target, compare=Compare.CHECKSUM), tmp_path)
    assert (lines, report.exit_code) == (["differs a", "error b"], 3)


async def test_failed_and_deleted_rows_say_what_became_of_them(tmp_path: Path) -> None:
    target, place = MemoryTransport(), MemoryTransport()
    await fill(target, {"back": b"1"})
    await write(place, [
        Row("back", -1, Deed.DELETED, 1), Row("away", -1, Deed.DELETED, 1),
        Row("no", 3, Deed.FAILED, 1, error="Denied", detail="not yours"),
    ])  # fmt: skip
    report, lines = await verdict(make_ends(place, target), tmp_path)
    assert (lines, report.exit_code) == (["extra back", "failed no"], 1)


async def test_filters_choose_rows(tmp_path: Path) -> None:
    target = MemoryTransport()
    await fill(target, OBJECTS)
    place = await recorded(target)
    target.store.objects.clear()
    rules = (Rule(verdict="include", pattern="k0?"), Rule(verdict="exclude", pattern="*"))
    ends = make_ends(place, target, selection=Selection(rules=rules))
    report, lines = await verdict(ends, tmp_path)
    assert lines == [f"missing k{number:02d}" for number in range(10)]
    assert report.tally.planned_objects == 10


async def test_one_object_is_verified_alone(tmp_path: Path) -> None:
    target, place = MemoryTransport(), MemoryTransport()
    await fill(target, {"b": b"data", "c": b""})
    await write(place, [Row("b", 5, Deed.COPIED, 1, source_key="a"), Row("z", 1, Deed.COPIED, 1)])
    single = Single(source_key="b", target_key="b")
    _, lines = await verdict(make_ends(place, target, single=single), tmp_path)
    assert lines == ["differs a"]
    unknown = Single(source_key="c", target_key="c")
    with pytest.raises(Rejected, match="no row of c"):
        await verdict(make_ends(place, target, single=unknown), tmp_path)


async def test_more_rows_than_a_page(tmp_path: Path) -> None:
    target, place = MemoryTransport(), MemoryTransport()
    keys = [f"{number:05d}" for number in range(2 * PAGE_ROWS + 3)]
    await fill(target, dict.fromkeys(keys[::2], b"x"))
    await write(place, [Row(key, 1, Deed.COPIED, 1) for key in reversed(keys)])
    report, lines = await verdict(make_ends(place, target), tmp_path)
    assert lines == [f"missing {key}" for key in keys[1::2]]
    assert report.tally.skipped_objects == len(keys[::2])

"""Ranges of a listing on real stores: together they are the listing, whatever the names."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from mover.sharding import KeyRange
from mover.splitting import REQUESTS_PER_RANGE, split_range
from tests.integration.test_s3_stores import opened
from transports.errors import Denied, NotFound, Unavailable
from transports.faults import Fault, Faults
from transports.local import LocalTransport
from transports.memory import MemoryTransport
from transports.record import Record
from transports.testing import listed, put

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.servers.buckets import Bucket
    from transports.base import Transport

WANTED = 4

FLAT = [f"data/part-{n:05}.bin" for n in range(1_100)]
ODD = ["a.b", "a/b", "a-b/c", "a/x/y", "z", "0", "é/ü", "\U0001f600", "data.x/y", "data+"]
EXACT_ONLY = ["a//b", "a//", "a", "data", "data//x", "\uffee", "\ufffd"]
"""Names that SeaweedFS folds, or that a directory is in the way of."""


async def fill(transport: Transport, keys: Sequence[str], lanes: int = 16) -> None:
    waiting = iter([keys[n : n + 20] for n in range(0, len(keys), 20)])

    async def lane() -> None:
        for some in waiting:
            await put(transport, dict.fromkeys(some, b"x"))

    async with asyncio.TaskGroup() as crew:
        for _ in range(lanes):
            crew.create_task(lane())


async def check_ranges(transport: Transport, prefix: str, wanted: int = WANTED) -> list[int]:
    """Split, split each range again, and compare; the sizes of the first ranges."""
    whole = [entry.key for entry in await listed(transport, prefix)]
    record = Record(transport)
    ranges = await split_range(record, prefix, KeyRange(), wanted=wanted)
    assert sum(record.log.counts.values()) <= REQUESTS_PER_RANGE * wanted
    sizes: list[int] = []
    found: list[str] = []
    for each in ranges:
        parts = await split_range(transport, prefix, each, wanted=2, seen=whole[:50])
        of_range: list[str] = []
        for part in parts:
            entries = await listed(transport, prefix, start_after=part.after, stop_at=part.stop_at)
            assert all(part.contains(entry.key) for entry in entries)
            of_range += [entry.key for entry in entries]
        sizes.append(len(of_range))
        found += of_range
    assert found == whole
    return sizes


@pytest.mark.slow
async def test_ranges_on_seaweed(seaweed_bucket: Bucket) -> None:
    async with opened(seaweed_bucket, "root/") as transport:
        await fill(transport, [*FLAT, *ODD])
        for prefix in ("", "d", "a", "data", "z", "nothing"):
            await check_ranges(transport, prefix)
        sizes = await check_ranges(transport, "data/")
        assert len(sizes) == WANTED
        assert max(sizes) <= 1.3 * len(FLAT) / WANTED


@pytest.mark.soak  # moto needs 40 s for what SeaweedFS shows in 10; pure tables have the order of keys
async def test_ranges_on_moto(moto_bucket: Bucket) -> None:
    async with opened(moto_bucket, "root/") as transport:
        await fill(transport, [*FLAT, *ODD, *EXACT_ONLY])
        for prefix in ("", "a", "a/", "a//", "data", "nothing"):
            await check_ranges(transport, prefix)
        sizes = await check_ranges(transport, "data/part")
        assert len(sizes) == WANTED
        assert max(sizes) <= 1.3 * len(FLAT) / WANTED


async def test_ranges_of_a_directory_with_names_that_are_no_text(tmp_path: Path) -> None:
    names = [b"bad\xff%04d" % n for n in range(700)]
    names += [b"n%04d" % n for n in range(700)] + [b"\xf0\x9f\x98\x80", b"1", b"\xfe"]
    (tmp_path / "d").mkdir()
    for name in names:
        (tmp_path / "d" / os.fsdecode(name)).touch()
    (tmp_path / "e.x").touch()
    transport = LocalTransport(tmp_path)
    try:
        for prefix in ("", "d", "d/", "d/bad", "e", "nothing/"):
            await check_ranges(transport, prefix)
        # What cannot be sent to every store cannot be a point: half of the names are cut off.
        assert len(await check_ranges(transport, "d/")) >= 2
    finally:
        await transport.close()


async def test_a_local_tree_costs_a_look_and_not_a_walk(tmp_path: Path) -> None:
    for directory in range(40):
        (tmp_path / f"d{directory:02}").mkdir()
        (tmp_path / f"d{directory:02}" / "file").touch()
    transport = LocalTransport(tmp_path)
    record = Record(transport)
    try:
        assert len(await split_range(record, "", KeyRange(), wanted=8)) == 8
        assert record.log.counts == {"children": 1}
    finally:
        await transport.close()


async def test_a_look_that_fails_cuts_nothing() -> None:
    transport = MemoryTransport()
    await fill(transport, FLAT)
    for verb in ("children", "first_after"):
        for error in (
            Unavailable("memory://x", "away"),
            Denied("memory://x"),
            NotFound("memory://x"),
        ):
            faulty = Faults(transport, [Fault(verb=verb, error=error)])
            assert await split_range(faulty, "data/", KeyRange(), wanted=4) == [KeyRange()]

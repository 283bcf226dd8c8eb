"""A cache directory over real stores: filled once, found again, and never taken for more than it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mover.prewarm.model import WarmSpec
from tests.servers.grounds import Yard, pieces_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.buckets import Bucket

LARGE_BYTES = 20 * 1024 * 1024


def some_bytes(size: int, seed: int = 1) -> bytes:
    return (seed.to_bytes(4, "big") + os.urandom(252)) * (size // 256) + b"x" * (size % 256)


@pytest.fixture
def yard(seaweed_bucket: Bucket) -> Yard:
    return Yard(environment=seaweed_bucket.server.environment())


def fill_bucket(bucket: Bucket, *, large: bool = True) -> dict[str, bytes]:
    tree = {f"data/d{n % 3}/f{n:03}": some_bytes(1000 + n, n) for n in range(60)}
    if large:
        tree["data/large"] = some_bytes(LARGE_BYTES)
    for key, body in tree.items():
        bucket.put(key, body)
    return tree


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".mover-cache" not in path.parts
    }


def stages_in(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir() if each.name.startswith(".mover-stage")]


async def test_a_cold_fill_and_a_run_right_after(
    seaweed_bucket: Bucket, yard: Yard, tmp_path: Path
) -> None:
    tree = fill_bucket(seaweed_bucket)
    spec = WarmSpec(
        targets=(seaweed_bucket.location("data/"),), into=str(tmp_path), capacity_bytes=1 << 30
    )
    async with yard.cache(spec) as place:
        pieces = await pieces_of(place)
        assert len(pieces) == len(tree)
        cold = await place.look(pieces)
        assert (cold.resident_bytes, len(cold.missing)) == (0, len(tree))
        warmed = await place.warm(cold.missing)
        assert warmed.failures == []
        assert warmed.read_files == len(tree)
        assert warmed.read_bytes == warmed.origin_bytes == sum(map(len, tree.values()))
        assert (await place.look(pieces)).missing == []
    name = f"s3/{seaweed_bucket.name}"
    assert files_below(tmp_path) == {f"{name}/{key}": body for key, body in tree.items()}
    assert stages_in(tmp_path) == []
    yard.log.take()
    async with yard.cache(spec) as place:
        pieces = await pieces_of(place)
        assert (await place.look(pieces)).missing == []
        again = await place.warm(pieces)
        assert (again.read_bytes, again.failures) == (0, [])
    assert {call.verb for call in yard.log.take()} == {"list"}

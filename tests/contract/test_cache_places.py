"""Cache directories, held to the port of the places: over a tree of files, and over a bucket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mover.prewarm.model import EVERY_NODE, WarmSpec
from tests.contract.place_contract import PlaceContract
from tests.servers.grounds import Yard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from mover.prewarm_places import Place
    from tests.servers.buckets import Bucket


class TestOverFiles(PlaceContract):
    @pytest.fixture(autouse=True)
    def origin(self, tmp_path: Path) -> Path:
        self._origin = tmp_path / "origin"
        self._origin.mkdir()
        return self._origin

    @pytest.fixture
    async def place(self, origin: Path, tmp_path: Path) -> AsyncIterator[Place]:
        spec = WarmSpec(
            targets=(f"{origin}/",),
            into=str(tmp_path / "cache"),
            capacity_bytes=100_000_000,
            replicas=EVERY_NODE,
        )
        async with Yard(environment={"MOVER_PEER_LISTEN": "127.0.0.1:0"}).cache(spec) as place:
            yield place

    def seed(self, files: Mapping[str, int]) -> None:
        for key, size in files.items():
            path = self._origin / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size))

    def vanish(self, key: str) -> None:
        (self._origin / key).unlink()


class TestOverABucket(PlaceContract):
    @pytest.fixture(autouse=True)
    def bucket(self, seaweed_bucket: Bucket) -> Bucket:
        self._bucket = seaweed_bucket
        return seaweed_bucket

    @pytest.fixture
    async def place(self, bucket: Bucket, tmp_path: Path) -> AsyncIterator[Place]:
        yard = Yard(environment=bucket.server.environment())
        async with yard.cache(
            WarmSpec(targets=(bucket.location("data/"),), into=str(tmp_path / "cache"))
        ) as place:
            yield place

    def seed(self, files: Mapping[str, int]) -> None:
        for key, size in files.items():
            self._bucket.put(f"data/{key}", os.urandom(size))

    def vanish(self, key: str) -> None:
        self._bucket.delete(f"data/{key}")

"""Resident memory stays flat, whatever the size of an object or of a listing."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from mover.feeding import Checkpoint, Feeder
from scheduler.sqlite_store import SqliteTaskStore
from tests.e2e.support import MIB, Mover, environment_for
from tests.unit.mover.engine import make_ends
from transports.memory import MemoryTransport
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

GIB = 1024 * MIB
LARGE_RSS_BYTES = 400 * 1000 * 1000


class PeakRss:
    """Samples the resident memory of a process and keeps the largest."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="rss", daemon=True)

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            try:
                self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            except psutil.Error:
                return

    def __enter__(self) -> PeakRss:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.soak
def test_an_object_of_two_gib_passes_through_bounded_memory(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "huge.bin").open("wb") as file:
        for number in range(2 * GIB // (8 * MIB)):
            file.write(number.to_bytes(8, "big") * MIB)
    environment = environment_for(tmp_path / "state", seaweed)
    mover = Mover(environment=environment, timeout_s=600.0, anew=True)
    try:
        for source, target in (
            (f"{tmp_path}/source/", seaweed_bucket.location("t/")),
            (seaweed_bucket.location("t/"), f"{tmp_path}/target/"),
        ):
            process = mover.start(source, target, "--workers", "1")
            with PeakRss(process.pid) as rss:
                ended = mover.finish(process)
            assert (ended.code, ended.failed) == (0, 0), ended
            assert rss.peak_bytes <= LARGE_RSS_BYTES, rss.peak_bytes
        compare = ["cmp", f"{tmp_path}/source/huge.bin", f"{tmp_path}/target/huge.bin"]
        subprocess.run(compare, check=True, timeout=120)
    finally:
        mover.close()


class Synthetic(MemoryTransport):
    """A store with as many keys as wished, which are made while they are listed."""

    def __init__(self, keys: int) -> None:
        super().__init__()
        self._keys = keys

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        for first in range(0, self._keys, 1000):
            yield [
                Entry(f"data/{number:012d}.bin", 1000, 10**18, f"{number:032x}")
                for number in range(first, min(first + 1000, self._keys))
            ]


async def _growth(keys: int, directory: Path) -> tuple[int, float]:
    """Plan a listing against an equal one; returns how much the process grew, and its seconds."""
    process = psutil.Process()
    async with await SqliteTaskStore.open(directory / f"{keys}.sqlite", attempts_max=5) as store:
        ends = make_ends(Synthetic(keys), Synthetic(keys))
        feeder = Feeder(ends, store, Checkpoint(now_s=0.0), lambda: None)
        before, began_s = process.memory_info().rss, time.monotonic()
        with PeakRss(process.pid) as rss:
            await feeder.run()
        assert feeder.checkpoint.tally.skipped_objects == keys
    return max(0, rss.peak_bytes - before), time.monotonic() - began_s


@pytest.mark.soak
async def test_a_million_keys_need_no_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    await _growth(10_000, tmp_path)  # what Python keeps for itself is taken once
    small, _ = await _growth(20_000, tmp_path)
    large, _ = await _growth(1_000_000, tmp_path)
    assert large - small <= 50 * 1000 * 1000, (small, large)

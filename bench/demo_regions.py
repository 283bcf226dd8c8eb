"""The second part of ``make run``: a large object changes in one region, and another one catches up.

Two S3 servers, a worker beside each, one queue, and between them a line of 100 Mbit/s with a round
trip of 60 ms, on which everything is counted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from bench.delta_cases import write_pieces
from bench.link_proxy import Line
from bench.processes import CommandFailed
from bench.region_cases import clustered, unchanged
from bench.regions import BUCKET, SOURCE_POOL, TARGET_POOL, opened_regions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
OBJECT_BYTES = 256 * MIB
LINE_BYTES_PER_S = 100e6 / 8
ROUND_TRIP_S = 0.06
FILES = 5
"""Both versions as files and in both stores, and what a store keeps of what was replaced."""


def show_regions(root: Path, tell: Callable[[str], None]) -> None:
    """Run the show in a directory. Raises ``CommandFailed``, ``ServerMissing``, ``ServerFailed``."""
    root.mkdir()
    asyncio.run(_show(root, tell))


async def _show(root: Path, tell: Callable[[str], None]) -> None:
    tell("\nTwo regions: an S3 server and a worker in each, 100 Mbit/s and 60 ms between them")
    line = Line.of(rate_per_s=LINE_BYTES_PER_S, round_trip_s=ROUND_TRIP_S)
    async with opened_regions(root, line) as regions:
        old, new = root / "old", root / "new"
        write_pieces(old, unchanged(OBJECT_BYTES))
        write_pieces(new, clustered(OBJECT_BYTES))
        await regions.put(old, "target", "tree/model.bin")
        await asyncio.sleep(1.1 - time.time() % 1)  # the server tells times in seconds
        await regions.put(new, "source", "tree/model.bin")
        regions.start_workers()
        tree = f"s3://{BUCKET}/tree/"
        # The limit says how quick the line is; a guess stands for what nobody has told.
        fleet = ("--source-pool", SOURCE_POOL, "--target-pool", TARGET_POOL, "--limit", "12MB/s")
        arguments = ("rsync", tree, tree, *fleet, "--queue", regions.redis.url)
        tell(f"\nOne percent of an object of 256 MiB has changed\n$ mover {' '.join(arguments)}")
        began_s, before = time.monotonic(), line.total_bytes
        await _shown([sys.executable, "-m", "mover", *arguments], regions.at_source)
        seconds, sent = time.monotonic() - began_s, line.total_bytes - before
        tell(
            f"The line counted {sent / 1e6:.2f} MB both ways, {sent / OBJECT_BYTES:.2%} of the object; "
            f"{(OBJECT_BYTES - sent) / 1e6:.0f} MB were saved. It took {seconds:.1f} s; to send the "
            f"whole takes {OBJECT_BYTES / LINE_BYTES_PER_S:.0f} s."
        )
        await regions.check()
        tell("Checked by checksums of all bytes: equal")


async def _shown(argv: list[str], environment: dict[str, str]) -> None:
    """Run a command in front of the reader. Raises ``CommandFailed``."""
    process = await asyncio.create_subprocess_exec(
        *argv, env=environment, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
    if code:
        raise CommandFailed(argv[3], code, "see above")

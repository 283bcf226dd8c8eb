"""A process that fills a cache directory from a local tree, for tests that run several of them or kill one.

Arguments: the origin, the cache directory, its capacity in bytes, the job, how many files a call warms. It prints a
line when it is ready, waits for one, and prints as JSON what it came to.
"""

from __future__ import annotations

import asyncio
import json
import sys

from mover.prewarm.model import WarmSpec
from tests.servers.grounds import Yard, pieces_of


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def fill(origin: str, into: str, capacity_bytes: int, job: str, files: int) -> None:
    spec = WarmSpec(targets=(origin,), into=into, capacity_bytes=capacity_bytes)
    yard = Yard()
    async with yard.cache(spec, job=job) as place:
        pieces = await pieces_of(place)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        came = {"files": 0, "bytes": 0, "failures": 0}
        for start in range(0, len(pieces), files):
            warmed = await place.warm(pieces[start : start + files])
            came["files"] += warmed.read_files
            came["bytes"] += warmed.read_bytes
            came["failures"] += len(warmed.failures)
        look = await place.look(pieces)
        say(json.dumps(came | {"missing": len(look.missing)}))
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    _, origin, into, capacity, job, files = sys.argv
    asyncio.run(fill(origin, into, int(capacity), job, int(files)))

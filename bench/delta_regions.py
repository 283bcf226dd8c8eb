"""``python -m bench regions``: a large object changes in one region, and another one catches up.

What crosses the line between them is counted there, both ways, everything included, and what the
target has at the end is compared by checksums of all its bytes.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import report
from bench.delta_cases import write_pieces
from bench.link_proxy import Line
from bench.region_cases import CASES, Case
from bench.regions import BASE_PREFIX, BUCKET, Regions, Sent, opened_regions
from bench.workspace import open_workspace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Sequence

MIB = 1024 * 1024
COPIES = 6
"""Both versions as files, both in stores, a base, and what the stores keep of what was replaced."""

NAME = "model.bin"
KEY = f"tree/{NAME}"

_HEADER = (
    "case", "wire bytes", "at most", "of the object", "written at target", "seconds",
    "copied whole: s", "rclone: s", "times faster",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may be asked for."""
    parser.add_argument("--mib", type=int, default=1024, help="size of the object")
    parser.add_argument("--cases", default="", help="numbers by commas, from 1; all of them")
    parser.add_argument("--mbit", type=float, help="of the line, each way; unlimited by default")
    parser.add_argument("--rtt-ms", type=float, default=0.0, help="of the line")
    parser.add_argument("--whole", action="store_true", help="beside it, mover copy of the whole")
    parser.add_argument("--rclone", action="store_true", help="beside it, rclone copy")
    parser.add_argument(
        "--sign-on-write", action="store_true", help="the old version was signed as it was written"
    )
    parser.add_argument("--delta", choices=("always", "auto"), default="always")
    parser.add_argument("--directory", type=Path, help="instead of the RAM disk")


def run(arguments: argparse.Namespace, tell: Callable[[str], None]) -> str:
    """Measure, and return the table. Raises ``ValueError`` for cases that are not there."""
    cases = _chosen(arguments.cases)
    size = arguments.mib * MIB
    rate = None if arguments.mbit is None else arguments.mbit * 1e6 / 8
    rows = []
    with open_workspace(arguments.directory, needed_bytes=COPIES * size) as workspace:
        for number, case in enumerate(cases):
            line = Line.of(rate_per_s=rate, round_trip_s=arguments.rtt_ms / 1000)
            root = workspace.root / str(number)
            root.mkdir()
            rows.append(asyncio.run(_row(case, size, root, line, arguments, tell)))
            shutil.rmtree(root)  # the next one has no room beside it
    return f"an object of {arguments.mib:,} MiB\n\n{report.table(_HEADER, rows)}\n"


def _chosen(text: str) -> Sequence[Case]:
    if not text:
        return CASES
    numbers = [int(each) for each in text.split(",")]
    if not all(1 <= number <= len(CASES) for number in numbers):
        raise ValueError(f"there are the cases 1 to {len(CASES)}")
    return [CASES[number - 1] for number in numbers]


async def _row(
    case: Case,
    size: int,
    root: Path,
    line: Line,
    arguments: argparse.Namespace,
    tell: Callable[[str], None],
) -> list[str]:
    # What is written near by is counted where time is not what is asked for.
    async with opened_regions(root, line, counts_near=line.there.rate_per_s is None) as regions:
        old, new = root / "old", root / "new"
        write_pieces(old, case.old(size))
        write_pieces(new, case.new(size))
        new_bytes = new.stat().st_size
        whole = await _otherwise(regions, old, new, regions.copy) if arguments.whole else None
        rclone = await _otherwise(regions, old, new, regions.rclone) if arguments.rclone else None
        await _renew(regions, old, new, *(["--sign-on-write"] if arguments.sign_on_write else []))
        based: tuple[str, ...] = ()
        if case.has_base:
            await regions.put(old, "source", f"{BASE_PREFIX}{NAME}")
            based = ("--base", f"s3://{BUCKET}/{BASE_PREFIX}")
        old.unlink()
        new.unlink()
        regions.start_workers()
        sent = await regions.rsync("--delta", arguments.delta, *based)
        tell(f"  {case.name}: {sent.wire_bytes:,} bytes in {sent.seconds:.1f} s")
        await regions.check()
    slowest = rclone or whole
    return [
        case.name,
        f"{sent.wire_bytes:,}",
        f"{case.wire_bytes_max(size):,.0f}",
        f"{sent.wire_bytes / new_bytes:.4%}",
        "" if sent.written_bytes is None else f"{sent.written_bytes / new_bytes:.1%}",
        f"{sent.seconds:.1f}",
        *("" if each is None else f"{each.seconds:.1f}" for each in (whole, rclone)),
        "" if slowest is None else f"{slowest.seconds / sent.seconds:.1f}",
    ]


async def _otherwise(
    regions: Regions, old: Path, new: Path, way: Callable[[], Awaitable[Sent]]
) -> Sent:
    """Let another one bring the old target up to date."""
    await _renew(regions, old, new)
    return await way()


async def _renew(regions: Regions, old: Path, new: Path, *options: str) -> None:
    """Put the old version back, older than the new one by the store's clock of seconds."""
    old.touch()  # an object that is newer than the file would be left as it is
    await regions.put(old, "target", KEY, *options)
    await asyncio.sleep(1.1 - time.time() % 1)
    new.touch()
    await regions.put(new, "source", KEY)

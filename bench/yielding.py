"""How much a job that reads a mount suffers while it is warmed: ``python -m bench yielding``.

A reader takes 64 KiB of a resident file every 10 ms, past the page cache, from a JuiceFS mount over SeaweedFS: first alone, then
beside ``mover prewarm`` of a cold data set, without ``--yield`` and with it. What counts is the 95th percentile of
its waits. A warming that yields may take long; after ``PATIENCE_S`` it is told to stop, and how much it has brought is told.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.datasets import write_tree
from bench.gateways import DATASETS
from bench.machine import Machine
from bench.mounts import opened
from bench.report import table
from bench.tools import executable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.juice import JuiceMount

READ_BYTES: Final = 64 * 1024
EVERY_S: Final = 0.01
ALONE_S: Final = 6.0
PATIENCE_S: Final = 25.0
FACTOR: Final = "1.5"
JOB_FILES: Final = 60
P95_MAX: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a reader met: its waits in seconds, how long it lasted, and how much was resident behind it."""

    waits_s: list[float]
    seconds: float
    resident: float

    @property
    def p95_s(self) -> float:
        return statistics.quantiles(self.waits_s, n=20)[-1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe this benchmark's command line."""
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the data, as in 0.1")


def run(arguments: argparse.Namespace) -> str:
    """Run both data sets and return the report."""
    if arguments.scale <= 0:
        raise ValueError("--scale must be above 0")
    parts = [Machine.here().cpu_model]
    for dataset in DATASETS:
        with opened(dataset, arguments.scale) as mount:
            write_tree(DATASETS[1], mount.path / "job", seed=2, scale=JOB_FILES / 5000)
            parts.append(f"{dataset.name}\n{_measure(mount)}")
    return "\n\n".join(parts) + "\n"


def _measure(mount: JuiceMount) -> str:
    mount.cold()
    mount.warmup(mount.path / "job")
    ends_s = time.monotonic() + ALONE_S
    alone = _read(mount, lambda: time.monotonic() < ends_s)
    runs = {"without": _beside(mount), f"--yield {FACTOR}": _beside(mount, "--yield", FACTOR)}
    rows = [["alone", f"{alone.p95_s * 1e3:.2f}", "1.00", f"{alone.seconds:.1f}", ""]]
    for name, found in runs.items():
        ratio = found.p95_s / alone.p95_s
        rows.append(
            [
                name,
                f"{found.p95_s * 1e3:.2f}",
                f"{ratio:.2f}",
                f"{found.seconds:.1f}",
                f"{found.resident:.0%}",
            ]
        )
    ratio = runs[f"--yield {FACTOR}"].p95_s / alone.p95_s
    mark = "reached" if ratio < P95_MAX else "missed"
    told = table(("warming", "p95 ms", "to alone", "seconds", "resident"), rows)
    return f"{told}\np95 with --yield: {ratio:.2f} (below {P95_MAX}: {mark})"


def _beside(mount: JuiceMount, *options: str) -> Beside:
    """Read while the data set is warmed, until that has ended or has had its time."""
    mount.evict(mount.path / "data")
    data = str(mount.path / "data")
    state = mount.directory / f"state-{len(options)}"
    with subprocess.Popen(
        [str(executable("mover", "run `make`")), "prewarm", data, "--no-progress", *options],
        env={**os.environ, "MOVER_STATE": str(state)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as warming:
        ends_s = time.monotonic() + PATIENCE_S
        found = _read(mount, lambda: warming.poll() is None and time.monotonic() < ends_s)
        if warming.poll() is None:
            warming.send_signal(signal.SIGINT)
    return found


def _read(mount: JuiceMount, goes_on: Callable[[], bool]) -> Beside:
    files = sorted(path for path in (mount.path / "job").rglob("*") if path.is_file())
    chance, waits_s, began_s = random.Random(1), list[float](), time.monotonic()
    while goes_on():
        waits_s.append(_one_read(chance.choice(files)))
        time.sleep(EVERY_S)
    seconds = time.monotonic() - began_s
    return Beside(
        waits_s=waits_s,
        seconds=seconds,
        resident=mount.check(mount.path / "data").percent / 100,
    )


def _one_read(path: Path) -> float:
    began_s = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, READ_BYTES, 0)
    finally:
        os.close(fd)
    return time.perf_counter() - began_s

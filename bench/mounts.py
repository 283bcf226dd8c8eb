"""Warming a JuiceFS mount: ``mover prewarm`` beside ``juicefs warmup``, ``rclone`` and ``find | xargs cat``.

    python -m bench mounts [--repeats 3] [--scale 1]

Every run begins with a cold cache: JuiceFS's own is evicted and the kernel's dropped. Behind each run
``juicefs warmup --check`` says what is resident: a tool that leaves blocks out has not done the work. The
mover looks itself before it ends; what ``warmup`` and its check take together stands in a row of its own.
CPU is of the tool alone: what a mount's daemon and the store do is in nobody's process.
"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import racing
from bench.datasets import DatasetSpec, FixedSizes, write_tree
from bench.gateways import DATASETS
from bench.juice import JuiceMount
from bench.machine import Machine
from bench.metering import Command, Weight, weigh
from bench.racing import Failed, figures, in_turns, wall_s
from bench.report import table
from bench.scenarios import MIB
from bench.stores import SeaweedServer, fast_directory
from bench.tools import executable

TIMEOUT_S: Final = 300.0
THREADS: Final = (50, 100)
"""Of ``juicefs warmup``: its default, and twice that; the quicker one counts."""

WALL_MAX: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a tool, and how much was resident after it, from 0 to 1."""

    weight: Weight
    resident: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe this benchmark's command line."""
    racing.add_arguments(parser, repeats=3)


def run(arguments: argparse.Namespace) -> str:
    """Run both data sets and return the report."""
    racing.check(arguments)
    parts = []
    for dataset in DATASETS:
        with opened(dataset, arguments.scale) as mount:
            parts.append(report(dataset, arguments.scale, race(mount, arguments.repeats)))
    return "\n\n".join([Machine.here().cpu_model, *parts]) + "\n"


@contextlib.contextmanager
def opened(dataset: DatasetSpec, scale: float) -> Iterator[JuiceMount]:
    """A volume on SeaweedFS with the data set below ``data``, and all of it cleared away behind."""
    with contextlib.ExitStack() as house:
        root = fast_directory(need_bytes=8 << 30)
        house.callback(shutil.rmtree, root, ignore_errors=True)
        server = house.enter_context(SeaweedServer(root / "server"))
        mount = house.enter_context(
            JuiceMount(server, cache_size_mib=16_384, directory=root / "jfs")
        )
        write_tree(dataset, mount.path / "data", seed=1, scale=scale)
        yield mount


def race(mount: JuiceMount, repeats: int) -> dict[str, list[Run]]:
    """Run every tool so often, in an order that rotates."""
    tools = commands(mount)
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    for name in in_turns(list(tools), repeats):
        runs[name].append(_run(mount, name, tools[name]))
    return runs


def commands(mount: JuiceMount) -> dict[str, Command]:
    """Each tool's way of reading everything through the mount."""
    data = str(mount.path / "data")
    juicefs = str(mount.program)
    mover = str(executable("mover", "run `make` in the checkout"))
    rclone = str(executable("rclone", "pip install 'fluid-mover[bench]'"))
    cats = f"find '{data}' -type f -print0 | xargs -0 -P 16 -n 32 cat > /dev/null"
    check = f"'{juicefs}' warmup -p 50 '{data}' && '{juicefs}' warmup --check '{data}'"
    return {
        "mover": _quiet(mover, "prewarm", data, "--no-progress"),
        **{f"warmup -p {n}": _quiet(juicefs, "warmup", "-p", str(n), data) for n in THREADS},
        "warmup, --check": _quiet("/bin/sh", "-c", check),
        "rclone copy": _quiet(
            rclone, "copy", data, ":memory:none", "--transfers", "16", "--config", ""
        ),
        "find, xargs cat": _quiet("/bin/sh", "-c", cats),
    }


def report(dataset: DatasetSpec, scale: float, runs: Mapping[str, list[Run]]) -> str:
    """The table of one data set, and the ratio that has a goal."""
    head = ("tool", "wall s", "CPU s of the tool", "resident behind it")
    rows = [[name, *_figures(each)] for name, each in runs.items()]
    best = min((f"warmup -p {n}" for n in THREADS), key=lambda name: _wall(runs[name]))
    ratio = _wall(runs["mover"]) / _wall(runs[best])
    checked = _wall(runs["mover"]) / _wall(runs["warmup, --check"])
    others = ("rclone copy", "find, xargs cat")
    mark = "reached" if ratio <= WALL_MAX else "missed"
    lines = [
        _title(dataset, scale),
        table(head, rows),
        f"beside {best}: wall {ratio:.2f} (at most {WALL_MAX:.2f}: {mark})",
        f"beside warmup and its check: {checked:.2f}",
        *(f"beside {name}: {_wall(runs['mover']) / _wall(runs[name]):.2f}" for name in others),
    ]
    return "\n".join(lines)


def _title(dataset: DatasetSpec, scale: float) -> str:
    size = dataset.sizes.size_bytes if isinstance(dataset.sizes, FixedSizes) else 0
    part = "" if scale == 1 else f", at a scale of {scale:g}"
    return f"{dataset.name}: {dataset.count:,} files of {size / MIB:g} MiB{part}"


def _run(mount: JuiceMount, name: str, command: Command) -> Run:
    mount.cold()
    with tempfile.TemporaryDirectory(dir=mount.directory) as home:
        complaints = Path(home, "stderr")
        weight = weigh(
            Command(argv=command.argv, environment={"HOME": home, "XDG_STATE_HOME": home}),
            cwd=Path(home),
            stdout=Path(home, "stdout"),
            stderr=complaints,
            timeout_s=TIMEOUT_S,
        )
        if weight.exit_code:
            raise Failed(f"{name} left with {weight.exit_code}: {complaints.read_text()[-500:]}")
    checked = mount.check(mount.path / "data")
    return Run(weight=weight, resident=checked.percent / 100)


def _quiet(*argv: str) -> Command:
    return Command(argv=argv, environment={})


def _figures(runs: list[Run]) -> list[str]:
    resident = min(run.resident for run in runs)
    return [*figures([run.weight for run in runs]), f"{resident:.1%}"]


def _wall(runs: list[Run]) -> float:
    return wall_s(run.weight for run in runs)

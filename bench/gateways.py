"""Pulling a dataset through a gateway and dropping it: ``mover prewarm`` beside s5cmd and curl.

    python -m bench gateways [--repeats 5] [--scale 1]

SeaweedFS's S3 is the gateway; it has no cache, so every run pulls the same bytes. The bucket is public, because curl
does not list and is given the URLs; the others sign and list. s5cmd drops in two ways, and the quicker one counts:
``cat`` of a pattern, which is one object after the other in parts, and ``run`` of one ``cat`` per object. Runs are
interleaved; a ratio is of medians.
"""

import argparse
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import racing
from bench.datasets import DatasetSpec, FixedSizes, total, write_tree
from bench.machine import Machine
from bench.metering import Command, Weight, weigh
from bench.peers import S5cmd
from bench.processes import run_command
from bench.racing import Failed, cpu_s, figures, in_turns, wall_s
from bench.report import table
from bench.scenarios import KIB, MIB
from bench.stores import SeaweedServer, fast_directory
from bench.tools import executable

BUCKET: Final = "gateway"
WALL_MAX: Final = 1 / 0.95
CPU_MAX: Final = 0.8
TIMEOUT_S: Final = 300.0

DATASETS: Final = (
    DatasetSpec(
        name="large",
        count=4,
        sizes=FixedSizes(size_bytes=512 * MIB),
        files_per_directory=4,
        scale_sizes=True,
    ),
    DatasetSpec(
        name="small",
        count=5_000,
        sizes=FixedSizes(size_bytes=64 * KIB),
        files_per_directory=500,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A filled gateway; ``keys`` are its objects, ``environment`` has the credentials."""

    url: str
    keys: tuple[str, ...]
    size_bytes: int
    environment: Mapping[str, str]
    home: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe this benchmark's command line."""
    racing.add_arguments(parser, repeats=5)


def run(arguments: argparse.Namespace) -> str:
    """Run both data sets and return the report."""
    racing.check(arguments)
    parts = []
    for dataset in DATASETS:
        with opened(dataset, arguments.scale) as scene:
            weights = race(scene, arguments.repeats)
        parts.append(report(dataset, scene, weights))
    return "\n\n".join([Machine.here().cpu_model, *parts]) + "\n"


@contextlib.contextmanager
def opened(dataset: DatasetSpec, scale: float) -> Iterator[Scene]:
    """Start a gateway, fill a public bucket, and clear all of it away."""
    need = 4 * total(dataset, seed=1, scale=scale).size_bytes
    with contextlib.ExitStack() as house:
        root = fast_directory(need_bytes=need)
        house.callback(shutil.rmtree, root, ignore_errors=True)
        server = house.enter_context(SeaweedServer(root / "server"))
        server.create_bucket(BUCKET)
        tree = root / "tree"
        totals = write_tree(dataset, tree, seed=1, scale=scale)
        scene = Scene(
            url=server.endpoint_url,
            keys=tuple(sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())),
            size_bytes=totals.size_bytes,
            environment=server.environment(),
            home=root,
        )
        run_command(_s5cmd(scene, "cp", f"{tree}/", f"s3://{BUCKET}/"))
        shutil.rmtree(tree)
        answer = server.raw.call(
            "PUT", f"/{BUCKET}", query={"policy": ""}, body=json.dumps(_PUBLIC).encode()
        )
        if answer.status >= 300:
            raise Failed(f"the bucket does not become public: {answer}")
        yield scene


def race(scene: Scene, repeats: int) -> dict[str, list[Weight]]:
    """Run every tool so often, in an order that rotates."""
    tools = commands(scene)
    weights: dict[str, list[Weight]] = {name: [] for name in tools}
    for name in in_turns(list(tools), repeats):
        weights[name].append(_weighed(scene, name, tools[name]))
    return weights


def commands(scene: Scene) -> dict[str, Command]:
    """Each tool's way of pulling everything and keeping nothing."""
    lines = scene.home / "urls"
    pairs = (f'url="{scene.url}/{BUCKET}/{key}"\noutput=/dev/null\n' for key in scene.keys)
    lines.write_text("".join(pairs))
    cats = scene.home / "cats"
    cats.write_text("".join(f"cat s3://{BUCKET}/{key}\n" for key in scene.keys))
    location = f"s3://{BUCKET}/?endpoint_url={scene.url}"
    mover = str(executable("mover", "run `make` in the checkout"))
    curl = str(executable("curl", "apt-get install curl"))
    return {
        "mover": _dropping(scene, mover, "prewarm", location, "--json", "--workers", "1"),
        "s5cmd cat": _dropping(scene, *_s5cmd(scene, "cat", f"s3://{BUCKET}/*").argv),
        "s5cmd run": _dropping(scene, *_s5cmd(scene, "run", str(cats)).argv),
        "curl": _dropping(
            scene, curl, "-s", "--fail", "-Z", "--parallel-max", "32", "-K", str(lines)
        ),
    }


def report(dataset: DatasetSpec, scene: Scene, weights: Mapping[str, list[Weight]]) -> str:
    """The table of one data set, and the ratios that have a goal."""
    rows = [[name, *_figures(scene, runs)] for name, runs in weights.items()]
    title = f"{dataset.name}: {len(scene.keys):,} objects, {scene.size_bytes / MIB:,.0f} MiB"
    head = ("tool", "wall s", "CPU s", "MB/s", "RSS MB")
    lines = [title, table(head, rows)]
    s5cmd = min(("s5cmd cat", "s5cmd run"), key=lambda name: wall_s(weights[name]))
    for peer in (s5cmd, "curl"):
        wall = wall_s(weights["mover"]) / wall_s(weights[peer])
        cpu = cpu_s(weights["mover"]) / cpu_s(weights[peer])
        lines.append(
            f"beside {peer}: wall {wall:.2f} ({_mark(wall, WALL_MAX)}),"
            f" CPU {cpu:.2f} ({_mark(cpu, CPU_MAX)})"
        )
    return "\n".join(lines)


def _weighed(scene: Scene, name: str, command: Command) -> Weight:
    with tempfile.TemporaryDirectory(dir=scene.home) as home:
        told, complaints = Path(home, "stdout"), Path(home, "stderr")
        environment = {**command.environment, "HOME": home, "XDG_STATE_HOME": home}
        weight = weigh(
            Command(argv=command.argv, environment=environment),
            cwd=Path(home),
            stdout=told,
            stderr=complaints,
            timeout_s=TIMEOUT_S,
        )
        if weight.exit_code:
            raise Failed(f"{name} left with {weight.exit_code}: {complaints.read_text()[-500:]}")
        if name == "mover":
            report = json.loads(told.read_text())
            if report["bytes"]["copied"] != scene.size_bytes:
                said = complaints.read_text()[-500:]
                raise Failed(f"mover read less than {scene.size_bytes} bytes: {report} {said}")
    return weight


def _dropping(scene: Scene, *argv: str) -> Command:
    """A command whose bytes go nowhere; the mover's are never on stdout, only its report is."""
    if Path(argv[0]).name == "mover":
        return Command(argv=argv, environment=scene.environment)
    shell = ("/bin/sh", "-c", 'exec "$0" "$@" > /dev/null')
    return Command(argv=(*shell, *argv), environment=scene.environment)


def _s5cmd(scene: Scene, *words: str) -> Command:
    general = ("--endpoint-url", scene.url, "--log", "error", "--numworkers", "32")
    return Command(
        argv=(str(S5cmd.binary()), *general, *words),
        environment={**scene.environment, "HOME": str(scene.home)},
    )


def _figures(scene: Scene, runs: list[Weight]) -> list[str]:
    return [
        *figures(runs),
        f"{scene.size_bytes / wall_s(runs) / 1e6:,.0f}",
        f"{max(run.rss_peak_bytes for run in runs) / 1e6:,.0f}",
    ]


def _mark(ratio: float, bound: float) -> str:
    return f"at most {bound:.2f}: {'reached' if ratio <= bound else 'missed'}"


_PUBLIC: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/*"],
        }
    ],
}

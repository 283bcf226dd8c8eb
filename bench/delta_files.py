"""``python -m bench delta``: two versions of a file, sent as a difference by several tools.

Every tool makes the new file from the old one, on a RAM disk, and what it made is compared byte by
byte. Counted is the processor time of all of its processes, its interpreter's start included, and what
would have crossed a network.
"""

from __future__ import annotations

import filecmp
import shutil
import statistics
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import report
from bench.delta_cases import CASES, OLD_SEED, Case, randoms, write_pieces
from bench.delta_peers import TOOLS, Places, Tool
from bench.metering import Command, weigh
from bench.processes import CommandFailed, script_server
from bench.tools import MissingTool
from bench.workspace import open_workspace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

MIB = 1024 * 1024
FILES = 4
"""The old file, the new one, what a tool makes of them, and a delta that may be as large."""

TIMEOUT_S = 1800.0

_HEADER = (
    "case", "tool", "sign CPU s", "diff", "patch", "all", "wall s", "wire bytes",
    "mover's all to it", "sign and diff",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one tool took for one case, in seconds and bytes. ``cpu_s`` is by part."""

    cpu_s: dict[str, float]
    wall_s: float
    wire_bytes: int

    @property
    def total_s(self) -> float:
        return sum(self.cpu_s.values())

    @property
    def half_s(self) -> float:
        """Signing and comparing."""
        return self.cpu_s.get("sign", 0.0) + self.cpu_s.get("diff", 0.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may be asked for."""
    parser.add_argument("--mib", type=int, default=2048, help="size of the files")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", default=",".join(case.name for case in CASES))
    parser.add_argument("--tools", default="", help="comma-separated; all that are installed")
    parser.add_argument("--directory", type=Path, help="instead of the RAM disk")


def run(arguments: argparse.Namespace, tell: Callable[[str], None]) -> str:
    """Measure, and return the table. Raises ``ValueError`` for unknown names."""
    cases = _chosen(arguments.cases.split(","), {case.name: case for case in CASES})
    tools = _tools(arguments.tools, tell)
    size = arguments.mib * MIB
    rows: list[list[str]] = []
    with (
        open_workspace(arguments.directory, needed_bytes=FILES * size) as workspace,
        script_server("range_server.py", str(workspace.root)) as port,
    ):
        places = Places(root=workspace.root, url=f"http://127.0.0.1:{port}")
        write_pieces(places.old, randoms(OLD_SEED, size))
        for case in cases:
            write_pieces(places.new, case.new(size))
            rows += _rows(case, _measured(case, tools, places, arguments.repeats, tell))
    return f"files of {arguments.mib:,} MiB\n\n{report.table(_HEADER, rows)}\n"


def _chosen(names: Sequence[str], known: dict[str, Case]) -> list[Case]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no such case: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _tools(names: str, tell: Callable[[str], None]) -> list[Tool]:
    """The tools that are asked for; without names those that are installed."""
    known = {tool.name: tool for tool in TOOLS}
    if names:
        unknown = [name for name in names.split(",") if name not in known]
        if unknown:
            raise ValueError(f"no such tool: {', '.join(unknown)}; there are {', '.join(known)}")
        for name in names.split(","):
            known[name].require()
        return [known[name] for name in names.split(",")]
    found = []
    for tool in TOOLS:
        try:
            tool.require()
        except MissingTool as error:
            tell(str(error))
            continue
        found.append(tool)
    return found


def _measured(
    case: Case,
    tools: Sequence[Tool],
    places: Places,
    repeats: int,
    tell: Callable[[str], None],
) -> dict[str, Cost]:
    """The median of every tool; the tools take turns."""
    costs: defaultdict[str, list[Cost]] = defaultdict(list)
    for _ in range(repeats):
        for tool in tools:
            cost = measure(tool, places)
            tell(f"  {case.name}, {tool.name}: {cost.total_s:.2f} s of CPU, {cost.wall_s:.2f} s")
            costs[tool.name].append(cost)
    return {name: _median(found) for name, found in costs.items()}


def _median(costs: Sequence[Cost]) -> Cost:
    parts = costs[0].cpu_s
    return Cost(
        cpu_s={part: statistics.median(cost.cpu_s[part] for cost in costs) for part in parts},
        wall_s=statistics.median(cost.wall_s for cost in costs),
        wire_bytes=costs[-1].wire_bytes,
    )


def measure(tool: Tool, places: Places) -> Cost:
    """Let a tool make the new file once. Raises ``CommandFailed`` where it fails or makes another."""
    for path in (places.out, places.signature, places.delta):
        path.unlink(missing_ok=True)
    tool.begins(places)
    cpu_s: defaultdict[str, float] = defaultdict(float)
    wall_s, printed = 0.0, ""
    with tempfile.TemporaryDirectory() as home:
        said, complained = Path(home) / "stdout", Path(home) / "stderr"
        for step in tool.steps(places):
            program = shutil.which(step.argv[0]) or step.argv[0]
            weight = weigh(
                Command(
                    argv=(program, *step.argv[1:]), environment={"HOME": home, "MOVER_STATE": home}
                ),
                cwd=places.root,
                stdout=said,
                stderr=complained,
                timeout_s=TIMEOUT_S,
            )
            if weight.exit_code != 0:
                detail = complained.read_text(errors="replace")[-300:]
                raise CommandFailed(step.argv[0], weight.exit_code, detail)
            cpu_s[step.part] += weight.cpu_user_s + weight.cpu_system_s
            wall_s += weight.wall_s
            printed = said.read_text(errors="replace")
    if not filecmp.cmp(places.new, places.out, shallow=False):
        raise CommandFailed(tool.name, 0, "it made another file")
    return Cost(cpu_s=dict(cpu_s), wall_s=wall_s, wire_bytes=tool.wire_bytes(places, printed))


def _rows(case: Case, costs: dict[str, Cost]) -> list[list[str]]:
    ours = costs.get("mover")
    rows = []
    for name, cost in costs.items():
        parts = [cost.cpu_s.get(part) for part in ("sign", "diff", "patch")]
        rows.append(
            [
                case.name,
                name,
                *("" if part is None else f"{part:.2f}" for part in parts),
                f"{cost.total_s:.2f}",
                f"{cost.wall_s:.2f}",
                f"{cost.wire_bytes:,}",
                _ratio(ours, cost, lambda each: each.total_s),
                _ratio(ours, cost, lambda each: each.half_s),
            ]
        )
    return rows


def _ratio(ours: Cost | None, cost: Cost, of: Callable[[Cost], float]) -> str:
    if ours is None or ours is cost or not of(cost):
        return ""
    return f"{of(ours) / of(cost):.3f}"

"""The benchmark's command line; ``python -m bench -h`` lists the commands."""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    delta_files,
    delta_regions,
    gateways,
    kernel,
    mounts,
    nodes,
    releases,
    report,
    yielding,
)
from bench.datasets import total
from bench.fleet_commands import add_fleet_commands, scale_fleet, scale_listing
from bench.floor_tool import Floor
from bench.peers import PEERS, Mover
from bench.results import UnreadableResults, load, save
from bench.runner import Plan, run
from bench.scenarios import SCENARIOS, Direction, Scenario, UnknownScenario, choose
from bench.simulation import command as simulation
from bench.tools import Tool
from bench.workspace import open_workspace

TOOLS: tuple[Tool, ...] = (Mover(), *PEERS, Floor())
COPIES = 3  # of the data at once: the source, the server's own, the target
FILE_BYTES = 3 * 4096  # each copy of a file rounds up to pages, and has an inode
SPARE_BYTES = 2 * 2**30  # the server's index and logs, and memory for the tools themselves


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the scenarios and tools")
    runner = commands.add_parser("run", help="run scenarios (all by default) and print the report")
    runner.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    runner.add_argument("--tools", default="", help="comma-separated; all by default")
    runner.add_argument("--repeats", type=int, default=5)
    runner.add_argument("--seed", type=int, default=1)
    runner.add_argument("--scale", type=float, default=1.0, help="of the data, as in 0.1")
    runner.add_argument("--directory", type=Path, help="instead of the RAM disk")
    runner.add_argument("--output", type=Path, help="result file; bench-DATE.json by default")
    runner.add_argument("--timeout", type=float, default=900.0, help="seconds for one run")
    runner.add_argument(
        "--no-calibration", action="store_true", help="take each peer's first setting"
    )
    shower = commands.add_parser("show", help="print the report of a result file")
    shower.add_argument("file", type=Path)
    add_fleet_commands(commands)
    kernel.add_arguments(
        commands.add_parser("kernel", help="the delta kernel beside one pass of XXH3-128")
    )
    delta_files.add_arguments(
        commands.add_parser(
            "delta", help="send a new version of a file, beside rdiff, rsync and others"
        )
    )
    delta_regions.add_arguments(
        commands.add_parser("regions", help="keep two regions in step over a line that is counted")
    )
    releases.add_arguments(
        commands.add_parser("releases", help="two releases of a package as tars, beside rsync -z")
    )
    gateways.add_arguments(
        commands.add_parser("gateways", help="prewarm through a gateway, beside s5cmd and curl")
    )
    mounts.add_arguments(
        commands.add_parser("mounts", help="warm a JuiceFS mount, beside juicefs warmup and others")
    )
    nodes.add_arguments(
        commands.add_parser("nodes", help="what four nodes take from their origin, counted there")
    )
    yielding.add_arguments(
        commands.add_parser("yielding", help="how a reader fares while its mount is warmed")
    )
    comparer = commands.add_parser("compare", help="print what changed between two result files")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    simulation.add_arguments(
        commands.add_parser("simulate", help="a fleet of any size on a virtual clock")
    )
    return parser


def choose_tools(names: str) -> tuple[Tool, ...]:
    """Return the named tools in the order of the table. Raises ``ValueError`` for a wrong name."""
    wanted = [name for name in names.split(",") if name]
    known = {tool.name for tool in TOOLS}
    for name in wanted:
        if name not in known:
            raise ValueError(f"No tool is named {name!r}; there are: {', '.join(sorted(known))}")
    return tuple(tool for tool in TOOLS if not wanted or tool.name in wanted)


def needed_bytes(scenarios: Sequence[Scenario], *, seed: int, scale: float, tools: int) -> int:
    """Return how much room the largest of the scenarios takes, with some to spare."""
    needs = [0]
    for scenario in scenarios:
        if scenario.direction is not Direction.LISTING:
            data = total(scenario.dataset, seed=seed, scale=scale)
            copies = COPIES + (tools if scenario.direction is Direction.AGAIN else 0)
            needs.append(copies * data.size_bytes + copies * data.objects * FILE_BYTES)
    return max(needs) + SPARE_BYTES


def list_all() -> str:
    """Return the scenarios and tools as text."""
    rows = [[one.name, one.summary] for one in SCENARIOS]
    tools = ", ".join(tool.name for tool in TOOLS)
    return report.table(("scenario", "what"), rows) + f"\n\nTools: {tools}\n"


def run_all(arguments: argparse.Namespace) -> str:
    """Run what the arguments ask for, save it after every scenario, and return the report."""
    if arguments.repeats < 1 or arguments.scale <= 0:
        raise ValueError("--repeats must be at least 1, and --scale above 0")
    scenarios, tools = choose(tuple(arguments.scenarios)), choose_tools(arguments.tools)
    needed = needed_bytes(scenarios, seed=arguments.seed, scale=arguments.scale, tools=len(tools))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    output: Path = arguments.output or Path(f"bench-{stamp}.json")
    plan = Plan(
        scenarios=scenarios,
        tools=tools,
        repeats=arguments.repeats,
        seed=arguments.seed,
        scale=arguments.scale,
        calibrate=not arguments.no_calibration,
        timeout_s=arguments.timeout,
    )
    text = ""
    with open_workspace(arguments.directory, needed_bytes=needed) as workspace:
        _tell(f"Data on {workspace.root} ({workspace.storage}); results go to {output}")
        for results in run(plan, workspace, _tell):
            save(results, output)
            text = report.show(results)
    return text


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> int:
    """Run one command. Exit codes: 0 done, 1 the harness failed, 2 the request makes no sense."""
    arguments = build_parser().parse_args()
    # A terminated run cleans up like an interrupted one: the RAM disk must be given back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match arguments.command:
            case "list":
                text = list_all()
            case "run":
                text = run_all(arguments)
            case "show":
                text = report.show(load(arguments.file))
            case "fleet":
                text = scale_fleet(arguments, _tell)
            case "listing":
                text = scale_listing(arguments, _tell)
            case "kernel":
                text = kernel.run(arguments)
            case "delta":
                text = delta_files.run(arguments, _tell)
            case "regions":
                text = delta_regions.run(arguments, _tell)
            case "gateways":
                text = gateways.run(arguments)
            case "nodes":
                text = nodes.run(arguments)
            case "yielding":
                text = yielding.run(arguments)
            case "mounts":
                text = mounts.run(arguments)
            case "releases":
                text = releases.run(arguments, _tell)
            case "simulate":
                text = simulation.run(arguments)
            case _:
                text = report.compare(load(arguments.before), load(arguments.after))
    except (UnknownScenario, UnreadableResults, report.UnlikeRuns, ValueError) as error:
        _tell(str(error))
        return 2
    except (RuntimeError, OSError) as error:  # a tool or server is missing or failed, or no room
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        _tell("Interrupted; everything was cleared away, finished scenarios are saved")
        return 130
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

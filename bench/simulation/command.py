"""``python -m bench simulate``: one scenario, and beside it the same without losses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.simulation import tables
from bench.simulation.fleet import simulate
from bench.simulation.rules import NAMED
from bench.simulation.scenario import Costs, Data, Rules, Scenario, Stores

if TYPE_CHECKING:
    import argparse

GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes; the defaults are those of the values in ``scenario``."""
    number, whole = float, int
    for name, kind, default, text in (
        ("workers", whole, 1000, "worker processes"),
        ("objects", whole, 1_000_000_000, "objects to move"),
        ("seed", whole, 1, "of everything random"),
        ("lost", number, 0.0, "share of the workers that is killed"),
        ("lost-at", number, 0.0, "seconds after which the first is"),
        ("lost-for", number, 0.0, "seconds over which they are killed; 0: all at once"),
        ("spread", number, 1.0, "speeds differ by up to this factor either way"),
        ("stragglers", number, 0.0, "share of the workers at a tenth of their speed"),
        ("failing", number, 0.0, "share of runs that fail and are retried"),
        ("single-gib", number, 0.0, "one object of so many GiB instead of many"),
        ("slots", whole, Rules().moving.slots, "tasks a worker runs at a time"),
        ("lease", number, Rules().lease_s, "seconds of a lease"),
        ("latency", number, Stores().latency_s, "mean seconds of a request"),
        ("worker-rate", number, 1 / Stores().cpu_per_object_s, "objects per second of a worker"),
        ("worker-bytes", number, Stores().bytes_per_s, "bytes per second of a worker"),
        ("task-us", number, Costs().task_us, "the queue server's time for a task's step"),
        ("small-us", number, Costs().small_us, "its time for a small command"),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    parser.add_argument(
        "--rules", choices=sorted(NAMED), default="product", help="see docs/scaling.md"
    )


def scenario_of(arguments: argparse.Namespace) -> Scenario:
    """What the arguments ask for. Raises ``ValueError`` for a request that makes no sense."""
    if min(arguments.worker_rate, arguments.worker_bytes, arguments.latency, arguments.lease) <= 0:
        raise ValueError("Rates, latencies and leases must be above 0")
    rules = NAMED[arguments.rules]
    single_bytes = round(arguments.single_gib * GIB)
    return Scenario(
        workers=arguments.workers,
        seed=arguments.seed,
        lost=arguments.lost,
        lost_at_s=arguments.lost_at,
        lost_for_s=arguments.lost_for,
        spread=arguments.spread,
        stragglers=arguments.stragglers,
        failing=arguments.failing,
        data=Data(objects=1 if single_bytes else arguments.objects, single_bytes=single_bytes),
        stores=Stores(
            latency_s=arguments.latency,
            cpu_per_object_s=1 / arguments.worker_rate,
            bytes_per_s=arguments.worker_bytes,
        ),
        rules=replace(
            rules, moving=replace(rules.moving, slots=arguments.slots), lease_s=arguments.lease
        ),
        costs=Costs(task_us=arguments.task_us, small_us=arguments.small_us),
    )


def run(arguments: argparse.Namespace) -> str:
    """Simulate, and return the report; with losses, beside the same fleet without."""
    scenario = scenario_of(arguments)
    outcome = simulate(scenario)
    runs = [("as asked", outcome)]
    text = ""
    if scenario.lost:
        whole = simulate(replace(scenario, lost=0.0))
        runs.append(("nobody lost", whole))
        extra_s = outcome.makespan_s - whole.makespan_s
        text = (
            f"\n\nThe loss cost {extra_s:.1f} s, {extra_s / whole.makespan_s:.1%} of the makespan."
        )
    return (
        "\n\n".join((tables.times(runs) + text, tables.details(outcome), tables.load(outcome)))
        + "\n"
    )

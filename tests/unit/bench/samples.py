"""Results made by hand, for tests of what is done with them."""

from bench.machine import Machine
from bench.results import SCHEMA_VERSION, Results, Sample, ScenarioResult, Series

MACHINE = Machine(
    cpu_model="Test CPU",
    cores=2,
    memory_gib=24,
    kernel="6.1.0",
    architecture="x86_64",
    python="3.11.7",
)


def sample(
    wall_s: float,
    cpu_s: float = 1.0,
    *,
    repeat: int = 1,
    rss_mb: float = 100,
    problem: str | None = None,
    foreign_cores: float = 0.0,
) -> Sample:
    return Sample(
        repeat=repeat,
        wall_s=wall_s,
        cpu_user_s=cpu_s / 2,
        cpu_system_s=cpu_s / 2,
        rss_peak_bytes=int(rss_mb * 1e6),
        processes_peak=1,
        machine_busy_s=cpu_s,
        foreign_cores=foreign_cores,
        exit_code=0 if problem is None else 1,
        problem=problem,
    )


def series(tool: str, *walls: float, cpu_s: float = 1.0, rss_mb: float = 100) -> Series:
    return Series(
        tool=tool,
        setting="defaults",
        samples=tuple(
            sample(wall, cpu_s, repeat=number, rss_mb=rss_mb)
            for number, wall in enumerate(walls, start=1)
        ),
    )


def scenario(*all_series: Series, name: str = "small-down") -> ScenarioResult:
    return ScenarioResult(name=name, objects=1000, size_bytes=16_000_000, series=all_series)


def results(*scenarios: ScenarioResult, machine: Machine = MACHINE, seed: int = 1) -> Results:
    return Results(
        schema_version=SCHEMA_VERSION,
        started_at="2026-01-01T00:00:00+00:00",
        seed=seed,
        scale=1.0,
        repeats=3,
        storage="ram",
        machine=machine,
        versions={"mover": "0.1.0"},
        scenarios=scenarios,
    )

"""Result values in, text out. The tables are Markdown, so that a document can take them as they are."""

from collections.abc import Iterable, Sequence

from bench.floor_tool import Floor
from bench.results import (
    Metric,
    Results,
    ScenarioResult,
    Series,
    Spread,
    cpu_of,
    rss_of,
    wall_of,
)
from bench.verdicts import Verdict, judge

_METRICS: tuple[tuple[str, Metric], ...] = (("wall", wall_of), ("CPU", cpu_of), ("RSS", rss_of))
_CELL_CHARACTERS_MAX = 110
OBJECTS_MIN = 100  # with fewer, cost goes by bytes, and a cost per object says nothing
FOREIGN_CORES_MAX = 0.3  # an idle server and this harness stay below 0.1


class UnlikeRuns(ValueError):
    """Two results must not be compared; ``reasons`` says what differs."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("These results cannot be compared: " + "; ".join(reasons))
        self.reasons = tuple(reasons)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Set a Markdown table with aligned columns; the first column to the left, others right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def set_line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *others]) + " |"

    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join([set_line(header), set_line(rule), *(set_line(row) for row in lines[1:])])


def describe_run(results: Results) -> str:
    """Return what a reader must know before the first number."""
    machine = results.machine
    tools = "\n".join(f"- {name}: {version}" for name, version in results.versions.items())
    return (
        f"{results.started_at}, {machine.cpu_model}, {machine.cores} cores, "
        f"{machine.memory_gib} GiB, Linux {machine.kernel} {machine.architecture}, Python "
        f"{machine.python}; server and tools on the same machine, data on "
        f"{'a RAM disk' if results.storage == 'ram' else 'disk'}; {results.repeats} interleaved "
        f"repeats, seed {results.seed}, scale {results.scale:g}.\n\n{tools}"
    )


def show(results: Results) -> str:
    """Return the whole report of one run."""
    parts = [describe_run(results)]
    goals = goal_table(results)
    if goals:
        parts.append("## Goals\n\nRatios are to the best peer in the same metric.\n\n" + goals)
    parts += [f"## {scenario.name}\n\n{scenario_text(scenario)}" for scenario in results.scenarios]
    return "\n\n".join(parts) + "\n"


def scenario_text(result: ScenarioResult) -> str:
    """Return the table of one scenario, and a line for every tool that has no numbers in it."""
    floor = result.of(Floor.name)
    rows = [_row(one, floor) for one in result.series if one.good and not one.failure]
    head = f"{result.objects:,} objects, {result.size_bytes / 1e6:,.1f} MB.{_noise(result)}"
    header = ("tool", "wall s", "CPU s", "µs CPU/object", "RSS MB", "wall/floor", "setting")
    lines = [head, "", table(header, [[*row[:3], _each(row, result), *row[3:]] for row in rows])]
    for series in result.series:
        if series.not_applicable:
            lines += ["", f"{series.tool}: n/a, {series.not_applicable}."]
        elif series.failure:
            lines += ["", f"{series.tool}: FAILED, {_short(series.failure)}"]
    return "\n".join(lines)


def _noise(result: ScenarioResult) -> str:
    """Return a warning where something else kept the machine busy between the runs."""
    foreign = [one.foreign_cores for series in result.series for one in series.samples]
    worst = max(foreign, default=0.0)
    if worst < FOREIGN_CORES_MAX:
        return ""
    return f" **Not a quiet machine: up to {worst:.1f} cores were busy with something else.**"


def _row(series: Series, floor: Series | None) -> list[str]:
    wall, cpu, rss = (Spread.of(map(metric, series.good)) for _, metric in _METRICS)
    above = "–"
    if floor and floor.good and not floor.failure:
        above = f"{wall.median / Spread.of(map(wall_of, floor.good)).median:.1f}"
    return [
        series.tool,
        _range(wall),
        _range(cpu),
        f"{rss.highest / 1e6:.0f}",
        above,
        series.setting,
    ]


def _each(row: Sequence[str], result: ScenarioResult) -> str:
    series = result.of(row[0])
    if series is None or result.objects < OBJECTS_MIN:
        return "–"
    return f"{Spread.of(map(cpu_of, series.good)).median / result.objects * 1e6:,.0f}"


def _range(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.lowest:.2f}–{spread.highest:.2f})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CELL_CHARACTERS_MAX else line[:_CELL_CHARACTERS_MAX] + "…"


def goal_table(results: Results) -> str:
    """Return every goal of the scenarios that were run, with its number and its mark."""
    rows = [
        [scenario.name, verdict.metric, *_verdict_cells(verdict)]
        for scenario in results.scenarios
        for verdict in judge(scenario, results)
    ]
    if not rows:
        return ""
    return table(("scenario", "metric", "goal", "measured", "spread", "best peer", "mark"), rows)


def _verdict_cells(verdict: Verdict) -> list[str]:
    found = verdict.ratio
    return [
        f"≤ {_value(verdict.bound, verdict)}",
        "–" if verdict.value is None else _value(verdict.value, verdict),
        f"{found.lowest:.2f}–{found.highest:.2f}" if found else "–",
        found.peer if found else "–",
        verdict.mark.value,
    ]


def _value(value: float, verdict: Verdict) -> str:
    return f"{value / 1e6:.0f} MB" if verdict.metric.startswith("RSS") else f"{value:.2f}"


def refuse_unlike(before: Results, after: Results) -> None:
    """Raise ``UnlikeRuns`` unless two runs had the same machine, storage, seed and scale."""
    reasons = list(before.machine.differences(after.machine))
    for name in ("storage", "seed", "scale"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            reasons.append(f"{name}: {old} and {new}")
    if reasons:
        raise UnlikeRuns(reasons)


def compare(before: Results, after: Results) -> str:
    """Return a table of what changed between two runs, after over before. Raises ``UnlikeRuns``.

    A change counts as real only where the two samples do not overlap.
    """
    refuse_unlike(before, after)
    rows: list[list[str]] = []
    for old in before.scenarios:
        new = next((one for one in after.scenarios if one.name == old.name), None)
        for series in new.series if new else ():
            rival = old.of(series.tool)
            if rival is None or rival.failure or series.failure or not rival.good:
                continue
            if series.good:
                rows += [
                    [old.name, series.tool, *_change(label, metric, rival, series)]
                    for label, metric in _METRICS
                ]
    header = ("scenario", "tool", "metric", "before", "after", "after/before", "apart")
    return table(header, rows) + "\n"


def _change(label: str, metric: Metric, old: Series, new: Series) -> list[str]:
    earlier, later = Spread.of(map(metric, old.good)), Spread.of(map(metric, new.good))
    apart = later.lowest > earlier.highest or later.highest < earlier.lowest
    divisor = 1e6 if metric is rss_of else 1.0
    quotient = f"{later.median / earlier.median:.2f}" if earlier.median else "–"
    return [
        label,
        f"{earlier.median / divisor:.2f}",
        f"{later.median / divisor:.2f}",
        quotient,
        "yes" if apart else "no",
    ]

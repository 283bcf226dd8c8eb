"""The order of the timed runs: calibrate, then interleave, and judge each run outside its time."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import Machine, busy_ticks
from bench.metering import Weight, weigh
from bench.results import (
    SCHEMA_VERSION,
    Calibration,
    Results,
    Sample,
    ScenarioResult,
    Series,
)
from bench.scenarios import Direction, Scenario
from bench.scenes import Scene, open_scene
from bench.stores import find_program
from bench.tools import Folder, Setting, Tool, first_line
from bench.workspace import Workspace

TRIAL = 0  # the repeat number of runs that are not kept
COMPLAINT_CHARACTERS = 300

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, and how."""

    scenarios: tuple[Scenario, ...]
    tools: tuple[Tool, ...]
    repeats: int = 5
    seed: int = 1
    scale: float = 1.0
    calibrate: bool = True
    settle_s: float = 0.5  # of idleness before every run: the server finishes what it put off
    timeout_s: float = 900.0


def rotated(tools: Sequence[Tool], repeat: int) -> tuple[Tool, ...]:
    """Return the tools in the order of a repeat: every tool comes first equally often."""
    start = (repeat - 1) % len(tools)
    return (*tools[start:], *tools[:start])


def run(plan: Plan, workspace: Workspace, tell: Tell) -> Iterator[Results]:
    """Run the plan, and yield the results so far after every scenario.

    Raises what ``open_scene`` raises and ``MeterFailed``. A tool that fails is a result, no error.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {tool.name: tool.version() for tool in plan.tools}
    versions["server"] = first_line(str(find_program("weed", extra="server")), "version")
    chosen: dict[str, Setting] = {}
    done: list[ScenarioResult] = []
    for number, scenario in enumerate(plan.scenarios, start=1):
        tell(f"[{number}/{len(plan.scenarios)}] {scenario.name}: {scenario.summary}")
        root = Path(tempfile.mkdtemp(prefix="scene-", dir=workspace.root))
        try:
            with open_scene(scenario, root=root, seed=plan.seed, scale=plan.scale) as scene:
                done.append(_Bout(plan, scene, chosen, root=root, tell=tell).fight())
        finally:
            shutil.rmtree(root, ignore_errors=True)
        yield Results(
            schema_version=SCHEMA_VERSION,
            started_at=started_at,
            seed=plan.seed,
            scale=plan.scale,
            repeats=plan.repeats,
            storage=workspace.storage,
            machine=Machine.here(),
            versions=versions,
            scenarios=tuple(done),
        )


class _Bout:
    """One scenario: all tools side by side on one scene."""

    def __init__(
        self, plan: Plan, scene: Scene, chosen: dict[str, Setting], *, root: Path, tell: Tell
    ) -> None:
        self._plan = plan
        self._scene = scene
        self._chosen = chosen  # settings that an earlier scenario of the same family found best
        self._root = root
        self._tell = tell

    def fight(self) -> ScenarioResult:
        """Prepare, calibrate, and repeat in rotating order until every tool has all its runs."""
        scenario = self._scene.scenario
        tools = [tool for tool in self._plan.tools if tool.refusal(scenario) is None]
        settings: dict[str, Setting] = {}
        trials: dict[str, tuple[Calibration, ...]] = {}
        samples: dict[str, list[Sample]] = {tool.name: [] for tool in tools}
        for tool in tools:
            if scenario.direction is Direction.AGAIN:
                self._tell(f"  {tool.name} makes the first copy, untimed")
                self._run(tool, tool.settings(scenario)[0], TRIAL, first=True)
            settings[tool.name], trials[tool.name] = self._calibrate(tool)
        for repeat in range(1, self._plan.repeats + 1):
            for tool in rotated(tools, repeat):
                # A tool that failed has no result any more; its time is better spent on others.
                if any(one.problem for one in samples[tool.name]):
                    continue
                sample = self._run(tool, settings[tool.name], repeat)
                samples[tool.name].append(sample)
                self._tell(_line(tool, settings[tool.name], sample))
        return ScenarioResult(
            name=scenario.name,
            objects=self._scene.expected.totals.objects,
            size_bytes=self._scene.expected.totals.size_bytes,
            series=tuple(
                Series(
                    tool=tool.name,
                    setting=settings[tool.name].label if tool.name in settings else "",
                    samples=tuple(samples.get(tool.name, ())),
                    calibration=trials.get(tool.name, ()),
                    not_applicable=tool.refusal(scenario),
                )
                for tool in self._plan.tools
            ),
        )

    def _calibrate(self, tool: Tool) -> tuple[Setting, tuple[Calibration, ...]]:
        """Try each setting once and keep the one with the least wall time."""
        scenario = self._scene.scenario
        settings = tool.settings(scenario)
        family = f"{tool.name} {scenario.dataset.name} {scenario.direction}"
        if family in self._chosen:
            return self._chosen[family], ()
        if len(settings) == 1 or not self._plan.calibrate:
            return settings[0], ()
        if scenario.direction is Direction.LISTING:
            return settings[0], ()  # nothing is transferred, so there is nothing to tune
        trials: list[tuple[float, int, Calibration]] = []
        for index, setting in enumerate(settings):
            sample = self._run(tool, setting, TRIAL)
            self._tell("  trial" + _line(tool, setting, sample))
            trial = Calibration(
                setting=setting.label,
                wall_s=sample.wall_s,
                cpu_s=sample.cpu_s,
                problem=sample.problem,
            )
            trials.append((float("inf") if sample.problem else sample.wall_s, index, trial))
        self._chosen[family] = settings[min(trials)[1]]
        return self._chosen[family], tuple(trial for _, _, trial in trials)

    def _run(self, tool: Tool, setting: Setting, repeat: int, *, first: bool = False) -> Sample:
        """Run a tool once on a fresh target; only the command itself is timed.

        ``first`` marks the run that fills a kept target, where work is expected.
        """
        home = Path(tempfile.mkdtemp(prefix="home-", dir=self._root))
        try:
            errand = self._scene.errand_for(tool.name, home=home)
            try:
                command = tool.command(errand, setting)
                since_ns = None if first else time.time_ns()
                foreign_cores = _settle(self._plan.settle_s)
                weight = weigh(
                    command,
                    cwd=home,
                    stdout=home / "stdout",
                    stderr=home / "stderr",
                    timeout_s=self._plan.timeout_s,
                )
                problem = _complaint(weight, home)
                if problem is None and (tool.writes_to_store or isinstance(errand.target, Folder)):
                    spot = self._plan.seed * 1000 + repeat
                    problem = self._scene.problem_after(errand, spot=spot, since_ns=since_ns)
                note = tool.note(_tail(home / "stdout", 4096))
            finally:
                self._scene.clear_after(errand)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return Sample(
            repeat=repeat,
            wall_s=weight.wall_s,
            cpu_user_s=weight.cpu_user_s,
            cpu_system_s=weight.cpu_system_s,
            rss_peak_bytes=weight.rss_peak_bytes,
            processes_peak=weight.processes_peak,
            machine_busy_s=weight.machine_busy_s,
            foreign_cores=foreign_cores,
            exit_code=weight.exit_code,
            problem=problem,
            note=note,
        )


def _settle(pause_s: float) -> float:
    """Wait, and return how many cores were busy meanwhile: nobody measured was running then."""
    ticks, started = busy_ticks(_proc_stat()), time.monotonic()
    time.sleep(pause_s)
    busy_s = (busy_ticks(_proc_stat()) - ticks) / os.sysconf("SC_CLK_TCK")
    return busy_s / max(time.monotonic() - started, 1e-9)


def _proc_stat() -> str:
    return Path("/proc/stat").read_text()


def _complaint(weight: Weight, home: Path) -> str | None:
    """Say what a run's own end tells against it, with the end of its stderr."""
    if weight.timed_out:
        return f"timed out after {weight.wall_s:.0f} s"
    if weight.exit_code:
        said = _tail(home / "stderr", COMPLAINT_CHARACTERS)
        return f"exit code {weight.exit_code}: {said}".strip()
    if weight.left_behind:
        return f"left {weight.left_behind} processes behind"
    return None


def _tail(path: Path, characters: int) -> str:
    if not path.exists():
        return ""
    return path.read_text(errors="replace")[-characters:].strip()


def _line(tool: Tool, setting: Setting, sample: Sample) -> str:
    outcome = f"FAILED: {sample.problem}" if sample.problem else ""
    return (
        f"  {sample.repeat}  {tool.name:8} {setting.label:28} {sample.wall_s:7.2f} s wall "
        f"{sample.cpu_s:7.2f} s CPU {sample.rss_peak_bytes / 1e6:6.0f} MB {outcome}"
    ).rstrip()

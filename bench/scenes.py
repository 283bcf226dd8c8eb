"""The setting of one scenario: its servers, its data, and where each run reads and writes."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.datasets import Totals, total, write_tree
from bench.floor_tool import FLOOR_DIRECTIONS
from bench.processes import script_server
from bench.scenarios import Direction, Scenario
from bench.stage import Expected, Stage, count_changed
from bench.stores import SeaweedServer
from bench.tools import Bucket, Endpoint, Errand, Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A scenario with its servers running and its source in place."""

    scenario: Scenario
    stage: Stage
    source: Bucket | Folder
    expected: Expected
    floor_port: int | None
    # Targets that outlive a run, by tool: only where the point is to find them complete.
    kept: dict[str, Folder] = field(default_factory=dict)

    def errand_for(self, tool: str, *, home: Path) -> Errand:
        """Return the errand of the next run of a tool, its target fresh (or kept, see above)."""
        return self.stage.errand(
            self.scenario.direction,
            self.source,
            self._target_for(tool),
            home=home,
            floor_port=self.floor_port,
        )

    def problem_after(self, errand: Errand, *, spot: int, since_ns: int | None) -> str | None:
        """Say what is wrong with a run's target, or ``None``.

        ``since_ns`` is the time (UTC) before the run, for runs that should have found it complete.
        """
        if errand.direction is Direction.LISTING:
            return None  # nothing was written, and the server would have counted itself
        if errand.direction is Direction.AGAIN and since_ns and isinstance(errand.target, Folder):
            rewritten = count_changed(errand.target.path, since_ns=since_ns)
            if rewritten:
                return f"{rewritten} files were written again, though nothing had changed"
        return self.stage.problem_of(errand.target, self.expected, spot=spot)

    def clear_after(self, errand: Errand) -> None:
        """Drop a run's target, unless the scenario keeps it."""
        if errand.direction not in (Direction.AGAIN, Direction.LISTING):
            self.stage.drop(errand.target)

    def _target_for(self, tool: str) -> Bucket | Folder:
        match self.scenario.direction:
            case Direction.DOWN:
                return self.stage.fresh_folder()
            case Direction.UP | Direction.ACROSS:
                return self.stage.fresh_bucket()
            case Direction.LISTING:
                return Bucket(name="right")
            case Direction.AGAIN:
                if tool not in self.kept:
                    self.kept[tool] = self.stage.fresh_folder(f"kept-by-{tool}")
                return self.kept[tool]


@contextlib.contextmanager
def open_scene(scenario: Scenario, *, root: Path, seed: int, scale: float) -> Iterator[Scene]:
    """Start the servers of a scenario, put its source in place, and clear all of it away.

    Raises ``CommandFailed``, ``OSError``, or what the server's launcher raises.
    """
    if scenario.direction is Direction.LISTING:
        with _listing_scene(scenario, root=root, seed=seed, scale=scale) as scene:
            yield scene
        return
    with contextlib.ExitStack() as house:
        server = house.enter_context(SeaweedServer(root / "server", tls=scenario.tls))
        endpoint = Endpoint(
            url=server.endpoint_url,
            ca_file=server.ca_file if scenario.tls else None,
            environment=server.environment(),
        )
        stage = Stage(
            root=root,
            endpoint=endpoint,
            create_bucket=functools.partial(_create_warm_bucket, server),
            delete_bucket=server.delete_bucket,
        )
        tree = stage.fresh_folder("source")
        totals = write_tree(scenario.dataset, tree.path, seed=seed, scale=scale)
        floor_port = None
        if scenario.direction in FLOOR_DIRECTIONS and not scenario.tls:
            floor_port = house.enter_context(script_server("floor.py", "serve", str(tree.path)))
        source: Bucket | Folder = tree
        if scenario.direction is not Direction.UP:
            source = stage.fresh_bucket()
            stage.fill(source, tree)
        yield Scene(
            scenario=scenario,
            stage=stage,
            source=source,
            expected=_expected(scenario, totals, seed=seed, scale=scale),
            floor_port=floor_port,
        )


@contextlib.contextmanager
def _listing_scene(scenario: Scenario, *, root: Path, seed: int, scale: float) -> Iterator[Scene]:
    count = scenario.dataset.scaled_count(scale)
    totals = total(scenario.dataset, seed=seed, scale=scale)
    with script_server("synthetic.py", str(count), str(totals.size_bytes // count)) as port:
        endpoint = Endpoint(
            url=f"http://127.0.0.1:{port}",
            environment={"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"},
        )
        yield Scene(
            scenario=scenario,
            stage=Stage(
                root=root, endpoint=endpoint, create_bucket=_no_bucket, delete_bucket=_no_bucket
            ),
            source=Bucket(name="left"),
            expected=_expected(scenario, totals, seed=seed, scale=scale),
            floor_port=None,
        )


def _create_warm_bucket(server: SeaweedServer, name: str) -> None:
    """Create a bucket and its volumes: the first write waits a second for them, the tools must not.

    The probe is deleted again, so that the bucket counts as empty.
    """
    server.create_bucket(name)
    server.raw.put(name, "warm", b"warm")
    server.raw.call("DELETE", f"/{name}/warm")


def _no_bucket(name: str) -> None:
    raise RuntimeError(f"A server that only lists has no bucket to change: {name}")


def _expected(scenario: Scenario, totals: Totals, *, seed: int, scale: float) -> Expected:
    return Expected(dataset=scenario.dataset, seed=seed, scale=scale, totals=totals)

"""Metrics of real runs: scraped over HTTP, written to a file, and held against the report and the display."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from mover import api
from mover.cli import run
from mover.display import progress_line
from mover.errors import Rejected
from mover.metering import Metering, MetricsWish, listening_at, metered
from mover.model import Report, State, Tally
from mover.pacing import Pace
from mover.progress import Progress
from mover.units import format_bytes, format_rate

if TYPE_CHECKING:
    from pathlib import Path

    from mover.progress import Monitor


class Watching:
    """The monitor behind the metrics: keeps lines as a display shows them, and what metrics tell meanwhile."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.noted = asyncio.Event()
        self.seen: list[tuple[str, dict[str, float]]] = []
        self.report: Report | None = None
        self.metering: Monitor | None = None
        self._pace = Pace()

    def begin(self, job: str, *, resumed: bool) -> None: ...

    def update(self, progress: Progress) -> None:
        self._pace.add(progress)
        assert isinstance(self.metering, Metering)
        values = {
            family.name.removeprefix("fluid_mover_job_"): family.samples[0].value
            for family in self.metering.families()
        }
        self.seen.append((progress_line(progress, self._pace.per_s()), values))

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.noted.set()

    def end(self, report: Report) -> None:
        self.report = report


def values_of(text: str) -> dict[str, float]:
    """Samples without labels of their own, by name; the state by its name."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            name = sample.name.removeprefix("fluid_mover_job_")
            if set(sample.labels) == {"job_id"}:
                found[name] = sample.value
            elif name == "state" and sample.value:
                found[f"state {sample.labels['state']}"] = 1
    return found


def tree(directory: Path, count: int = 40) -> Path:
    directory.mkdir()
    for number in range(count):
        (directory / f"{number:02}").write_bytes(bytes([number]) * (1000 + number))
    return directory


def standing_still(**changes: object) -> Progress:
    values: dict[str, object] = {
        "job": "j", "seconds": 1.0, "planned_objects": 2, "planned_bytes": 200, "planned_all": True,
        "copied_objects": 1, "copied_bytes": 50, "skipped_objects": 0, "failed_objects": 0, **changes,
    }  # fmt: skip
    return Progress(**values)  # type: ignore[arg-type]


async def scraped(url: str, accept: str = "") -> tuple[int, str, str]:
    headers = {"Accept": accept} if accept else {}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as reply:
        return reply.status, reply.headers["Content-Type"], await reply.text()


@pytest.mark.parametrize("verb", ["copy", "prewarm"])
async def test_line_metrics_and_report_are_the_same_numbers(verb: str, tmp_path: Path) -> None:
    source, watching = tree(tmp_path / "s"), Watching()
    file = tmp_path / "m.prom"
    environment = {"MOVER_STATE": str(tmp_path / "state")}
    wish = MetricsWish(listen="127.0.0.1:0", file=str(file))
    async with metered(watching, wish, command=verb) as monitor:
        watching.metering = monitor
        if verb == "copy":
            await api.copy(
                f"{source}/", f"{tmp_path}/t/", workers=1, monitor=monitor, environment=environment
            )
        else:
            await api.prewarm(
                [f"{source}/"], into=str(tmp_path / "cache"), workers=1, monitor=monitor, environment=environment
            )  # fmt: skip
        (note,) = watching.notes
        assert note.startswith("metrics: http://127.0.0.1:")
        _, content_type, text = await scraped(note.removeprefix("metrics: "))
        assert "version=0.0.4" in content_type
    assert text == file.read_text()

    for line, values in watching.seen:
        copied, planned = format_bytes(int(values["copied_bytes"])), values["planned_bytes"]
        assert line.startswith(f"{copied} of {format_bytes(int(planned))}, ")
        assert f", {format_rate(values['rate_bytes_per_second'])}, " in line
        assert ("ETA" in line or "finishing" in line) == ("eta_seconds" in values)
    assert watching.seen

    report, last = watching.report, values_of(text)
    assert report is not None
    told = json.loads(json.dumps(report.to_json()))
    assert last["state done"] == 1
    for name in ("planned", "copied", "skipped", "failed"):
        assert last[f"{name}_objects"] == told["objects"][name]
    for name in ("planned", "copied", "wire"):
        assert last[f"{name}_bytes"] == told["bytes"][name]
    assert last["elapsed_seconds"] == told["seconds"]
    if verb == "prewarm":
        assert last["resident_ratio"] * 100 == told["residency"]["percent_bytes"] == 100
        assert last["round"] == told["residency"]["rounds"] == 1
        assert f"{100:g} % resident in round 1" in watching.seen[-1][0]


async def test_a_scrape_of_a_run_that_goes_on() -> None:
    watching = Watching()
    async with metered(watching, MetricsWish(listen="127.0.0.1:0"), command="copy") as monitor:
        watching.metering = monitor
        url = watching.notes[0].removeprefix("metrics: ")
        _, _, nothing = await scraped(url)
        assert [family.name for family in parse(nothing)] == ["fluid_mover_build_info"]
        monitor.update(standing_still(seconds=1.0, copied_bytes=0))
        monitor.update(standing_still(seconds=3.0))
        _, _, text = await scraped(url)
        values = values_of(text)
        assert (values["state running"], values["done_ratio"]) == (1, 0.25)
        assert (values["rate_bytes_per_second"], values["eta_seconds"]) == (25, 6)
        status, kind, _ = await scraped(url, "application/openmetrics-text; version=1.0.0")
        assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
        assert (await scraped(url.replace("metrics", "healthz")))[::2] == (200, "ok\n")


@pytest.mark.parametrize(
    ("error", "state"), [(asyncio.CancelledError, "interrupted"), (ValueError, "failed")]
)
async def test_a_run_that_breaks_off_leaves_its_last_numbers(
    error: type[BaseException], state: str, tmp_path: Path
) -> None:
    file, watching = tmp_path / "m.prom", Watching()

    async def broken_off() -> None:
        async with metered(watching, MetricsWish(file=str(file)), command="copy") as monitor:
            watching.metering = monitor
            monitor.update(standing_still())
            raise error

    with pytest.raises(error):
        await broken_off()
    values = values_of(file.read_text())
    assert (values[f"state {state}"], values["copied_bytes"]) == (1, 50)
    assert list(tmp_path.iterdir()) == [file]


async def test_a_run_that_tells_nothing_leaves_an_older_file(tmp_path: Path) -> None:
    file = tmp_path / "m.prom"
    file.write_text("older")
    async with metered(Watching(), MetricsWish(file=str(file)), command="copy"):
        pass
    assert file.read_text() == "older"


async def test_a_file_that_cannot_be_written_for_now_is_no_end(tmp_path: Path) -> None:
    directory, watching = tmp_path / "d", Watching()
    directory.mkdir()
    file = directory / "m.prom"
    async with metered(watching, MetricsWish(file=str(file)), command="copy") as monitor:
        watching.metering = monitor
        directory.rename(tmp_path / "away")
        async with asyncio.timeout(20):
            for wanted in (1, 2):  # the second failure is not told again
                monitor.update(standing_still(copied_objects=wanted))
                await watching.noted.wait()
        (note,) = watching.notes
        assert "it is tried again" in note
        (tmp_path / "away").rename(directory)
        monitor.end(
            Report(job="j", state=State.DONE, tally=Tally(copied_bytes=7), seconds=1.0, failures=[])
        )
    assert values_of(file.read_text())["copied_bytes"] == 7


async def test_without_a_wish_nothing_stands_between() -> None:
    watching = Watching()
    async with metered(watching, MetricsWish(), command="copy") as monitor:
        assert monitor is watching


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        (":9090", "", 9090),
        ("[::1]:9090", "::1", 9090),
        ("localhost:65535", "localhost", 65535),
    ],
)
def test_where_to_listen(text: str, host: str, port: int) -> None:
    assert listening_at(text) == (host, port)


@pytest.mark.parametrize("text", ["9090", "host:", "host:x", "host:65536", "::1:9090", "host:-1"])
def test_where_nobody_can_listen(text: str) -> None:
    with pytest.raises(Rejected, match="write HOST:PORT"):
        listening_at(text)


def test_a_port_in_use_is_one_line_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVER_STATE", str(tmp_path / "state"))
    source = tree(tmp_path / "s", 3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run(["copy", f"{source}/", f"{tmp_path}/t/", "--metrics", at]) == 2
    assert capsys.readouterr().err == f"mover: error: --metrics {at}: Address already in use\n"
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics-file", "/no/such/m.prom"], "No such file or directory"),
        (["--metrics-file", "{tmp}"], "it is a directory"),
        (["--metrics", ":0", "--dry-run"], "do not go with --dry-run"),
        (["--metrics", ":0", "--detach"], "do not go with --detach"),
    ],
)
def test_what_makes_no_sense(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOVER_STATE", str(tmp_path / "state"))
    source = tree(tmp_path / "s", 1)
    given = [each.replace("{tmp}", str(tmp_path)) for each in arguments]
    assert run(["copy", f"{source}/", f"{tmp_path}/t/", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "t").exists()

"""Metrics as tables: what a standing job tells, under which names, and what is left out where nothing is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from mover.metrics import (
    PREFIX,
    ROWS_MAX,
    STATES,
    TOLD,
    Family,
    Kind,
    Sample,
    Standing,
    families,
    information,
    numbers,
)
from mover.metrics_text import as_asked, as_text
from mover.model import Report, State, Tally
from mover.pacing import Pace, ToldRates, eta_s
from mover.prewarm.model import Certainty, Residence
from mover.progress import Progress, WorkerProgress

MIB = 1024 * 1024
DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"

ROWS = (
    Residence(node="n1", files=10, bytes=100, resident_files=5, resident_bytes=57, judge="juicefs", certainty=Certainty.PROVEN, origin_bytes=7, peer_bytes=2, read_bytes=9, before_bytes=3),
    Residence(node="n2", files=10, bytes=100, resident_files=10, resident_bytes=100, judge="juicefs", certainty=Certainty.PROVEN),
)  # fmt: skip


def progress(**changes: Any) -> Progress:
    values: dict[str, Any] = {
        "job": "j",
        "seconds": 10.0,
        "planned_objects": 40,
        "planned_bytes": 400 * MIB,
        "planned_all": True,
        "copied_objects": 12,
        "copied_bytes": 100 * MIB,
        "skipped_objects": 3,
        "failed_objects": 1,
        **changes,
    }
    return Progress(**values)


def told(standing: Standing) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and the values of labels other than the job."""
    return {
        (family.name.removeprefix(f"{PREFIX}job_"), tuple(sample.labels.values())[1:]): sample.value
        for family in families([standing])
        for sample in family.samples
    }


def standing(rate: float = 10.0 * MIB, **changes: Any) -> Standing:
    rates = ToldRates({"w": rate})
    return Standing.of_progress(progress(**changes), rates, command="copy", told_at_s=1e9)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({}, "planned_objects", 40),
        ({}, "planned_bytes", 400 * MIB),
        ({}, "planned_all", 1),
        ({"planned_all": False}, "planned_all", 0),
        ({}, "copied_objects", 12),
        ({}, "copied_bytes", 100 * MIB),
        ({}, "skipped_objects", 3),
        ({}, "failed_objects", 1),
        ({}, "elapsed_seconds", 10),
        ({}, "done_ratio", 0.25),
        ({}, "rate_bytes_per_second", 10 * MIB),
        ({}, "eta_seconds", 30),
        ({}, "updated_timestamp_seconds", 1e9),
        ({"planned_all": False}, "eta_seconds", None),
        ({}, "skipped_bytes", None),  # a copy does not list them
        ({}, "wire_bytes", None),  # known at the end
        ({}, "round", None),
        ({}, "resident_ratio", None),
        ({"residency": ROWS, "skipped_bytes": 3}, "skipped_bytes", 3),
        ({"residency": ROWS, "skipped_bytes": 100 * MIB}, "done_ratio", 0.5),
        ({"residency": ROWS, "skipped_bytes": 100 * MIB}, "eta_seconds", 20),
        ({"residency": ROWS, "round": 1}, "round", 1),
        ({"residency": ROWS}, "resident_ratio", 0.785),
        ({"residency": ROWS}, "resident_files_ratio", 0.75),
        ({"residency": (replace(ROWS[0], unknown_bytes=1),)}, "resident_ratio", None),
    ],
)
def test_what_is_told_of_progress(changes: dict[str, Any], name: str, value: float | None) -> None:
    assert told(standing(**changes)).get((name, ())) == value


def test_nothing_is_left_where_nothing_comes() -> None:
    assert ("eta_seconds", ()) not in told(standing(rate=0.0))
    assert told(standing(rate=0.0, copied_bytes=400 * MIB))["eta_seconds", ()] == 0


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("looked_at_bytes", ("n1",), 100),
        ("resident_bytes", ("n1", "juicefs", "proven"), 57),
        ("resident_files", ("n2", "juicefs", "proven"), 10),
        ("origin_bytes", ("n1",), 7),
        ("peer_bytes", ("n1",), 2),
        ("read_bytes", ("n1",), 9),
        ("unknown_bytes", ("n2",), 0),
        ("worker_bytes", ("w", "n1"), 5),
        ("worker_objects", ("w", "n1"), 2),
        ("worker_rate_bytes_per_second", ("w", "n1"), 8),
    ],
)
def test_what_is_told_by_node_and_by_worker(
    name: str, labels: tuple[str, ...], value: float
) -> None:
    workers = (WorkerProgress("w", 2, 5, "n1"),)
    assert told(standing(rate=8.0, residency=ROWS, workers=workers))[name, labels] == value


def test_one_state_is_the_jobs() -> None:
    found = {key[1][0]: value for key, value in told(standing()).items() if key[0] == "state"}
    assert found == {state: float(state == "running") for state in STATES}


def report(state: State = State.DONE) -> Report:
    tally = Tally(planned_objects=40, copied_objects=40, copied_bytes=9, wire_bytes=8, verified_strong=40, deleted_objects=2)  # fmt: skip
    return Report(job="j", state=state, tally=tally, seconds=2.0004, failures=[])


def test_an_end_tells_what_the_report_tells() -> None:
    before = standing(workers=(WorkerProgress("w", 2, 5),))
    ended = Standing.of_report(
        report(), command="copy", told_at_s=1.0, residency=ROWS, rounds=2, before=before
    )
    found = told(ended)
    expected = {
        ("state", ("done",)): 1.0,
        ("state", ("running",)): 0.0,
        ("copied_bytes", ()): 9,
        ("wire_bytes", ()): 8,
        ("deleted_objects", ()): 2,
        ("verified_objects", ("strong",)): 40,
        ("elapsed_seconds", ()): 2.0,
        ("rate_bytes_per_second", ()): 0,
        ("eta_seconds", ()): 0,
        ("done_ratio", ()): 1,
        ("round", ()): 2,
        ("skipped_bytes", ()): 3,
        ("worker_bytes", ("w", "")): 5,
        ("worker_rate_bytes_per_second", ("w", "")): 0,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_an_interrupted_job_is_not_done() -> None:
    ended = Standing.of_report(
        report(State.INTERRUPTED), command="copy", told_at_s=1.0, before=standing()
    )
    found = told(ended)
    assert found["done_ratio", ()] == 0.25
    assert ("eta_seconds", ()) not in found


def test_a_large_fleet_does_not_make_a_scrape_of_any_size() -> None:
    workers = tuple(WorkerProgress(f"w{n:05}", 1, 1) for n in range(ROWS_MAX + 5))
    found = told(standing(workers=workers))
    assert sum(key[0] == "worker_bytes" for key in found) == ROWS_MAX


def test_several_jobs_share_the_families() -> None:
    other = replace(standing(), job="k")
    copied = next(each for each in families([standing(), other]) if "copied_bytes" in each.name)
    assert [sample.labels["job_id"] for sample in copied.samples] == ["j", "k"]


def test_json_has_the_same_numbers_under_the_same_names() -> None:
    given = standing(residency=ROWS)
    found = told(given)
    assert numbers(given) == {key[0]: value for key, value in found.items() if not key[1]}


# -- as text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", "application/openmetrics-text; version=1.0.0"])  # fmt: skip
def test_the_librarys_own_parser_reads_it_all(accept: str) -> None:
    given = [information("1.2.3"), *families([standing(residency=ROWS)])]
    body, content_type = as_asked(given, accept)
    is_open = content_type.startswith("application/openmetrics-text")
    assert is_open is bool(accept.startswith("application"))
    parsed = (parse_open if is_open else parse)(body.decode())
    found = {each.name: each for each in parsed}
    assert set(found) == {each.name for each in given}
    for family in given:
        metric = found[family.name]
        assert (metric.type, metric.documentation) == (str(family.kind), family.help)
        assert [(each.labels, each.value) for each in metric.samples] == [
            (each.labels, each.value) for each in family.samples
        ]


def test_a_counter_and_a_name_of_any_bytes() -> None:
    family = Family(
        name="fluid_mover_x_total",
        help="x",
        kind=Kind.COUNTER,
        samples=[Sample({"node": 'a"\n\\\udcff'}, 3)],
    )
    (metric,) = parse(as_text([family]).decode())
    (sample,) = metric.samples
    assert (metric.type, sample.name, sample.value) == ("counter", "fluid_mover_x_total", 3)
    assert sample.labels == {"node": 'a"\n\\\\udcff'}


def test_names_follow_the_rules() -> None:
    for each in TOLD:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", each.name)
        assert not each.name.endswith("_total"), "all are gauges: a job takes numbers back"
        assert each.help.endswith(".")
    assert len({each.name for each in TOLD}) == len(TOLD)


def test_every_family_is_documented() -> None:
    rows = re.findall(r"^\| `(fluid_mover_\w+)` \| \w+ \| ([^|]*) \|", DOCUMENT.read_text(), re.M)
    labels = {name: tuple(re.findall(r"`(\w+)`", text)) for name, text in rows}
    expected = {f"{PREFIX}{each.name}": ("job_id", *each.labels) for each in TOLD}
    assert labels == expected | {f"{PREFIX}build_info": ("version",)}


# -- pace ------------------------------------------------------------------------------------------


def test_a_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    for second in range(20):
        size = 100 * second if second < 10 else 1000
        pace.add(progress(seconds=float(second), copied_bytes=size, workers=(WorkerProgress("w", 0, size),)))  # fmt: skip
    assert pace.per_s() == pace.worker_per_s("w") == 0
    assert pace.worker_per_s("unheard of") == 0


@pytest.mark.parametrize(
    ("changes", "rate", "left_s"),
    [
        ({"copied_bytes": 0, "planned_bytes": 100}, 10, 10.0),
        ({"copied_bytes": 20, "skipped_bytes": 30, "planned_bytes": 100}, 10, 5.0),
        ({"copied_bytes": 100, "planned_bytes": 100}, 0, 0.0),
        ({"copied_bytes": 200, "planned_bytes": 100}, 0, 0.0),
        ({"copied_bytes": 0, "planned_bytes": 100}, 0, None),
        ({"copied_bytes": 0, "planned_bytes": 100, "planned_all": False}, 10, None),
    ],
)
def test_eta(changes: dict[str, Any], rate: float, left_s: float | None) -> None:
    assert eta_s(progress(**changes), rate) == left_s

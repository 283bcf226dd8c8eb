"""What a person sees, as tables: lines of progress, the final report, names that steer terminals."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mover.display import (
    FAILURES_PRINTED,
    LINE_EVERY_S,
    LineDisplay,
    QuietDisplay,
    check_line,
    printable,
    progress_line,
    remaining,
    report_lines,
)
from mover.display_live import WORKERS_SHOWN, LiveDisplay
from mover.model import Failure, Report, State, Tally
from mover.pacing import RateMeter, fraction_done
from mover.prewarm.model import Residence
from mover.progress import Progress, WorkerProgress

MIB = 1024 * 1024


def make_progress(**changes: object) -> Progress:
    values: dict[str, object] = {
        "job": "j",
        "seconds": 10.0,
        "planned_objects": 40_000,
        "planned_bytes": 400 * MIB,
        "planned_all": True,
        "copied_objects": 12_345,
        "copied_bytes": 100 * MIB,
        "skipped_objects": 0,
        "failed_objects": 0,
        **changes,
    }
    return Progress(**values)  # type: ignore[arg-type]


def make_report(state: State, tally: Tally, **changes: object) -> Report:
    values: dict[str, object] = {"job": "j", "seconds": 2.0, "failures": [], **changes}
    return Report(state=state, tally=tally, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("two\nlines\ttab", r"two\x0alines\x09tab"),
        ("\x1b[2Jcleared", r"\x1b[2Jcleared"),
        ("byte \udcff", r"byte \xff"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("c1 \x9b", r"c1 \x9b"),
        ("lone \ud800", r"lone \ud800"),
    ],
)
def test_names_cannot_steer_a_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text())
def test_whatever_is_printable_is_one_encodable_line(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown
    assert not any(ord(character) < 0x20 or ord(character) == 0x7F for character in shown)


@pytest.mark.parametrize(
    ("points", "rate"),
    [
        ([], 0.0),
        ([(0.0, 700)], 0.0),  # bytes of earlier runs are no rate
        ([(0.0, 700), (1.0, 800)], 100.0),
        ([(0.0, 0), (1.0, 1000), (10.0, 1000), (15.0, 1500)], 100.0),  # only the last five seconds
        ([(0.0, 0), (2.0, 200), (4.0, 200), (6.0, 200), (8.0, 200)], 0.0),
        ([(1.0, 5), (1.0, 9)], 0.0),  # two points at one time
    ],
)
def test_rate_is_that_of_the_last_seconds(points: list[tuple[float, int]], rate: float) -> None:
    meter = RateMeter()
    for seconds, total in points:
        meter.add(seconds, total)
    assert meter.per_s() == pytest.approx(rate)


@pytest.mark.parametrize(
    ("changes", "rate", "shown"),
    [
        ({}, 10.0 * MIB, "ETA 30.0s"),
        ({"planned_all": False}, 10.0 * MIB, "listing…"),
        ({}, 0.0, "stalled"),
        ({"copied_bytes": 400 * MIB}, 5.0, "finishing"),
        ({"copied_bytes": 500 * MIB}, 5.0, "finishing"),  # parts were copied twice
    ],
)
def test_remaining(changes: dict[str, object], rate: float, shown: str) -> None:
    assert remaining(make_progress(**changes), rate) == shown


@pytest.mark.parametrize(
    ("changes", "fraction"),
    [
        ({}, 0.25),
        ({"copied_bytes": 900 * MIB}, 1.0),
        ({"planned_bytes": 0, "copied_bytes": 0, "copied_objects": 10_000}, 0.25),  # all empty
        ({"planned_bytes": 0, "planned_objects": 0, "planned_all": False}, 0.0),
        ({"planned_bytes": 0, "planned_objects": 0}, 1.0),  # nothing to do
    ],
)
def test_fraction_done(changes: dict[str, object], fraction: float) -> None:
    assert fraction_done(make_progress(**changes)) == fraction


def test_progress_line() -> None:
    assert progress_line(make_progress(), 10.0 * MIB) == (
        "100 MiB of 400 MiB, 12,345 of 40,000 objects, 10.0 MiB/s, ETA 30.0s, 0 failed"
    )
    more = progress_line(make_progress(skipped_objects=7, failed_objects=2), 0.0)
    assert more.endswith("stalled, 7 skipped, 2 failed")


def test_check_line() -> None:
    line = check_line(make_progress(failed_objects=3))
    assert line == "40,000 objects compared, 400 MiB, 4,000 objects/s, 3 differ"
    assert "0 objects/s" in check_line(make_progress(seconds=0.0))


FAILED = Tally(copied_objects=3, copied_bytes=3 * MIB, failed_objects=1, verified_weak=3)


@pytest.mark.parametrize(
    ("report", "command", "lines"),
    [
        (
            make_report(
                State.DONE,
                Tally(copied_objects=1000, copied_bytes=2 * MIB, verified_strong=1000),
            ),
            "copy",
            [
                (
                    "done: 1,000 objects copied, 2.0 MiB in 2.00s (1.0 MiB/s, 500 objects/s);"
                    " 0 skipped, 0 failed"
                ),
                "verified: 1,000 by checksum, 0 by size only, 0 not at all",
            ],
        ),
        (
            make_report(State.DONE, Tally(skipped_objects=9)),
            "copy",
            ["done: 0 objects copied, 0 B in 2.00s; 9 skipped, 0 failed"],
        ),
        (
            make_report(
                State.INCOMPLETE,
                FAILED,
                failures=[Failure("a\nb", "Denied", "not allowed")],
                retry_file="/state/retry.txt",
            ),
            "copy",
            [
                (
                    "incomplete: 3 objects copied, 3.0 MiB in 2.00s (1.5 MiB/s, 2 objects/s);"
                    " 0 skipped, 1 failed"
                ),
                "verified: 0 by checksum, 3 by size only, 0 not at all",
                r"failed: a\x0ab: not allowed",
                (
                    "next: the same command tries again what failed; to try only that, add"
                    " --files-from /state/retry.txt"
                ),
            ],
        ),
        (
            make_report(State.DAMAGED, Tally(failed_objects=1, corrupt_objects=1)),
            "copy",
            [
                "verification failed: 0 objects copied, 0 B in 2.00s; 0 skipped, 1 failed",
                "and 1 more",
            ],
        ),
        (make_report(State.INTERRUPTED, Tally(), job=""), "check", ["interrupted"]),
        (
            make_report(
                State.PLANNED, Tally(planned_objects=4, planned_bytes=MIB, skipped_objects=2)
            ),
            "copy",
            ["plan: 4 objects, 1.0 MiB to copy; 2 need nothing; nothing was changed"],
        ),
        (
            make_report(State.DONE, Tally(skipped_objects=5)),
            "check",
            ["equal: 5 objects are equal, 0 are not (2.00s)"],
        ),
        (
            make_report(
                State.INCOMPLETE,
                Tally(skipped_objects=5, failed_objects=1),
                failures=[Failure("k", "missing", "it is not in the target")],
                retry_file="/state/differences.txt",
            ),
            "check",
            [
                "different: 5 objects are equal, 1 are not (2.00s)",
                "next: copy what differs with --files-from /state/differences.txt",
            ],
        ),
    ],
)
def test_reports(report: Report, command: str, lines: list[str]) -> None:
    assert report_lines(report, command=command) == lines


@pytest.mark.parametrize(
    ("last", "line"),
    [
        (None, "interrupted: before anything was copied"),
        (make_progress(), "interrupted: 12,345 of 40,000 objects are there, 100 MiB"),
        (
            make_progress(planned_all=False),
            "interrupted: 12,345 of 40,000 listed objects are there, 100 MiB",
        ),
    ],
)
def test_an_interrupted_report_counts_what_is_there(last: Progress | None, line: str) -> None:
    report = make_report(State.INTERRUPTED, Tally(verified_weak=5))
    assert report_lines(report, last=last) == [line, "next: the same command goes on from here"]


@pytest.mark.parametrize(("renamed", "told"), [(0, "patched,"), (2, "patched (2 of other names),")])
def test_objects_made_of_other_names_are_told(renamed: int, told: str) -> None:
    tally = Tally(copied_objects=3, patched_objects=3, renamed_objects=renamed)
    (line,) = [
        line
        for line in report_lines(make_report(State.DONE, tally))
        if line.startswith("differences")
    ]
    assert line.startswith(f"differences: 3 of them {told}")


def test_many_failures_are_cut_and_the_rest_has_a_file() -> None:
    failures = [Failure(f"k{number}", "Denied", "no") for number in range(100)]
    tally = Tally(failed_objects=5000)
    report = make_report(State.INCOMPLETE, tally, failures=failures, retry_file="/r")
    lines = report_lines(report)
    assert sum(line.startswith("failed: ") for line in lines) == FAILURES_PRINTED
    assert f"and {5000 - FAILURES_PRINTED:,} more in /r" in lines


def test_lines_come_every_ten_seconds_and_not_more_often() -> None:
    stream = io.StringIO()
    with LineDisplay(stream) as display:
        for half_seconds in range(61):
            display.update(make_progress(seconds=half_seconds / 2))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 30 / LINE_EVERY_S
    assert all(line.startswith("mover: 100 MiB of 400 MiB") for line in lines)


def test_a_quiet_display_says_only_notes_and_that_a_job_goes_on() -> None:
    stream = io.StringIO()
    with QuietDisplay(stream) as display:
        display.begin("abc", resumed=False)
        display.update(make_progress(seconds=100.0))
        display.begin("abc", resumed=True)
        display.note("worker-1 died\x1b[31m")
        display.end(make_report(State.DONE, Tally()))
    assert stream.getvalue().splitlines() == [
        "mover: going on with job abc",
        r"mover: worker-1 died\x1b[31m",
    ]


def drawn(progress: Progress, *, checking: bool = False, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with LiveDisplay(console, checking=checking) as display:
        display.update(progress)
        with console.capture() as capture:
            console.print(display.render(progress))
    return capture.get()


def test_live_display_shows_totals_and_no_row_for_a_lone_worker() -> None:
    text = drawn(make_progress())
    assert "25%" in text
    assert "12,345 of 40,000 objects" in text
    assert len(text.splitlines()) == 2
    assert "listing…" in drawn(make_progress(planned_all=False))


def test_live_display_shows_workers_up_to_a_number() -> None:
    workers = tuple(WorkerProgress(f"worker-{n}", n, n * MIB) for n in range(WORKERS_SHOWN + 3))
    text = drawn(make_progress(workers=workers))
    assert "worker-1 " in text
    assert "and 3 more" in text
    assert f"worker-{WORKERS_SHOWN} " not in text


RESIDENT = (
    Residence(node="n1", files=2, bytes=100, resident_files=1, resident_bytes=57),
    Residence(node="n2", files=2, bytes=100, resident_files=1, unknown_bytes=100),
)


def test_workers_are_shown_with_what_is_resident_on_their_nodes() -> None:
    workers = tuple(WorkerProgress(name, 1, MIB, f"n{name}") for name in ("1", "2", "3"))
    rows = drawn(make_progress(workers=workers, residency=RESIDENT, round=1)).splitlines()
    assert "? % resident in round 1" in " ".join(rows[:-3])
    assert [row.rstrip().endswith(end) for row, end in zip(rows[-3:], ("57 % resident", "? % resident", "B/s"), strict=True)] == [True] * 3  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "round_", "shown"),
    [
        ((), 0, ""),
        (RESIDENT[:1], 0, ", 57 % resident in round 0"),
        (RESIDENT[:1], 2, ", 57 % resident in round 2"),
        (RESIDENT, 1, ", ? % resident in round 1"),
    ],
)
def test_a_line_of_a_prewarm_says_what_is_resident(
    rows: tuple[Residence, ...], round_: int, shown: str
) -> None:
    line = progress_line(make_progress(residency=rows, round=round_), 0.0)
    assert line == f"100 MiB of 400 MiB, 12,345 of 40,000 objects, 0 B/s, stalled{shown}, 0 failed"


def test_what_was_resident_before_needs_no_time() -> None:
    assert remaining(make_progress(skipped_bytes=300 * MIB), 0.0) == "finishing"
    assert fraction_done(make_progress(skipped_bytes=100 * MIB)) == 0.5


def test_live_display_of_a_check_has_no_bar() -> None:
    assert drawn(make_progress(), checking=True).splitlines() == [
        "40,000 objects compared, 400 MiB, 4,000 objects/s, 0 differ"
    ]

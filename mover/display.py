"""What a person sees of a job: a live display on a terminal, a line now and then elsewhere.

All of it goes to standard error, so that standard output is free for results: a plan, a list of
differences, a JSON object. What is shown is decided by pure functions (``progress_line``,
``report_lines``); the displays only write it. Whatever a name holds, it stays on its line and
cannot steer a terminal: see ``printable``.
"""

import re
import sys
from typing import Final, Self, TextIO

from mover.model import Report, State, Tally
from mover.pacing import Pace, eta_s
from mover.prewarm.summing import Fullness
from mover.progress import Progress
from mover.units import format_bytes, format_duration, format_rate

LINE_EVERY_S: Final = 10.0
"""Seconds between two lines of progress where nobody watches live."""

FAILURES_PRINTED: Final = 20
"""Failed objects named in a final report; the retry file names all."""

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_HEADLINES: Final = {
    State.DONE: "done",
    State.INCOMPLETE: "incomplete",
    State.DAMAGED: "verification failed",
    State.INTERRUPTED: "interrupted",
    State.PLANNED: "plan",
    State.CANCELLED: "cancelled",
}


def printable(text: str) -> str:
    r"""``text`` on one line for a terminal: controls and stray bytes as ``\xHH`` or ``\uHHHH``."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def remaining(progress: Progress, rate_bytes_per_s: float) -> str:
    """``ETA 4m05s``; ``listing…`` while the plan still grows; ``stalled`` where nothing comes."""
    if not progress.planned_all:
        return "listing…"
    left_s = eta_s(progress, rate_bytes_per_s)
    if left_s is None:
        return "stalled"
    return f"ETA {format_duration(left_s)}" if left_s else "finishing"


def progress_line(progress: Progress, rate_bytes_per_s: float) -> str:
    """How a job stands, on one line of about a hundred columns."""
    parts = [
        f"{format_bytes(progress.copied_bytes)} of {format_bytes(progress.planned_bytes)}",
        f"{progress.copied_objects:,} of {progress.planned_objects:,} objects",
        format_rate(rate_bytes_per_s),
        remaining(progress, rate_bytes_per_s),
    ]
    if progress.residency:
        parts.append(resident_so_far(progress))
    if progress.skipped_objects:
        parts.append(f"{progress.skipped_objects:,} skipped")
    parts.append(f"{progress.failed_objects:,} failed")
    return ", ".join(parts)


def resident_so_far(progress: Progress) -> str:
    """``57 % resident in round 0``: of what that round has looked at so far, before it read."""
    percent = Fullness.of(progress.residency).percent()
    known = "? %" if percent is None else f"{percent:g} %"
    return f"{known} resident in round {progress.round}"


def check_line(progress: Progress) -> str:
    """How a comparison stands; it has no total before it ends."""
    per_s = progress.planned_objects / progress.seconds if progress.seconds > 0 else 0.0
    return (
        f"{progress.planned_objects:,} objects compared, {format_bytes(progress.planned_bytes)},"
        f" {per_s:,.0f} objects/s, {progress.failed_objects:,} differ"
    )


def report_lines(
    report: Report, *, command: str = "copy", last: Progress | None = None
) -> list[str]:
    """The end of a job for a person: what came of it, the failures, and the next step.

    ``last`` is how an interrupted run stood: its report counts finished tasks only.
    """
    if command == "check":
        lines = [_checked(report)]
    elif report.state is State.INTERRUPTED:
        lines = [_interrupted(last)]
    else:
        lines = [_moved(report)]
    tally = report.tally
    if tally.patched_objects:
        lines.append(_patched(tally))
    verified = tally.verified_strong + tally.verified_weak + tally.verified_none
    if verified and command == "copy" and report.state is not State.INTERRUPTED:
        lines.append(
            f"verified: {tally.verified_strong:,} by checksum, {tally.verified_weak:,} by size"
            f" only, {tally.verified_none:,} not at all"
        )
    if report.withheld:
        lines.append(printable(report.withheld))
    if command == "copy":
        lines += failure_lines(report)
    lines += _next_step(report, command)
    return lines


def _interrupted(last: Progress | None) -> str:
    headline = _HEADLINES[State.INTERRUPTED]
    if last is None:
        return f"{headline}: before anything was copied"
    planned = (
        f"{last.planned_objects:,}" if last.planned_all else f"{last.planned_objects:,} listed"
    )
    return (
        f"{headline}: {last.copied_objects:,} of {planned} objects are there,"
        f" {format_bytes(last.copied_bytes)}"
    )


def _moved(report: Report) -> str:
    tally, headline = report.tally, _HEADLINES[report.state]
    if report.state is State.PLANNED:
        deletes = f"{tally.planned_deletes:,} to delete; " if tally.planned_deletes else ""
        return (
            f"{headline}: {tally.planned_objects - tally.planned_deletes:,} objects,"
            f" {format_bytes(tally.planned_bytes)} to copy; {deletes}"
            f"{tally.skipped_objects:,} need nothing; nothing was changed"
        )
    seconds = report.seconds
    deleted = f"{tally.deleted_objects:,} deleted, " if tally.deleted_objects else ""
    rate = ""
    if seconds > 0 and tally.copied_objects:
        rate = (
            f" ({format_rate(tally.copied_bytes / seconds)},"
            f" {tally.copied_objects / seconds:,.0f} objects/s)"
        )
    return (
        f"{headline}: {tally.copied_objects:,} objects copied, {format_bytes(tally.copied_bytes)}"
        f" in {format_duration(seconds)}{rate}; {deleted}{tally.skipped_objects:,} skipped,"
        f" {tally.failed_objects:,} failed"
    )


def _patched(tally: Tally) -> str:
    usd = tally.saved_usd_e6 / 1e6
    money = f"about USD {usd:,.4f} saved" if usd >= 0 else f"about USD {-usd:,.4f} more spent"
    whole = tally.literal_bytes + tally.matched_bytes
    renamed = f" ({tally.renamed_objects:,} of other names)" if tally.renamed_objects else ""
    return (
        f"differences: {tally.patched_objects:,} of them patched{renamed},"
        f" {format_bytes(tally.delta_wire_bytes)} sent for {format_bytes(whole)}"
        f" ({format_bytes(tally.literal_bytes)} new), {tally.delta_requests:,} requests, {money}"
    )


def _checked(report: Report) -> str:
    tally = report.tally
    if report.state is State.INTERRUPTED:
        return _HEADLINES[report.state]
    headline = "equal" if report.state is State.DONE else "different"
    return (
        f"{headline}: {tally.skipped_objects:,} objects are equal, {tally.failed_objects:,} are not"
        f" ({format_duration(report.seconds)})"
    )


def headline_of(state: State) -> str:
    """How a job ended, in a word or two."""
    return _HEADLINES[state]


def failure_lines(report: Report) -> list[str]:
    """The first failures, and how many there are beside them."""
    shown = report.failures[:FAILURES_PRINTED]
    lines = [f"failed: {printable(f'{each.key}: {each.detail}')}" for each in shown]
    more = report.tally.failed_objects - len(shown)
    if more > 0:
        where = f" in {report.retry_file}" if report.retry_file else ""
        lines.append(f"and {more:,} more{where}")
    return lines


def _next_step(report: Report, command: str) -> list[str]:
    if report.state is State.INTERRUPTED:
        return ["next: the same command goes on from here"] if command == "copy" else []
    if not report.retry_file:
        return []
    if command == "check":
        return [f"next: copy what differs with --files-from {report.retry_file}"]
    only_that = f"to try only that, add --files-from {report.retry_file}"
    return [f"next: the same command tries again what failed; {only_that}"]


class QuietDisplay:
    """A monitor that shows no progress, only notes. The other displays build on it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self.begun = False
        self.last: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""

    def begin(self, job: str, *, resumed: bool) -> None:
        self.begun = True
        if resumed:
            self.note(f"going on with job {job}")

    def update(self, progress: Progress) -> None:
        """Shown by those who watch; the last one is kept for the report of an interrupted run."""
        self.last = progress

    def note(self, message: str) -> None:
        self._write(f"mover: {printable(message)}")

    def end(self, report: Report) -> None:
        """The report is printed by the command, once the job has let go of everything."""

    def result(self, line: str) -> None:
        """Write one line of a result (an action, a difference) to standard output."""
        sys.stdout.write(f"{printable(line)}\n")

    def _write(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()


class LineDisplay(QuietDisplay):
    """A line of progress every ``LINE_EVERY_S`` seconds: for logs, and for terminals of old."""

    def __init__(self, stream: TextIO | None = None, *, checking: bool = False) -> None:
        super().__init__(stream)
        self._checking = checking
        self._pace = Pace()
        self._next_s = LINE_EVERY_S

    def update(self, progress: Progress) -> None:
        super().update(progress)
        self._pace.add(progress)
        if progress.seconds >= self._next_s:
            self._next_s = progress.seconds + LINE_EVERY_S
            self._write(f"mover: {self._line(progress)}")

    def _line(self, progress: Progress) -> str:
        if self._checking:
            return check_line(progress)
        return progress_line(progress, self._pace.per_s())

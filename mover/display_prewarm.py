"""The end of a prewarm for a person: how full the caches are and who says so, what failed, the next step."""

from typing import Final

from mover.display import failure_lines, headline_of, printable
from mover.model import State
from mover.prewarm.model import Certainty, Metadata, Residence, Wish
from mover.prewarm.summing import percent_of
from mover.prewarm_report import WarmReport
from mover.units import format_bytes, format_duration, format_rate

NODES_PRINTED: Final = 20

_KNOWING: Final = {
    Certainty.PROVEN: "proven by",
    Certainty.INFERRED: "inferred by",
    Certainty.UNKNOWN: "unknown to",
}


def warm_lines(report: WarmReport) -> list[str]:
    """The lines of a final report."""
    spec = report.spec
    if report.state is State.INTERRUPTED:
        lines = [f"{headline_of(report.state)}: {_read(report)}"]
    elif report.state is State.PLANNED or (spec.dry_run and report.state is State.DONE):
        tally = report.tally
        size = format_bytes(tally.planned_bytes)
        lines = [f"plan: {tally.planned_objects:,} files, {size} to free; nothing was changed"]
        lines += _nodes(report)
    elif spec.wish is Wish.EVICT:
        tally = report.tally
        freed = f"{format_bytes(tally.copied_bytes)} freed in {format_duration(report.seconds)}"
        lines = [f"{headline_of(report.state)}: {tally.copied_objects:,} files evicted, {freed}"]
    elif spec.metadata is Metadata.ONLY:
        lines = [f"{headline_of(report.state)}: {_attributes(report)}"]
    else:
        lines = [f"{headline_of(report.state)}: {_resident(report)}"]
        if spec.wish is Wish.WARM:
            lines.append(_read(report))
        lines += _nodes(report)
    if report.withheld:
        lines.append(printable(report.withheld))
    lines += failure_lines(report)
    if report.state is State.INTERRUPTED:
        lines.append("next: the same command goes on from here")
    elif report.retry_file:
        lines.append(f"next: to try only what failed, add --files-from {report.retry_file}")
    return lines


def _resident(report: WarmReport) -> str:
    total = report.fullness.total
    if not total.files:
        return "there was nothing to look at"
    percent = report.fullness.percent()
    how = f"{_KNOWING[total.certainty]} {total.judge or 'nobody'}"
    if percent is None:
        return (
            f"{total.files:,} files, {format_bytes(total.bytes)}; how much of"
            f" {format_bytes(total.unknown_bytes)} is resident nobody can tell ({how})"
        )
    return (
        f"{percent:g} % resident: {total.resident_files:,} of {total.files:,} files,"
        f" {format_bytes(total.resident_bytes)} of {format_bytes(total.bytes)} ({how})"
    )


def _read(report: WarmReport) -> str:
    tally, total = report.tally, report.fullness.total
    rate = format_rate(total.read_bytes / report.seconds) if report.seconds > 0 else ""
    from_peers = f", {format_bytes(total.peer_bytes)} from other nodes" if total.peer_bytes else ""
    rounds = f", looked at in {report.rounds} rounds" if report.rounds > 1 else ""
    return (
        f"read {tally.copied_objects:,} files, {format_bytes(total.read_bytes)} in"
        f" {format_duration(report.seconds)} ({rate}){from_peers};"
        f" {tally.skipped_objects:,} were resident before{rounds}"
    )


def _attributes(report: WarmReport) -> str:
    count, seconds = report.tally.copied_objects, report.seconds
    per_s = f" ({count / seconds:,.0f} a second)" if seconds > 0 else ""
    return f"attributes of {count:,} files asked for in {format_duration(seconds)}{per_s}"


def _nodes(report: WarmReport) -> list[str]:
    rows = report.fullness.nodes
    if len(rows) < 2:
        return []
    lines = [f"node {printable(row.node)}: {_node(row)}" for row in rows[:NODES_PRINTED]]
    if len(rows) > NODES_PRINTED:
        lines.append(f"and {len(rows) - NODES_PRINTED} more nodes")
    return lines


def _node(row: Residence) -> str:
    if row.unknown_bytes:
        return f"{format_bytes(row.unknown_bytes)} of {format_bytes(row.bytes)} unknown"
    percent = percent_of(row.resident_bytes, row.bytes)
    origins = f"{format_bytes(row.origin_bytes)} from the origin"
    return (
        f"{percent:g} %, {row.resident_files:,} files, {format_bytes(row.resident_bytes)}"
        f" ({origins}, {format_bytes(row.peer_bytes)} from other nodes)"
    )

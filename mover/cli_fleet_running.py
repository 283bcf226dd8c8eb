"""Run the commands of a fleet in front of a person."""

import json
import sys
import time

from mover import api
from mover.cli_options import Output
from mover.cli_running import WATCH_ENDS, finish, open_display, run_watched
from mover.depots import KeepWish
from mover.display import printable, progress_line
from mover.errors import Rejected
from mover.logs import configure_logs
from mover.model import Report
from mover.operating import JobDetails, JobSummary
from mover.peer_shelf import ROOM_BYTES
from mover.prewarm.summing import Fullness
from mover.queues import is_fleet
from mover.stopping import Stop
from mover.units import (
    Malformed,
    format_bytes,
    format_duration,
    format_rate,
    parse_duration,
    parse_size,
)
from mover.wiring_base import run_loop
from scheduler.signals import draining_on_signals
from scheduler.store import LEASE_MAX_S

PORT_MAX = 65535

_HEADINGS = ("JOB", "STATE", "DONE", "OF", "FAILED", "WORKERS", "AGE", "FROM", "TO")


def run_worker(
    queue: str,
    *,
    pools: str,
    slots: int | None,
    concurrency: int | None,
    memory: str | None,
    lease: str | None,
    exit_when_idle: str | None,
    parcels: str | None,
    parcels_at: str | None,
    parcels_room: str | None,
    node: str,
    output: Output,
) -> int:
    """Work until told to leave; 0 when nothing was left half done. Raises ``MoverError``."""
    configure_logs(level=output.log_level, style=output.log_format)
    names = tuple(dict.fromkeys(name.strip() for name in pools.split(",") if name.strip()))
    if not names:
        raise Rejected("--pool: name at least one pool, as in eu-west,any")
    try:
        memory_bytes = None if memory is None else parse_size(memory, what="--memory")
        lease_s = None if lease is None else parse_duration(lease, what="--lease")
        idle_s = (
            None
            if exit_when_idle is None
            else parse_duration(exit_when_idle, what="--exit-when-idle")
        )
        keeping = _keep_wish(parcels, parcels_at, parcels_room)
        if lease_s is not None and not 1 <= lease_s <= LEASE_MAX_S:
            raise Rejected(f"--lease {lease}: a lease lasts from 1s to 1h")
    except Malformed as error:
        raise Rejected(str(error)) from error
    stop = Stop()

    async def work() -> None:
        with draining_on_signals(drain=stop.request, stop=stop.request):
            await api.work(
                queue,
                pools=names,
                slots=slots,
                concurrency=concurrency,
                memory_bytes=memory_bytes,
                lease_s=lease_s,
                exit_when_idle_s=idle_s,
                parcels=keeping,
                node=node,
                note=_note,
                stop=stop,
            )

    run_loop(work())
    return 0


def _keep_wish(listen: str | None, told: str | None, room: str | None) -> KeepWish | None:
    """How the worker is to keep parcels; None where it keeps none. Raises ``Rejected``, ``Malformed``."""
    if listen is None:
        if told is not None or room is not None:
            raise Rejected("--parcels-at and --parcels-room: say with --parcels where to listen")
        return None
    host, port = _listening_at(listen, "--parcels", example="10.0.0.7:8378")
    room_bytes = ROOM_BYTES if room is None else parse_size(room, what="--parcels-room")
    return KeepWish(host=host, port=port, told=told or "", room_bytes=room_bytes)


def _listening_at(text: str, option: str, *, example: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > PORT_MAX:
        raise Rejected(f"{option} {text}: write HOST:PORT, as in {example}")
    return host.strip("[]"), int(port)


def run_server(queue: str, *, listen: str, links: tuple[str, ...], output: Output) -> int:
    """Answer until told to stop. Raises ``MoverError``."""
    configure_logs(level=output.log_level, style=output.log_format)
    host, port = _listening_at(listen, "--listen", example="127.0.0.1:8377")
    stop = Stop()

    async def work() -> None:
        with draining_on_signals(drain=stop.request, stop=stop.request):
            await api.serve(queue, host=host, port=port, links=links, note=_note, stop=stop)

    run_loop(work())
    return 0


def print_jobs(queue: str, *, as_json: bool) -> int:
    """List the jobs as a table, or as a JSON array."""
    summaries = run_loop(api.jobs(queue))
    if as_json:
        _print(json.dumps([summary.to_json() for summary in summaries]))
        return 0
    if not summaries:
        _note("no jobs")
        return 0
    rows = [_HEADINGS, *(_row(summary, time.time()) for summary in summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _print("  ".join(cells).rstrip())
    return 0


def _row(summary: JobSummary, now_s: float) -> tuple[str, ...]:
    return (
        summary.job,
        summary.state,
        format_bytes(summary.done_bytes),
        format_bytes(summary.known_bytes),
        str(summary.failed),
        str(summary.workers),
        format_duration(max(0.0, now_s - summary.submitted_at_s)),
        printable(summary.spec.source),
        printable(summary.spec.target),
    )


def print_job(queue: str, job: str, *, as_json: bool) -> int:
    """Show one job."""
    details = run_loop(api.show(queue, job))
    if as_json:
        _print(json.dumps(details.to_json()))
        return 0
    for line in job_lines(details, time.time()):
        _print(line)
    return 0


def _fullness(fullness: Fullness) -> str:
    total, percent = fullness.total, fullness.percent()
    known = "unknown" if percent is None else f"{percent:g} %"
    return f"{known} of {format_bytes(total.bytes)} looked at so far ({total.certainty} by {total.judge})"


def job_lines(details: JobDetails, now_s: float) -> list[str]:
    """A job in words, a line each."""
    summary = details.summary
    tasks = ", ".join(f"{count} {state}" for state, count in summary.stats.tasks.items() if count)
    lines = [
        f"job       {summary.job}",
        f"state     {summary.state}",
        f"from      {printable(summary.spec.source)}",
        f"to        {printable(summary.spec.target)}",
        f"age       {format_duration(max(0.0, now_s - summary.submitted_at_s))}",
        f"bytes     {format_bytes(summary.done_bytes)} of {format_bytes(summary.known_bytes)}",
        f"tasks     {tasks or 'none'}",
        f"limit     {details.limit or 'off'}",
    ]
    if details.fullness is not None and details.fullness.total.files:
        lines.append(f"resident  {_fullness(details.fullness)}")
    if details.rates:
        rates = (f"{name} {format_rate(rate)}" for name, rate in details.rates.items())
        lines.append(f"rates     {', '.join(rates)}")
    if details.progress is not None:
        lines.append(f"progress  {progress_line(details.progress, details.bytes_per_s)}")
    for each in details.workers:
        moved = f"{each.objects:,} objects, {format_bytes(each.bytes)}"
        lines.append(f"worker    {each.worker}: {moved}, {format_rate(each.rate_bytes_per_s)}")
    lines += [
        f"failed    task {each.task_id}: {printable(each.reason)}" for each in details.letters
    ]
    for event in details.events:
        ago = format_duration(max(0.0, now_s - event.at_s))
        lines.append(f"event     {ago} ago: {printable(event.text)}")
    return lines


def watch_job(queue: str, job: str, *, output: Output) -> int:
    """Follow a job; its exit code is the job's."""
    with open_display(output) as display:
        stop = Stop(WATCH_ENDS)

        async def work() -> Report:
            return await api.watch(queue, job, monitor=display, stop=stop)

        report, code = run_watched(work, display, stop)
    return finish(report, code, output, command="copy", last=display.last)


def steer_job(queue: str, job: str, verb: str) -> int:
    """Pause, resume or cancel."""
    name = run_loop(api.steer(queue, job, verb))
    _note(f"job {name}: {verb} takes effect within two seconds")
    return 0


def limit_job(queue: str, job: str, rate: str) -> int:
    """Change the rate of a job."""
    name = run_loop(api.limit(queue, job, rate))
    _note(f"job {name}: limit {rate} takes effect within two seconds")
    return 0


def retry_job(queue: str, job: str, *, detach: bool, output: Output) -> int:
    """Requeue what failed, and see it through."""
    with open_display(output) as display:
        stop = Stop(WATCH_ENDS) if is_fleet(queue) else Stop()

        async def work() -> Report | int:
            return await api.retry(queue, job, detach=detach, monitor=display, stop=stop)

        outcome, code = run_watched(work, display, stop)
    if isinstance(outcome, int):
        if output.as_json:
            _print(json.dumps({"job": job, "state": "requeued", "tasks": outcome}))
        _note(f"job {job}: {outcome} failed tasks again")
        return 0
    return finish(outcome, code, output, command="copy", last=display.last)


def _note(line: str) -> None:
    sys.stderr.write(f"mover: {printable(line)}\n")
    sys.stderr.flush()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")

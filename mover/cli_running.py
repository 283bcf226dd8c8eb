"""Run one request in front of a person: its display, its signals, its result on standard output."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, Literal, TypeVar

from mover.cli_options import Output
from mover.display import LineDisplay, QuietDisplay, report_lines
from mover.display_prewarm import warm_lines
from mover.logs import configure_logs
from mover.metering import MetricsWish, metered
from mover.model import Report, State, Tally
from mover.prewarm_report import WarmReport
from mover.progress import Progress
from mover.queues import is_fleet
from mover.stopping import Stop
from mover.wiring_base import run_loop
from scheduler.signals import SignalLog, draining_on_signals

T = TypeVar("T")

AT_ONCE_S: Final = 2.0
"""How long a request may take to stop by itself after the second signal; then it is cancelled."""


WATCH_ENDS: Final = "no longer watching; the job goes on (mover show, mover cancel)"


def run_copy(
    source: str,
    target: str,
    *,
    wishes: dict[str, Any],
    workers: int | Literal["auto"],
    dry_run: bool,
    queue: str,
    detach: bool,
    concurrency: int | None,
    output: Output,
    command: str = "copy",
) -> int:
    """Copy, or print the plan; return the exit code. Raises ``MoverError``."""
    from mover import api

    if detach and not dry_run:
        return _submit(source, target, wishes=wishes, queue=queue, output=output)
    # A plan on its way to the same terminal leaves no place for a display.
    with open_display(output, quiet=dry_run) as display:
        stop = Stop(WATCH_ENDS) if is_fleet(queue) else Stop()

        async def work() -> Report:
            async with metered(display, metrics_of(output), command=command) as monitor:
                return await api.copy(
                    source,
                    target,
                    workers=workers,
                    dry_run=dry_run,
                    queue=queue,
                    concurrency=concurrency,
                    monitor=monitor,
                    stop=stop,
                    on_action=None if output.as_json else lambda each: display.result(str(each)),
                    **wishes,
                )

        report, code = run_watched(work, display, None if dry_run else stop)
    return finish(report, code, output, command="copy", last=display.last)


def metrics_of(output: Output) -> MetricsWish:
    """Where the metrics of a run are wanted."""
    return MetricsWish(listen=output.metrics, file=output.metrics_file)


def _submit(source: str, target: str, *, wishes: dict[str, Any], queue: str, output: Output) -> int:
    """Put a copy on a fleet's board and print the job's name."""
    from mover import api

    job = run_loop(api.submit(source, target, queue=queue, **wishes))
    return print_submitted(job, output)


def print_submitted(job: str, output: Output) -> int:
    """Print the name of a job that a fleet works on from now on."""
    if output.as_json:
        _write_json({"job": job, "state": "submitted"})
    else:
        sys.stdout.write(job + "\n")
    return 0


def run_check(
    source: str, target: str, *, wishes: dict[str, Any], output: Output, recorded: bool = False
) -> int:
    """Compare and print the differences; return the exit code. Raises ``MoverError``.

    With ``recorded`` the source is a manifest.
    """
    from mover import api

    with open_display(output, checking=True) as display:

        async def work() -> Report:
            verb = api.check_manifest if recorded else api.check
            return await verb(
                source,
                target,
                monitor=display,
                on_difference=None if output.as_json else lambda each: display.result(str(each)),
                **wishes,
            )

        report, code = run_watched(work, display, None)
    return finish(report, code, output, command="check")


def write_json_failure(message: str, code: int) -> None:
    """The one JSON object of a request that has no report: the same keys, and ``error``."""
    state = "interrupted" if code in (130, 143) else "rejected" if code == 2 else "failed"
    _write_json({**_no_report().to_json(), "state": state, "error": message})


def open_display(output: Output, *, quiet: bool = False, checking: bool = False) -> QuietDisplay:
    """The display that suits the place: live on a terminal, lines elsewhere, none for a program."""
    configure_logs(level=output.log_level, style=output.log_format)
    wanted = not output.as_json if output.progress is None else output.progress
    if quiet or not wanted:
        return QuietDisplay()
    if not sys.stderr.isatty():
        return LineDisplay(checking=checking)
    from mover.display_live import LiveDisplay, is_live_terminal  # Rich takes 60 ms to import

    return LiveDisplay(checking=checking) if is_live_terminal() else LineDisplay(checking=checking)


def run_watched(
    work: Callable[[], Coroutine[None, None, T]], display: QuietDisplay, stop: Stop | None
) -> tuple[T | Report, int]:
    """Run to the end, or to where signals end it: (the report, the exit code).

    Work that ends without a report (a number, say) ends with 0.
    """
    log: SignalLog | None = None

    async def guarded() -> T:
        nonlocal log
        async with _stopping_on_signals(stop, display) as log:
            return await work()

    try:
        report = run_loop(guarded())
    except asyncio.CancelledError:
        if log is None or log.exit_code is None:
            raise
        return _no_report(), log.exit_code
    if not isinstance(report, Report):
        return report, 0
    if report.state is State.INTERRUPTED and log is not None and log.exit_code is not None:
        return report, log.exit_code
    return report, report.exit_code


@contextlib.asynccontextmanager
async def _stopping_on_signals(
    stop: Stop | None, display: QuietDisplay
) -> AsyncGenerator[SignalLog, None]:
    """The first signal drains, where there is something to drain; one more ends the request.

    A request that has no queue (``stop`` None), or whose job has not begun, has nothing to drain:
    the first signal cancels it.
    """
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def cancel() -> None:
        if task is not None:
            task.cancel()

    def drain() -> None:
        if stop is None or not display.begun:
            cancel()
            return
        stop.request(log.received[0])
        display.note(stop.farewell)

    def at_once() -> None:
        if stop is None or stop.at_once.is_set():
            cancel()
            return
        stop.request(log.received[0])
        timers.append(loop.call_later(AT_ONCE_S, cancel))

    with draining_on_signals(drain=drain, stop=at_once) as log:
        try:
            yield log
        finally:
            for timer in timers:
                timer.cancel()


def finish(
    report: Report, code: int, output: Output, *, command: str, last: Progress | None = None
) -> int:
    """Print what came of a request, and pass its exit code on."""
    if output.as_json:
        _write_json(report.to_json())
        return code
    lines = (
        warm_lines(report)
        if isinstance(report, WarmReport)
        else report_lines(report, command=command, last=last)
    )
    for line in lines:
        sys.stderr.write(f"mover: {line}\n")
    return code


def _write_json(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _no_report() -> Report:
    """What stands for the report of a request that was ended before it had one."""
    return Report(job="", state=State.INTERRUPTED, tally=Tally(), seconds=0.0, failures=[])

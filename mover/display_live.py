"""The live display on a terminal; the one door to Rich."""

import sys
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mover.display import (
    QuietDisplay,
    check_line,
    printable,
    progress_line,
)
from mover.pacing import Pace, fraction_done
from mover.prewarm.model import Residence
from mover.prewarm.summing import percent_of
from mover.progress import Progress
from mover.units import format_bytes, format_rate

WORKERS_SHOWN: Final = 16
"""Rows of workers; a host with more of them has a terminal that is too low for all."""


def is_live_terminal() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


class LiveDisplay(QuietDisplay):
    """Bytes, objects, rate, time left and workers, redrawn in place; gone when the job ends.

    It has no thread: the job's own updates redraw it, about twice a second.
    """

    def __init__(self, console: Console | None = None, *, checking: bool = False) -> None:
        super().__init__()
        self._checking = checking
        self._console = console or Console(stderr=True)
        # Standard output is not taken over: redirected, it must hold results and nothing else.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
        )
        self._pace = Pace()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        super().update(progress)
        self._pace.add(progress)
        self._live.update(self.render(progress), refresh=True)

    def result(self, line: str) -> None:
        if sys.stdout.isatty():  # the same screen: write above the display, not through it
            self._console.print(Text(printable(line)), soft_wrap=True)
        else:
            super().result(line)

    def render(self, progress: Progress) -> RenderableType:
        """What is drawn for ``progress``, with the rates seen so far."""
        if self._checking:
            return Text(check_line(progress), overflow="fold")
        fraction = fraction_done(progress)
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right", width=8)
        bar = ProgressBar(total=1.0, completed=fraction)
        head.add_row(bar, f"{fraction:.0%}" if progress.planned_all else "listing…")
        line = Text(progress_line(progress, self._pace.per_s()), overflow="fold")
        if progress.failed_objects:
            line.stylize("yellow")
        if len(progress.workers) < 2:
            return Group(head, line)
        return Group(head, line, self._workers(progress))

    def _workers(self, progress: Progress) -> Table:
        """A row for each; tasks go to whoever is free, so that all end with the job and have no ETA of their own."""
        nodes = {row.node: row for row in progress.residency}
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for _ in range(4):
            table.add_column(justify="right", no_wrap=True)
        for each in progress.workers[:WORKERS_SHOWN]:
            table.add_row(
                f"  {printable(each.worker)}",
                f"{each.objects:,} objects",
                format_bytes(each.bytes),
                format_rate(self._pace.worker_per_s(each.worker)),
                _resident(nodes.get(each.node)),
                style="dim",
            )
        if len(progress.workers) > WORKERS_SHOWN:
            more = f"  and {len(progress.workers) - WORKERS_SHOWN} more"
            table.add_row(more, "", "", "", "", style="dim")
        return table


def _resident(row: Residence | None) -> str:
    """How much is resident on a worker's node, of what was looked at there in this round."""
    if row is None or not row.bytes:
        return ""
    if row.unknown_bytes:
        return "? % resident"
    return f"{percent_of(row.resident_bytes, row.bytes):g} % resident"

"""Run a prewarm in front of a person."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final, Literal

from mover import prewarm_api as api
from mover.cli_options import Output
from mover.cli_running import (
    WATCH_ENDS,
    finish,
    metrics_of,
    open_display,
    print_submitted,
    run_watched,
)
from mover.errors import Rejected
from mover.metering import metered
from mover.model import Report
from mover.prewarm.model import WarmSpec
from mover.queues import is_fleet
from mover.stopping import Stop
from mover.wiring_base import run_loop

_JOB: Final = re.compile(r"[0-9a-f]{16}")


def run_prewarm(
    targets: Sequence[str],
    *,
    wishes: dict[str, Any],
    workers: int | Literal["auto"],
    queue: str,
    detach: bool,
    dry_run: bool,
    concurrency: int | None,
    output: Output,
) -> int:
    """Warm, evict or look; return the exit code. Raises ``MoverError``."""
    targets, wishes = _of_former_job(targets, wishes, queue)
    if dry_run:
        return _plan_eviction(targets, wishes, queue, output)
    if detach:
        job = run_loop(api.submit_prewarm(targets, queue=queue, **wishes))
        return print_submitted(job, output)
    with open_display(output) as display:
        stop = Stop(WATCH_ENDS) if is_fleet(queue) else Stop()

        async def work() -> Report:
            async with metered(display, metrics_of(output), command="prewarm") as monitor:
                return await api.prewarm(
                    targets,
                    workers=workers,
                    queue=queue,
                    concurrency=concurrency,
                    monitor=monitor,
                    stop=stop,
                    **wishes,
                )

        report, code = run_watched(work, display, stop)
    return finish(report, code, output, command="prewarm", last=display.last)


def _plan_eviction(
    targets: Sequence[str], wishes: dict[str, Any], queue: str, output: Output
) -> int:
    """Print what an eviction would free: here by name, of a fleet by node."""
    if is_fleet(queue):
        looking = {**wishes, "dry_run": True}
        with open_display(output) as display:
            report, code = run_watched(
                lambda: api.prewarm(targets, queue=queue, monitor=display, **looking),
                display,
                Stop(WATCH_ENDS),
            )
        return finish(report, code, output, command="prewarm")
    with open_display(output, quiet=True) as display:
        on_file = None if output.as_json else display.result
        report, code = run_watched(
            lambda: api.plan_eviction(
                targets, queue=queue, on_file=on_file, note=display.note, **wishes
            ),
            display,
            None,
        )
    return finish(report, code, output, command="prewarm")


def _of_former_job(
    targets: Sequence[str], wishes: dict[str, Any], queue: str
) -> tuple[Sequence[str], dict[str, Any]]:
    """What a job of that name was asked, where the one target of an eviction or a look names one."""
    if wishes["wish"] == "warm" or len(targets) != 1 or not _JOB.fullmatch(targets[0]):
        return targets, wishes
    spec = run_loop(api.former_prewarm(targets[0], queue=queue))
    if spec is None:
        raise Rejected(
            f"there is no job {targets[0]} in this queue; mover jobs lists what there is"
        )
    asked = {each.name: getattr(spec, each.name) for each in fields(WarmSpec)}
    del asked["targets"]
    asked |= {"wish": wishes["wish"], "min_percent": wishes["min_percent"]}
    if wishes["wish"] == "evict":
        asked |= {"evicts": targets[0]}
    else:
        asked |= {"manifest": ""}
    return spec.targets, asked

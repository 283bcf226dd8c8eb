"""The commands of a fleet: a worker that joins it, and jobs that are listed, watched and steered.

They work on the jobs of this host too, where no ``--queue`` names a server.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mover.cli_options import Output, output_options, queue_option, read_output, read_queue

F = TypeVar("F", bound=Callable[..., Any])

_WORKER_EXAMPLES = """\b
Examples:
  mover worker --queue redis://queue:6379/0
  mover worker --queue rediss://user@queue:6379/0 --pool eu-west,any     # MOVER_QUEUE_PASSWORD is set
  mover worker --queue redis://queue:6379/0 --exit-when-idle 60s --memory 512MiB
  mover worker --queue redis://queue:6379/0 --pool eu --parcels 10.0.0.7:8378  # MOVER_PARCELS_SECRET is set
"""

_JOBS_EXAMPLES = """\b
Examples:
  mover jobs                                            # of this host
  mover jobs --queue redis://queue:6379/0
  mover jobs --queue redis://queue:6379/0 --json | jq '.[] | select(.state == "running") | .job'
"""

_SHOW_EXAMPLES = """\b
Examples:
  mover show 3f2a --queue redis://queue:6379/0          # the beginning of a job's name will do
  mover show 3f2a --queue redis://queue:6379/0 --watch
  mover show 3f2a --json | jq '.letters[].reason'       # why tasks of a job of this host failed
"""

_LIMIT_EXAMPLES = """\b
Examples:
  mover limit 3f2a 50MB/s --queue redis://queue:6379/0
  mover limit 3f2a '08:00,50MiB/s 19:00,off'
  mover limit link:wan 20MB/s --queue redis://queue:6379/0   # a link that jobs share
  mover limit 3f2a off
"""

_SERVE_EXAMPLES = """\b
Examples:
  mover serve --queue redis://queue:6379/0 --link wan=50MB/s
  mover serve --queue redis://queue:6379/0 --listen 0.0.0.0:8377
  mover serve --link disk=200MB/s                        # for the jobs of this host
"""

_RETRY_EXAMPLES = """\b
Examples:
  mover retry 3f2a --queue redis://queue:6379/0         # the failed tasks again, and watch
  mover retry 3f2a --queue redis://queue:6379/0 --detach
  mover retry 3f2a                                      # a job of this host: run them here
"""


@click.command(epilog=_WORKER_EXAMPLES)
@queue_option(required=True)
@click.option(
    "--pool",
    "pools",
    default="any",
    show_default=True,
    metavar="A,B",
    help="Pools to take tasks from.",
)
@click.option(
    "--slots", type=click.IntRange(1, 64), metavar="N", help="Tasks at a time.  [default: 4]"
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Pin the requests in flight per store.  [default: each worker finds its own number]",
)
@click.option("--memory", metavar="SIZE", help="Payload bytes held in memory.  [default: 128MiB]")
@click.option(
    "--lease",
    metavar="DURATION",
    help="A worker that says nothing for this long has lost its tasks.  [default: 30s]",
)
@click.option(
    "--exit-when-idle",
    metavar="DURATION",
    help="Leave after this long without a task, as in 60s.  [default: stay]",
)
@click.option(
    "--parcels",
    metavar="HOST:PORT",
    help="Keep signatures and deltas here for other workers, and listen there for them.",
)
@click.option(
    "--parcels-at",
    metavar="URL",
    help="Where others reach that, if it is not http://HOST:PORT.",
)
@click.option(
    "--parcels-room", metavar="SIZE", help="What may be kept at a time, on disk.  [default: 1GiB]"
)
@click.option(
    "--node",
    default="",
    metavar="NAME",
    help="What prewarms call this host.  [default: the host's name]",
)
@output_options
@click.pass_context
def worker(
    context: click.Context,
    /,
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
    **_: object,
) -> int:
    """Join a fleet: take tasks from a queue until told to leave.

    Credentials come from this host's environment. SIGTERM gives back what is under way and leaves
    with 0; a worker that dies loses nothing, others take its tasks over.
    """
    from mover.cli_fleet_running import run_worker

    return run_worker(
        read_queue(context),
        pools=pools,
        slots=slots,
        concurrency=concurrency,
        memory=memory,
        lease=lease,
        exit_when_idle=exit_when_idle,
        parcels=parcels,
        parcels_at=parcels_at,
        parcels_room=parcels_room,
        node=node,
        output=read_output(context),
    )  # fmt: skip


@click.command(epilog=_JOBS_EXAMPLES)
@queue_option()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
@click.pass_context
def jobs(context: click.Context, /, as_json: bool, **_: object) -> int:
    """List jobs, the newest first."""
    from mover.cli_fleet_running import print_jobs

    return print_jobs(read_queue(context), as_json=as_json)


@click.command(epilog=_SHOW_EXAMPLES)
@click.argument("job")
@queue_option()
@click.option(
    "--watch", is_flag=True, help="Follow the job to its end; its exit code is the job's."
)
@output_options
@click.pass_context
def show(context: click.Context, /, job: str, watch: bool, **_: object) -> int:
    """Show a JOB: how it stands, its workers, its failed tasks and its last events."""
    from mover.cli_fleet_running import print_job, watch_job

    output: Output = read_output(context)
    if watch:
        return watch_job(read_queue(context), job, output=output)
    return print_job(read_queue(context), job, as_json=output.as_json)


_STEERING_EXAMPLES = """\b
Examples:
  mover {name} 3f2a --queue redis://queue:6379/0
  mover {name} 3f2a9c51d0b7e864 --queue redis://queue:6379/0
  mover {name} 3f2a                          # a job of this host
"""


def _steering(name: str, help_text: str) -> click.Command:
    @click.command(name, help=help_text, epilog=_STEERING_EXAMPLES.format(name=name))
    @click.argument("job")
    @queue_option()
    @click.pass_context
    def steer(context: click.Context, /, job: str, **_: object) -> int:
        from mover.cli_fleet_running import steer_job

        return steer_job(read_queue(context), job, name)

    return steer


pause = _steering("pause", "Pause a JOB: tasks under way end, no others begin, on any worker.")
resume = _steering("resume", "Let a paused JOB go on.")
cancel = _steering(
    "cancel", "Cancel a JOB: what is under way is dropped, what is done stays, nothing is half."
)


@click.command(epilog=_LIMIT_EXAMPLES)
@click.argument("job")
@click.argument("rate")
@queue_option()
@click.pass_context
def limit(context: click.Context, /, job: str, rate: str, **_: object) -> int:
    """Change the bytes per second of a JOB while it runs; RATE as --limit takes it, or off."""
    from mover.cli_fleet_running import limit_job

    return limit_job(read_queue(context), job, rate)


@click.command(epilog=_SERVE_EXAMPLES)
@queue_option()
@click.option(
    "--listen",
    default="127.0.0.1:8377",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to answer.",
)
@click.option(
    "--link",
    "links",
    multiple=True,
    metavar="NAME=RATE",
    help="Set the rate of a link, as in wan=50MB/s.",
)
@output_options
@click.pass_context
def serve(context: click.Context, /, listen: str, links: tuple[str, ...], **_: object) -> int:
    """Serve the limiter of links over HTTP, for programs that are not mover.

    juicefs sync --traffic-control-url http://HOST:PORT/limit/NAME takes part in the budget of the
    link NAME. There is no authentication: listen where only those who are meant to can reach.
    """
    from mover.cli_fleet_running import run_server

    return run_server(read_queue(context), listen=listen, links=links, output=read_output(context))  # fmt: skip


@click.command(epilog=_RETRY_EXAMPLES)
@click.argument("job")
@queue_option()
@click.option("--detach", is_flag=True, help="Do not watch the job of a fleet.")
@output_options
@click.pass_context
def retry(context: click.Context, /, job: str, detach: bool, **_: object) -> int:
    """Try the failed tasks of a JOB again."""
    from mover.cli_fleet_running import retry_job

    return retry_job(read_queue(context), job, detach=detach, output=read_output(context))


COMMANDS = (worker, jobs, show, pause, resume, cancel, limit, retry, serve)

"""``mover prewarm``: fill a cache, look how full it is, or free it again."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from mover.cli_options import (
    Location,
    MovingCommand,
    SectionedOption,
    metrics_options,
    output_options,
    queue_option,
    read_output,
    read_queue,
    read_selection,
    read_workers,
    refuse_local_options,
    selection_options,
)
from mover.errors import Rejected

F = TypeVar("F", bound=Callable[..., Any])

_EXAMPLES: Final = """\b
Examples:
  mover prewarm /mnt/jfs/imagenet/                                    # a mount; JuiceFS judges itself
  mover prewarm /mnt/jfs/a/ /mnt/jfs/b/ --metadata --yield 1.5        # a training job reads there too
  mover prewarm s3://data/train/ --into /nvme/cache --capacity 500GiB
  mover prewarm s3://data/train/ --into /nvme/cache --every-node --queue redis://host/0
  mover prewarm 's3://data/train/?endpoint_url=http://gateway:8080' --limit 200MiB/s
  mover prewarm --status /mnt/jfs/imagenet/ --json | jq .residency.percent_bytes
  mover prewarm --evict /mnt/jfs/imagenet/                            # or the name of a job
"""

_SECTION: Final = "How it moves"


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, cls=SectionedOption, section=_SECTION, **attributes)


@click.command(
    cls=MovingCommand, epilog=_EXAMPLES, short_help="Fill a cache, and prove that it is full."
)
@click.argument("targets", type=Location(), nargs=-1, required=True, metavar="TARGET...")
@selection_options
@_option(
    "--status", "wish", flag_value="status", help="Read nothing: look how much is resident now."
)
@_option(
    "--evict", "wish", flag_value="evict", help="Free what was warmed, on the nodes that hold it."
)
@_option(
    "--into",
    default="",
    metavar="DIRECTORY",
    help="Keep copies here, as a cache that mover manages; {node} stands for the node's name.",
)
@_option(
    "--capacity",
    metavar="SIZE",
    help="What that directory may hold; what was used least recently goes first.",
)
@_option(
    "--oversize",
    type=click.Choice(["refuse", "fit"]),
    default="refuse",
    show_default=True,
    help="What to do with a dataset that the cache cannot hold.",
)
@_option(
    "--metadata",
    "metadata",
    flag_value="first",
    help="Ask for all names and attributes first, on every node.",
)
@_option(
    "--metadata-only",
    "metadata",
    flag_value="only",
    help="Ask for names and attributes and read no data.",
)
@_option(
    "--spread",
    "copies",
    flag_value="spread",
    help="Read each byte once, on some node; the default.",
)
@_option("--replicas", type=click.IntRange(1), metavar="N", help="Read each byte on N nodes.")
@_option("--every-node", "copies", flag_value="every", help="Read each byte on every node.")
@_option(
    "--nodes",
    default="",
    metavar="A,B",
    help="The nodes; or how many of them to wait for.  [default: those that are there]",
)
@_option(
    "--residency",
    type=click.Choice(["auto", "juicefs", "cache", "header", "pages", "timed", "none"]),
    default="auto",
    show_default=True,
    help="Who judges what is resident.",
)
@_option(
    "--hit-header",
    default="",
    metavar="NAME=REGEX",
    help="What a gateway answers when it had the object, as in X-Cache=hit.",
)
@_option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="How often to read what is not resident.",
)
@_option(
    "--min-percent",
    type=click.FloatRange(0, 100),
    default=100.0,
    show_default=True,
    metavar="P",
    help="How much must be resident in the end, by bytes.",
)
@_option(
    "--keep-page-cache", is_flag=True, help="Leave what was read in the kernel's page cache too."
)
@_option(
    "--yield",
    "yield_factor",
    type=click.FloatRange(1, min_open=True),
    metavar="FACTOR",
    help="Read slower while the mount answers others FACTOR times slower than when idle.",
)
@_option(
    "-w",
    "--workers",
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Worker processes on this host.",
)
@_option(
    "--limit",
    default="",
    metavar="RATE",
    help="Bytes per second from the origin, for all workers together; or a timetable.",
)
@_option(
    "--limit-requests",
    default="",
    metavar="RATE",
    help="Requests per second, for all workers together.",
)
@_option(
    "--link",
    "rate_links",
    multiple=True,
    metavar="NAME=RATE",
    help="Take part in a budget that several jobs share.",
)
@_option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Pin the requests in flight per store.  [default: found out]",
)
@_option(
    "--pool",
    default="any",
    show_default=True,
    metavar="NAME",
    help="The fleet's workers that may take part.",
)
@_option(
    "--manifest",
    default="",
    type=Location(empty=True),
    metavar="LOCATION",
    help="Record here what becomes of each file.  [default: each node's own state directory]",
)
@_option("--detach", is_flag=True, help="With a fleet: print the job's name and leave.")
@_option(
    "-n",
    "--dry-run",
    is_flag=True,
    help="With --evict: print what would be freed, and free nothing.",
)
@queue_option()
@metrics_options
@output_options
@click.pass_context
def prewarm(context: click.Context, /, targets: tuple[str, ...], **_: object) -> int:
    """Fill a cache before a job starts, and prove that it is full.

    TARGET is a directory on a mount (JuiceFS, Alluxio, NFS, ...), an S3 or HTTP gateway in front of a
    cache, or with --into the origin of a cache directory of its own. What is not resident in the end
    is read again; the exit code is 1 where less than --min-percent is. With --status or --evict a
    TARGET may be the name of a former job.
    """  # fmt: skip
    from mover.cli_prewarm_running import run_prewarm

    queue = read_queue(context)
    refuse_local_options(context, queue)
    return run_prewarm(
        targets,
        wishes=_read_wishes(context),
        workers=read_workers(context.params["workers"]),
        queue=queue,
        detach=context.params["detach"],
        dry_run=_read_dry_run(context),
        concurrency=context.params["concurrency"],
        output=read_output(context),
    )


def _read_wishes(context: click.Context) -> dict[str, Any]:
    """The keyword arguments of ``mover.api.warm_specification``. Raises ``Rejected``."""
    from mover.links import parse_links
    from mover.units import Malformed, Timetable, parse_request_rate, parse_size

    given = context.params
    try:
        if given["limit"]:
            Timetable.parse(given["limit"], what="--limit")
        if given["limit_requests"]:
            parse_request_rate(given["limit_requests"], what="--limit-requests")
        parse_links(given["rate_links"])
        capacity = given["capacity"]
        capacity_bytes = parse_size(capacity, what="--capacity") if capacity else 0
    except Malformed as error:
        raise Rejected(str(error)) from error
    passed = (
        "into", "oversize", "hit_header", "attempts", "min_percent", "keep_page_cache", "limit",
        "limit_requests", "rate_links", "pool", "manifest",
    )  # fmt: skip
    return {
        **{name: given[name] for name in passed},
        **_read_nodes(given["nodes"]),
        "selection": read_selection(context),
        "wish": given["wish"] or "warm",
        "metadata": given["metadata"] or "no",
        "judge": given["residency"],
        "capacity_bytes": capacity_bytes,
        "replicas": _read_replicas(given["copies"], given["replicas"]),
        "yield_factor": given["yield_factor"] or 0.0,
    }


def _read_dry_run(context: click.Context) -> bool:
    given = context.params
    if given["dry_run"] and given["wish"] != "evict":
        raise Rejected("--dry-run is for --evict; --status says what a prewarm would not read")
    is_dry: bool = given["dry_run"]
    return is_dry


def _read_replicas(copies: str | None, replicas: int | None) -> int:
    from mover.prewarm.model import EVERY_NODE

    if copies is not None and replicas is not None:
        raise Rejected(
            "--spread, --replicas and --every-node are three answers to one question: give one"
        )
    if copies == "every":
        return EVERY_NODE
    return replicas or 1


def _read_nodes(text: str) -> dict[str, Any]:
    if not text:
        return {}
    if text.isdecimal() and int(text) > 0:
        return {"nodes_min": int(text)}
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise Rejected(f"--nodes {text!r}: write names, as in a,b, or how many")
    return {"nodes": names}

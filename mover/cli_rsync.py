"""``mover rsync``: a copy that may also delete, and what is asked of a person before it does."""

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from mover.cli_options import (
    Location,
    MovingCommand,
    SectionedOption,
    comparing_options,
    metrics_options,
    output_options,
    read_output,
    read_queue,
    read_wishes,
    read_workers,
    refuse_local_options,
    selection_options,
    transfer_options,
)
from mover.errors import Rejected

F = TypeVar("F", bound=Callable[..., Any])

_EXAMPLES: Final = """\b
Examples:
  mover rsync data/ s3://bucket/data/ --delete --dry-run    # what would be copied and deleted
  mover rsync data/ s3://bucket/data/ --delete              # asks before it deletes
  mover rsync s3://bucket/data/ data/ --delete -y --max-delete 1000
  mover rsync s3://a/d/ s3://b/d/ --delete -y --exclude '*.tmp' --queue redis://host/0
  mover rsync s3://a/d/ s3://b/d/ --source-pool us --target-pool eu --queue redis://host/0
  mover rsync s3://a/d/ s3://b/d/ --fuzzy --delete -y --source-pool us --target-pool eu --queue redis://host/0
  mover rsync s3://a/v2/ s3://b/d/ --base s3://a/v1/ --delta always    # TARGET has v1
"""

_IN_PLACE: Final = (
    "--inplace cannot be used: an object store replaces objects whole, and a file becomes visible"
    " here only when all of it is there and verified; leave the option out"
)

_DELETING: Final = ("max_delete", "allow_empty_source")
_SENDING: Final = (
    "delta", "optimise", "fuzzy", "source_pool", "target_pool", "base", "base_versions",
)  # fmt: skip


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, cls=SectionedOption, section="How it moves", **attributes)


@click.command(cls=MovingCommand, epilog=_EXAMPLES, short_help="Make TARGET equal to SOURCE.")
@click.argument("source", type=Location())
@click.argument("target", type=Location())
@selection_options
@comparing_options
@_option(
    "--delete",
    is_flag=True,
    help="Delete what only TARGET has, after all was copied; what is excluded stays.",
)
@_option(
    "--max-delete",
    type=click.IntRange(min=0),
    metavar="N",
    help="Delete nothing if it would be more than N objects.",
)
@_option("--allow-empty-source", is_flag=True, help="Delete also where SOURCE has nothing at all.")
@_option("-y", "--yes", is_flag=True, help="Delete without asking.")
@_option(
    "--delta",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Send large objects that changed as differences: where it pays, wherever it can be done, or not.",
)
@_option(
    "--optimise",
    type=click.Choice(["time", "cost"]),
    default="time",
    show_default=True,
    help="What a difference must save to be worth it.",
)
@_option(
    "--fuzzy",
    is_flag=True,
    help="Make large objects that TARGET lacks of like ones that it has under other names.",
)
@_option(
    "--source-pool",
    default="",
    metavar="NAME",
    help="The workers of the fleet near SOURCE; differences are taken between them and --target-pool.",
)
@_option("--target-pool", default="", metavar="NAME", help="The workers of the fleet near TARGET.")
@_option(
    "--base",
    default="",
    type=Location(empty=True),
    metavar="LOCATION",
    help="An older copy of SOURCE's tree near it, for differences without a signature where TARGET has just that.",
)
@_option(
    "--base-versions",
    is_flag=True,
    help="Look for such older copies among the versions that SOURCE's bucket keeps.",
)
@click.option("--inplace", is_flag=True, hidden=True)  # a habit that deserves an answer
@transfer_options
@metrics_options
@output_options
@click.pass_context
def rsync(context: click.Context, /, source: str, target: str, **_: object) -> int:
    """Make TARGET equal to SOURCE: copy what is new or differs and, with --delete, remove the rest.

    It copies as mover copy does. What --delete removes goes last, and only if nothing has failed.
    Names that the filters leave out are never deleted. It asks before it deletes; where nobody can
    be asked, it refuses to delete more than half of TARGET without -y.
    """  # fmt: skip
    from mover.cli_running import run_copy

    given = context.params
    queue = read_queue(context)
    refuse_local_options(context, queue)
    if given["inplace"]:
        raise Rejected(_IN_PLACE)
    sending = {name: given[name] for name in _SENDING}
    wishes = {**read_wishes(context), **_read_deletion(context), **sending}
    if given["delete"] and not given["dry_run"]:
        _make_sure(source, target, wishes, agreed=given["yes"], queue=queue)
    return run_copy(
        source,
        target,
        wishes=wishes,
        workers=read_workers(given["workers"]),
        dry_run=given["dry_run"],
        queue=queue,
        detach=given["detach"],
        concurrency=given["concurrency"],
        output=read_output(context),
        command="rsync",
    )


def _read_deletion(context: click.Context) -> dict[str, Any]:
    given = context.params
    for name in _DELETING:
        if given[name] and not given["delete"]:
            raise Rejected(f"--{name.replace('_', '-')} is for --delete: give both or neither")
    return {name: given[name] for name in ("delete", *_DELETING)}


def _make_sure(
    source: str, target: str, wishes: dict[str, Any], *, agreed: bool, queue: str
) -> None:
    """Refuse what must not be deleted, and ask about the rest. Raises ``Rejected``.

    With -y, a fleet's workers look for themselves: this host need not reach the stores.
    """
    from mover import api
    from mover.deleting import doubt, must_count, objection
    from mover.queues import is_fleet
    from mover.wiring_base import run_loop

    if agreed and is_fleet(queue):
        return
    spec = api.specification(source, target, **wishes)
    counting = not agreed or must_count(spec)
    found = run_loop(api.survey(source, target, counting=counting, **wishes))
    if against := objection(spec, found):
        raise Rejected(against)
    if agreed or not found.extras:
        return
    if _can_ask():
        if not click.confirm(f"mover: delete {found}?", err=True):
            raise Rejected("nothing was changed: the deletion was not agreed to")
    elif against := doubt(found):
        raise Rejected(against)


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()

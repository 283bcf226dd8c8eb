"""Options of the commands: their help, their order, and the values that their texts become.

Texts become values here and nowhere else. A text that makes no sense is a ``Rejected`` with one
line that names the option, the text and the remedy; so is a file that cannot be read.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.shell_completion import CompletionItem

from mover.errors import Rejected

if TYPE_CHECKING:  # reading rules and units takes 20 ms that --help need not spend
    from mover.filtering import Rule, Selection

F = TypeVar("F", bound=Callable[..., Any])

WORKERS_MAX = 256
"""Worker processes of one command; more on one host cost memory and bring nothing."""

_RULES_SEEN = "mover.rules_seen"
_RULE_OPTIONS = ("include", "exclude", "filter_from")
_SECTIONS = ("What is taken", "How it moves", "What is shown")


class Location(click.types.StringParamType):
    """A path or a URL of a store; a shell completes it as a path."""

    name = "location"

    def __init__(self, *, empty: bool = False) -> None:
        super().__init__()
        self._may_be_empty = empty

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value and not self._may_be_empty:
            self.fail("it is empty; write a path or a URL, as in s3://bucket/prefix/", param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class SectionedOption(click.Option):
    """An option that ``--help`` shows under a heading."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class MovingCommand(click.Command):
    """A command whose rule options keep their order, and whose help has sections."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and note the order of the rule options.

        Click gathers the values of each option by itself, so the order between ``--include`` and
        ``--exclude`` is lost in its result. Its parser does know it, one entry an occurrence.
        """
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_RULES_SEEN] = [each.name for each in order if each.name in _RULE_OPTIONS]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {section: [] for section in _SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                rows[getattr(param, "section", _SECTIONS[-1])].append(record)
        for section, records in rows.items():
            if records:
                with formatter.section(section):
                    formatter.write_dl(records)


def _option(section: int, *names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, cls=SectionedOption, section=_SECTIONS[section], **attributes)


def selection_options(command: F) -> F:
    """Add the options that choose objects; ``read_selection`` reads them."""
    return _apply(
        command,
        _option(0, "--include", multiple=True, metavar="PATTERN", help="Take what matches: rsync's patterns; the first rule that matches decides."),
        _option(0, "--exclude", multiple=True, metavar="PATTERN", help="Leave out what matches; a directory takes its content with it."),
        _option(0, "--filter-from", multiple=True, metavar="FILE", help="Read rules from a file: lines of '+ PATTERN' and '- PATTERN'."),
        _option(0, "--files-from", metavar="FILE", help="Take only the names in this list; - is standard input."),
        _option(0, "--min-size", metavar="SIZE", help="Leave out objects smaller than this, as in 1MiB."),
        _option(0, "--max-size", metavar="SIZE", help="Leave out objects larger than this."),
        _option(0, "--newer", metavar="TIME", help="Take objects modified since: an age (2h, 1d) or a date (2026-05-04)."),
        _option(0, "--older", metavar="TIME", help="Take objects last modified before an age or a date."),
    )  # fmt: skip


def comparing_options(command: F) -> F:
    """Add the options that say when two objects are equal, and what a symlink is."""
    return _apply(
        command,
        _option(1, "--compare", type=click.Choice(["size", "mtime", "etag", "checksum"]), default="mtime", show_default=True, help="What makes two objects of one name equal."),
        _option(1, "--links", type=click.Choice(["follow", "skip", "preserve-as-object"]), default="skip", show_default=True, help="What becomes of symlinks in a local source."),
    )  # fmt: skip


def manifest_option(command: F) -> F:
    """Add the option that puts a manifest in the place of the source."""
    return _apply(
        command,
        _option(1, "--manifest", type=Location(), metavar="LOCATION", help="Verify TARGET from the record that a copy has left here, without SOURCE."),
    )  # fmt: skip


def transfer_options(command: F) -> F:
    """Add the options that say how bytes move; ``read_wishes`` reads them."""
    return _apply(
        command,
        _option(1, "--verify", type=click.Choice(["stream", "full"]), default="stream", show_default=True, help="Check as bytes pass, or read the target again as well."),
        _option(1, "--limit", default="", metavar="RATE", help="Bytes per second of the whole job, as in 50MiB/s, or a timetable: '08:00,50MiB/s 19:00,off'."),
        _option(1, "--limit-requests", default="", metavar="RATE", help="Requests per second of the whole job, as in 500/s."),
        _option(1, "--link", "rate_links", multiple=True, metavar="NAME=RATE", help="A budget of bytes that all jobs with this link share, as in wan=50MB/s."),
        _option(1, "--concurrency", type=click.IntRange(1, 10_000), metavar="N", help="Pin the requests in flight per store.  [default: found out while it runs]"),
        _option(1, "--queue", default="", envvar="MOVER_QUEUE", show_envvar=True, metavar="URL", help="Let the workers of a fleet do it: redis://HOST:PORT/0.  [default: this host]"),
        _option(1, "--pool", default="any", show_default=True, metavar="NAME", help="The workers of the fleet that may take this job: a region, a node."),
        _option(1, "--detach", is_flag=True, help="Submit to the queue, print the job's name, and leave."),
        _option(1, "--workers", default="auto", show_default=True, metavar="N|auto", help="Processes on this host."),
        _option(1, "--ignore-existing", is_flag=True, help="Leave alone what the target has, equal or not."),
        _option(1, "--part-size", metavar="SIZE", help="Size of the parts of large objects.  [default: by object and store]"),
        _option(1, "--server-copy/--no-server-copy", default=True, show_default=True, help="Let the store copy by itself where both ends are in it."),
        _option(1, "--sign-on-write", is_flag=True, help="Leave a signature of each large object at the target, for later differences."),
        _option(1, "--manifest", default="", type=Location(empty=True), metavar="LOCATION", help="Record here what becomes of each object.  [default: the job's own directory]"),
        _option(1, "-n", "--dry-run", is_flag=True, help="Print the plan, one action a line, and change nothing."),
    )  # fmt: skip


def output_options(command: F) -> F:
    """Add the options that say what is shown; ``read_output`` reads them."""
    return _apply(
        command,
        _option(2, "--json", "as_json", is_flag=True, help="Print one JSON object at the end, and nothing else, on standard output."),
        _option(2, "--progress/--no-progress", default=None, help="Show progress on standard error.  [default: yes, unless --json]"),
        _option(2, "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True, help="What is worth a log line on standard error."),
        _option(2, "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How a log line looks."),
    )  # fmt: skip


def metrics_options(command: F) -> F:
    """Add the options that say where metrics are found; ``read_output`` reads them."""
    return _apply(
        command,
        _option(2, "--metrics", default="", metavar="HOST:PORT", help="Serve metrics for Prometheus while it runs, as in :9090."),
        _option(2, "--metrics-file", default="", metavar="FILE", help="Write the same here, for node_exporter; the last numbers stay."),
    )  # fmt: skip


def queue_option(*, required: bool = False) -> Callable[[F], F]:
    """Add ``--queue``; ``read_queue`` reads it."""
    text = "Where the jobs are: redis://HOST:PORT/0 for a fleet.  [default: this host's jobs]"
    return click.option(
        "--queue",
        default="",
        required=required,
        envvar="MOVER_QUEUE",
        show_envvar=True,
        metavar="URL",
        help="The fleet's queue: redis://HOST:PORT/0." if required else text,
    )


def read_queue(context: click.Context) -> str:
    """The address of the queue. Raises ``Rejected`` for a password on the command line."""
    from mover.queues import refuse_secret

    queue: str = context.params["queue"]
    if context.get_parameter_source("queue") is click.core.ParameterSource.COMMANDLINE:
        refuse_secret(queue)
    return queue


def refuse_local_options(context: click.Context, queue: str) -> None:
    """Raise ``Rejected`` for options of this host's processes where a fleet does the work."""
    from mover.queues import is_fleet

    if not is_fleet(queue):
        return
    for name in ("workers", "concurrency"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise Rejected(f"--{name} is for this host; with a fleet, say it to mover worker")


def _apply(command: F, *decorators: Callable[[F], F]) -> F:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a person or a program wants to see; ``progress`` None leaves it to the place.

    ``metrics`` is where to serve them, ``metrics_file`` where to write them; "" for nowhere.
    """

    as_json: bool
    progress: bool | None
    log_level: str
    log_format: str
    metrics: str = ""
    metrics_file: str = ""


def read_output(context: click.Context) -> Output:
    """The values of ``output_options`` and ``metrics_options``. Raises ``Rejected``."""
    given = context.params
    metrics, metrics_file = given.get("metrics", ""), given.get("metrics_file", "")
    for name in ("dry_run", "detach"):
        if (metrics or metrics_file) and given.get(name):
            raise Rejected(
                f"--metrics and --metrics-file do not go with --{name.replace('_', '-')}"
            )
    return Output(
        as_json=given["as_json"],
        progress=given["progress"],
        log_level=given["log_level"],
        log_format=given["log_format"],
        metrics=metrics,
        metrics_file=metrics_file,
    )


def read_wishes(context: click.Context) -> dict[str, Any]:
    """The keyword arguments of ``mover.api.copy`` that say what moves and how.

    Raises ``Rejected`` for a rate or a size that cannot be read, so that nothing is opened for it.
    """
    from mover.links import parse_links
    from mover.units import Malformed, Timetable, parse_request_rate, parse_size

    given = context.params
    try:
        if given["limit"]:
            Timetable.parse(given["limit"], what="--limit")
        if given["limit_requests"]:
            parse_request_rate(given["limit_requests"], what="--limit-requests")
        parse_links(given["rate_links"])
        part_size = given["part_size"]
        part_bytes = parse_size(part_size, what="--part-size") if part_size else 0
    except Malformed as error:
        raise Rejected(str(error)) from error
    passed = (
        "verify",
        "limit",
        "limit_requests",
        "rate_links",
        "pool",
        "server_copy",
        "ignore_existing",
        "manifest",
        "sign_on_write",
    )
    return {
        **{name: given[name] for name in passed},
        **read_comparison(context),
        "part_bytes": part_bytes,
    }


def read_comparison(context: click.Context) -> dict[str, Any]:
    """The keyword arguments that copying and checking share."""
    given = context.params
    return {
        "selection": read_selection(context),
        "compare": given["compare"],
        "links": given["links"],
    }


def read_workers(text: str) -> int | Literal["auto"]:
    """A number of processes or ``auto``. Raises ``Rejected``."""
    if text == "auto":
        return "auto"
    if text.isdecimal() and 1 <= int(text) <= WORKERS_MAX:
        return int(text)
    raise Rejected(f"--workers {text!r} cannot be used: write 1 to {WORKERS_MAX}, or auto")


def read_selection(context: click.Context) -> "Selection":
    """What ``selection_options`` choose. Raises ``Rejected``, also for files that say nonsense."""
    from mover.filtering import Selection
    from mover.name_lists import read_name_list
    from mover.units import Malformed, parse_size

    given = context.params
    if [given["files_from"], *given["filter_from"]].count("-") > 1:
        raise Rejected("standard input (-) can be read once: give the other list as a file")
    try:
        names = None
        if given["files_from"] is not None:
            text = read_text(given["files_from"], option="--files-from")
            names = read_name_list(text, file=given["files_from"])
        sizes = {
            name: parse_size(given[name], what=f"--{name.replace('_', '-')}")
            for name in ("min_size", "max_size")
            if given[name] is not None
        }
        return Selection(
            rules=_read_rules(context),
            names=names,
            size_min_bytes=sizes.get("min_size"),
            size_max_bytes=sizes.get("max_size"),
            newer=given["newer"],
            older=given["older"],
        )
    except Malformed as error:
        raise Rejected(str(error)) from error


def rule_options(context: click.Context) -> Iterator[tuple[str, str]]:
    """The rule options of a command line in its order: (``include``, ``*.csv``) and so on."""
    values = {name: iter(context.params[name]) for name in _RULE_OPTIONS}
    for name in context.meta[_RULES_SEEN]:
        yield name, next(values[name])


def _read_rules(context: click.Context) -> "tuple[Rule, ...]":
    from mover.filtering import Rule, read_rules

    rules: tuple[Rule, ...] = ()
    for name, value in rule_options(context):
        if name == "filter_from":
            text = read_text(value, option="--filter-from")
            rules = read_rules(text, file=value, before=rules)
        elif name == "include":
            rules += (Rule(verdict="include", pattern=value),)
        else:
            rules += (Rule(verdict="exclude", pattern=value),)
    return rules


def read_text(name: str, *, option: str) -> str:
    """The text of a file, or of standard input for ``-``; every byte of a name survives."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Rejected(f"{option} {name}: {error.strerror}") from error
    return data.decode("utf-8", "surrogateescape")

"""The command line: arguments in, an exit code out. What is done is ``mover.api``'s.

Standard output holds results only: a plan, differences, one JSON object with ``--json``. All else
goes to standard error. An error is one line there, never a traceback (``--log-level debug`` logs
it). Imports that cost time stand inside functions, so that ``--help`` and completion stay quick.
"""

import io
import logging
import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class

from mover import __version__
from mover.cli_delta import COMMANDS as DELTA_COMMANDS
from mover.cli_fleet import COMMANDS as FLEET_COMMANDS
from mover.cli_options import (
    Location,
    MovingCommand,
    comparing_options,
    manifest_option,
    metrics_options,
    output_options,
    read_comparison,
    read_output,
    read_queue,
    read_wishes,
    read_workers,
    refuse_local_options,
    selection_options,
    transfer_options,
)
from mover.cli_prewarm import prewarm
from mover.cli_rsync import rsync
from mover.errors import MoverError

SHELLS = ("bash", "zsh", "fish")

# The backspace keeps the lines of a paragraph as they are.
_EXAMPLES = """\b
Examples:
  mover copy s3://bucket/data/ data/              # a tree from a store to a disk
  mover copy data/ s3://bucket/data/ --dry-run    # what would be done
  mover rsync data/ s3://bucket/data/ --delete    # make the target equal to the source
  mover check s3://bucket/data/ data/             # are they equal?
  mover prewarm /mnt/jfs/data/                    # fill a cache before a job starts
"""

_COPY_EXAMPLES = """\b
Examples:
  mover copy s3://bucket/data/ data/
  mover copy data/ 's3://bucket/data/?endpoint_url=http://host:8333' --workers 4
  mover copy s3://bucket/logs/ logs/ --include '*/' --include '*.gz' --exclude '*'
  mover copy s3://from/d/ s3://to/d/ --limit 50MiB/s --limit-requests 500/s
  mover copy s3://bucket/data/ data/ --files-from failed.txt --json
"""

_CHECK_EXAMPLES = """\b
Examples:
  mover check s3://bucket/data/ data/
  mover check s3://bucket/data/ data/ --compare checksum    # reads what listings cannot tell
  mover check data/ s3://bucket/data/ --exclude '*.tmp' --json
  mover check --manifest s3://records/ s3://bucket/data/    # without the source
"""

_COMPLETION_EXAMPLES = """\b
Examples:
  mover completion bash > ~/.local/share/bash-completion/completions/mover
  mover completion zsh > "${fpath[1]}/_mover"
  mover completion fish > ~/.config/fish/completions/mover.fish
"""

logger = logging.getLogger(__name__)


@click.group(
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="mover", message="%(prog)s %(version)s")
def commands() -> None:
    """Move datasets between stores: fast, verified, resumable.

    SOURCE and TARGET are paths or URLs: s3://bucket/prefix/, https://host/path/, file:///path, or
    any scheme that fsspec knows. Store options ride as a query:
    's3://bucket/p/?endpoint_url=http://host:8333&region=eu-1&profile=lab'. Credentials come from
    the standard chains (AWS environment, profile, role); MOVER_SOURCE_ or MOVER_TARGET_ in front
    of a variable's name gives each side its own.

    Exit codes: 0 done and verified, 1 incomplete, 2 the request makes no sense, 3 verification
    failed, 130 or 143 interrupted. The same command line run again resumes.
    """


@commands.command(cls=MovingCommand, epilog=_COPY_EXAMPLES)
@click.argument("source", type=Location())
@click.argument("target", type=Location())
@selection_options
@comparing_options
@transfer_options
@metrics_options
@output_options
@click.pass_context
def copy(context: click.Context, /, source: str, target: str, **_: object) -> int:
    """Copy an object or a tree from SOURCE to TARGET.

    A trailing slash, or the name of a prefix or directory, means a tree: its contents land under
    TARGET. Objects that TARGET has already, equal by --compare, are skipped. What is done is not
    done twice when the same command runs again.
    """
    from mover.cli_running import run_copy

    queue = read_queue(context)
    refuse_local_options(context, queue)
    return run_copy(
        source,
        target,
        wishes=read_wishes(context),
        workers=read_workers(context.params["workers"]),
        dry_run=context.params["dry_run"],
        queue=queue,
        detach=context.params["detach"],
        concurrency=context.params["concurrency"],
        output=read_output(context),
    )


@commands.command(cls=MovingCommand, epilog=_CHECK_EXAMPLES)
@click.argument("source", type=Location())
@click.argument("target", type=Location(), required=False, metavar="TARGET")
@selection_options
@comparing_options
@manifest_option
@output_options
@click.pass_context
def check(
    context: click.Context, /, source: str, target: str | None, manifest: str | None, **_: object
) -> int:
    """Compare SOURCE and TARGET and change nothing.

    Prints one line for each name that is missing from TARGET, differs, or is extra in TARGET, and
    exits with 1 if there is one.

    With --manifest LOCATION, TARGET stands alone and is verified from the record that a copy has
    left; the exit code is 3 where something is there and is not what was copied.
    """
    from mover.cli_running import run_check

    wishes, output = read_comparison(context), read_output(context)
    if manifest is None:
        if target is None:
            raise click.MissingParameter(ctx=context, param_hint="'TARGET'", param_type="argument")
        return run_check(source, target, wishes=wishes, output=output)
    if target is not None:
        raise click.UsageError("--manifest takes the place of SOURCE: give TARGET alone")
    del wishes["links"]  # a record says itself what each object was
    return run_check(manifest, source, wishes=wishes, output=output, recorded=True)


@commands.command(epilog=_COMPLETION_EXAMPLES, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the script that lets a SHELL complete mover's commands and options."""
    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(completer(commands, {}, "mover", "_MOVER_COMPLETE").source())
    return 0


for _command in (rsync, prewarm, *DELTA_COMMANDS, *FLEET_COMMANDS):
    commands.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors become one line on standard error."""
    _write_any_name()
    as_json = "--json" in arguments
    try:
        code = commands.main(args=list(arguments), prog_name="mover", standalone_mode=False)
        sys.stdout.flush()  # here, where a closed pipe is still an error that can be caught
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _fail(_one_line(error), 2, as_json=as_json)
    except MoverError as error:
        return _fail(str(error), error.exit_code, as_json=as_json, cause=error)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130, as_json=as_json)
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough; nobody is left to tell.
        sys.stdout = io.StringIO()
        return 1
    except Exception as error:  # noqa: BLE001 - the last seam: a person gets a line, the log the rest
        message = f"unexpected {type(error).__name__}: {error} (--log-level debug tells more)"
        return _fail(message, 1, as_json=as_json, cause=error)


def _write_any_name() -> None:
    """Names may hold what the terminal's encoding cannot say: show it escaped, never fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(error: click.ClickException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    return f"{message} ({context.command_path} --help shows examples)" if context else message


def _fail(message: str, code: int, *, as_json: bool, cause: Exception | None = None) -> int:
    from mover.display import printable

    if cause is not None:
        logger.debug("the command failed", exc_info=cause)
    line = printable(" ".join(message.split("\n")))
    sys.stderr.write(f"mover: error: {line}\n")
    if as_json:
        from mover.cli_running import write_json_failure

        write_json_failure(line, code)
    return code

"""The commands of delta sync by hand: sign, diff, patch; and one-sided: publish, fetch.

What they do is done by ``cli_delta_running``; nothing heavy is imported for ``--help``.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mover.cli_options import Location
from mover.errors import Rejected

F = TypeVar("F", bound=Callable[..., Any])

THREADS_MAX = 64

_DELTA_EXAMPLES = """\b
Examples:
  mover delta sign old.bin old.sig                  # where the old bytes are
  mover delta diff old.sig new.bin new.delta        # where the new bytes are
  mover delta patch old.bin new.delta new.bin       # where the old bytes are
"""

_SIGN_EXAMPLES = """\b
Examples:
  mover delta sign disk.img disk.sig
  mover delta sign s3://bucket/model.safetensors model.sig --block-size 16KiB
  mover delta sign disk.img - | ssh source 'mover delta diff - new.img -' > img.delta
  mover delta sign upload.bin upload.sig --strong blake3      # bytes that are not trusted
  mover delta sign events.log events.sig --append             # it only grows: some hundred bytes
"""

_DIFF_EXAMPLES = """\b
Examples:
  mover delta diff disk.sig new.img img.delta
  mover delta diff s3://b/model.sig s3://b/model.safetensors s3://b/model.delta --json
  pg_dump db | mover delta diff dump.sig - dump.delta
  mover delta diff --base step100.safetensors step101.safetensors 101.delta
"""

_PATCH_EXAMPLES = """\b
Examples:
  mover delta patch disk.img img.delta new.img
  mover delta patch disk.img img.delta disk.img               # in its place, all at once
  mover delta patch s3://b/model.safetensors model.delta s3://b/new.safetensors
  ssh source cat img.delta | mover delta patch disk.img - new.img
"""


_PUBLISH_EXAMPLES = """\b
Examples:
  mover delta publish s3://bucket/images/disk.img
  mover delta publish disk.img --to s3://bucket/sigs/disk.sig
  mover delta publish s3://bucket/upload.bin --strong blake3     # bytes that are not trusted
"""

_FETCH_EXAMPLES = """\b
Examples:
  mover delta fetch s3://bucket/images/disk.img disk.img disk.img
  mover delta fetch https://host/disk.img old.img new.img
  mover delta fetch s3://bucket/disk.img old.img new.img --signature s3://bucket/sigs/disk.sig
"""


def _threads_option(command: F) -> F:
    return click.option(
        "--threads",
        type=click.IntRange(1, THREADS_MAX),
        metavar="N",
        help="Threads that work on a local file.  [default: one, and one more for each 4 GiB, up to one a core]",
    )(command)


def _output_options(command: F) -> F:
    command = click.option(
        "--progress/--no-progress",
        default=None,
        help="Show progress on standard error.  [default: on a terminal, unless --json]",
    )(command)
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON object at the end (on standard error where results go to a pipe).",
    )(command)


def _signing_options(command: F) -> F:
    command = click.option(
        "--strong",
        type=click.Choice(["xxh3-128", "blake3", "sha256"]),
        default="xxh3-128",
        show_default=True,
        help="The digest of blocks; the first is no match for somebody who makes collisions.",
    )(command)
    command = click.option(
        "--append",
        is_flag=True,
        help="OLD only ever grows at its end: sign it in the largest blocks there are.",
    )(command)
    return click.option(
        "--block-size",
        metavar="SIZE",
        help="Bytes of a block, 64 to 64MiB.  [default: by the size of OLD]",
    )(command)


@click.group(epilog=_DELTA_EXAMPLES, short_help="Send only what changed of a large object.")
def delta() -> None:
    """Send only what changed of a large object: by hand, with files between the steps.

    A signature of the old bytes is small; with it, a delta is made of the new bytes where they are;
    with that, the old bytes become the new ones. Names are files, locations of stores as in mover
    copy, or - for a pipe.
    """


@delta.command(epilog=_SIGN_EXAMPLES)
@click.argument("old", type=Location())
@click.argument("signature", type=Location())
@_signing_options
@_threads_option
@_output_options
def sign(old: str, signature: str, **options: Any) -> int:
    """Write the SIGNATURE of OLD.

    OLD from a pipe goes through a temporary file, because its size chooses the blocks. Of an object that
    was copied with --sign-on-write the signature is there already, and OLD is not read.
    """
    from mover.cli_delta_running import run_sign

    return run_sign(old, signature, wish=_wish(options), shown=_shown(options))


@delta.command(epilog=_DIFF_EXAMPLES)
@click.argument("signature", type=Location())
@click.argument("new", type=Location())
@click.argument("delta", type=Location())
@click.option(
    "--base",
    is_flag=True,
    help="SIGNATURE is OLD itself: compare the two versions directly, arrays element by element.",
)
@click.option(
    "--ladder/--no-ladder",
    default=None,
    help="Add checksums of each MiB, by which a store may copy what is unchanged itself."
    "  [default: where a name is of a store]",
)
@_threads_option
@_output_options
def diff(
    signature: str, new: str, delta: str, base: bool, ladder: bool | None, **options: Any
) -> int:
    """Write the DELTA that makes NEW of what SIGNATURE is of.

    With --base OLD NEW DELTA both versions are at hand, and no signature is needed. The delta fits this
    OLD and no other. Bytes whose elements of 2 or 4 bytes changed here and there, as weights do, are
    told as changes where that is less. What is no local file goes through a temporary one.
    """
    from mover.cli_delta_running import run_diff

    _refuse_two_pipes(signature, new)
    return run_diff(signature, new, delta, base=base, ladder=ladder, shown=_shown(options))


@delta.command(epilog=_PATCH_EXAMPLES)
@click.argument("old", type=Location())
@click.argument("delta", type=Location())
@click.argument("out", type=Location())
@_output_options
def patch(old: str, delta: str, out: str, **options: Any) -> int:
    """Write to OUT what DELTA makes of OLD.

    The result is verified whole before OUT shows it, all at once; the exit code is 3 where it is not
    what was diffed, and OUT is then as it was. OLD is read here and there, so it cannot be a pipe;
    OUT may be OLD. To a pipe the result goes through a temporary file.
    """
    from mover.cli_delta_running import run_patch

    _refuse_two_pipes(old, delta)
    return run_patch(old, delta, out, shown=_shown(options))


@delta.command(epilog=_PUBLISH_EXAMPLES)
@click.argument("source", type=Location())
@click.option(
    "--to",
    default="",
    type=Location(empty=True),
    metavar="LOCATION",
    help="Write the signature here.  [default: SOURCE.mover-sig]",
)
@_signing_options
@_threads_option
@_output_options
def publish(source: str, to: str, **options: Any) -> int:
    """Write the signature of SOURCE beside it, for readers who have an old copy.

    It is bound to the size and, on a store, to the etag and version of SOURCE: publish it again
    when SOURCE has changed.
    """
    from mover.cli_delta_running import run_publish

    return run_publish(source, to, wish=_wish(options), shown=_shown(options))


@delta.command(epilog=_FETCH_EXAMPLES)
@click.argument("source", type=Location())
@click.argument("basis", type=Location())
@click.argument("out", type=Location())
@click.option(
    "--signature",
    default="",
    type=Location(empty=True),
    metavar="LOCATION",
    help="Where the signature of SOURCE is.  [default: SOURCE.mover-sig]",
)
@click.option(
    "--gap",
    metavar="SIZE",
    help="Known bytes that are fetched rather than asked around.  [default: 64KiB]",
)
@_threads_option
@_output_options
def fetch(
    source: str, basis: str, out: str, signature: str, gap: str | None, **options: Any
) -> int:
    """Write SOURCE to OUT, and read of it only what the old copy BASIS has not.

    SOURCE has a published signature, and nothing need run where it is. OUT may be BASIS. The result is
    verified whole before OUT shows it; the exit code is 3 where it is not what was published, and OUT
    is then as it was. BASIS from a pipe goes through a temporary file.
    """
    from mover.cli_delta_running import run_fetch
    from mover.units import Malformed, parse_size

    try:
        gap_bytes = None if gap is None else parse_size(gap, what="--gap", minimum_bytes=0)
    except Malformed as error:
        raise Rejected(str(error)) from error
    _refuse_two_pipes(basis, signature)
    return run_fetch(
        source, basis, out, signature=signature, gap_bytes=gap_bytes, shown=_shown(options)
    )


def _refuse_two_pipes(*names: str) -> None:
    if names.count("-") > 1:
        raise Rejected("standard input (-) can be read once: give the other one as a file")


def _wish(options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a ``SignWish``. Raises ``Rejected``."""
    from mover.delta.model import BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, Strong
    from mover.units import Malformed, parse_size

    block_bytes = BLOCK_BYTES_MAX if options["append"] else 0
    if options["append"] and options["block_size"] is not None:
        raise Rejected("--append chooses the blocks: leave out --block-size")
    if options["block_size"] is not None:
        try:
            block_bytes = parse_size(options["block_size"], what="--block-size")
        except Malformed as error:
            raise Rejected(str(error)) from error
        if not BLOCK_BYTES_MIN <= block_bytes <= BLOCK_BYTES_MAX:
            raise Rejected(f"--block-size {options['block_size']}: write 64 to 64MiB")
    strong = Strong[options["strong"].replace("-", "_").upper()]
    return {"block_bytes": block_bytes, "strong": strong}


def _shown(options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``Shown``."""
    return {
        "threads": options.get("threads") or 0,
        "as_json": options["as_json"],
        "progress": options["progress"],
    }


COMMANDS = (delta,)

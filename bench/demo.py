"""What ``make run`` shows: a real dataset from disk to S3 and back, caches warmed, and two regions kept in step.

``demo_prewarm`` has the second part, ``demo_regions`` the third. The dataset is this program's own environment: thousands of small files of installed packages, and
the server's binary of more than 100 MB. Everything lies in one directory that is removed at the
end, also after Ctrl-C; a sentinel process does it if this program is killed outright.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.demo_prewarm import show_prewarm
from bench.demo_regions import FILES, OBJECT_BYTES, show_regions
from bench.processes import CommandFailed
from bench.stores import SeaweedServer, ServerFailed, ServerMissing
from bench.workspace import NoRoom, Workspace, open_workspace

DATASET_RULES: Final = (
    "--exclude=__pycache__/",  # Python rewrites these while we copy
    "--include=/bin/",
    "--include=/bin/weed",
    "--include=/lib/***",
    "--exclude=*",
)
"""What is taken of the environment: its packages and the server's binary."""

COPIES: Final = 5
"""The dataset lies in two buckets, on the disk and in a cache directory at the end, and a part of it on a mount."""

MARGIN_BYTES: Final = 1 << 30
"""The server allocates whole volumes ahead of what it holds."""

CHILD_GRACE_S: Final = 15.0
"""How long the mover may take to end after Ctrl-C: it drains, and its workers with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of the show and the sentence that introduces it."""

    title: str
    arguments: tuple[str, ...]


class StepFailed(RuntimeError):
    """A command of the show ended with an exit code other than zero."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"{command} ended with exit code {code}")
        self.code = code


def steps(source: Path, disk: Path, endpoint_url: str, extra: Sequence[str] = ()) -> list[Step]:
    """The show, in order; ``extra`` arguments go to every copy."""
    dataset = f"s3://dataset/packages/?endpoint_url={endpoint_url}"
    returned = f"s3://returned/packages/?endpoint_url={endpoint_url}"
    tree, down = f"{source}/", f"{disk}/"
    return [
        Step(
            title="Load the dataset into a bucket",
            arguments=("copy", tree, dataset, *DATASET_RULES, *extra),
        ),
        Step(title="Copy S3 to disk", arguments=("copy", dataset, down, *extra)),
        Step(
            title="Check, by checksums",
            arguments=("check", dataset, down, "--compare=checksum"),
        ),
        Step(title="Copy disk to S3", arguments=("copy", down, returned, *extra)),
        Step(
            title="Check, by checksums",
            arguments=("check", down, returned, "--compare=checksum"),
        ),
        Step(title="Copy again: nothing to do", arguments=("copy", down, returned, *extra)),
    ]


def dataset_size(root: Path) -> tuple[int, int]:
    """Files and bytes that ``DATASET_RULES`` take of an environment."""
    objects = size_bytes = 0
    for path in _dataset_files(root):
        objects += 1
        size_bytes += path.lstat().st_size
    return objects, size_bytes


def _dataset_files(root: Path) -> Iterable[Path]:
    yield from root.glob("bin/weed")
    for directory, names, files in os.walk(root / "lib"):
        if "__pycache__" in names:
            names.remove("__pycache__")
        yield from (path for name in files if not (path := Path(directory, name)).is_symlink())


def show(workspace: Workspace, source: Path, extra: Sequence[str]) -> None:
    """Start the server, run the steps. Raises ``StepFailed``, ``ServerMissing``, ``ServerFailed``."""
    _tell("Starting SeaweedFS, an S3 server, on this machine")
    with SeaweedServer(workspace.root / "server") as server:
        for bucket in ("dataset", "returned"):
            server.create_bucket(bucket)
        environment = {
            **{name: value for name, value in os.environ.items() if not _is_foreign(name)},
            **server.environment(),
            "MOVER_STATE": str(workspace.root / "state"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

        def run(arguments: Sequence[str]) -> None:
            _run([sys.executable, "-m", "mover", *arguments], environment)

        for step in steps(source, workspace.root / "disk", server.endpoint_url, extra):
            _tell(f"\n{step.title}\n$ mover {shlex.join(step.arguments)}")
            run(step.arguments)
        show_prewarm(workspace.root / "warm", server, run, _tell)
    show_regions(workspace.root / "regions", _tell)


def _is_foreign(name: str) -> bool:
    """The user's own stores and proxies have no part in this."""
    return name.startswith(("AWS_", "MOVER_")) or name.lower().endswith("_proxy")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command to its end; when this program is told to stop, end it first."""
    child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        code = child.wait()
    except BaseException:
        # A terminal has told the child as well; SIGTERM is for those that only told us.
        child.terminate()
        try:
            child.wait(CHILD_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise
    if code != 0:
        raise StepFailed(f"mover {command[3]}", code)


def main() -> int:
    """Run the show. Exit codes: 0 all equal, 1 a step or the server failed, 2 no room, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.demo", description="A real dataset there and back."
    )
    parser.add_argument("--directory", type=Path, help="where to work [default: RAM, else /tmp]")
    arguments, extra = parser.parse_known_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    source = Path(sys.prefix)
    objects, size_bytes = dataset_size(source)
    _tell(f"Dataset: {objects:,} real files, {size_bytes / 1e6:,.0f} MB, from {source}")
    started_s = time.monotonic()
    try:
        needed = COPIES * size_bytes + FILES * OBJECT_BYTES + MARGIN_BYTES
        with open_workspace(arguments.directory, needed_bytes=needed) as workspace:
            try:
                show(workspace, source, extra)
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the clean-up is short: let it end
    except KeyboardInterrupt:
        return _interrupted(130)
    except NoRoom as error:
        _tell(f"make run: {error}")
        return 2
    except StepFailed as error:
        if error.code in (130, 143):
            return _interrupted(error.code)
        _tell(f"make run: {error}")
        return 1
    except (CommandFailed, ServerMissing, ServerFailed) as error:
        _tell(f"make run: {error}")
        return 1
    _tell(f"\nAll equal, in {time.monotonic() - started_s:.0f} s; nothing is left behind")
    return 0


def _interrupted(code: int) -> int:
    _tell("\nInterrupted; nothing is left behind")
    return code


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The second part of ``make run``: caches are filled before a job needs them, and looked into by others.

A cache directory of its own first; then, where FUSE is usable, a real JuiceFS mount, whose own
``juicefs warmup --check`` says what is resident.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from bench.juice import JuiceMount, fuse_is_usable
from bench.processes import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.stores import SeaweedServer

PART: Final = (
    "--include=/bin/",
    "--include=/bin/weed",
    "--include=/lib/",
    "--include=/lib/python*/",
    "--include=/lib/python*/site-packages/",
    "--include=/lib/python*/site-packages/a*/***",
    "--exclude=*",
)
"""What of the dataset is put on the mount: a binary of more than 100 MB and some hundred small files."""


def show_prewarm(
    root: Path,
    server: SeaweedServer,
    run: Callable[[Sequence[str]], None],
    tell: Callable[[str], None],
) -> None:
    """Run the show in a directory; ``run`` runs a command of the mover.

    Raises as ``run``, ``ServerFailed``, and ``CommandFailed`` where JuiceFS knows of less than the mover has said.
    """

    def step(title: str, *arguments: str) -> None:
        tell(f"\n{title}\n$ mover {shlex.join(arguments)}")
        run(arguments)

    root.mkdir()
    dataset = f"s3://dataset/packages/?endpoint_url={server.endpoint_url}"
    into = ("--into", str(root / "cache"), "--capacity", "2GiB")
    step("Warm a cache directory", "prewarm", dataset, *into)
    step("Warm it again: nothing to read", "prewarm", dataset, *into)
    if not fuse_is_usable():
        tell("\nNo mount is shown: FUSE needs root and /dev/fuse")
        return
    with JuiceMount(server, directory=root / "jfs") as mount:
        data = f"{mount.path}/data/"
        step("Put a part of it on a JuiceFS mount", "copy", dataset, data, *PART)
        mount.cold()
        step("Its cache is empty: warm it", "prewarm", data)
        tell(f"\nWhat JuiceFS itself says\n$ juicefs warmup --check {data}")
        checked = mount.check(mount.path / "data")
        tell(f"{checked.files:,} files checked, {checked.percent:g} % cached")
        if checked.percent < 100:
            raise CommandFailed("juicefs warmup --check", 1, "the mover has called it full")

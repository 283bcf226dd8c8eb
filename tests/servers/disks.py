"""A file system that is small enough to fill: a tmpfs of a given size."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class CannotMount(RuntimeError):
    """Mounting a tmpfs was refused: the tests of a full disk need the right to do it."""

    def __init__(self, *, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"cannot mount a tmpfs ({reason}); run the tests as root, in a container with "
            "--cap-add SYS_ADMIN, or under: unshare --user --map-root-user --mount"
        )


@contextlib.contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """A fresh, empty file system of about ``size_bytes``; unmounted and removed at the end.

    Raises CannotMount where the kernel or the container refuses.
    """
    place = Path(tempfile.mkdtemp(prefix="fluid-mover-disk-"))
    try:
        options = f"size={size_bytes},mode=0755"
        command = ["mount", "-t", "tmpfs", "-o", options, "fluid-mover", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except FileNotFoundError as error:
            raise CannotMount(reason=str(error)) from error
        if done.returncode != 0:
            raise CannotMount(reason=done.stderr.strip())
        try:
            yield place
        finally:
            # Lazy, so that a file which a failed test left open cannot keep the mount.
            subprocess.run(["umount", "--lazy", str(place)], timeout=20, check=True)
    finally:
        place.rmdir()

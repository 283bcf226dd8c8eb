"""Where the trees and the server's data lie: a RAM disk where there is one, and never left behind."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RAM_DISK = Path("/dev/shm")
_PREFIX = "mover-bench-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A directory of this run alone, and what it lies on: ``ram`` or ``disk``."""

    root: Path
    storage: str


class NoRoom(RuntimeError):
    """No place has the free bytes that the chosen scenarios need."""

    def __init__(self, directory: Path, *, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"{directory} has {free_bytes / 2**30:.1f} GiB free, the run needs "
            f"{needed_bytes / 2**30:.1f} GiB: choose --directory, a smaller --scale, or fewer "
            "scenarios"
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


@contextlib.contextmanager
def open_workspace(directory: Path | None, *, needed_bytes: int) -> Iterator[Workspace]:
    """Make a directory for one run and remove it at the end, however the run ends.

    Without a ``directory`` the RAM disk is taken if it has the room, else the temporary directory.
    Raises ``NoRoom`` or ``OSError``.
    """
    parent = directory or _roomiest(needed_bytes)
    free_bytes = _free_bytes(parent)
    if free_bytes < needed_bytes:
        raise NoRoom(parent, needed_bytes=needed_bytes, free_bytes=free_bytes)
    _sweep(parent)
    root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield Workspace(root=root, storage="ram" if _is_ram(parent) else "disk")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _roomiest(needed_bytes: int) -> Path:
    if _is_ram(RAM_DISK) and _free_bytes(RAM_DISK) >= needed_bytes:
        return RAM_DISK
    return Path(tempfile.gettempdir())


def _is_ram(path: Path) -> bool:
    """Tell whether a path lies on tmpfs, by the longest mount point above it."""
    resolved, best, kind = path.resolve(), "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mount_point, filesystem = line.split()[:3]
            if resolved.is_relative_to(mount_point) and len(mount_point) >= len(best):
                best, kind = mount_point, filesystem
    return kind == "tmpfs"


def _free_bytes(path: Path) -> int:
    """Return what can be written: a RAM disk never gives more than the memory that is left."""
    try:
        free_bytes = shutil.disk_usage(path).free
    except OSError:
        return 0
    return min(free_bytes, _memory_available_bytes()) if _is_ram(path) else free_bytes


def _memory_available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _sweep(parent: Path) -> None:
    """Remove what a run left that was killed outright: its process is gone, its RAM is not."""
    for leftover in parent.glob(f"{_PREFIX}*"):
        owner = leftover.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(leftover, ignore_errors=True)

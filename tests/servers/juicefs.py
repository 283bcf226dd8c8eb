"""Files on a real JuiceFS mount, none of them in its cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.juice import JuiceMount, fuse_is_usable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["JuiceMount", "cool", "fuse_is_usable", "put_files"]


def put_files(directory: Path, files: Mapping[str, int]) -> None:
    """Make files of these sizes in bytes, whose bytes are no zeros."""

    def put(item: tuple[str, int]) -> None:
        key, size = item
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((key.encode("utf-8", "surrogateescape") * (size // len(key) + 1))[:size])

    directory.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(16) as crew:
        list(crew.map(put, files.items()))


def cool(mount: JuiceMount, directory: Path) -> None:
    """Take a directory out of the mount's cache."""
    mount.evict(directory)

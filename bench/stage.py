"""Buckets and trees around the timed runs: made fresh before, counted and dropped after."""

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.datasets import DatasetSpec, PlannedFile, Pool, Totals, plan_files
from bench.peers import Rclone, S5cmd
from bench.processes import run_command
from bench.scenarios import Direction
from bench.tools import Bucket, Endpoint, Errand, Folder, Setting

SPOT_FILES = 8
SPOT_BYTES_MAX = 1024**3


class _Size(msgspec.Struct):
    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a target must hold after a run."""

    dataset: DatasetSpec
    seed: int
    scale: float
    totals: Totals


class Stage:
    """One server's buckets and one directory's trees. Nothing here is timed."""

    def __init__(
        self,
        *,
        root: Path,
        endpoint: Endpoint,
        create_bucket: Callable[[str], None],
        delete_bucket: Callable[[str], None],
    ) -> None:
        self._root = root
        self._endpoint = endpoint
        self._create_bucket = create_bucket
        self._delete_bucket = delete_bucket
        self._numbers = itertools.count(1)
        self._judge = Rclone()
        self._hand = S5cmd()

    def fresh_bucket(self) -> Bucket:
        """Make an empty bucket."""
        bucket = Bucket(name=f"bench-{next(self._numbers):04d}")
        self._create_bucket(bucket.name)
        return bucket

    def fresh_folder(self, name: str = "") -> Folder:
        """Make an empty directory."""
        path = self._root / (name or f"tree-{next(self._numbers):04d}")
        path.mkdir(parents=True)
        return Folder(path=path)

    def drop(self, place: Bucket | Folder) -> None:
        """Remove a bucket or a tree with all that is in it."""
        if isinstance(place, Folder):
            shutil.rmtree(place.path)
        else:
            # The server deletes the bucket's volumes as files: no garbage, unlike single deletes.
            self._delete_bucket(place.name)

    def fill(self, bucket: Bucket, folder: Folder) -> None:
        """Load a tree into a bucket. Objects have no metadata of any tool but s5cmd's: none."""
        errand = self.errand(Direction.UP, folder, bucket, home=self._root)
        setting = Setting(label="loading", general=("--numworkers", "32"))
        run_command(self._hand.command(errand, setting))

    def errand(
        self,
        direction: Direction,
        source: Bucket | Folder,
        target: Bucket | Folder,
        *,
        home: Path,
        floor_port: int | None = None,
    ) -> Errand:
        """Put an errand together for this stage's server."""
        return Errand(
            direction=direction,
            source=source,
            target=target,
            endpoint=self._endpoint,
            floor_port=floor_port,
            home=home,
        )

    def problem_of(self, target: Bucket | Folder, expected: Expected, *, spot: int) -> str | None:
        """Say what is wrong with a target, or ``None``: count, bytes, and contents on the spot.

        ``spot`` chooses the files of a tree that are compared byte for byte.
        """
        found = self.count(target)
        if found != expected.totals:
            return (
                f"the target holds {found.objects} objects of {found.size_bytes} bytes, not "
                f"{expected.totals.objects} of {expected.totals.size_bytes}"
            )
        if isinstance(target, Folder):
            pool = Pool(seed=expected.seed)
            for file in _spots(expected, spot):
                if not pool.matches(file, target.path / file.path):
                    return f"{file.path} differs from the source"
        return None

    def count(self, place: Bucket | Folder) -> Totals:
        """Count objects and bytes; a bucket is counted by rclone, an independent judge."""
        if isinstance(place, Folder):
            return count_tree(place.path)
        errand = self.errand(Direction.DOWN, place, place, home=self._root)
        size = msgspec.json.decode(
            run_command(self._judge.count_command(place, errand)), type=_Size
        )
        return Totals(objects=size.count, size_bytes=size.bytes)


def count_tree(root: Path) -> Totals:
    """Count the regular files below a directory, and their bytes."""
    sizes = [status.st_size for status in _statuses(root)]
    return Totals(objects=len(sizes), size_bytes=sum(sizes))


def count_changed(root: Path, *, since_ns: int) -> int:
    """Count the files below a directory that were written or renamed after a time (UTC)."""
    # The change time cannot be set by a tool, unlike the modification time.
    return sum(status.st_ctime_ns > since_ns for status in _statuses(root))


def _statuses(root: Path) -> Iterator[os.stat_result]:
    for directory, _, names in os.walk(root):
        for name in names:
            yield os.lstat(os.path.join(directory, name))


def _spots(expected: Expected, spot: int) -> list[PlannedFile]:
    """Choose files by chance but always the same for a spot number, up to a limit of bytes."""
    files = list(plan_files(expected.dataset, seed=expected.seed, scale=expected.scale))
    chosen: list[PlannedFile] = []
    left_bytes = SPOT_BYTES_MAX
    for file in random.Random(spot).sample(files, min(SPOT_FILES, len(files))):
        if file.size_bytes <= left_bytes:
            chosen.append(file)
            left_bytes -= file.size_bytes
    return chosen

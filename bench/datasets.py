"""Seeded data sets: the same seed and scale give the same tree, byte for byte, on any machine."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Files are cut from one pool of random bytes at seeded offsets: incompressible, and written at
# memory speed, where fresh random bytes for 4 GiB would take longer than the copies measured.
POOL_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedSizes:
    """Every file has ``size_bytes``."""

    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormalSizes:
    """Sizes follow a log-normal law around ``median_bytes``, cut at ``largest_bytes``."""

    median_bytes: int
    sigma: float
    largest_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A recipe for a tree. A scale changes the count, or with ``scale_sizes`` the sizes."""

    name: str
    count: int
    sizes: FixedSizes | LogNormalSizes
    files_per_directory: int
    scale_sizes: bool = False

    def scaled_count(self, scale: float) -> int:
        """Return how many files there are at this scale, at least one."""
        return self.count if self.scale_sizes else max(1, round(self.count * scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file to be: its path below the root in posix form, its size, and where it is cut."""

    path: str
    size_bytes: int
    pool_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much a tree, a bucket or a run holds."""

    objects: int
    size_bytes: int


def plan_files(spec: DatasetSpec, *, seed: int, scale: float = 1.0) -> Iterator[PlannedFile]:
    """Yield the files of a data set in order. Pure: the seed decides everything."""
    # The name is part of the seed, so that two sets of one run do not share their contents.
    rng = random.Random(f"{spec.name}:{seed}")
    size_scale = scale if spec.scale_sizes else 1.0
    for number in range(spec.scaled_count(scale)):
        directory = number // spec.files_per_directory
        yield PlannedFile(
            path=f"part-{directory:04d}/object-{number:07d}.bin",
            size_bytes=max(1, round(_draw_size(spec.sizes, rng) * size_scale)),
            pool_offset=rng.randrange(POOL_BYTES),
        )


def _draw_size(sizes: FixedSizes | LogNormalSizes, rng: random.Random) -> int:
    if isinstance(sizes, FixedSizes):
        return sizes.size_bytes
    drawn = rng.lognormvariate(math.log(sizes.median_bytes), sizes.sigma)
    return min(sizes.largest_bytes, round(drawn))


def total(spec: DatasetSpec, *, seed: int, scale: float = 1.0) -> Totals:
    """Return the count and the bytes of a data set without writing it."""
    objects = size_bytes = 0
    for file in plan_files(spec, seed=seed, scale=scale):
        objects += 1
        size_bytes += file.size_bytes
    return Totals(objects=objects, size_bytes=size_bytes)


class Pool:
    """The random bytes that all files of one data set are cut from."""

    def __init__(self, *, seed: int) -> None:
        self._bytes = memoryview(random.Random(seed).randbytes(POOL_BYTES))

    def pieces(self, file: PlannedFile) -> Iterator[memoryview]:
        """Yield the contents of a file piece by piece: the pool from its offset, round and round."""
        offset, left_bytes = file.pool_offset, file.size_bytes
        while left_bytes:
            piece = self._bytes[offset : offset + left_bytes]
            yield piece
            left_bytes -= len(piece)
            offset = 0

    def matches(self, file: PlannedFile, path: Path) -> bool:
        """Tell whether the file on disk holds exactly the planned bytes. Raises ``OSError``."""
        with path.open("rb", buffering=0) as reader:
            for piece in self.pieces(file):
                if reader.read(len(piece)) != piece:
                    return False
            return reader.read(1) == b""


def write_tree(spec: DatasetSpec, root: Path, *, seed: int, scale: float = 1.0) -> Totals:
    """Write the data set below ``root`` and return its totals. Raises ``OSError``."""
    pool = Pool(seed=seed)
    directory: Path | None = None
    objects = size_bytes = 0
    for file in plan_files(spec, seed=seed, scale=scale):
        path = root / file.path
        if path.parent != directory:
            directory = path.parent
            directory.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as writer:
            for piece in pool.pieces(file):
                writer.write(piece)
        objects += 1
        size_bytes += file.size_bytes
    return Totals(objects=objects, size_bytes=size_bytes)

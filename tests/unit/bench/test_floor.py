import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.datasets import DatasetSpec, LogNormalSizes, Pool, plan_files, total, write_tree
from bench.processes import script_server
from bench.stage import count_tree

FLOOR = Path(__file__).parents[3] / "bench" / "floor.py"
# Sizes around the floor's own pieces of 256 KiB, and well above.
SPEC = DatasetSpec(
    name="floor",
    count=12,
    sizes=LogNormalSizes(median_bytes=600_000, sigma=1.5, largest_bytes=5_000_000),
    files_per_directory=5,
)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    write_tree(SPEC, tmp_path / "source", seed=1)
    with script_server("floor.py", "serve", str(tmp_path / "source")) as port:
        yield port


def floor(*arguments: str) -> int:
    command = [sys.executable, "-I", "-S", str(FLOOR), *arguments]
    return subprocess.run(command, timeout=20, check=False).returncode


def test_down_brings_every_byte(port: int, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    assert floor("down", str(port), str(tmp_path / "target")) == 0
    assert count_tree(tmp_path / "target") == total(SPEC, seed=1)
    pool = Pool(seed=1)
    assert all(
        pool.matches(file, tmp_path / "target" / file.path) for file in plan_files(SPEC, seed=1)
    )


def test_up_and_across_are_acknowledged(port: int, tmp_path: Path) -> None:
    assert floor("up", str(port), str(tmp_path / "source")) == 0
    assert floor("across", str(port)) == 0


def test_nobody_listening_is_a_failure(port: int, tmp_path: Path) -> None:
    assert floor("up", "1", str(tmp_path / "source")) != 0

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.datasets import (
    POOL_BYTES,
    DatasetSpec,
    FixedSizes,
    LogNormalSizes,
    PlannedFile,
    Pool,
    Totals,
    plan_files,
    total,
    write_tree,
)
from bench.scenarios import LARGE, MIXED, SCENARIOS, SMALL, UnknownScenario, choose
from bench.stage import count_changed

FEW = DatasetSpec(
    name="few",
    count=25,
    sizes=LogNormalSizes(median_bytes=500, sigma=1.0, largest_bytes=5000),
    files_per_directory=10,
)


@pytest.mark.parametrize(
    ("spec", "scale", "objects", "size_bytes"),
    [
        (SMALL, 1.0, 20_000, 20_000 * 16_384),
        (SMALL, 0.01, 200, 200 * 16_384),
        (LARGE, 1.0, 4, 4 * 2**30),
        (LARGE, 0.25, 4, 2**30),  # a few large files stay a few large files
        (SMALL, 1e-9, 1, 16_384),
    ],
)
def test_totals(spec: DatasetSpec, scale: float, objects: int, size_bytes: int) -> None:
    assert total(spec, seed=1, scale=scale) == Totals(objects=objects, size_bytes=size_bytes)


def test_mixed_sizes_are_skewed_and_bounded() -> None:
    sizes = sorted(file.size_bytes for file in plan_files(MIXED, seed=1))
    assert 32 * 1024 < sizes[len(sizes) // 2] < 128 * 1024
    assert sum(sizes[-30:]) > sum(sizes) / 4  # the largest percent holds much of the bytes
    assert sizes[-1] <= 256 * 2**20
    assert sum(sizes) < 4 * 2**30  # it must fit the RAM disk three times


def test_the_seed_decides_everything() -> None:
    assert list(plan_files(FEW, seed=7)) == list(plan_files(FEW, seed=7))
    assert list(plan_files(FEW, seed=7)) != list(plan_files(FEW, seed=8))


@given(st.integers(1, 2**32), st.floats(0.01, 2.0))
@settings(max_examples=30)
def test_paths_are_distinct_and_in_key_order(seed: int, scale: float) -> None:
    paths = [file.path for file in plan_files(FEW, seed=seed, scale=scale)]
    assert paths == sorted(set(paths))
    assert total(FEW, seed=seed, scale=scale).objects == len(paths)


def test_the_tree_holds_exactly_the_plan(tmp_path: Path) -> None:
    written = write_tree(FEW, tmp_path, seed=3)
    pool = Pool(seed=3)
    files = list(plan_files(FEW, seed=3))
    assert written == total(FEW, seed=3)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.bin")} == {
        file.path for file in files
    }
    assert all(pool.matches(file, tmp_path / file.path) for file in files)


@pytest.mark.parametrize("damage", ["flip", "short", "long", "other seed"])
def test_a_damaged_file_does_not_match(tmp_path: Path, damage: str) -> None:
    write_tree(FEW, tmp_path, seed=3)
    file = next(plan_files(FEW, seed=3))
    path = tmp_path / file.path
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    elif damage == "short":
        del data[-1]
    elif damage == "long":
        data.append(0)
    path.write_bytes(data)
    pool = Pool(seed=4 if damage == "other seed" else 3)
    assert not pool.matches(file, path)


def test_contents_wrap_around_the_pool() -> None:
    file = PlannedFile(path="x", size_bytes=POOL_BYTES + 10, pool_offset=POOL_BYTES - 5)
    pool = Pool(seed=1)
    assert [len(piece) for piece in pool.pieces(file)] == [5, POOL_BYTES, 5]


def test_scenarios_have_distinct_names_and_known_references() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    references = {scenario.goal.rss_growth_from for scenario in SCENARIOS} - {None}
    assert references <= set(names)


def test_choose_keeps_the_order_of_the_table() -> None:
    assert [one.name for one in choose(("small-up", "small-down"))] == ["small-down", "small-up"]
    assert choose(()) == SCENARIOS
    with pytest.raises(UnknownScenario, match="small-down"):
        choose(("no-such",))


def test_fixed_sizes_do_not_vary() -> None:
    spec = DatasetSpec(
        name="same", count=9, sizes=FixedSizes(size_bytes=100), files_per_directory=2
    )
    assert {file.size_bytes for file in plan_files(spec, seed=1)} == {100}


def test_files_written_again_are_seen_whatever_their_mtime(tmp_path: Path) -> None:
    write_tree(FEW, tmp_path, seed=3)
    time.sleep(0.02)  # the kernel's file times advance in ticks of up to 10 ms
    since_ns = time.time_ns()
    assert count_changed(tmp_path, since_ns=since_ns) == 0
    time.sleep(0.02)
    path = tmp_path / next(plan_files(FEW, seed=3)).path
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(0, 0))
    assert count_changed(tmp_path, since_ns=since_ns) == 1

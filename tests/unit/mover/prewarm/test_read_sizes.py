import random
from collections.abc import Callable

import pytest

from mover.prewarm.read_sizes import SIZES, TRY_EVERY, ReadSizes


def played(rate_of: Callable[[int], float], runs: int, sizes: ReadSizes | None = None) -> ReadSizes:
    sizes = sizes or ReadSizes()
    for _ in range(runs):
        size = sizes.choose()
        sizes.measured(size, rate_of(size))
    return sizes


@pytest.mark.parametrize("best", SIZES)
def test_it_finds_the_size_that_brings_most(best: int) -> None:
    noise = random.Random(1)
    sizes = played(lambda size: (200 if size == best else 100) * noise.uniform(0.8, 1.2), 200)
    assert sizes.best == best


def test_where_all_bring_the_same_it_stays() -> None:
    assert played(lambda size: 100.0, 500).best == SIZES[1]


def test_it_follows_what_changes() -> None:
    sizes = played(lambda size: 200.0 if size == SIZES[0] else 100.0, 200)
    assert sizes.best == SIZES[0]
    assert played(lambda size: 200.0 if size == SIZES[2] else 100.0, 400, sizes).best == SIZES[2]


def test_most_runs_take_the_best() -> None:
    sizes = ReadSizes()
    chosen = [sizes.choose() for _ in range(10 * TRY_EVERY)]
    assert chosen.count(sizes.best) >= 9 * TRY_EVERY

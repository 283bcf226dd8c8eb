import random

import pytest

from bench import kernel, kernel_data
from bench.kernel_data import Pair


def test_the_cases_are_what_they_are_called() -> None:
    old = kernel_data.randoms(1, 100_000)
    other = kernel_data.randoms(2, 100_000)
    assert len(old) == 100_000
    assert old == kernel_data.randoms(1, 100_000) != other
    assert len(kernel_data.inserted(old)) == 100_001
    new = kernel_data.edited(old, other)
    changed = sum(one != another for one, another in zip(old, new, strict=True))
    assert 900 < changed <= 1000


def test_hard_pairs_are_of_the_size_that_was_asked_for() -> None:
    pairs = list(kernel_data.hard_pairs(1, 2048, 65_536))
    assert len({pair.name for pair in pairs}) == len(pairs) > 80
    assert all(len(pair.old) <= 65_536 and len(pair.new) <= 65_536 for pair in pairs)
    assert len(kernel_data.stretched(pairs[0], 100_000).new) == 100_000


def test_the_worst_pair_has_the_lowest_rate() -> None:
    pairs = [Pair(name, b"", b"") for name in ("a", "b", "c")]
    assert kernel_data.worst(iter(pairs), lambda pair: -ord(pair.name)).name == "c"


@pytest.mark.parametrize(("ratio", "verdict"), [(0.3, "below"), (0.4, "floor"), (0.8, "goal")])
def test_a_figure_says_what_it_reached(ratio: float, verdict: str) -> None:
    assert kernel.Figure(2048, kernel.SIGN, 9.0, ratio).row()[6] == verdict


def test_broken_blocks_begin_alike() -> None:
    made = kernel_data.broken(b"x" * 10, 64, 640, random.Random(1))
    assert len(made) == 640
    assert all(made[at : at + 10] == b"x" * 10 for at in range(0, 640, 64))

import random

import pytest

from mover.prewarm.yielding import (
    CEILING_MIN,
    CEILING_START,
    IDLE_PROBES,
    SLOW_SHARE,
    Yielder,
    pause_s,
)


def idle(factor: float = 1.5, latency_s: float = 0.002) -> Yielder:
    yielder = Yielder(factor=factor, most=64)
    for _ in range(IDLE_PROBES):
        yielder.probed_idle(latency_s)
    assert yielder.knows_idle
    return yielder


def probed(yielder: Yielder, latency_s: float, times: int, *, readers: int = 64) -> None:
    for _ in range(times):
        yielder.probed(latency_s, readers=readers)


def test_it_leaves_nothing_to_others_on_a_mount_as_quick_as_idle() -> None:
    yielder = idle()
    assert yielder.ceiling == CEILING_START
    probed(yielder, 0.002, 400)
    assert yielder.ceiling == 64


def test_it_goes_down_to_a_trickle_and_takes_it_back() -> None:
    yielder = idle()
    probed(yielder, 0.002, 400)
    yielder.probed(0.010, readers=20)
    assert yielder.ceiling == pytest.approx(16)  # from what ran, not from what might
    probed(yielder, 0.010, 40, readers=1)
    assert yielder.ceiling == CEILING_MIN
    probed(yielder, 0.002, 400, readers=1)
    assert yielder.ceiling == 64


def test_it_settles_where_as_many_are_slow_as_may_be() -> None:
    # A mount on which the share of slow reads is a tenth of the ceiling.
    yielder, chance = idle(), random.Random(1)
    ceilings = []
    for _ in range(20_000):
        is_slow = chance.random() < 0.1 * yielder.ceiling
        yielder.probed(0.010 if is_slow else 0.002, readers=64)
        ceilings.append(yielder.ceiling)
    share = 0.1 * sum(ceilings[2_000:]) / len(ceilings[2_000:])
    assert 0.5 * SLOW_SHARE < share < 1.5 * SLOW_SHARE


def test_without_an_idle_latency_it_says_nothing() -> None:
    yielder = Yielder(factor=1.5, most=64)
    yielder.probed(1.0, readers=64)
    assert yielder.ceiling == CEILING_START
    assert yielder.idle_s == 0


@pytest.mark.parametrize(
    ("slow_s", "idle_s"),
    [
        ([0.003] * 5, 0.003),  # the slow ones of an idle mount
        ([0.030] * 4, 0.002),  # stalls: four in forty
        ([0.030] * 20, 0.005),  # others have been at work: some middle ones at the most
    ],
)
def test_the_idle_mount_is_known_by_its_slow_reads(slow_s: list[float], idle_s: float) -> None:
    yielder = Yielder(factor=1.5, most=64)
    for latency_s in [*[0.002] * (IDLE_PROBES - len(slow_s) + 1), *slow_s]:
        yielder.probed_idle(latency_s)
    assert yielder.idle_s == pytest.approx(idle_s)


@pytest.mark.parametrize(("ceiling", "rest_s"), [(4.0, 0.0), (1.0, 0.0), (0.5, 2.0), (0.1, 18.0)])
def test_below_one_a_reader_rests_for_its_share(ceiling: float, rest_s: float) -> None:
    assert pause_s(2.0, ceiling) == pytest.approx(rest_s)

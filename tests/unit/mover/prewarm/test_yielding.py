import pytest

from mover.prewarm.yielding import CEILING_MIN, CEILING_START, IDLE_PROBES, Yielder, pause_s


def idle(factor: float = 1.5, latency_s: float = 0.002) -> Yielder:
    yielder = Yielder(factor=factor, most=64)
    for _ in range(IDLE_PROBES):
        yielder.probed_idle(latency_s)
    assert yielder.knows_idle
    return yielder


def test_it_leaves_nothing_to_others_on_a_mount_as_quick_as_idle() -> None:
    yielder = idle()
    assert yielder.ceiling == CEILING_START
    for _ in range(20):
        yielder.probed(0.002, readers=64)
    assert yielder.ceiling == 64


def test_it_goes_down_to_a_trickle_and_takes_it_back() -> None:
    yielder = idle()
    for _ in range(20):
        yielder.probed(0.002, readers=20)
    yielder.probed(0.010, readers=20)
    assert yielder.ceiling == 10
    for _ in range(12):
        yielder.probed(0.010, readers=1)
    assert yielder.ceiling == CEILING_MIN
    for _ in range(40):
        yielder.probed(0.002, readers=1)
    assert yielder.ceiling == 64


def test_between_quick_and_slow_it_stays() -> None:
    yielder = idle(factor=2.0)
    yielder.probed(0.1, readers=8)
    assert yielder.ceiling == CEILING_START / 2
    for _ in range(10):
        yielder.probed(0.0035, readers=4)
    # The slow one is forgotten first; from then on nothing moves.
    settled = yielder.ceiling
    yielder.probed(0.0035, readers=4)
    assert yielder.ceiling == settled


def test_without_an_idle_latency_it_says_nothing() -> None:
    yielder = Yielder(factor=1.5, most=64)
    yielder.probed(1.0, readers=64)
    assert yielder.ceiling == CEILING_START
    assert yielder.idle_s == 0


def test_a_moment_as_slow_as_those_of_an_idle_mount_is_none_of_ours() -> None:
    yielder = Yielder(factor=1.5, most=64)
    for latency_s in (*[0.002] * (IDLE_PROBES - 1), 0.006):
        yielder.probed_idle(latency_s)
    for latency_s in (0.002, 0.002, 0.006, 0.002, 0.002):
        yielder.probed(latency_s, readers=2)
    assert yielder.ceiling > CEILING_START
    yielder.probed(0.010, readers=2)
    assert yielder.ceiling == 1.0


@pytest.mark.parametrize(("ceiling", "rest_s"), [(4.0, 0.0), (1.0, 0.0), (0.5, 2.0), (0.1, 18.0)])
def test_below_one_a_reader_rests_for_its_share(ceiling: float, rest_s: float) -> None:
    assert pause_s(2.0, ceiling) == pytest.approx(rest_s)

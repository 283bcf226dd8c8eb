"""How often idle workers ask, by the size of their fleet."""

from __future__ import annotations

import pytest

from mover.settings import FLEET_POLICY, listing_lane
from scheduler.worker_policy import POLL_MAX_S, WorkerPolicy, idle_pause_s, reap_pause_s


@pytest.mark.parametrize(
    ("workers", "moving_s", "listing_s"),
    [(1, 0.5, 0.5), (8, 0.5, 0.5), (250, 0.5, 1.0), (1000, 2.0, 4.0), (100_000, 4.0, 4.0)],
)
def test_idle_lanes_of_a_large_fleet_pause_longer(
    workers: int, moving_s: float, listing_s: float
) -> None:
    (moving,) = FLEET_POLICY.lanes
    assert idle_pause_s(moving, workers) == moving_s
    assert idle_pause_s(listing_lane(FLEET_POLICY, ("listing",)), workers) == listing_s


def test_who_asks_seldom_already_goes_on_so() -> None:
    (lane,) = WorkerPolicy(idle_poll_s=2 * POLL_MAX_S).lanes
    assert idle_pause_s(lane, 1_000_000) == 2 * POLL_MAX_S


@pytest.mark.parametrize(
    ("lease_s", "workers", "pause_s"), [(30, 1, 10), (30, 100, 10), (30, 1000, 100), (9, 10, 3)]
)
def test_a_fleet_reaps_ten_times_a_second_at_most(
    lease_s: float, workers: int, pause_s: float
) -> None:
    assert reap_pause_s(lease_s, workers) == pause_s


def test_a_lane_beside_has_its_own_slots_and_pools() -> None:
    beside = listing_lane(FLEET_POLICY, ("any/listing",))
    policy = WorkerPolicy(slots=7, beside=(beside,))
    assert [(lane.slots, lane.pools) for lane in policy.lanes] == [
        (7, ("any",)),
        (beside.slots, ("any/listing",)),
    ]

"""The climb to a good limit, against a model of a store; and the slots."""

import asyncio
import heapq

import pytest

from tests.unit.transports.scripted import Scripted, blob, entry
from transports.errors import Denied, Throttled, TimedOut
from transports.limit import Brake, Limit
from transports.limit_policy import CALL_BYTES, AdaptiveLimit, LimitPolicy
from transports.model import ByteRange, Capabilities


def simulate(
    limit: AdaptiveLimit,
    *,
    knee: int,
    seconds: float,
    throttles_above: int | None = None,
    demand: int = 1000,
    from_s: float = 0.0,
) -> list[int]:
    """Calls of 50 ms each; beyond ``knee`` at once they only wait for each other.

    Returns the limit at the end of every second.
    """
    now_s, running, seen = from_s, [], []  # type: float, list[tuple[float, float]], list[int]
    while now_s < from_s + seconds:
        while len(running) < min(limit.value, demand):
            latency_s = 0.05 * max(1.0, (len(running) + 1) / knee)
            heapq.heappush(running, (now_s + latency_s, now_s))
        end_s, start_s = heapq.heappop(running)
        while len(seen) < int(end_s - from_s):
            seen.append(limit.value)
        now_s = end_s
        if throttles_above is not None and len(running) + 1 > throttles_above:
            limit.throttled(now_s)
        else:
            limit.note(
                now_s,
                size_bytes=16_384,
                calls=1,
                latency_s=end_s - start_s,
                saturated=len(running) + 1 >= limit.value,
            )
    return seen


@pytest.mark.parametrize("knee", [16, 24, 48, 200])
def test_it_climbs_to_where_throughput_ends(knee: int) -> None:
    seen = simulate(AdaptiveLimit(LimitPolicy(start=16, maximum=128)), knee=knee, seconds=60)
    late = seen[35:]
    assert min(late) >= min(knee, 128) - 4
    assert max(late) <= min(128, knee + 12)


def test_it_is_up_within_seconds_where_there_is_room() -> None:
    seen = simulate(AdaptiveLimit(LimitPolicy(start=16, maximum=128)), knee=200, seconds=10)
    assert seen[6] == 128


def test_it_comes_down_when_calls_become_slow_and_bring_less() -> None:
    limit = AdaptiveLimit(LimitPolicy(start=16, maximum=64))
    before = simulate(limit, knee=64, seconds=20)[-1]
    now_s = 20.0
    for _ in range(40):  # each second a limit's worth of calls, and each takes ten times as long
        now_s += 2.0
        for _ in range(limit.value):
            limit.note(now_s, size_bytes=0, calls=1, latency_s=0.5, saturated=True)
    assert limit.value < before


def test_it_stays_where_the_demand_is_lower_than_the_limit() -> None:
    seen = simulate(AdaptiveLimit(LimitPolicy(start=16, maximum=64)), knee=64, seconds=30, demand=8)
    assert set(seen) == {16}


def test_it_comes_down_when_the_store_asks_to_and_returns() -> None:
    limit = AdaptiveLimit(LimitPolicy(start=16, maximum=64))
    seen = simulate(limit, knee=64, seconds=60, throttles_above=20)
    assert max(seen[5:]) <= 24
    assert min(seen[5:]) >= 8
    before = limit.value
    simulate(limit, knee=64, seconds=60, from_s=60.0)
    assert limit.value > before


def test_a_storm_halves_once_per_interval_and_never_below_the_minimum() -> None:
    limit = AdaptiveLimit(LimitPolicy(start=16, maximum=64, minimum=2))
    for _ in range(100):
        limit.throttled(5.0)
    assert limit.value == 8
    for second in range(10):
        limit.throttled(7.0 + second * 2)
    assert limit.value == 2


def test_a_fixed_limit_stays() -> None:
    limit = AdaptiveLimit(LimitPolicy.fixed(4))
    assert set(simulate(limit, knee=64, seconds=10, throttles_above=1)) == {4}


@pytest.mark.parametrize("bounds", [(0, 4, 1), (5, 4, 1), (2, 4, 3), (1, 1, 0)])
def test_bounds_that_make_no_sense(bounds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="starts between its bounds"):
        LimitPolicy(start=bounds[0], maximum=bounds[1], minimum=bounds[2])


def test_the_store_states_its_bounds() -> None:
    policy = LimitPolicy.of(Capabilities(scheme="s", concurrency_start=90, concurrency_max=32))
    assert (policy.start, policy.maximum) == (32, 32)


class Gate:
    """Holds every call of a verb until it is opened; counts how many are inside."""

    def __init__(self, inner: Scripted) -> None:
        self.open = asyncio.Event()
        self.inside = 0
        self.peak = 0
        inner.will("read_into", *[self.hold] * 100)

    async def hold(self, *_: object) -> None:
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        try:
            await self.open.wait()
        finally:
            self.inside -= 1


async def test_no_more_than_the_limit_run_and_all_come_through() -> None:
    inner = Scripted()
    gate = Gate(inner)
    limit = Limit(inner, LimitPolicy.fixed(3))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(read(limit))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (gate.inside, limit.in_use) == (3, 3)
        gate.open.set()
    assert (gate.peak, limit.in_use, inner.count("read_into")) == (3, 0, 10)


async def test_a_cancelled_waiter_passes_its_slot_on() -> None:
    inner = Scripted()
    gate = Gate(inner)
    limit = Limit(inner, LimitPolicy.fixed(1))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(read(limit))
        await asyncio.sleep(0)
        second = group.create_task(read(limit))
        third = group.create_task(read(limit))
        await asyncio.sleep(0)
        first.cancel()  # hands the slot to the second, which is cancelled in the same moment
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.open.set()
    assert third.done()
    assert limit.in_use == 0
    assert gate.peak == 1


async def test_a_failed_call_gives_its_slot_back() -> None:
    inner = Scripted()
    inner.will("head", Denied("s"), Throttled("s"))
    limit = Limit(inner, LimitPolicy(start=8, maximum=8))
    for error in (Denied, Throttled):
        with pytest.raises(error):
            await limit.head("k")
    assert limit.in_use == 0
    assert limit.adaptive.value == 4


async def test_a_timeout_counts_and_the_others_are_not_told() -> None:
    told: list[int] = []
    inner = Scripted()
    inner.will("head", TimedOut("s"))
    inner.will("read_small", lambda some: [blob(some[0]), TimedOut("s")])
    now_s = 0.0
    brake = Brake(lambda: told.append(1))
    limit = Limit(inner, LimitPolicy(start=8, maximum=16), clock=lambda: now_s, brake=brake)
    with pytest.raises(TimedOut):
        await limit.head("k")
    assert limit.adaptive.value == 4
    now_s = 10.0
    await limit.read_small([entry("a"), entry("b")])
    assert limit.adaptive.value == 2
    assert told == []


async def test_a_brake_tells_of_throttling_and_slows_all_of_its_limits() -> None:
    told: list[int] = []
    brake = Brake(lambda: told.append(1))
    inner = Scripted()
    inner.will("head", Throttled("s"))
    first = Limit(inner, LimitPolicy(start=8, maximum=16), brake=brake)
    second = Limit(Scripted(), LimitPolicy(start=8, maximum=16), brake=brake)
    pinned = Limit(Scripted(), LimitPolicy.fixed(8), brake=brake)
    with pytest.raises(Throttled):
        await first.head("k")
    assert told == [1]
    assert (first.adaptive.value, second.adaptive.value) == (4, 8)
    brake.press()
    assert told == [1]  # what came from outside is not told outside
    assert (first.adaptive.value, second.adaptive.value, pinned.adaptive.value) == (4, 4, 8)


async def test_a_throttled_item_of_a_batch_counts() -> None:
    inner = Scripted()
    inner.will("read_small", lambda some: [blob(some[0]), Throttled("s")])
    limit = Limit(inner, LimitPolicy(start=8, maximum=16))
    await limit.read_small([entry("a"), entry("b")])
    assert limit.adaptive.value == 4


async def test_control_traffic_takes_no_slot() -> None:
    inner = Scripted()
    gate = Gate(inner)
    inner.pages = [[entry("a")]]
    limit = Limit(inner, LimitPolicy.fixed(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(read(limit))
        await asyncio.sleep(0)
        await limit.abort_upload("k", "id")
        await limit.clean("token")
        assert [page async for page in limit.list()] == [inner.pages[0]]
        await limit.close()
        gate.open.set()


async def test_work_is_bytes_and_calls() -> None:
    limit = AdaptiveLimit(LimitPolicy(start=1, maximum=9, interval_s=1.0))
    limit.note(1.0, size_bytes=0, calls=1, latency_s=1.0, saturated=True)
    assert limit.value == 2  # a first step, on trial
    limit.note(2.0, size_bytes=0, calls=1, latency_s=1.0, saturated=True)
    assert limit.value == 2  # not enough calls to judge it
    limit.note(2.1, size_bytes=CALL_BYTES, calls=1, latency_s=1.0, saturated=True)
    assert limit.value == 4  # three calls' worth of work in 1.1 s: kept, and the next is wider


async def read(limit: Limit) -> None:
    await limit.read_into(entry("k"), ByteRange(0, 4), memoryview(bytearray(4)))


async def test_a_waiter_is_cancelled_in_the_moment_in_which_the_holder_leaves() -> None:
    limit = Limit(Scripted(), LimitPolicy.fixed(1))
    forever = asyncio.Event()

    async def hold() -> None:
        await limit._held(forever.wait, 0)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()  # the first wakes the second, whose cancel it has not heard of yet
    assert all(task.cancelled() for task in tasks)
    assert limit.in_use == 0

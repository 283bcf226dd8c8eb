"""What a job knows of its link and its stores: estimates of one process, and of all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from mover.crew import Beat, beat
from mover.delta_tasks import Keeper
from mover.gauging import AGREED_S, HERE_S, Agreement, Stopwatches, measured_by_all
from mover.measuring import HALF_LIFE_S, LINK_PRIOR, Estimate, Gauge, Measured, Way
from mover.model import CopySpec, Tally
from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryTaskStore
from transports.memory import MemoryTransport
from transports.model import NO_ATTRIBUTES, Blob, ByteRange, Entry, Proof

if TYPE_CHECKING:
    from scheduler.model import WorkerBeat

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def gauge_with(*rates: float, size_bytes: int = MIB, every_s: float = 1.0) -> Gauge:
    clock = Clock()
    gauge = Gauge(clock)
    for rate in rates:
        gauge.note(Way.OUT, size_bytes, size_bytes / rate)
        clock.now_s += every_s
    return gauge


def out_of(gauge: Gauge) -> float:
    return gauge.estimates()[Way.OUT.value].rate


@pytest.mark.parametrize(
    ("rates", "estimate"),
    [
        ((), 0.0),
        ((7e6,), 7e6),
        ((10e6, 10e6, 10e6, 1e3), 10e6),  # one that stalled
        ((10e6, 10e6, 10e9, 10e6), 10e6),  # one that came out of a cache
        ((10e6, 11e6, 12e6), 11e6),
    ],
)
def test_a_few_that_are_far_off_do_not_move_it(rates: tuple[float, ...], estimate: float) -> None:
    assert out_of(gauge_with(*rates)) == pytest.approx(estimate)


def test_what_is_new_outweighs_what_is_old() -> None:
    assert out_of(gauge_with(*[90e6] * 20, *[10e6] * 3)) == pytest.approx(90e6)
    assert out_of(gauge_with(*[90e6] * 3, 10e6, every_s=3 * HALF_LIFE_S)) == pytest.approx(10e6)


def test_large_samples_outweigh_small_ones() -> None:
    gauge = Gauge(Clock())
    for _ in range(3):
        gauge.note(Way.OUT, MIB, 1.0)
    gauge.note(Way.OUT, 100 * MIB, 1.0)
    assert out_of(gauge) == 100 * MIB


def test_all_workers_together_are_a_median_too() -> None:
    near = [Estimate(0, 0)] * 2 + [Estimate(5e8, 1e9)]
    measured = Measured.of([[Estimate(1e7, 9e8)], [Estimate(2e7, 1e9)], near, []])
    assert (measured.out, measured.back, measured.source_read) == (2e7, None, 5e8)
    assert measured.named() == {"link": 20_000_000, "source_read": 500_000_000}


@pytest.mark.parametrize(
    ("known", "link"),
    [
        (Measured(), None),
        (Measured(limit=1e6), 1e6),
        (Measured(limit=1e9), LINK_PRIOR),
        (Measured(limit=1e9, out=5e8), 5e8),
        (Measured(limit=1e6, out=5e8), 1e6),
        (Measured(out=5e8, back=1.0), 5e8),
        (Measured(back=3e7), 3e7),
    ],
)
def test_what_the_link_carries(known: Measured, link: float | None) -> None:
    assert known.link == link


# -- all workers decide alike ------------------------------------------------------------------


async def tell(store: MemoryTaskStore, worker: str, now_s: float, *rates: float) -> None:
    await store.beat(worker, beat(Tally(), gauge_with(*rates)), now_s=now_s)


async def test_workers_agree_through_their_signs_of_life() -> None:
    store, clock = MemoryTaskStore(), Clock()
    one, other = (Agreement(store, lambda: 1e9, clock=clock) for _ in range(2))
    assert (await one.rates()).link == LINK_PRIOR
    await tell(store, "a", clock.now_s, 3e7)
    await tell(store, "b", clock.now_s, 4e7, 4e7)
    assert (await one.rates()).link == LINK_PRIOR, "it has looked just now"
    clock.now_s += AGREED_S
    assert await one.rates() == await other.rates()
    assert (await one.rates()).out == pytest.approx(4e7)
    clock.now_s += 2 * 3600
    assert (await one.rates()).out is None, "old words say nothing"


async def test_workers_hear_who_keeps_parcels_while_it_is_there() -> None:
    store, clock = MemoryTaskStore(), Clock()
    agreement = Agreement(store, lambda: None, clock=clock)
    near, far = Keeper("http://near:1"), Keeper("http://far:1", near_source=True)
    await store.beat("a", beat(Tally(), keeper=near), now_s=clock.now_s)
    await store.beat("b", beat(Tally(), keeper=far), now_s=clock.now_s + HERE_S)
    await store.beat("c", beat(Tally()), now_s=clock.now_s + HERE_S)
    assert set(await agreement.keepers()) == {near, far}
    clock.now_s += HERE_S
    assert await agreement.keepers() == [far]


async def test_while_the_queue_is_away_the_rates_stay() -> None:
    class Away(MemoryTaskStore):
        away = False

        async def workers(self, *, now_s: float, within_s: float) -> list[WorkerBeat]:
            if self.away:
                raise StoreUnavailable(location="queue", detail="gone")
            return await super().workers(now_s=now_s, within_s=within_s)

    store, clock = Away(), Clock()
    agreement = Agreement(store, lambda: None, clock=clock)
    await tell(store, "a", clock.now_s, 3e7)
    before = await agreement.rates()
    store.away = True
    clock.now_s += AGREED_S
    assert await agreement.rates() == before
    assert before.link == pytest.approx(3e7)


async def test_workers_that_know_nothing_of_rates_are_heard_too() -> None:
    store = MemoryTaskStore()
    await store.beat("old", msgspec.msgpack.encode([1, 2, 3, 4, 5]), now_s=0.0)
    assert await measured_by_all(store, now_s=0.0) == Measured()
    assert msgspec.msgpack.decode(beat(Tally()), type=Beat).rates == []


# -- which way a request goes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pools", "moved"),
    [
        (("us",), {Way.SOURCE_READ, Way.OUT, Way.BACK}),
        (("eu",), {Way.OUT, Way.TARGET_READ, Way.TARGET_WRITE}),
        (("us", "eu"), {Way.OUT, Way.BACK}),
        (("any",), {Way.OUT, Way.BACK}),
    ],
)
async def test_who_crosses_the_link(pools: tuple[str, ...], moved: set[Way]) -> None:
    spec = CopySpec(source="s3://a/", target="s3://b/", source_pool="us", target_pool="eu")
    gauge = Gauge(Clock())
    watches = Stopwatches(gauge, spec, pools)
    source, target = MemoryTransport(), MemoryTransport()
    blob = Blob(Entry("k", 2 * MIB, 0), bytes(2 * MIB), NO_ATTRIBUTES, Proof.NONE)
    await source.write_small([blob])
    far_source = watches.on_source(source, crosses=True)
    far_target = watches.on_target(target, crosses=True)
    buffer = memoryview(bytearray(2 * MIB))
    entry = (await source.head("k")).entry
    await far_source.read_into(entry, ByteRange(0, 2 * MIB), buffer)
    await far_target.write_small([blob])
    await far_target.read_into((await target.head("k")).entry, ByteRange(0, 2 * MIB), buffer)
    assert {way for way in Way if gauge.estimates()[way.value].rate} == moved
    near = watches.on_target(target, crosses=False)
    await near.write_small([blob])
    await watches.on_source(source, crosses=False).read_into(entry, ByteRange(0, 2 * MIB), buffer)
    assert gauge.estimates()[Way.TARGET_WRITE.value].rate
    assert gauge.estimates()[Way.SOURCE_READ.value].rate

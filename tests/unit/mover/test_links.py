"""Links: how they are written, and how a job's quotas follow them."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from mover.link_quotas import open_link_quotas
from mover.links import LinkRate, link_bucket, links_of, parse_links
from mover.units import Malformed, Timetable
from scheduler.memory_store import MemoryTaskStore
from scheduler.quota import CombinedTake, Quota
from scheduler.testing import run_virtually

MONDAY = datetime.datetime(2026, 5, 4, 9, 0, tzinfo=datetime.UTC)


def test_links_are_names_with_rates() -> None:
    rates = parse_links(["wan=50MB/s", "dc-1.east = 08:00,5MiB/s 19:00,off"])
    assert rates == {"wan": "50MB/s", "dc-1.east": "08:00,5MiB/s 19:00,off"}
    first, second = links_of(rates)
    assert (first.name, second.name) == ("dc-1.east", "wan")
    assert first.timetable.rate_at(MONDAY) == 5 * 1024 * 1024
    assert (second.bucket, second.text) == ("link:wan", b"50MB/s")
    assert parse_links([]) == {}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["wan"], "write NAME=RATE, as in wan=50MB/s"),
        (["=5MB/s"], "a name has 1 to 64"),
        (["a/b=5MB/s"], "a name has 1 to 64"),
        (["-a=5MB/s"], "begins with a letter or digit"),
        (["x" * 65 + "=5MB/s"], "a name has 1 to 64"),
        (["wan=5MB/s", "wan=6MB/s"], "wan has a rate already"),
        (["wan=fast"], "--link wan 'fast' cannot be used"),
        (["wan="], "--link wan '' cannot be used"),
        (["wan=50Mb/s"], "say bytes or bits"),
    ],
)
def test_what_is_no_link_is_refused_in_one_line(texts: list[str], says: str) -> None:
    with pytest.raises(Malformed) as refusal:
        parse_links(texts)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_link_rate_is_what_was_set_last_or_else_what_the_job_asked_for() -> None:
    rate = LinkRate(Timetable.parse("5MB/s"), now=lambda: MONDAY)
    assert rate() == 5e6
    for text, expected in [
        (b"7MB/s", 7e6),
        (b"nonsense", 7e6),
        (b"\xff", 7e6),
        (b"08:00,1MB/s 19:00,off", 1e6),
        (b"off", None),
        (None, 5e6),
    ]:
        rate.hear(text)
        assert rate() == expected
    assert not LinkRate(None, now=lambda: MONDAY).is_known


def test_two_jobs_on_one_link_share_it_and_the_rate_set_last_holds() -> None:
    spent: list[tuple[float, float]] = []

    async def job(store: MemoryTaskStore, rate: str, start_s: float, end_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_s)

        def clock() -> float:
            return 1e9 + loop.time()

        async with open_link_quotas(store, links_of({"wan": rate}), clock=clock) as quotas:
            own = Quota(
                MemoryTaskStore(), "bytes", rate_per_s=lambda: 3e6, unit=16_384, clock=clock
            )
            take = CombinedTake(own, *quotas)
            while loop.time() < end_s:
                amount = max(16_384.0, take.piece or 0.0)
                await take(amount)
                spent.append((loop.time(), amount))
            await take.aclose()

    async def main() -> bytes | None:
        store = MemoryTaskStore()
        async with asyncio.TaskGroup() as crew:
            crew.create_task(job(store, "2MB/s", 0.0, 9.0), name="first")
            crew.create_task(job(store, "4MB/s", 4.0, 9.0), name="second")
        return await store.get_rate(link_bucket("wan"))

    assert run_virtually(main) == b"4MB/s"
    alone = sum(amount for at_s, amount in spent if at_s < 4)
    together = sum(amount for at_s, amount in spent if 5.5 <= at_s < 8.5)
    assert alone == pytest.approx(4 * 2e6, rel=0.02)
    assert together == pytest.approx(3 * 4e6, rel=0.02)


def test_a_worker_follows_the_rate_of_a_link_and_does_not_set_it() -> None:
    async def main() -> tuple[float | None, bytes | None]:
        store = MemoryTaskStore()
        links = links_of({"wan": "2MB/s"})
        async with open_link_quotas(store, links, now=lambda: MONDAY):
            await store.set_rate(link_bucket("wan"), b"9MB/s")
            async with open_link_quotas(
                store, links, sets_rates=False, now=lambda: MONDAY
            ) as quotas:
                await asyncio.sleep(1.5)
                return quotas[0].piece, await store.get_rate(link_bucket("wan"))

    assert run_virtually(main) == (9e6 * 0.008, b"9MB/s")


class Recording(MemoryTaskStore):
    """Keeps the amounts of all bookings, by bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.amounts: list[tuple[str, float]] = []

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        self.amounts.append((bucket, amount))
        return await super().reserve(
            bucket, amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )


def test_a_cancelled_wait_for_the_link_puts_the_own_budget_back() -> None:
    store = Recording()

    async def main() -> None:
        own = Quota(store, "own", rate_per_s=lambda: 100.0, unit=50)
        link = Quota(store, "link", rate_per_s=lambda: 1e-3, unit=50)
        take = CombinedTake(own, link)
        async with asyncio.TaskGroup() as crew:
            taker = crew.create_task(take(50), name="taker")
            await asyncio.sleep(0.6)
            taker.cancel()
        await take.aclose()

    run_virtually(main)
    assert [bucket for bucket, _ in store.amounts] == ["own", "link", "own", "link"]
    # What of the link was due while nobody took it is lost.
    amounts = [amount for _, amount in store.amounts]
    assert amounts == pytest.approx([50, 50, -50, -50], abs=1e-3)

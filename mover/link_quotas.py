"""The quotas of a job's links, on a store that outlives the job."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from mover.beside import running_beside
from mover.links import Link, LinkRate
from scheduler.errors import StoreUnavailable
from scheduler.quota import Quota

if TYPE_CHECKING:
    from scheduler.rates import RateStore

UNIT_BYTES: Final = 16 * 1024
"""The least that is worth a booking of a budget of bytes."""

FOLLOW_EVERY_S: Final = 1.0
"""How often a rate is read that an operator may change: it is felt within two seconds."""


def local_now() -> datetime.datetime:
    """The local time with its zone, which timetables are read in."""
    return datetime.datetime.now().astimezone()


async def follow(rate: LinkRate, ask: Callable[[], Awaitable[bytes | None]]) -> None:
    """Keep a rate as it is set for all its users, which ``ask`` tells; ends by cancellation.

    A store that is away leaves the rate as it is.
    """
    while True:
        with contextlib.suppress(StoreUnavailable):
            rate.hear(await ask())
        await asyncio.sleep(FOLLOW_EVERY_S)


@contextlib.asynccontextmanager
async def open_link_quotas(
    store: RateStore,
    links: Sequence[Link],
    *,
    sets_rates: bool = True,
    clock: Callable[[], float] = time.time,
    now: Callable[[], datetime.datetime] = local_now,
) -> AsyncGenerator[list[Quota], None]:
    """Quotas of links, in the order given, with their rates set for all and followed.

    Only the leader of a job sets rates: a worker that joins later would undo a change made since.

    At the end what was not spent is given back. Raises ``StoreUnavailable`` if the rates cannot
    be set: a job must not start on a budget that nobody keeps.
    """
    rates = [LinkRate(link.timetable, now=now) for link in links]
    quotas = [
        Quota(store, link.bucket, rate_per_s=rate, unit=UNIT_BYTES, clock=clock)
        for link, rate in zip(links, rates, strict=True)
    ]
    if sets_rates:
        for link in links:
            await store.set_rate(link.bucket, link.text)
    following = [
        functools.partial(follow, rate, functools.partial(store.get_rate, link.bucket))
        for link, rate in zip(links, rates, strict=True)
    ]
    async with running_beside(*following):
        try:
            yield quotas
        finally:
            for quota in quotas:
                await quota.aclose()

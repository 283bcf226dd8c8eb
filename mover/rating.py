"""The rates of a job in one process: its own, live, and those of the links that it shares.

Bytes up, bytes down, requests up and requests down are a budget each, for all workers together. A
rate that an operator sets while the job runs is read once a second. Links are budgets of bytes that
several jobs share, in a store that outlives them.
"""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from mover.beside import running_beside
from mover.link_quotas import UNIT_BYTES, follow, local_now, open_link_quotas
from mover.links import Link, LinkRate, links_of, parse_links
from mover.settings import BUDGET_BYTES
from mover.units import Timetable, parse_request_rate
from scheduler.quota import CombinedTake, Quota
from scheduler.rates import RateStore
from transports.base import Transport
from transports.gate import Gate
from transports.throttle import SLICE_MIN_BYTES, Throttle

Direction = Literal["read", "write"]


class RateWishes(Protocol):
    """What a job's specification says of its rates; texts as the options have them."""

    @property
    def limit(self) -> str: ...
    @property
    def limit_requests(self) -> str: ...
    @property
    def rate_links(self) -> tuple[str, ...]: ...


LIMIT: Final = "limit"
"""Control of a job that holds its live byte rate: text as ``--limit`` takes it, ``off`` for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a process asks before it moves bytes; ``throttled`` puts it around an end."""

    spec: RateWishes
    store: RateStore
    rate: Callable[[], float | None]
    bytes_by_direction: dict[Direction, CombinedTake]
    requests_by_direction: dict[Direction, Quota]

    def unmetered(self, transport: Transport, direction: Direction) -> Transport:
        """The transport under the rates of requests alone, for who is near it."""
        requests = self.requests_by_direction.get(direction)
        if requests is None:
            return transport
        return Throttle(
            transport,
            take_requests=requests.take,
            slice_requests=lambda: max(1, int(requests.piece or 1)),
        )

    @property
    def is_limited(self) -> bool:
        """Whether bytes may have to wait now."""
        return bool(self.spec.rate_links) or self.rate() is not None

    @property
    def link(self) -> float | None:
        """Bytes per second that may pass between the two ends at most; None where nothing says so."""
        links = (LinkRate(link.timetable, now=local_now)() for link in self._links)
        return min((rate for rate in (self.rate(), *links) if rate is not None), default=None)

    @property
    def _links(self) -> Sequence[Link]:
        return links_of(parse_links(self.spec.rate_links))

    def budget(
        self, direction: Direction
    ) -> tuple[Callable[[int], Awaitable[None]], Callable[[], int]]:
        """What bytes wait for that no end carries, and how many of them may at a time."""
        take = self.bytes_by_direction[direction]
        return take, lambda: _slice_bytes(take)

    def throttled(self, transport: Transport, direction: Direction) -> Transport:
        """The transport under these rates. Where none is set at the start, one may be set later."""
        take = self.bytes_by_direction[direction]
        requests = self.requests_by_direction.get(direction)
        throttle = Throttle(
            transport,
            take_bytes=take,
            take_requests=None if requests is None else requests.take,
            slice_bytes=lambda: _slice_bytes(take),
            slice_requests=lambda: 1 if requests is None else max(1, int(requests.piece or 1)),
        )
        if self.spec.limit or self.spec.rate_links or requests is not None:
            return throttle
        return Gate(throttle, lambda: self.rate() is not None)


def _slice_bytes(take: CombinedTake) -> int:
    """How much one grant may be: a piece of the narrowest budget."""
    return max(SLICE_MIN_BYTES, int(take.piece or BUDGET_BYTES))


def _requests_per_s(spec: RateWishes) -> float | None:
    if not spec.limit_requests:
        return None
    return parse_request_rate(spec.limit_requests, what="--limit-requests")


@asynccontextmanager
async def open_rates(
    spec: RateWishes, store: RateStore, link_store: RateStore, *, sets_links: bool
) -> AsyncGenerator[Rates, None]:
    """The rates of a job, followed while the block runs; what is not spent is given back at its end.

    With ``sets_links`` the rates of its links are set for all who use them, which the one who began
    the job does: a worker that joins later would undo a change made since.

    Raises ``StoreUnavailable`` when the rate of a link cannot be set: a job must not start on a
    budget that nobody keeps.
    """
    rate = LinkRate(Timetable.parse(spec.limit or "off", what="--limit"), now=local_now)
    directions: tuple[Direction, ...] = ("read", "write")
    own = {
        each: Quota(store, f"bytes-{each}", rate_per_s=rate, unit=UNIT_BYTES) for each in directions
    }
    async with AsyncExitStack() as stack:
        links = links_of(parse_links(spec.rate_links))
        shared = await stack.enter_async_context(
            open_link_quotas(link_store, links, sets_rates=sets_links)
        )
        requests = _request_quotas(spec, store, directions)
        for quota in (*own.values(), *requests.values()):
            stack.push_async_callback(quota.aclose)
        live = functools.partial(store.get_control, LIMIT)
        await stack.enter_async_context(running_beside(lambda: follow(rate, live)))
        yield Rates(
            spec=spec,
            store=store,
            rate=rate,
            bytes_by_direction={each: CombinedTake(own[each], *shared) for each in directions},
            requests_by_direction=requests,
        )


def _request_quotas(
    spec: RateWishes, store: RateStore, directions: Sequence[Direction]
) -> dict[Direction, Quota]:
    per_s = _requests_per_s(spec)
    if per_s is None:
        return {}
    return {
        each: Quota(store, f"requests-{each}", rate_per_s=lambda: per_s, unit=1)
        for each in directions
    }

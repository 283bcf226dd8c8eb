"""What the two ends of a job wear in one process: retry, limit, rates and stopwatches.

Each end is dressed once for what counts against the rates of the job, and in a job between two sides
a second time for who is near it. The two share the brake of their store and their stopwatches.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from mover.beside import running_beside
from mover.budget import ByteBudget
from mover.depots import Meter, Peering, Peers
from mover.gauging import Agreement, Stopwatches
from mover.measuring import Gauge
from mover.model import CopySpec, Tally
from mover.rating import Direction, Rates
from scheduler.model import ANY_POOL
from scheduler.rates import RateStore
from scheduler.slowdown import Slowdown
from scheduler.store import TaskStore
from transports.base import Transport
from transports.errors import TransportError
from transports.limit import Brake
from transports.limit_policy import LimitPolicy
from transports.opening import TransportPolicy, decorate
from transports.retry_policy import DEFAULT_POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a process spends on its jobs, together: payload bytes in memory, requests in flight.

    ``concurrency`` pins the requests in flight per store; None lets each find its own number.
    ``peering`` is None where the process hands parcels on through the target's store alone. ``node`` is
    the name of this host in jobs that place data on nodes.
    ``shared_rates`` is a store that outlives jobs: links, and requests of stores to slow down, are
    shared through it by all workers; without it, only by those of the job.
    """

    budget: ByteBudget
    concurrency: int | None = None
    shared_rates: RateStore | None = None
    worker_id: str = ""
    leads: bool = False
    pools: tuple[str, ...] = (ANY_POOL,)
    peering: Peering | None = None
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dressed:
    """The two ends as ``Ends`` has them."""

    source: Transport
    target: Transport
    unmetered_source: Transport | None
    unmetered_target: Transport | None
    at_source: "_Dress"
    peers: Peers | None
    unmetered_peers: Peers | None

    async def put_on_base(self, opens: Callable[[], Awaitable[Transport]]) -> Transport:
        """An older copy of the source, dressed as the source is; who is near it is bound by no rate."""
        base = await opens()
        rates = None if base.capabilities.local else self.at_source.rates
        plain = replace(self.at_source, rates=rates, brake=None, timed=None)
        return plain.put_on(base, metered=self.unmetered_source is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wardrobe:
    """Dresses the ends of one job. ``gauge`` is None where nothing is measured."""

    spec: CopySpec
    live: Tally
    resources: Resources
    rates: Rates | None
    gauge: Gauge | None

    async def dress(
        self,
        source: Transport,
        target: Transport,
        shared: RateStore | None,
        stack: AsyncExitStack,
    ) -> Dressed:
        """Put on what each end needs. What runs beside them ends with ``stack``."""
        # A local end is not throttled, unless both are: then what is read is.
        local, both = (
            target.capabilities.local,
            source.capabilities.local and target.capabilities.local,
        )
        watches = None
        if self.gauge is not None:
            watches = Stopwatches(self.gauge, self.spec, self.resources.pools)
        at_source = _Dress(
            direction="read",
            live=self.live,
            resources=self.resources,
            rates=self.rates if both or not source.capabilities.local else None,
            brake=await _brake(source, self.resources.worker_id, shared, stack),
            timed=None if watches is None else watches.on_source,
        )
        at_target = _Dress(
            direction="write",
            live=self.live,
            resources=self.resources,
            rates=None if local else self.rates,
            brake=await _brake(target, self.resources.worker_id, shared, stack),
            timed=None if watches is None else watches.on_target,
        )
        has_sides = self.spec.has_sides
        peering = self.resources.peering if has_sides else None
        return Dressed(
            source=at_source.put_on(source),
            target=at_target.put_on(target),
            unmetered_source=at_source.put_on(source, metered=False) if has_sides else None,
            unmetered_target=at_target.put_on(target, metered=False) if has_sides else None,
            at_source=at_source,
            peers=None if peering is None else self._seen(peering, self._meter(watches)),
            unmetered_peers=None if peering is None else self._seen(peering),
        )

    def _seen(self, peering: Peering, meter: Meter | None = None) -> Peers:
        at_target, at_source = (
            pool in self.resources.pools for pool in (self.spec.near_target, self.spec.near_source)
        )
        near_source = not at_target if at_target or at_source else None
        return peering.seen_from(meter, near_source=near_source)

    def _meter(self, watches: Stopwatches | None) -> Meter:
        """What parcels count against that cross between two workers: the same as at the target."""
        meter = Meter() if watches is None else watches.on_link()
        if self.rates is None:
            return meter
        take, slice_bytes = self.rates.budget("write")
        return replace(meter, take=take, slice_bytes=slice_bytes)


async def dress_source(
    transport: Transport,
    resources: Resources,
    live: Tally,
    rates: Rates | None,
    shared: RateStore | None,
    stack: AsyncExitStack,
) -> Transport:
    """Put on what a store needs that is only read. What runs beside it ends with ``stack``."""
    return _Dress(
        direction="read",
        live=live,
        resources=resources,
        rates=rates,
        brake=await _brake(transport, resources.worker_id, shared, stack),
        timed=None,
    ).put_on(transport)


def agreement(store: TaskStore | None, rates: Rates | None) -> Agreement | None:
    """What the processes of a job know together; None where nobody says anything."""
    return None if store is None or rates is None else Agreement(store, lambda: rates.link)


async def _brake(
    transport: Transport, worker_id: str, store: RateStore | None, stack: AsyncExitStack
) -> Brake | None:
    """Joins the concurrency of an end with what other workers hear from the same store."""
    if store is None or transport.capabilities.local:
        return None
    brake = Brake()
    slowdown = Slowdown(store, _scope(transport), worker_id, on_slow=brake.press)
    brake.on_throttled = slowdown.told
    await stack.enter_async_context(running_beside(slowdown.follow))
    return brake


def _scope(transport: Transport) -> str:
    """The bucket or host of an end: what throttles is shared by all that is in it."""
    scheme, _, rest = transport.location.partition("://")
    return f"{transport.capabilities.copy_domain}|{scheme}://{rest.partition('/')[0]}"


class _Timer(Protocol):
    """Puts stopwatches on an end: ``Stopwatches``."""

    def __call__(self, transport: Transport, *, crosses: bool) -> Transport: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dress:
    """What one end wears: retry, limit, rates and stopwatches."""

    direction: Direction
    live: Tally
    resources: Resources
    rates: Rates | None
    brake: Brake | None
    timed: _Timer | None

    def put_on(self, transport: Transport, *, metered: bool = True) -> Transport:
        """The transport dressed; unless ``metered``, its bytes count against no rate."""
        if self.timed is not None:
            transport = self.timed(transport, crosses=metered)
        pinned, rates = self.resources.concurrency, self.rates
        limit = None if pinned is None else LimitPolicy.fixed(pinned)
        # Both ends have answered when they were opened, so a store that does not is away, not mistyped.
        patient = replace(DEFAULT_POLICY, patience_s=DEFAULT_POLICY.deadline_s)
        policy = TransportPolicy(
            on_retry=self._count_retry, retry=patient, limit=limit, brake=self.brake
        )
        if rates is not None:
            wear = rates.throttled if metered else rates.unmetered
            transport = wear(transport, self.direction)
        return decorate(transport, policy)

    def _count_retry(self, verb: str, error: TransportError, wait_s: float) -> None:
        self.live.retries += 1

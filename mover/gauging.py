"""Measure what the requests of one process reach between two sides, and agree on it with the others.

Which way a request goes is known from the end and from where the process is: a worker near one end
only crosses the link to reach the other. One that serves both pools, or neither, is taken to cross it
wherever bytes count against the rates of the job.
"""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from mover.crew import beats_in, read_beats
from mover.delta_tasks import Keeper
from mover.depots import Meter
from mover.measuring import Gauge, Measured, Way
from mover.model import CopySpec
from scheduler.errors import StoreUnavailable
from scheduler.store import TaskStore
from transports.base import Transport
from transports.timing import Stopwatch, Timed

AGREED_S = 2.0
"""How old the estimates of others may be that a decision is made from; beats come once a second."""

WITHIN_S = 3600.0
"""What a worker of the job has told longer ago says nothing of now."""

HERE_S = 30.0
"""A worker that has said nothing for so long is not given anything to keep; beats come once a second."""


class Stopwatches:
    """The stopwatches of the two ends of a job, for a process that serves ``pools``."""

    def __init__(self, gauge: Gauge, spec: CopySpec, pools: Collection[str]) -> None:
        at_source, at_target = spec.near_source in pools, spec.near_target in pools
        self._is_near_source = at_source and not at_target
        self._is_near_target = at_target and not at_source
        self._watches = {way: Stopwatch(partial(gauge.note, way)) for way in Way}

    def on_source(self, transport: Transport, *, crosses: bool) -> Transport:
        """The source with them; ``crosses`` where its bytes count as those of the link."""
        is_near = not crosses or self._is_near_source
        way = Way.SOURCE_READ if is_near else Way.OUT
        return Timed(transport, reads=self._watches[way])

    def on_target(self, transport: Transport, *, crosses: bool) -> Transport:
        """The same for the target."""
        watches = self._watches
        if crosses and not self._is_near_target:
            return Timed(transport, reads=watches[Way.BACK], writes=watches[Way.OUT])
        return Timed(
            transport,
            reads=watches[Way.TARGET_READ],
            writes=watches[Way.TARGET_WRITE],
            copies=watches[Way.TARGET_COPY],
        )

    def on_link(self) -> Meter:
        """What crosses between two workers, timed."""
        back, out = self._watches[Way.BACK], self._watches[Way.OUT]
        if self._is_near_target:
            return Meter(reads=out, writes=back)
        return Meter(reads=back, writes=out)


class Agreement:
    """What the workers of a job know together. ``limit`` is what the link may carry at most."""

    def __init__(
        self,
        store: TaskStore,
        limit: Callable[[], float | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._limit = limit
        self._clock = clock
        self._measured = Measured()
        self._keepers: Sequence[Keeper] = ()
        self._looked_at_s = float("-inf")

    async def rates(self) -> Measured:
        """The rates as all workers have told them, a little while ago.

        While the queue is away, as they were: a decision must not wait for it.
        """
        await self._look()
        return self._measured.limited(self._limit())

    async def keepers(self) -> Sequence[Keeper]:
        """The workers that said lately that they keep parcels, in the same way."""
        await self._look()
        return self._keepers

    async def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_at_s < AGREED_S:
            return
        try:
            signs = await self._store.workers(now_s=now_s, within_s=WITHIN_S)
        except StoreUnavailable:
            return
        self._looked_at_s = now_s
        self._measured = Measured.of(each.rates for each in beats_in(signs).values())
        here = beats_in(each for each in signs if each.at_s > now_s - HERE_S)
        self._keepers = [each.keeper for each in here.values() if each.keeper is not None]


async def measured_by_all(store: TaskStore, *, now_s: float) -> Measured:
    """What the workers of a job have told in the last hour. Raises ``StoreUnavailable``."""
    beats = await read_beats(store, now_s=now_s, within_s=WITHIN_S)
    return Measured.of(each.rates for each in beats.values())

"""Run a listing task: list one range of keys at both ends, plan its pages, feed the queue.

A listing task is how a job is planned when no process leads it. Its payload says how far it has
come; every page's shards are enqueued together with the next payload (``TaskStore.advance``), so a
worker that dies between two pages neither loses nor doubles one. A range that turns out to be long
is cut, and the cuts become listing tasks of their own: planning spreads over the workers like the
copying does, and no process ever holds the dataset.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from mover.ends import Ends
from mover.feeding import TASKS_AHEAD, pair_pages, shard_tasks
from mover.listing import PairPage
from mover.model import Listing, Tally, TaskResult
from mover.payloads import encode_payload
from mover.planning import Planned, Planner, Policy, ShardLimits
from mover.pools import listing_pool, put_in
from mover.settings import FLEET_POLICY, WORKER_POLICY
from mover.sharding import KeyRange, first_ranges, packs_payloads, tasks_ahead
from mover.splitting import split_range
from scheduler.model import ANY_POOL, HEARD_S, Lease, NewTask, StoreStats, TaskState
from scheduler.patience import patiently
from scheduler.store import TaskStore

T = TypeVar("T")

RANGES = 8
"""Ranges that the first listing task of a job cuts the whole into, once it has seen that there is
more than a page; more for a large fleet (``first_ranges``)."""

CUT_EVERY_PAGES = 20
"""How often a long range looks whether workers are idle, and gives half of its rest away."""

AHEAD_POLL_S = 0.2
"""How often a listing that is far enough ahead looks again; for so long counts hold good too."""


def first_listing(now_s: float, pool: str = ANY_POOL, *, ranges: int = RANGES) -> NewTask:
    """The task that a job begins with: all keys, to be cut into ranges; never with ``ranges`` 0."""
    return _listing_task(Listing(after="", upto=None, now_s=now_s, ranges=ranges), pool)


def _listing_task(listing: Listing, pool: str) -> NewTask:
    return NewTask(payload=encode_payload(listing), pool=listing_pool(pool))


class RangeLister:
    """Lists one range; ``run`` returns the counts of what it planned.

    ``notify`` is called when tasks were enqueued.
    """

    def __init__(
        self,
        ends: Ends,
        store: TaskStore,
        listing: Listing,
        lease: Lease,
        *,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self._ends = ends
        self._store = store
        self._listing = listing
        self._lease = lease
        self._notify = notify
        self._pages = 0
        self._slots = 1
        self._told: StoreStats | None = None
        self._told_at_s = 0.0
        self._waited = 0  # tasks that waited when the last page's came
        self._policy = Policy.of(
            ends.spec, ends.source.capabilities, ends.target.capabilities, listing.now_s
        )

    async def run(self) -> TaskResult:
        """List to the end of the range. A cancel leaves the payload of the last page with work.

        Raises ``TransportError`` for a listing that fails, ``LeaseLost``, ``StoreUnavailable``.
        """
        if self._listing.upto is not None and self._listing.after >= self._listing.upto:
            return TaskResult(
                tally=self._listing.tally
            )  # it ended between its last page and its end
        span = KeyRange(self._listing.after, self._listing.upto)
        pages = pair_pages(
            self._ends,
            prefix=self._policy.selector.literal_prefix,
            start_after=span.after,
            stop_at=span.stop_at,
        )
        planner = Planner(self._policy)
        async with aclosing(pages):
            async for page in pages:
                if self._is_behind(page):
                    break  # the rest has been given away since the listing began
                planner.limits = await self._limits()
                await self._take(page, planner.feed(self._within(page)))
        return TaskResult(tally=self._listing.tally)

    def _is_behind(self, page: PairPage) -> bool:
        upto = self._listing.upto
        return upto is not None and bool(page.sources) and page.sources[0].key > upto

    def _within(self, page: PairPage) -> PairPage:
        """The page up to the range's end, which may have come nearer since the listing began."""
        upto = self._listing.upto
        return page if upto is None else page.up_to(upto)

    async def _take(self, page: PairPage, planned: Planned) -> None:
        """Enqueue a page's shards, then give away what others shall list.

        In this order, because finding out where to cut takes some requests, and workers copy
        meanwhile.
        """
        self._count(planned.tally)
        self._pages += 1
        self._listing = replace(self._listing, after=page.last_key)
        if planned.has_work or self._pages % CUT_EVERY_PAGES == 0:
            tasks = shard_tasks(planned, packed=packs_payloads(self._slots))
            await self._advance(put_in(tasks, self._ends.spec.pool))
        given_away = await self._cut(page)
        if given_away:
            self._listing = replace(self._listing, upto=given_away[0].upto, ranges=1)
        if given_away[1:]:
            now_s, pool = self._listing.now_s, self._ends.spec.pool
            await self._advance(
                [
                    _listing_task(
                        Listing(after=span.after, upto=span.upto, now_s=now_s, ranges=1), pool
                    )
                    for span in given_away[1:]
                ]
            )

    async def _advance(self, follow_ups: Sequence[NewTask]) -> None:
        payload = encode_payload(self._listing)
        advanced = await self._patiently(
            lambda: self._store.advance(self._lease, payload, follow_ups=follow_ups)
        )
        self._lease, self._told = advanced
        self._told_at_s = time.monotonic()
        self._waited = self._told.tasks[TaskState.PENDING] - len(follow_ups)
        self._notify()

    async def _stats(self) -> StoreStats:
        """How the queue stands. What ``advance`` has answered a moment ago is good enough."""
        if self._told is None or time.monotonic() - self._told_at_s >= AHEAD_POLL_S:
            self._told = await self._patiently(self._store.stats)
            self._told_at_s = time.monotonic()
        return self._told

    async def _patiently(self, verb: Callable[[], Awaitable[T]]) -> T:
        """A queue that is away, or whose memory is full, is waited for; the pages wait too."""
        return await patiently(verb, patience_s=FLEET_POLICY.patience_s, rng=random.random)

    async def _limits(self) -> ShardLimits:
        """Large shards while workers have enough to do, small ones where some would be idle.

        Waits while more tasks are open than the fleet needs: the queue's memory is bounded too.
        """
        if self._pages % CUT_EVERY_PAGES == 0:
            heard = await self._patiently(
                lambda: self._store.workers(now_s=time.time(), within_s=HEARD_S)
            )
            self._slots = WORKER_POLICY.slots * len([each for each in heard if each.note])
        ahead = tasks_ahead(self._slots, least=TASKS_AHEAD)
        while (stats := await self._stats()).open_tasks > ahead:  # noqa: ASYNC110
            await asyncio.sleep(AHEAD_POLL_S)
        return ShardLimits.towards_end(stats.tasks[TaskState.PENDING], self._slots)

    def _count(self, tally: Tally) -> None:
        self._listing.tally.add(tally)
        live = self._ends.live
        live.planned_objects += tally.planned_objects
        live.planned_bytes += tally.planned_bytes
        live.skipped_objects += tally.skipped_objects

    async def _cut(self, page: PairPage) -> list[KeyRange]:
        """The ranges that what is left of this one is cut into; empty to go on as it is."""
        wanted = self._listing.ranges
        upto = self._listing.upto
        if self._ends.single is not None or not wanted or (upto and page.last_key >= upto):
            return []
        if wanted > 1:
            wanted = first_ranges(self._slots, least=wanted)
        elif self._pages % CUT_EVERY_PAGES == 0:
            wanted = 1 if self._waited > 0 else 2
        if wanted == 1:
            return []
        return await split_range(
            self._ends.source,
            self._policy.selector.literal_prefix,
            KeyRange(page.last_key, self._listing.upto),
            wanted=wanted,
            seen=[source.key for source in page.sources],
        )

"""List both ends, plan page by page, and feed the queue.

The planner's checkpoint goes into the same transaction as the tasks that it covers, so a run that
dies between two pages neither loses nor doubles one: the next run lists on from the checkpoint.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from mover.ends import Ends, closing_pages
from mover.listing import PairPage, merge
from mover.model import Sweep, Tally
from mover.naming import visible
from mover.payloads import encode_payload
from mover.planning import Planned, Planner, Policy
from scheduler.model import NewTask
from scheduler.store import TaskStore
from transports.base import Transport
from transports.errors import NotFound
from transports.model import Entry

_size = attrgetter("size")

TASKS_AHEAD = 2000
"""Tasks that may wait in the queue: two million small objects, about 200 MB on disk, no memory."""

SWEEP_KEY = "sweep"
"""Every listing task of a job enqueues the sweep when it ends; the queue keeps one."""

AHEAD_POLL_S = 0.2
"""How often a planner that is far enough ahead looks again."""


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """How far planning has come: all keys up to ``last_name`` are enqueued or need nothing."""

    now_s: float  # of the first run: ages in the selection count back from it
    last_name: bytes = b""  # the key's bytes: not every file name is valid Unicode
    done: bool = False
    tally: Tally = field(default_factory=Tally)

    @property
    def last_key(self) -> str:
        return os.fsdecode(self.last_name)


async def load_checkpoint(store: TaskStore) -> Checkpoint | None:
    """The checkpoint that an earlier run of the job left."""
    saved = await store.load_checkpoint()
    return None if saved is None else msgspec.msgpack.decode(saved, type=Checkpoint)


async def pair_pages(
    ends: Ends,
    *,
    prefix: str = "",
    start_after: str = "",
    stop_at: str | None = None,
    extras: bool = False,
) -> AsyncGenerator[PairPage, None]:
    """The pages of pairs of a job between two keys, without these. A target that does not exist yet has no entries."""
    if ends.single is not None:
        if not start_after:
            yield await _single_page(ends, ends.single.source_key)
        return
    source = _visible(ends.source.list(prefix, start_after=start_after, stop_at=stop_at))
    target = _or_nothing(ends.target.list(prefix, start_after=start_after, stop_at=stop_at))
    async with closing_pages(source), closing_pages(target):
        async for page in merge(source, target, extras=extras):
            yield page


async def _or_nothing(
    pages: AsyncIterator[Sequence[Entry]],
) -> AsyncGenerator[Sequence[Entry], None]:
    async with closing_pages(_visible(pages)) as shown:
        try:
            async for page in shown:
                yield page
        except NotFound:
            return


async def _visible(
    pages: AsyncIterator[Sequence[Entry]],
) -> AsyncGenerator[Sequence[Entry], None]:
    async with closing_pages(pages):
        async for page in pages:
            if shown := visible(page):
                yield shown


async def _single_page(ends: Ends, key: str) -> PairPage:
    source = (await ends.source.head(key)).entry
    return PairPage([source], [await found(ends.target, ends.target_key(key))], [], key)


async def found(transport: Transport, key: str) -> Entry | None:
    """The entry of a key, None when it is not there."""
    try:
        return (await transport.head(key)).entry
    except NotFound:
        return None


class Feeder:
    """Plans one job into a queue; ``checkpoint`` shows how far it has come."""

    def __init__(
        self, ends: Ends, store: TaskStore, checkpoint: Checkpoint, notify: Callable[[], None]
    ) -> None:
        self._ends = ends
        self._store = store
        self._notify = notify
        self.checkpoint = checkpoint
        self._policy = Policy.of(
            ends.spec, ends.source.capabilities, ends.target.capabilities, checkpoint.now_s
        )

    async def run(self) -> None:
        """Plan to the end and close the intake. A cancel leaves the checkpoint of the last page."""
        if not self.checkpoint.done:
            pages = pair_pages(
                self._ends,
                prefix=self._policy.selector.literal_prefix,
                start_after=self.checkpoint.last_key,
            )
            planner = Planner(self._policy)
            async with aclosing(pages):
                async for page in pages:
                    await self._enqueue(planner.feed(page), page.last_key)
            self.checkpoint.done = True
            last = [sweep_task(self.checkpoint.now_s)] if self._ends.spec.delete else []
            await self._store.enqueue(last, checkpoint=self._encoded())
        await self._store.close_intake()
        self._notify()

    async def _enqueue(self, planned: Planned, last_key: str) -> None:
        checkpoint = self.checkpoint
        checkpoint.tally.add(planned.tally)
        self._ends.live.planned_objects += planned.tally.planned_objects
        self._ends.live.planned_bytes += planned.tally.planned_bytes
        checkpoint.last_name = os.fsencode(last_key)
        if not planned.has_work:
            return  # the next page with work, or the end, saves this one too
        await self._store.enqueue(shard_tasks(planned), checkpoint=self._encoded())
        self._notify()
        while (await self._store.stats()).open_tasks > TASKS_AHEAD:  # noqa: ASYNC110
            await asyncio.sleep(AHEAD_POLL_S)

    def _encoded(self) -> bytes:
        return msgspec.msgpack.encode(self.checkpoint)


def shard_tasks(planned: Planned, *, packed: bool = False) -> list[NewTask]:
    """The tasks that a plan comes to. A large object weighs nothing: its chunks will."""
    tasks = [
        NewTask(payload=encode_payload(shard, packed=packed), weight=sum(map(_size, shard.copies)))
        for shard in planned.small  # which hold no object of unknown size
    ]
    tasks += [NewTask(payload=encode_payload(large)) for large in planned.large]
    return tasks


def sweep_task(now_s: float) -> NewTask:
    """The task that deletes behind a job which was submitted at ``now_s``."""
    return NewTask(payload=encode_payload(Sweep(now_s=now_s)), key=SWEEP_KEY)

"""Run a round of a prewarm: walk its targets, and enqueue what each node has to look at and to read.

A round is a task, so it survives its worker; a walk that begins again, in the same order, enqueues the same
shards under the same keys, and in another order some files twice, which costs a look. Each round but the first
waits until all else is done, sees to nodes that have left meanwhile, and ends the job where nothing is missing any more.
"""

import asyncio
import json
import random
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, TypeVar

from mover.ends import closing_pages
from mover.gathering import PLANNED, ROUND, planned_first, round_results
from mover.model import Tally, TaskResult
from mover.payloads import encode_payload, encode_result
from mover.pools import node_pool
from mover.prewarm.holding import Cache, Part, Rooms
from mover.prewarm.model import Metadata, Oversize, Piece, Residence, Round, WarmShard, Wish
from mover.prewarm.placing import holders_of
from mover.prewarm.sharding import Packer
from mover.prewarm.summing import Fullness
from mover.prewarm_ground import WarmGround, shared_token
from mover.prewarm_nodes import Nodes, TooFewNodes, round_task
from mover.prewarm_places import Nature, Place
from mover.prewarm_rooms import caches_of
from mover.prewarm_whole import HELD_FILES, WholeRound
from mover.selecting import Selector
from mover.settings import FLEET_POLICY
from scheduler.model import Discard, Done, Lease, NewTask, Outcome
from scheduler.patience import patiently
from scheduler.store import TaskStore
from transports.model import Entry

T = TypeVar("T")

WAIT_S: Final = 0.1
WAIT_MAX_S: Final = 0.5
"""How often a round looks whether all else is done: soon at first, half a second apart in long jobs."""

FINISHING_S: Final = 0.01
"""From the end of a task to its being settled in the queue: a step or two of it."""

BATCH_TASKS: Final = 50
"""Shards that are enqueued in one step."""

PART: Final = "part"
"""Control of a prewarm that holds what of a dataset is read that does not fit, and why."""


@dataclass(slots=True)
class Planned:
    """What a walk has come to."""

    tally: Tally = field(default_factory=Tally)
    files: int = 0
    pieces: int = 0
    unfit: dict[str, Residence] = field(default_factory=dict)
    waiting: list[NewTask] = field(default_factory=list)


@dataclass(slots=True)
class Survey:
    """What targets need of their caches, and what was listed of each: None where that was too much to keep."""

    rooms: Rooms = field(default_factory=Rooms)
    pages: dict[int, list[Sequence[Entry]] | None] = field(default_factory=dict)


class RoundRunner:
    """Runs one round; ``notify`` is called when tasks were enqueued."""

    def __init__(
        self,
        ground: WarmGround,
        store: TaskStore,
        task: Round,
        lease: Lease,
        *,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self._ground = ground
        self._spec = ground.spec
        self._store = store
        self._task = task
        self._lease = lease
        self._notify = notify
        self._nodes = Nodes(spec=ground.spec, store=store)
        self._planned = Planned()
        self._part = Part()
        self._held: list[Sequence[Entry]] | None = None

    async def run(self) -> Outcome:
        """Walk and enqueue, or end the job. A cancel leaves what was enqueued; the next run adds the rest.

        Raises ``TransportError`` for a walk that fails, ``LeaseLost``, ``StoreUnavailable``.
        """
        number = self._task.number
        try:
            nodes = await self._nodes.gather()
        except TooFewNodes as error:
            return Outcome(disposition=Discard(reason=str(error)))
        if number == 0:
            await shared_token(self._store)  # before anybody asks another for anything
        else:
            await self._wait_for_others(nodes)
            nodes = await self._nodes.noted()
            if known := await self._patiently(lambda: self._store.get_control(PART)):
                self._part = Part(*json.loads(known))
            if number > self._last_round or await self._is_enough(number - 1):
                return self._done(Tally(), round_=number - 1)
            await self._patiently(lambda: self._store.set_control(ROUND, str(number).encode()))
        whole = WholeRound(
            self._ground, self._store, self._task, full=not self._part.why, lease=self._lease
        )
        if whole.may_be_one(nodes) and (result := await whole.run()) is not None:
            return Outcome(
                disposition=Done(), result=encode_result(result), follow_ups=self._next_round()
            )
        self._held = whole.held
        await self._walk(nodes)
        await self._tell_fewer()
        await self._patiently(lambda: self._store.set_control(PLANNED, b"1"))
        result = TaskResult(
            tally=self._planned.tally,
            round=number,
            pieces=self._planned.pieces,
            residency=list(self._planned.unfit.values()),
            withheld=self._part.why,
        )
        return Outcome(
            disposition=Done(), result=encode_result(result), follow_ups=self._next_round()
        )

    def _done(self, tally: Tally, *, round_: int) -> Outcome:
        result = TaskResult(tally=tally, round=round_)
        return Outcome(disposition=Done(), result=encode_result(result))

    def _next_round(self) -> list[NewTask]:
        """The next round; behind the last one comes one that only sees to nodes that leave."""
        following = Round(number=self._task.number + 1, now_s=self._task.now_s)
        return [round_task(following, self._spec.pool)]

    @property
    def _last_round(self) -> int:
        looks_again = (
            self._spec.wish is Wish.WARM and self._reads_data and not self._part.is_nothing
        )
        return self._spec.attempts if looks_again else 0

    # --- Between two rounds ---

    async def _wait_for_others(self, nodes: Sequence[str]) -> None:
        """Wait until this is the only open task; what nodes that have left were to do goes to others."""
        pause_s = WAIT_S
        while await self._are_others_open():
            await self._nodes.see_to_lost(nodes, here=self._ground.node)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._ground.progressed.wait()
                await asyncio.sleep(FINISHING_S)
            pause_s = min(pause_s * 1.2, WAIT_MAX_S)

    async def _are_others_open(self) -> bool:
        self._ground.progressed.clear()  # before the look: what ends during it must be heard of
        return (await self._patiently(self._store.stats)).open_tasks > 1

    async def _is_enough(self, number: int) -> bool:
        """Whether the round of this number saw nothing missing, or as little as the job allows."""
        rows, pieces = list[Residence](), 0
        async for result in round_results(self._store, number):
            pieces += result.pieces
            if not result.withheld:  # what does not fit will not come
                rows += result.residency
        if pieces > 0:
            return False  # what nobody has dealt with is looked for once more
        seen = Fullness.of(rows)
        # Round 0 looks before it reads, so what it saw missing has been read since.
        return seen.is_full or (number > 0 and seen.reaches(self._spec.min_percent))

    # --- The walk ---

    async def _walk(self, nodes: Sequence[str]) -> None:
        if self._spec.wish is Wish.EVICT:
            await self._enqueue(self._on_nodes(nodes))
            return
        if self._asks_for_attributes:
            # This node asks for them as it walks.
            await self._enqueue(self._on_nodes(set(nodes) - {self._ground.node}))
        selector = self._spec.selection.compile(self._task.now_s)
        survey = Survey()
        for number in range(len(self._spec.targets)):
            place = await self._ground.place(number)
            if self._must_fit(place.nature):
                await self._survey(number, place, selector, nodes, survey)
            else:
                await self._plan(number, place, self._pages(place, selector), nodes)
        if not survey.pages:
            await self._flush()
            return
        await self._settle_part(survey.rooms, nodes)
        for number, held in survey.pages.items():
            place = await self._ground.place(number)
            pages = self._pages(place, selector) if held is None else _given(held)
            await self._plan(number, place, pages, nodes)
        await self._flush()

    def _on_nodes(self, nodes: Collection[str]) -> list[NewTask]:
        """What each of these nodes does by itself: ask for attributes, or evict."""
        rounds = [Round(number=0, now_s=self._task.now_s, node=node) for node in sorted(nodes)]
        return [round_task(each, self._spec.pool) for each in rounds]

    @property
    def _asks_for_attributes(self) -> bool:
        return self._task.number == 0 and self._spec.metadata is not Metadata.NO

    def _must_fit(self, nature: Nature) -> bool:
        """Whether all of it has to be known before any of it is read."""
        is_first = self._task.number == 0 and self._spec.wish is Wish.WARM
        return is_first and bool(nature.capacity_bytes) and self._reads_data

    @property
    def _reads_data(self) -> bool:
        return self._spec.metadata is not Metadata.ONLY

    def _pages(self, place: Place, selector: Selector) -> AsyncIterator[Sequence[Entry]]:
        if self._held is not None:  # of the one target that there is
            return _given(self._held)
        return place.walk(selector, metadata=self._asks_for_attributes)

    async def _survey(
        self,
        number: int,
        place: Place,
        selector: Selector,
        nodes: Sequence[str],
        survey: "Survey",
    ) -> None:
        """Count what a target needs of its cache, and keep what was listed where that is not much."""
        held, files = list[Sequence[Entry]](), 0
        caches = await self._caches(number, place.nature, nodes)
        async with closing_pages(self._pages(place, selector)) as pages:
            async for page in pages:
                for entry in page:
                    holders = holders_of(entry.key, nodes, self._spec.replicas)
                    survey.rooms.need(caches, holders, max(entry.size, 0))
                files += len(page)
                if files <= HELD_FILES:
                    held.append(page)
        survey.pages[number] = held if files <= HELD_FILES else None

    async def _caches(
        self, number: int, nature: Nature, nodes: Collection[str]
    ) -> dict[str, Cache]:
        return await self._patiently(lambda: caches_of(self._store, nodes, number, nature))

    async def _settle_part(self, rooms: Rooms, nodes: Sequence[str]) -> None:
        """Decide what of a dataset is read that does not fit, for this round and all later ones."""
        if rooms.is_enough:
            return
        refuses = self._spec.oversize is Oversize.REFUSE
        how = "nothing was read; --oversize fit reads what fits" if refuses else "a part was read"
        fractions = {node: 0.0 if refuses else rooms.fraction(node) for node in nodes}
        self._part = Part(fractions, f"{rooms.shortage()}: {how}")
        said = json.dumps(self._part).encode()
        await self._patiently(lambda: self._store.set_control(PART, said))
        await self._store.record(self._part.why, now_s=time.time())

    async def _plan(
        self,
        number: int,
        place: Place,
        pages: AsyncIterator[Sequence[Entry]],
        nodes: Sequence[str],
    ) -> None:
        """Pack what was listed into shards, and enqueue them as they come."""
        packer = Packer(self._spec, nodes, cut_bytes=place.nature.cut_bytes)
        copies = self._spec.replicas or len(nodes)
        caches = await self._caches(number, place.nature, nodes) if self._part.why else {}
        async with closing_pages(pages) as listed:
            async for page in listed:
                self._count(page, copies=copies)
                if not self._reads_data:
                    continue
                for entry in page:
                    left_by = self._part.leaves(entry.key, max(entry.size, 0), caches)
                    for shard in packer.add(entry, without=left_by):
                        await self._add(number, *shard, place.nature)
                    if left_by:
                        holders = holders_of(entry.key, nodes, self._spec.replicas)
                        self._leave(entry, left_by.intersection(holders), place.nature)
        for shard in packer.rest():
            await self._add(number, *shard, place.nature)

    def _leave(self, entry: Entry, holders: Collection[str], nature: Nature) -> None:
        blank = Residence(
            node="", judge=nature.judge, certainty=nature.certainty, where=nature.where
        )
        for node in holders:
            row = self._planned.unfit.setdefault(node, replace(blank, node=node))
            row.files += 1
            row.bytes += max(entry.size, 0)

    def _count(self, page: Sequence[Entry], *, copies: int) -> None:
        tally, live = Tally(), self._ground.live
        self._planned.files += len(page) * copies
        tally.planned_objects = len(page) * copies
        tally.planned_bytes = sum(max(entry.size, 0) for entry in page) * copies
        if not self._reads_data:
            tally = Tally(planned_objects=len(page), copied_objects=len(page))
        if self._task.number == 0:
            self._planned.tally.add(tally)
            live.add(tally)

    async def _tell_fewer(self) -> None:
        """Say where a further round lists less than the first: it went meanwhile, or was not told this time."""
        if self._task.number == 0:
            return
        fewer = (await planned_first(self._store)).planned_objects - self._planned.files
        if fewer > 0:
            said = f"round {self._task.number} lists {fewer:,} fewer files than the first"
            await self._store.record(said, now_s=time.time())

    async def _add(
        self, target: int, nodes: Sequence[str], pieces: list[Piece], nature: Nature
    ) -> None:
        self._planned.pieces += len(pieces) * max(1, len(nodes))  # a node that is missing shows
        # Where nodes can take it from each other the first one fetches it, and hands it on.
        hands_on = nature.shares and self._reads
        runs = [(nodes[0], list(nodes[1:]))] if hands_on else [(node, []) for node in nodes]
        for node, others in runs:
            self._planned.waiting.append(self._shard(target, node, others, pieces))
        if len(self._planned.waiting) >= BATCH_TASKS:
            await self._flush()

    @property
    def _reads(self) -> bool:
        """Whether what this round finds missing is read."""
        return self._spec.wish is Wish.WARM and self._task.number < self._spec.attempts

    def _shard(self, target: int, node: str, others: list[str], pieces: list[Piece]) -> NewTask:
        shard = WarmShard(
            target=target,
            round=self._task.number,
            pieces=pieces,
            node=node,
            reads=self._reads,
            others=others,
        )
        return shard_task(shard)

    async def _flush(self) -> None:
        tasks, self._planned.waiting = self._planned.waiting, []
        for at in range(0, len(tasks), BATCH_TASKS):
            await self._enqueue(tasks[at : at + BATCH_TASKS])

    async def _enqueue(self, tasks: Sequence[NewTask]) -> None:
        if not tasks:
            return
        payload = encode_payload(self._task)
        advanced = await self._patiently(
            lambda: self._store.advance(self._lease, payload, follow_ups=tasks)
        )
        self._lease = advanced.lease
        self._notify()

    async def _patiently(self, verb: Callable[[], Awaitable[T]]) -> T:
        return await patiently(verb, patience_s=FLEET_POLICY.patience_s, rng=random.random)


def shard_task(shard: WarmShard) -> NewTask:
    """A shard as a task of its node; the queue keeps one of a round, whoever walks again."""
    payload = encode_payload(shard, packed=True)
    digest = blake2b(encode_payload(shard), digest_size=12).hexdigest()
    return NewTask(
        payload=payload,
        weight=sum(piece.size for piece in shard.pieces),
        key=f"warm-{shard.round}-{digest}",
        pool=node_pool(shard.node),
    )


async def _given(pages: Sequence[Sequence[Entry]]) -> AsyncGenerator[Sequence[Entry], None]:
    for page in pages:
        yield page

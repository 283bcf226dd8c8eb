"""A prewarm as the work of a process; see ``mover.works``."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mover.crew import beat
from mover.pacing import RateMeter
from mover.pools import node_pool
from mover.prewarm.model import Wish
from mover.prewarm_executing import WarmRunner
from mover.prewarm_ground import WarmGround
from mover.prewarm_nodes import Nodes
from mover.prewarm_rooms import say_rooms
from scheduler.store import TaskStore


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmWork:
    """Implements ``mover.works.Work``; ``store`` is the job's queue, None where nobody asks for room."""

    ground: WarmGround
    store: TaskStore | None = None
    _meter: RateMeter = field(default_factory=RateMeter)

    @property
    def title(self) -> str:
        return f"{self.ground.spec.wish.value} {self.ground.spec.source}"

    @property
    def pools(self) -> tuple[str, ...]:
        return (node_pool(self.ground.node),)

    async def pools_left(self, store: TaskStore) -> tuple[str, ...]:
        """All nodes', since some may have left."""
        nodes = await Nodes(spec=self.ground.spec, store=store).noted()
        return tuple(node_pool(node) for node in nodes)

    def runner(
        self,
        store: TaskStore,
        *,
        shares: bool = False,
        fleet_size: Callable[[], int] = lambda: 1,
        notify: Callable[[], None] = lambda: None,
    ) -> WarmRunner:
        return WarmRunner(self.ground, store, notify=notify)

    def beat(self) -> bytes:
        counts = self.ground.counts
        return beat(
            self.ground.live,
            meter=self._meter,
            node=self.ground.node,
            moving_bytes=counts.moving_bytes,
            skipped_bytes=counts.skipped_bytes,
            round=counts.round,
            residency=counts.seen,
        )

    async def begin(self, worker_id: str) -> None:
        """Say in the manifest that a run starts, and in the queue what this node's caches can hold."""
        if self.store is not None:
            await say_rooms(self.ground, self.store)
        if self.ground.spec.wish is Wish.WARM:  # an eviction's record is that of another job
            await self.ground.record.begin(worker_id)

    async def clean_up(self) -> None:
        """A prewarm hides nothing in a store."""

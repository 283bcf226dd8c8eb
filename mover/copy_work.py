"""A copy as the work of a process: its ends, and the executor of its tasks."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mover.crew import beat
from mover.delta_parcels import clean_up
from mover.ends import Ends
from mover.executing import Executor
from mover.pacing import RateMeter
from scheduler.store import TaskStore


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyWork:
    """Implements ``mover.works.Work``."""

    ends: Ends
    _meter: RateMeter = field(default_factory=RateMeter)

    @property
    def title(self) -> str:
        return f"{self.ends.spec.source} to {self.ends.spec.target}"

    @property
    def pools(self) -> tuple[str, ...]:
        return ()

    async def pools_left(self, store: TaskStore) -> tuple[str, ...]:
        return ()

    def runner(
        self,
        store: TaskStore,
        *,
        shares: bool = False,
        fleet_size: Callable[[], int] = lambda: 1,
        notify: Callable[[], None] = lambda: None,
    ) -> Executor:
        return Executor(self.ends, store, shares=shares, fleet_size=fleet_size, notify=notify)

    def beat(self) -> bytes:
        ends = self.ends
        return beat(ends.live, ends.gauge, ends.own_keeper, meter=self._meter)

    async def begin(self, worker_id: str) -> None:
        if self.ends.manifest is not None:
            await self.ends.manifest.begin(worker_id)

    async def clean_up(self) -> None:
        await clean_up(self.ends)

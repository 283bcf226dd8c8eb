"""A copy as the work of a process: its ends, and the executor of its tasks."""

from collections.abc import Callable
from dataclasses import dataclass

from mover.crew import beat
from mover.delta_parcels import clean_up
from mover.ends import Ends
from mover.executing import Executor
from scheduler.store import TaskStore


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyWork:
    """Implements ``mover.works.Work``."""

    ends: Ends

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
        return beat(self.ends.live, self.ends.gauge, self.ends.own_keeper)

    async def begin(self, worker_id: str) -> None:
        if self.ends.manifest is not None:
            await self.ends.manifest.begin(worker_id)

    async def clean_up(self) -> None:
        await clean_up(self.ends)

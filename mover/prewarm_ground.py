"""What the tasks of one prewarm share in one process: its places, opened when the first task needs them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from mover.model import Tally
from mover.prewarm.model import WarmSpec
from mover.prewarm_counts import WarmCounts
from mover.prewarm_places import Place
from mover.prewarm_recalling import FormerJob
from mover.prewarm_recording import WarmRecorder
from scheduler.store import TaskStore

TOKEN: Final = "peer-token"
"""Control of a prewarm that holds the secret which its nodes show each other; it ends with the job."""


@dataclass(slots=True, kw_only=True)
class WarmGround:
    """What the tasks of one prewarm share in one process.

    ``opens`` opens a target's place; ``progressed`` is set when a shard has come to its end here; ``live`` and
    ``counts`` are what this process has done, for progress only.
    ``record`` writes the job's manifest, or that of the ``former`` one whose files are evicted.
    """

    spec: WarmSpec
    node: str
    live: Tally
    opens: Callable[[str], Awaitable[Place]]
    counts: WarmCounts = field(default_factory=WarmCounts)
    record: WarmRecorder = field(default_factory=WarmRecorder)
    former: FormerJob | None = None
    progressed: asyncio.Event = field(default_factory=asyncio.Event)
    _places: dict[int, Place] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def place(self, target: int) -> Place:
        """The place of a target, by its number. Raises ``TransportError``, ``MoverError``."""
        async with self._turn:
            if target not in self._places:
                self._places[target] = await self.opens(self.spec.targets[target])
        return self._places[target]

    async def close(self) -> None:
        """Let go of all places."""
        while self._places:
            _, place = self._places.popitem()
            await place.close()


async def shared_token(store: TaskStore) -> str:
    """The secret of a job's nodes: made by whoever needs it first."""
    known = await store.get_control(TOKEN)
    if known is None:
        await store.set_control(TOKEN, secrets.token_hex(16).encode())
        known = await store.get_control(TOKEN)
    return "" if known is None else known.decode()

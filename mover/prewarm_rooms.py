"""What each node's caches can hold: said by its workers before they begin, read by who walks."""

import asyncio
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final

from mover.errors import MoverError
from mover.prewarm.holding import Cache
from mover.prewarm.model import Wish
from mover.prewarm_ground import WarmGround
from mover.prewarm_nodes import Nodes
from mover.prewarm_places import Nature
from scheduler.store import TaskStore
from transports.errors import TransportError

ROOM: Final = "room-"
"""Controls of a prewarm, one for each node by its name: where its cache of each target is, and its capacity, as JSON."""

SAY_S: Final = 5.0
"""How long a worker may take to find out; a mount that hangs must not keep it from the job."""


async def say_rooms(ground: WarmGround, store: TaskStore) -> None:
    """Open this node's places and put down what they can hold; what cannot be opened, its tasks will say."""
    spec = ground.spec
    noted = await Nodes(spec=spec, store=store).noted() or spec.nodes
    if spec.wish is not Wish.WARM or (noted and ground.node not in noted):
        return
    said: list[Cache] = []
    with suppress(TransportError, MoverError, TimeoutError):
        async with asyncio.timeout(SAY_S):
            for number in range(len(spec.targets)):
                nature = (await ground.place(number)).nature
                said.append(Cache(nature.where, nature.capacity_bytes))
    if said:
        await store.set_control(ROOM + ground.node, json.dumps(said).encode())


async def caches_of(
    store: TaskStore, nodes: Collection[str], target: int, nature: Nature
) -> dict[str, Cache]:
    """Each node's cache of a target; of a node that has not said, what the walker's own can hold (``nature``)."""
    found = {}
    for node in nodes:
        said: Sequence[Sequence[str | int]] = json.loads(
            await store.get_control(ROOM + node) or b"[]"
        )
        found[node] = Cache(nature.where, nature.capacity_bytes)
        if target < len(said):
            where, capacity_bytes = said[target]
            found[node] = Cache(str(where), int(capacity_bytes))
    return found

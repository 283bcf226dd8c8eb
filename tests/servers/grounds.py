"""What the places of a prewarm stand on, in a test: real origins, every call to them on record."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mover.filtering import Selection
from mover.prewarm.model import Piece, WarmSpec
from mover.prewarm_caches import open_cache
from mover.prewarm_places import Ground
from transports.decorator import bare
from transports.location import parse_location
from transports.opening import TransportPolicy, decorate, open_transport
from transports.record import Log
from transports.retry_policy import DEFAULT_POLICY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from mover.prewarm_places import Place
    from transports.base import Transport
    from transports.retry_policy import RetryPolicy

TOKEN = "a secret of the tests, and of no use"


@dataclass(kw_only=True)
class Yard:
    """Opens places in one process; ``log`` has every call that an origin got."""

    environment: Mapping[str, str] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    notes: list[str] = field(default_factory=list)
    dress: Callable[[Transport], Transport] = bare
    retry: RetryPolicy | None = DEFAULT_POLICY

    @contextlib.asynccontextmanager
    async def ground(
        self, spec: WarmSpec, *, job: str = "job", node: str = "n1", token: str = TOKEN
    ) -> AsyncIterator[Ground]:
        async with contextlib.AsyncExitStack() as stack:

            async def open_source(location: str) -> Transport:
                opened = await open_transport(
                    parse_location(location),
                    side="source",
                    environment=self.environment,
                    links="skip",
                )
                stack.push_async_callback(opened.close)
                return decorate(self.dress(opened), TransportPolicy(log=self.log, retry=self.retry))

            async def take(_size: int) -> None: ...

            async def told() -> str:
                return token

            yield Ground(
                spec=spec,
                job=job,
                node=node,
                environment=self.environment,
                take=take,
                limited=lambda: False,
                open_source=open_source,
                token=told,
                note=self.notes.append,
            )

    @contextlib.asynccontextmanager
    async def cache(
        self,
        spec: WarmSpec,
        *,
        job: str = "job",
        node: str = "n1",
        token: str = TOKEN,
    ) -> AsyncIterator[Place]:
        """The cache directory of a spec with one target."""
        async with self.ground(spec, job=job, node=node, token=token) as ground:
            place = await open_cache(spec.targets[0], ground)
            try:
                yield place
            finally:
                await place.close()


async def pieces_of(place: Place, *, metadata: bool = False) -> list[Piece]:
    """All files of a place, whole."""
    found: list[Piece] = []
    selector = Selection().compile(now_s=0.0)
    async for page in place.walk(selector, metadata=metadata):
        found += [Piece(entry, 0, entry.size) for entry in page]
    return found

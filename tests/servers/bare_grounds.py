"""The ground that a place stands on in a test: no rates, no sources, notes kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mover.prewarm.model import WarmSpec
from mover.prewarm_places import Ground

if TYPE_CHECKING:
    from collections.abc import Callable

    from transports.base import Transport


def plain_ground(
    target: str,
    *,
    notes: list[str] | None = None,
    taken: list[int] | None = None,
    limited: Callable[[], bool] = lambda: False,
    **spec: Any,
) -> Ground:
    """A ground for one target; ``spec`` is what else the request says. ``taken`` collects what was asked of rates."""

    async def take(size_bytes: int) -> None:
        if taken is not None:
            taken.append(size_bytes)

    async def no_source(location: str) -> Transport:
        raise NotImplementedError(location)

    async def token() -> str:
        return "token"

    return Ground(
        spec=WarmSpec(targets=(target,), **spec),
        job="job",
        node="node",
        environment=os.environ,
        take=take,
        limited=limited,
        open_source=no_source,
        token=token,
        note=(notes if notes is not None else []).append,
    )

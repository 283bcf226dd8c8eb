"""Bring back the tasks of workers that died.

Every worker runs a reaper: a reap that finds nothing is cheap, and no worker is in charge.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from scheduler.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.model import Reaped
    from scheduler.store import TaskStore

_log = logging.getLogger(__name__)


async def reap_forever(
    store: TaskStore,
    *,
    pause_s: Callable[[], float],
    clock: Callable[[], float],
    rng: Callable[[], float],
    on_reaped: Callable[[Reaped], None],
) -> NoReturn:
    """Reap about every ``pause_s()`` seconds, and report what was found; ends by cancellation.

    The pause is jittered by half, so that workers started together do not reap together. A store
    that is away is asked again at the next turn.
    """
    while True:
        await asyncio.sleep(pause_s() * (0.5 + rng()))
        try:
            reaped = await store.reap(now_s=clock())
        except StoreUnavailable as error:
            if error.permanent:
                _log.error("action=reap: %s", error)
            continue
        if reaped.reclaimed or reaped.discarded:
            _log.warning(
                "action=reap reclaimed=%d discarded=%d", reaped.reclaimed, reaped.discarded
            )
            on_reaped(reaped)

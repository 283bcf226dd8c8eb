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
    turn_s: float,
    pause_s: Callable[[], float],
    clock: Callable[[], float],
    rng: Callable[[], float],
    on_reaped: Callable[[Reaped], None],
) -> NoReturn:
    """Reap every ``pause_s()`` seconds on average, and report what was found; ends by cancellation.

    Turns come every ``turn_s`` seconds, jittered by half, so that workers started together do not reap
    together; where the pause is longer than that, most turns are let pass, by chance. So a large
    fleet that begins has its first reaps after one turn and not after a long pause, and who is left
    when most have gone reaps as a small fleet does. A store that is away is asked again at the next turn.
    """
    while True:
        await asyncio.sleep(turn_s * (0.5 + rng()))
        if rng() * pause_s() >= turn_s:
            continue
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

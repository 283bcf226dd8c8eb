"""Wait for a task store that is away: back off, do not spin, and give up in the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, TypeVar

from scheduler.errors import StoreUnavailable
from scheduler.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_log = logging.getLogger(__name__)

PAUSES = RetryPolicy(base_s=0.2, cap_s=5.0)
"""Upper bounds of the pauses. Half of each is certain: full jitter alone may draw zeros."""


async def patiently(
    call: Callable[[], Awaitable[T]],
    *,
    patience_s: float,
    rng: Callable[[], float],
    interrupted_by: asyncio.Event | None = None,
) -> T:
    """Repeat a verb of a store until it answers.

    Raises ``StoreUnavailable`` as soon as waiting cannot help, when ``patience_s`` seconds have
    passed, or once ``interrupted_by`` is set. Every verb may be repeated, so a cancel leaves
    what a cancel of the verb leaves.
    """
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + patience_s
    attempt = 0
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            is_interrupted = interrupted_by is not None and interrupted_by.is_set()
            if error.permanent or is_interrupted or loop.time() >= give_up_s:
                raise
            attempt += 1
            _log.warning("action=wait attempt=%d: %s", attempt, error)
        pause_s = PAUSES.backoff_max_s(attempt) * (0.5 + 0.5 * rng())
        if interrupted_by is None:
            await asyncio.sleep(pause_s)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await interrupted_by.wait()

"""See out what a cancel would leave half known, and undo it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def undone_if_cancelled(
    work: Callable[[], Awaitable[T]],
    undo: Callable[[T], Awaitable[None]],
    *,
    within_s: float,
) -> T:
    """Run ``work``, whose result nobody could find again: when cancelled, see it out and ``undo`` it.

    Both together may take ``within_s`` after the cancel, and a second cancel ends them at once; what
    was made may then stay. Raises what ``work`` raises; ``undo`` must not raise.
    """
    async with asyncio.TaskGroup() as group:
        working = group.create_task(_as_value(work), name="seen-out")
        try:
            result = await asyncio.shield(working)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    made = await asyncio.shield(working)
                    if not isinstance(made, Exception):
                        await undo(made)
            working.cancel()
            raise
    if isinstance(result, Exception):
        raise result
    return result


async def _as_value(work: Callable[[], Awaitable[T]]) -> T | Exception:
    """Errors as values: raised in the group, they would come out dressed up."""
    try:
        return await work()
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return error

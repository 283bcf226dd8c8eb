"""Open and drop uploads in parts, so that none stays open that nobody knows.

Who drops uploads of a key must not drop those of whoever has the task by now. A *fence* tells: it
raises unless the caller still holds the task. What was listed before the fence let pass cannot be a
successor's, since nobody can succeed to a task that is held.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mover.ends import Ends
from transports.errors import NotFound, TransportError
from transports.model import Attributes
from transports.undoing import undone_if_cancelled

Fence = Callable[[], Awaitable[None]]

DROP_S = 5.0
"""How long a cancelled task may take to drop the upload that it has opened, or is opening."""


async def begin_upload(
    ends: Ends, key: str, size: int, attributes: Attributes, fence: Fence
) -> str:
    """Open an upload at the target, and return its id.

    A cancel meanwhile waits for the id and drops the upload, within ``DROP_S``.
    """

    async def begin() -> str:
        retries_before = ends.live.retries
        upload_id = await ends.target.begin_upload(key, size, attributes, token=ends.token)
        if ends.live.retries != retries_before:
            # An answer that got lost took the name of an upload with it, which would stay open.
            await drop_uploads(ends, key, fence, keep=upload_id)
        return upload_id

    async def drop(upload_id: str) -> None:
        await abandon(ends, key, upload_id)

    return await undone_if_cancelled(begin, drop, within_s=DROP_S)


async def drop_uploads(ends: Ends, key: str, fence: Fence, *, keep: str = "") -> None:
    """Abort uploads of exactly this key that an attempt cut short has left open."""
    try:
        found = await ends.target.list_uploads(key)
    except NotFound:
        return  # the target has not been made yet
    left = [each.upload_id for each in found if each.key == key and each.upload_id != keep]
    if left:
        await fence()
    for upload_id in left:
        await ends.target.abort_upload(key, upload_id)


async def abandon(ends: Ends, key: str, upload_id: str) -> None:
    """Drop the upload of an object that failed. That it could not be dropped is not the news."""
    with suppress(TransportError):
        await ends.target.abort_upload(key, upload_id)


async def abandon_late(ends: Ends, key: str, upload_id: str) -> None:
    """The same on the way out of a cancel, which must not take long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DROP_S):
            await abandon(ends, key, upload_id)

"""Open and drop uploads in parts, so that none stays open that nobody knows."""

import asyncio
from contextlib import suppress

from mover.ends import Ends
from transports.errors import TransportError
from transports.model import Attributes
from transports.undoing import undone_if_cancelled

DROP_S = 5.0
"""How long a cancelled task may take to drop the upload that it has opened, or is opening."""


async def begin_upload(ends: Ends, key: str, size: int, attributes: Attributes) -> str:
    """Open an upload at the target, and return its id.

    A cancel meanwhile waits for the id and drops the upload, within ``DROP_S``.
    """

    async def begin() -> str:
        retries_before = ends.live.retries
        upload_id = await ends.target.begin_upload(key, size, attributes, token=ends.token)
        if ends.live.retries != retries_before:
            # An answer that got lost took the name of an upload with it, which would stay open.
            await drop_uploads(ends, key, keep=upload_id)
        return upload_id

    async def drop(upload_id: str) -> None:
        await abandon(ends, key, upload_id)

    return await undone_if_cancelled(begin, drop, within_s=DROP_S)


async def drop_uploads(ends: Ends, key: str, *, keep: str = "") -> None:
    """Abort uploads of exactly this key that an attempt cut short has left open."""
    for upload in await ends.target.list_uploads(key):
        if upload.key == key and upload.upload_id != keep:
            await ends.target.abort_upload(key, upload.upload_id)


async def abandon(ends: Ends, key: str, upload_id: str) -> None:
    """Drop the upload of an object that failed. That it could not be dropped is not the news."""
    with suppress(TransportError):
        await ends.target.abort_upload(key, upload_id)


async def abandon_late(ends: Ends, key: str, upload_id: str) -> None:
    """The same on the way out of a cancel, which must not take long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DROP_S):
            await abandon(ends, key, upload_id)

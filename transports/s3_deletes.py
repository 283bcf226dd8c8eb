"""Deleting objects, and the guard against names that a store folds into others."""

import asyncio
from collections.abc import Sequence
from typing import Final

from transports import s3_delete_xml, s3_xml
from transports.digests import base64_of, md5_hex
from transports.errors import Invalid, NotFound, TransportError
from transports.s3_errors import Refusal, error_from
from transports.s3_headers import KEY_BYTES_MAX
from transports.s3_requests import S3Client

BATCH_KEYS: Final = 1000
"""The most that DeleteObjects takes."""

_CREW: Final = 8


class NameGuard:
    """Refuses keys that the store would file under another key, or lose.

    SeaweedFS keeps objects in directories. Without an error it files ``a//b``, ``/a/b`` and
    ``a(backslash)b`` as ``a/b``, hides what is under ``.uploads/``, drops the bytes of an object whose key
    ends in a slash, and loses the object ``a`` to a marker ``a/``. No other store is known to do
    this, so the question is asked only for such keys, and only of the server's name.
    """

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def check(self, key: str) -> None:
        """Raise ``Invalid`` where this store cannot hold this full key."""
        if is_foldable(key) and await self._folds():
            raise self._refusal(key, "this store would file the key under another one")

    async def check_write(self, key: str, size: int) -> None:
        """Raise ``Invalid`` where this store would not keep an object of this size as it is."""
        await self.check(key)
        if key[-1:] != "/" or not await self._folds():
            return
        if size:
            raise self._refusal(key, "this store drops the bytes of a key that ends in a slash")
        try:
            await self._client.send("HEAD", key[:-1])
        except NotFound:
            return
        raise self._refusal(key, "this store cannot hold an object and a marker of one name")

    async def _folds(self) -> bool:
        if not self._client.server:
            await self._client.send("GET", None, (("list-type", "2"), ("max-keys", "1")))
        return self._client.server.startswith("SeaweedFS")

    def _refusal(self, key: str, why: str) -> Invalid:
        return Invalid(self._client.location_of(key), why)


def is_foldable(key: str) -> bool:
    """Whether a store that keeps keys as paths would fold this one into another, or hide it."""
    if key[:1] == "/" or "//" in key or "\\" in key:
        return True
    if "." not in key:
        return False
    return key.startswith(".uploads/") or any(s in (".", "..") for s in key.split("/"))


class Deleter:
    """Deletes in bulk where the store can, one by one where it cannot."""

    def __init__(self, client: S3Client, names: NameGuard) -> None:
        self._client = client
        self._names = names
        self._in_bulk = True  # until the store says otherwise

    async def delete(self, keys: Sequence[str]) -> list[TransportError | None]:
        """Delete up to ``BATCH_KEYS`` full keys; one result each."""
        results: list[TransportError | None] = [None] * len(keys)
        singles = list(range(len(keys)))
        if self._in_bulk and len(keys) > 1:
            many = [n for n in singles if _fits_bulk(keys[n])]
            failures = await self._delete_bulk([keys[n] for n in many])
            if failures is not None:
                for n in many:
                    results[n] = failures.get(keys[n])
                singles = [n for n in singles if not _fits_bulk(keys[n])]
        waiting = iter(singles)

        async def work() -> None:
            for n in waiting:
                results[n] = await self._delete_one(keys[n])

        async with asyncio.TaskGroup() as crew:
            for number in range(min(_CREW, len(singles))):
                crew.create_task(work(), name=f"delete-{number}")
        return results

    async def _delete_one(self, key: str) -> TransportError | None:
        try:
            await self._names.check(key)
            await self._client.send("DELETE", key)
        except NotFound:
            return None
        except TransportError as error:
            return error
        return None

    async def _delete_bulk(self, keys: Sequence[str]) -> dict[str, TransportError] | None:
        """Failures by key, or None where the store does not delete in bulk."""
        if not keys:
            return {}
        body = s3_delete_xml.delete_body(keys)
        headers = (
            ("content-md5", base64_of(md5_hex(body))),
            ("content-type", "application/xml"),
        )
        try:
            reply = await self._client.send("POST", None, (("delete", ""),), headers, body=body)
            refused = s3_delete_xml.parse_deleted(reply.body)
        except (Invalid, s3_xml.GarbledAnswer):
            self._in_bulk = False
            return None
        except TransportError as error:
            return dict.fromkeys(keys, error)
        return {
            key: error_from(
                Refusal(200, code, message, "", ""), self._client.location_of(key), now_s=0.0
            )
            for key, (code, message) in refused.items()
            if code not in ("NoSuchKey", "NotFound")
        }


def _fits_bulk(key: str) -> bool:
    """Whether a key can be named in the body of a bulk delete, on any store."""
    if not key or not s3_delete_xml.fits_xml(key) or is_foldable(key):
        return False
    return len(key) <= KEY_BYTES_MAX // 4 or len(key.encode()) <= KEY_BYTES_MAX

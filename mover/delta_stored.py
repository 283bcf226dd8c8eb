"""Signatures that lie at a store, hidden there: made while an object was written, to be found later.

Who signs an object to make a difference asks here first, and need not read it then. A signature is
bound to the size and the etag of its object, or where there are no etags, on disks, to its version (inode
and time of change), so one that nobody removed is no harm.

Workers that write the parts of one object leave a *piece* each, which is the signature of their bytes;
who finishes the object joins them.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from typing import Final

from mover.delta.garbled import Garbled
from mover.delta.model import Signature, SignatureHead
from mover.delta.part_signing import joined_parts, sign_part
from mover.delta.signature_format import SignatureFile, SignatureReader, write_signature
from mover.naming import HIDDEN
from mover.seeing_out import in_thread
from transports.base import Transport
from transports.errors import Changed, NotFound, TransportError
from transports.model import NO_ATTRIBUTES, Blob, Entry, Kind, Proof, Receipt

PREFIX: Final = f"{HIDDEN}signatures/"
"""In the directory of an object."""

BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer signature is neither kept nor read: it would be of more than two TiB."""


def keeps_signatures(store: Transport) -> bool:
    """Whether a signature can be bound to an object there."""
    able = store.capabilities
    return able.local or not able.has_directories


async def stored_signature(store: Transport, entry: Entry) -> SignatureFile | None:
    """The signature of just this object, where one was left; None for any reason why there is none.

    Raises ``TransportError`` where the store cannot be asked.
    """
    file = await _read(store, _name(entry.key))
    if file is None or file.signature.head.size != entry.size:
        return None
    told = [pair for pair in ((file.etag, entry.etag), (file.version, entry.version)) if all(pair)]
    return file if told and all(kept == now for kept, now in told) else None


async def keep_signature(store: Transport, signature: Signature, receipt: Receipt) -> bool:
    """Keep the signature of an object that was just written, for ``stored_signature``.

    False where that cannot be: the store refuses, tells neither etag nor version, or it is too long.
    """
    if not receipt.etag and not receipt.version:
        return False
    file = SignatureFile(signature=signature, etag=receipt.etag, version=receipt.version)
    try:
        await _write(store, _name(receipt.key), file)
    except (TransportError, ValueError):
        return False
    return True


async def remove_signatures(store: Transport, directory: str) -> None:
    """Remove all signatures of a directory (ending in a slash), where real directories hide them.

    That they could not be removed is not the news.
    """
    with suppress(TransportError):
        await _remove(store, await _keys(store, f"{directory}{PREFIX}"), f"{directory}{HIDDEN}")


class StoredParts:
    """The signature of an object that is being written: ``key``, by the upload ``upload_id``.

    ``head`` is what ``part_head`` says. Nothing here may fail a copy: what a store refuses is let go.
    """

    def __init__(self, store: Transport, key: str, upload_id: str, head: SignatureHead) -> None:
        self._store = store
        self._key = key
        self.head = head
        self._prefix = f"{_name(key)}.{_digest(upload_id)}/"

    async def leave(self, start: int, piece: Signature) -> None:
        """Leave the signature of the bytes from ``start`` on for who finishes the object."""
        file = SignatureFile(signature=piece)
        with suppress(TransportError):
            await _write(self._store, f"{self._prefix}{start:020d}", file)

    async def finish(self, receipt: Receipt) -> bool:
        """Join what was left and keep it as the signature of the finished object.

        False, and nothing is kept, where a piece is missing (somebody wrote parts without signing them),
        or where the store tells neither etag nor version.
        """
        is_kept = False
        with suppress(TransportError, ValueError):
            signature = joined_parts(self.head, await self._pieces())
            is_kept = await keep_signature(self._store, signature, receipt._replace(key=self._key))
        await self.drop()
        return is_kept

    async def _pieces(self) -> dict[int, Signature]:
        found: dict[int, Signature] = {}
        for key in await _keys(self._store, self._prefix):
            start = int(key.removeprefix(self._prefix))
            file = await _read(self._store, key)
            if file is not None:
                found[start] = file.signature
        return found

    async def drop(self) -> None:
        """Remove what was left of this object, by uploads that never ended too.

        That it could not be removed is not the news.
        """
        prefix = f"{_name(self._key)}."
        with suppress(TransportError):
            await _remove(self._store, await _keys(self._store, prefix), prefix)


class PartSigner:
    """Signs the parts that one worker writes, in any order, and leaves what they come to."""

    def __init__(self, stored: StoredParts) -> None:
        self._stored = stored
        self._signed: dict[int, Signature] = {}

    async def sign(self, start: int, data: memoryview) -> None:
        """Sign a part that begins at ``start``; its bytes are the caller's again afterwards."""
        self._signed[start] = await in_thread(sign_part, self._stored.head, data)

    async def leave(self) -> None:
        """Leave a piece for each run of parts without a gap."""
        run: dict[int, Signature] = {}
        end = -1
        for start, part in sorted(self._signed.items(), key=itemgetter(0)):
            if run and start != end:
                await self._leave(run)
                run = {}
            run[start] = part
            end = start + part.head.size
        if run:
            await self._leave(run)

    async def _leave(self, run: dict[int, Signature]) -> None:
        size = sum(part.head.size for part in run.values())
        piece = joined_parts(replace(self._stored.head, size=size), run)
        await self._stored.leave(min(run), piece)


async def _keys(store: Transport, prefix: str) -> list[str]:
    try:
        pages = store.list(prefix)
        return [e.key async for page in pages for e in page if e.kind is not Kind.DIRECTORY]
    except NotFound:
        return []


async def _remove(store: Transport, keys: Sequence[str], prefix: str) -> None:
    """Remove keys, and what is left of real directories whose names begin with ``prefix``."""
    if not keys:
        return
    await store.delete(keys)
    if store.capabilities.has_directories:
        found = {key[: place + 1] for key in keys for place, sign in enumerate(key) if sign == "/"}
        directories = [each for each in found if each.startswith(prefix)]
        await store.delete(sorted(directories, key=len, reverse=True))


async def _write(store: Transport, key: str, file: SignatureFile) -> None:
    data = b"".join(write_signature(file))
    if len(data) > BYTES_MAX:
        raise ValueError("a signature that is too long to be kept")
    blob = Blob(Entry(key, len(data), 0), data, NO_ATTRIBUTES, Proof.WEAK)
    (receipt,) = await store.write_small([blob])
    if isinstance(receipt, TransportError):
        raise receipt


async def _read(store: Transport, key: str) -> SignatureFile | None:
    try:
        entry = (await store.head(key)).entry
        if not 0 < entry.size <= BYTES_MAX:
            return None
        (blob,) = await store.read_small([entry])
        if isinstance(blob, TransportError):
            raise blob
        reader = SignatureReader()
        reader.feed(blob.data)
        return reader.finish()
    except (NotFound, Changed, Garbled):
        return None


def _name(key: str) -> str:
    """Where the signature of an object lies: in its own directory, so that it is found from any root.

    A digest stands for the name, which may be as long as a name can be.
    """
    directory, slash, base = key.rpartition("/")
    return f"{directory}{slash}{PREFIX}{_digest(base)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()

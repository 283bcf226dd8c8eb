"""What lies behind ``memory://``: objects by key with their versions, and the uploads under way."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from transports import digests
from transports.model import Attributes, Proof, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One version of one object."""

    data: bytes
    attributes: Attributes
    etag: str
    version: str
    written_ns: int
    parts: int = 0


@dataclass(slots=True, kw_only=True)
class StoredUpload:
    """An upload that is open: its parts by number, each with the offset it was written for."""

    key: str
    attributes: Attributes
    started_ns: int
    parts: dict[int, tuple[int, bytes]] = field(default_factory=dict)


class MemoryStore:
    """What a bucket is elsewhere; any number of transports may look at one.

    ``uploads`` and ``objects`` are open to tests, which may look at and damage what lies there. With
    ``keeps_versions`` what is replaced or deleted stays, in ``older``.
    """

    def __init__(
        self, *, now_ns: Callable[[], int] = time.time_ns, keeps_versions: bool = False
    ) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.keeps_versions = keeps_versions
        self.older: dict[str, list[StoredObject]] = {}  # newest last
        self.uploads: dict[str, StoredUpload] = {}
        self.finished: dict[str, str] = {}  # upload id -> version that it made
        self.now_ns = now_ns
        self._count = 0

    def next_number(self) -> int:
        """Return a number that was not given before; versions and upload ids are made of it."""
        self._count += 1
        return self._count

    def keep(self, key: str, data: bytes, attributes: Attributes, *, parts: int = 0) -> Receipt:
        """Make ``data`` the object at ``key``; S3's way of naming the etag of ``parts`` is kept."""
        etag = digests.md5_hex(data) + (f"-{parts}" if parts else "")
        stored = StoredObject(
            data=data,
            attributes=attributes,
            etag=etag,
            version=str(self.next_number()),
            written_ns=self.now_ns(),
            parts=parts,
        )
        self.drop(key)
        self.objects[key] = stored
        return Receipt(key, len(data), etag, Proof.WEAK, version=stored.version)

    def drop(self, key: str) -> None:
        """Let go of the object at ``key``, if there is one."""
        stored = self.objects.pop(key, None)
        if stored is not None and self.keeps_versions:
            self.older.setdefault(key, []).append(stored)


_NAMED_STORES: Final[dict[str, MemoryStore]] = {}
"""The stores of ``memory://name``. The one registry: that its content lives as long as the process
and is shared by all who know the name is what these locations are for."""


def named_store(name: str) -> MemoryStore:
    """Return the process's store of that name; it is made when it is first asked for."""
    return _NAMED_STORES.setdefault(name, MemoryStore())


def damage(store: MemoryStore, key: str, data: bytes) -> None:
    """Change an object's bytes but not its etag or version, as a failing disk would; for tests."""
    store.objects[key] = replace(store.objects[key], data=data)

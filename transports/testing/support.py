"""What the contracts share: the hooks that an adapter may override, and short words for tests."""

import asyncio
import contextlib
import functools
import random
from collections.abc import Mapping

from transports.base import Sink, Transport
from transports.errors import Changed, NoSpace, NotFound, TransportError
from transports.model import NO_ATTRIBUTES, Attributes, Blob, ByteRange, Entry, PartSpec, Proof


class Subject:
    """Hooks of a store under test; a subclass also provides the fixture ``transport``."""

    many = 25
    """Objects in the test of long listings; more than a page where the store is quick."""

    folds = True
    """False where the store cannot tell what lies directly under a prefix."""

    pins_content = True
    """False where the store cannot tell that an object was replaced (no etag, no version)."""

    gone_errors: type[TransportError] = NotFound
    """What comes of an upload that is gone; a server may be less clear than ``NotFound``."""

    unfaithful_names: frozenset[str] = frozenset()
    """Keys that the *server* is known to fold into others, beyond any adapter's reach.

    The suite then insists that it does, so that the list shrinks when the server is repaired.
    """

    async def seed(self, transport: Transport, objects: Mapping[str, bytes]) -> None:
        """Make these objects exist. A read-only adapter overrides this."""
        await put(transport, objects)

    def outside(self, transport: Transport) -> object:
        """Return a comparable picture of what lies around the root, where there is such a thing."""
        return None


class Gathering(Sink):
    """Keeps what it takes, up to ``room_bytes``."""

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        self.data = bytearray()
        self._room_bytes = room_bytes

    def take(self, piece: memoryview) -> None:
        if len(self.data) + len(piece) > self._room_bytes:
            raise NoSpace("sink")
        self.data += piece
        self.taken_bytes = len(self.data)


@functools.lru_cache(maxsize=16)
def some_bytes(size: int, seed: int = 7) -> bytes:
    """Return ``size`` random bytes, the same on every run."""
    return random.Random(seed).randbytes(size)


def blob(key: str, data: bytes = b"", attributes: Attributes = NO_ATTRIBUTES) -> Blob:
    """Return a blob as a reader without checksums would have made it."""
    return Blob(Entry(key, len(data), 0), data, attributes, Proof.WEAK)


async def put(transport: Transport, objects: Mapping[str, bytes]) -> None:
    """Write whole objects; raise the first error."""
    results = await transport.write_small([blob(key, data) for key, data in objects.items()])
    for result in results:
        if isinstance(result, TransportError):
            raise result


async def listed(
    transport: Transport, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
) -> list[Entry]:
    """Return the whole listing; no page may be empty."""
    entries: list[Entry] = []
    pages = transport.list(prefix, start_after=start_after, stop_at=stop_at)
    async with contextlib.aclosing(pages) as stream:  # type: ignore[type-var]
        async for page in stream:
            assert page, "an empty page"
            entries.extend(page)
    return entries


async def contents(transport: Transport) -> dict[str, bytes]:
    """Return every object's bytes by key, read as the listing pins it."""
    entries = await listed(transport)
    blobs = await transport.read_small(entries)
    found: dict[str, bytes] = {}
    for entry, item in zip(entries, blobs, strict=True):
        if isinstance(item, TransportError):
            raise item
        found[entry.key] = bytes(item.data)
    return found


async def settled(transport: Transport) -> dict[str, bytes]:
    """Return the contents after a cancelled write, which a server may carry out a moment later."""
    for _ in range(20):
        with contextlib.suppress(Changed):
            return await contents(transport)
        await asyncio.sleep(0.05)
    return await contents(transport)


async def pinned(transport: Transport, key: str) -> Entry:
    """Return the entry of one object as the listing shows it."""
    entries = [entry for entry in await listed(transport, key) if entry.key == key]
    assert len(entries) == 1, f"{key!r} is listed {len(entries)} times"
    return entries[0]


def cut(data: bytes, part_size: int) -> list[tuple[PartSpec, memoryview]]:
    """Return the parts of an upload of ``data``, numbered from 1, each ``part_size`` bytes."""
    starts = range(0, len(data), part_size)
    return [
        (
            PartSpec(number=number, range=ByteRange(start, min(start + part_size, len(data)))),
            memoryview(data)[start : start + part_size],
        )
        for number, start in enumerate(starts, start=1)
    ]


def part_size(transport: Transport) -> int:
    """Return the size of a part that the store takes, as small as it may be."""
    capabilities = transport.capabilities
    return max(capabilities.part_size_min, capabilities.part_alignment, 128 * 1024)

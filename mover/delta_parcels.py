"""Bytes that one side leaves for the other at the target, hidden there until they are removed.

A parcel is a row of objects of at most ``PIECE_BYTES``, each written in one request: a worker that is
killed leaves no open upload, and a reader needs no ranges. Names have the job, the object and the
lease in them, so whoever runs a task again writes other objects than those before.

A worker may keep the pieces instead (``depots``). What it does not take goes to the target.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from mover.beside import first_leaf
from mover.delta_tasks import Keeper, Parcel, Spent, choose_keeper, piece_name
from mover.depots import Depot
from mover.ends import Ends
from mover.model import Delta
from mover.naming import HIDDEN
from scheduler.model import Lease
from transports.base import Transport
from transports.errors import Changed, NotFound, TransportError
from transports.model import NO_ATTRIBUTES, Blob, Entry, Proof

PIECE_BYTES: Final = 8 * 1024 * 1024

PIECES_AHEAD: Final = 3
"""Pieces on their way at a time: with the one that is being filled, 32 MiB in memory."""

Take = Callable[[memoryview], Awaitable[None]]


def job_prefix(token: str) -> str:
    """Where a job hides what it has at its target."""
    return f"{HIDDEN}{token}/"


def object_prefix(token: str, key: str) -> str:
    """Where what belongs to one object of a job is."""
    return f"{job_prefix(token)}{hashlib.blake2b(os.fsencode(key), digest_size=12).hexdigest()}/"


class Spoiled(Exception):
    """What was left for the other side cannot be used: the object is to be sent whole."""


class KeeperLost(Spoiled):
    """What a worker was to keep cannot be had from it: the object is to begin anew, without it."""

    def __init__(self, keeper: str, name: str) -> None:
        super().__init__(f"{keeper} has no {name} to give")
        self.keeper = keeper


class ParcelWriter:
    """Writes one parcel, piece by piece; ``parcel_writer`` makes it."""

    def __init__(
        self, depot: Depot, name: str, group: asyncio.TaskGroup, keeper: Keeper | None
    ) -> None:
        self._depot = depot
        self._name = name
        self._keeper = keeper
        self._refused = False
        self._stored = 0
        self._group: asyncio.TaskGroup = group
        self._held = bytearray()
        self._count = 0
        self._size = 0
        self._free = asyncio.Semaphore(PIECES_AHEAD)
        self._sending: list[asyncio.Task[None]] = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they are the caller's again afterwards."""
        self._held += data
        self._size += len(data)
        while len(self._held) >= PIECE_BYTES:
            await self._send(PIECE_BYTES)

    async def finish(self) -> Parcel:
        """Wait until all of it is there. Raises ``TransportError``."""
        if self._held:
            await self._send(len(self._held))
        for sending in self._sending:
            await sending
        return Parcel(
            name=self._name,
            size=self._size,
            piece_bytes=PIECE_BYTES,
            at=self._keeper,
            stored=0 if self._keeper is None else self._stored,
        )

    async def _send(self, length: int) -> None:
        entry = Entry(piece_name(self._name, self._count), length, 0)
        blob = Blob(entry, bytes(self._held[:length]), NO_ATTRIBUTES, Proof.WEAK)
        del self._held[:length]
        await self._free.acquire()
        self._sending.append(self._group.create_task(self._put(blob), name=f"piece-{self._count}"))
        self._count += 1

    async def _put(self, blob: Blob) -> None:
        try:
            if await self._is_kept(blob):
                return
            self._stored += 1
            (receipt,) = await self._depot.store.write_small([blob])
        finally:
            self._free.release()
        if isinstance(receipt, TransportError):
            raise receipt

    async def _is_kept(self, blob: Blob) -> bool:
        peers = self._keeper and self._depot.peers_of(self._keeper)
        if self._keeper is None or peers is None or self._refused:
            return False
        is_kept = await peers.put(self._keeper.address, blob.entry.key, bytes(blob.data))
        self._refused = self._refused or not is_kept
        return is_kept


@asynccontextmanager
async def parcel_writer(
    depot: Depot, name: str, *, keeper: Keeper | None = None
) -> AsyncGenerator[ParcelWriter, None]:
    """A writer of a parcel. Errors come out alone; what was written then stays for the clean-up."""
    try:
        async with asyncio.TaskGroup() as group:
            yield ParcelWriter(depot, name, group, keeper)
    except ExceptionGroup as error:
        raise first_leaf(error) from error


class Step:
    """A step of one object, for a lease; ``spent`` is what the object took so far."""

    def __init__(self, ends: Ends, lease: Lease, spent: Spent) -> None:
        self._ends = ends
        self._lease = lease
        self._spent = spent
        self._near, self._far = ends.near_depot, ends.far_depot

    def _name(self, entry: Entry, what: str) -> str:
        """The name of a parcel that nobody else writes: another holder has another generation."""
        prefix = object_prefix(self._ends.token, self._ends.target_key(entry.key))
        return f"{prefix}{self._lease.task_id}-{self._lease.generation}.{what}"

    async def _keeper(self, given: Keeper | None = None) -> Keeper | None:
        """Who is to keep what the step leaves; ``given`` keeps what it has got. None: the store."""
        peers = self._near.at_target
        if peers is None:
            return None
        if self._spent.lost:
            peers.lost(self._spent.lost)
            return None
        known = [each for each in await self._ends.keepers() if not peers.is_away(each.address)]
        return choose_keeper(self._lease.task_id, given=given, own=peers.own, known=known)

    def _spend(
        self, *, wire_bytes: int = 0, gets: int = 0, puts: int = 0, hashed_bytes: int = 0
    ) -> None:
        spent = Spent(wire_bytes=wire_bytes, gets=gets, puts=puts, hashed_bytes=hashed_bytes)
        self._spent = self._spent.plus(spent)

    async def _leave(
        self, entry: Entry, what: str, data: bytes, *, keeper: Keeper | None
    ) -> Parcel:
        """Leave something small for the other side. Raises ``TransportError``."""
        name = self._name(entry, what)
        async with parcel_writer(self._far, name, keeper=keeper) as writer:
            await writer.write(data)
            parcel = await writer.finish()
        self._spend(wire_bytes=parcel.size, puts=parcel.puts)
        return parcel


async def pour_parcel(depot: Depot, parcel: Parcel, take: Take) -> None:
    """Give all bytes of a parcel, from start to end.

    Raises ``Spoiled`` where a piece is not there or not as long as it was (``KeeperLost`` where a worker
    was to have it), ``TransportError``; maybe in groups.
    """
    for first in range(0, parcel.count, PIECES_AHEAD):
        numbers = range(first, min(first + PIECES_AHEAD, parcel.count))
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(_read_piece(depot, parcel, n)) for n in numbers]
        for each in reading:
            await take(memoryview(each.result()))


async def _read_piece(depot: Depot, parcel: Parcel, number: int) -> bytes | bytearray | memoryview:
    """Read a piece from who keeps it, or from the store where that did not take all."""
    piece = parcel.piece(number)
    if parcel.at is None or parcel.stored == parcel.count:
        return await _read_stored(depot.store, piece)
    address, peers = parcel.at.address, depot.peers_of(parcel.at)
    if peers is not None:
        data = await peers.get(address, piece)
        if data is not None:
            return data
    if not parcel.stored:
        raise KeeperLost(address, piece.key)
    try:
        return await _read_stored(depot.store, piece)
    except Spoiled as error:
        raise KeeperLost(address, piece.key) from error


async def _read_stored(store: Transport, wanted: Entry) -> bytes | bytearray | memoryview:
    """Read a piece as it is there now: decorators compare what they read with what was listed."""
    try:
        entry = (await store.head(wanted.key)).entry
        (blob,) = await store.read_small([entry])
        if isinstance(blob, TransportError):
            raise blob
    except (NotFound, Changed) as error:
        raise Spoiled(str(error)) from error
    if len(blob.data) != wanted.size:
        raise Spoiled(f"{store.location}{wanted.key} has {len(blob.data)} bytes of {wanted.size}")
    return blob.data


async def read_parcel(depot: Depot, parcel: Parcel) -> bytes:
    """All bytes of a parcel that is known to be small. Raises as ``pour_parcel``."""
    found = bytearray()

    async def keep(piece: memoryview) -> None:
        found.extend(piece)

    await pour_parcel(depot, parcel, keep)
    return bytes(found)


async def remove_hidden(target: Transport, prefix: str) -> None:
    """Remove everything below a prefix, and the directories where there are any.

    Raises ``TransportError``.
    """
    keys: list[str] = []
    try:
        async with aclosing(target.list(prefix)) as pages:  # type: ignore[type-var]
            async for page in pages:
                keys += [entry.key for entry in page]
    except NotFound:
        return
    outcomes = await target.delete(keys) if keys else []
    for error in outcomes:
        if error is not None:
            raise error
    if target.capabilities.has_directories:
        directories = {key[: key.rindex("/") + 1] for key in keys} | {prefix, HIDDEN}
        await target.delete(sorted(directories, key=len, reverse=True))


async def clear_object(ends: Ends, key: str, keepers: Iterable[Keeper]) -> None:
    """Remove what one object has hidden: at the target, and at workers. Raises ``TransportError``."""
    prefix = object_prefix(ends.token, key)
    for keeper in keepers:
        if (peers := ends.near_depot.peers_of(keeper)) is not None:
            await peers.remove(keeper.address, prefix)
    await remove_hidden(ends.near_target, prefix)


async def clean_up(ends: Ends) -> None:
    """Remove what an ended job has left unfinished or hidden at its target. Raises ``TransportError``."""
    if ends.peers is not None:
        ends.peers.forget(ends.token)
    await ends.target.clean(ends.token)
    if ends.spec.delta is not Delta.NEVER:
        await remove_hidden(ends.target, job_prefix(ends.token))

"""Read a delta that the other side has left: its operations, and its literals to be read anywhere.

Literals of more than a few MiB wait in a temporary file of this host (``TMPDIR``): parts of an upload
are made side by side, and a patch whose store turns out to copy nothing begins anew. What a delta tells of
elements that changed waits there as well, and makes their bytes of the basis when they are asked for.
"""

import os
import struct
import tempfile
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Final, NamedTuple

from mover import packing
from mover.delta import elements
from mover.delta.checksums import SUM_BYTES, section_sum
from mover.delta.delta_reading import DeltaReader
from mover.delta.garbled import Garbled
from mover.delta.model import Op, OpKind, joined, pack_ops, unpack_ops
from mover.delta.op_coding import OP_BYTES_MAX, decode_ops, encode_ops
from mover.delta_parcels import Spoiled, pour_parcel, read_parcel
from mover.delta_tasks import Parcel
from mover.depots import Depot
from mover.seeing_out import in_thread
from transports.errors import NoSpace
from transports.model import ByteRange, Entry

Read = Callable[[ByteRange, memoryview], Awaitable[None]]
"""Fills a buffer with these bytes of the basis."""

KEPT_BYTES: Final = 8 * 1024 * 1024
"""Literals that stay in memory."""

RUN_BYTES: Final = 8 * 1024 * 1024
"""What is read of the basis at a time for elements that changed."""

STEP_BYTES: Final = 8

OUTLINE_LEVEL: Final = 9
OUTLINE_OPS_MAX: Final = 2_000_000
"""What an outline may hold: 64 MiB of operations in memory."""


class _Spot(NamedTuple):
    """Bytes ``start`` to ``stop`` of the new object: what makes them is at ``at`` in the file.

    That is these bytes, or with an ``origin`` in the basis ``told`` bytes that say which elements changed.
    """

    start: int
    stop: int
    at: int
    told: int = 0
    origin: int = -1


class Literals:
    """What one delta brings. ``fill`` is what a ``Patcher`` asks; ``read`` reads the basis.

    ``requests`` counts the reads of the basis for elements that changed.
    """

    def __init__(self, read: Read) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(KEPT_BYTES)  # noqa: SIM115 - closed
        self._read = read
        self._spots: list[_Spot] = []
        self.size = 0
        self.requests = 0

    def add(self, start: int, data: memoryview) -> None:
        """Take the bytes of a literal from ``start`` on, in the order of the object."""
        last = self._spots[-1] if self._spots else None
        if last is not None and last.origin < 0 and last.stop == start:
            self._spots[-1] = last._replace(stop=start + len(data))
        else:
            self._spots.append(_Spot(start, start + len(data), self.size))
        self._keep(data)

    def add_changes(self, op: Op, told: memoryview) -> None:
        """Take what is told of copied bytes of which elements are changed, in the same order."""
        self._spots.append(_Spot(op.start, op.stop, self.size, len(told), op.origin))
        self._keep(told)

    def _keep(self, data: memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise NoSpace(tempfile.gettempdir(), os.strerror(error.errno or 0)) from error
        self.size += len(data)

    async def fill(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill a buffer with bytes that the delta brings, all of them.

        Raises ``Spoiled`` for changes that cannot be, and what reading the basis raises.
        """
        index = bisect_right(self._spots, span.start, key=_start) - 1
        changed: list[_Spot] = []
        while index < len(self._spots) and (spot := self._spots[index]).start < span.stop:
            index += 1
            if spot.origin >= 0:
                changed.append(spot)
                continue
            first, last = max(spot.start, span.start), min(spot.stop, span.stop)
            part = buffer[first - span.start : last - span.start]
            part[:] = self._at(spot.at + first - spot.start, len(part))
        for run in _runs(changed, span):
            await self._fill_changed(run, span, buffer)

    async def _fill_changed(
        self, run: Sequence[_Spot], span: ByteRange, buffer: memoryview
    ) -> None:
        """Read windows that follow each other together, in their place, and change them there."""
        start, stop, origin = run[0].start, run[-1].stop, run[0].origin
        first, last = max(start, span.start), min(stop, span.stop)
        part = buffer[first - span.start : last - span.start]
        is_whole = last - first == stop - start
        room = part if is_whole else memoryview(bytearray(stop - start))
        told = [self._at(spot.at, spot.told) for spot in run]
        self.requests += 1
        await self._read(ByteRange(origin, origin + len(room)), room)
        await in_thread(_change, room, run, told)
        if not is_whole:
            part[:] = room[first - start : last - start]

    def _at(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()


def _start(spot: _Spot) -> int:
    return spot.start


def _runs(spots: Sequence[_Spot], span: ByteRange) -> Iterator[list[_Spot]]:
    """Spots in runs that one read of at most ``RUN_BYTES`` serves; one that leaves the span is alone."""
    run: list[_Spot] = []
    for spot in spots:
        if run:
            moved = spot.start - run[0].start
            follows = run[-1].stop == spot.start and spot.origin - run[0].origin == moved
            is_cut = run[0].start < span.start or spot.stop > span.stop
            if not follows or is_cut or spot.stop - run[0].start > RUN_BYTES:
                yield run
                run = []
        run.append(spot)
    if run:
        yield run


def _change(room: memoryview, run: Sequence[_Spot], told: Sequence[bytes]) -> None:
    """Make the new bytes of a run of the old ones, in place."""
    for spot, changes in zip(run, told, strict=True):
        first, last = spot.start - run[0].start, spot.stop - run[0].start
        window = bytearray(room[first:last])
        try:
            elements.apply(changes, window)
        except ValueError as error:
            raise Spoiled(f"what it tells of changes makes no sense: {error}") from error
        room[first:last] = window


@dataclass(frozen=True, slots=True)
class Received:
    """A delta that was read and checked: packed operations, and what it brings."""

    ops: bytes
    literals: Literals


@asynccontextmanager
async def received(
    depot: Depot, parcel: Parcel, *, size: int, basis: Entry
) -> AsyncGenerator[Received, None]:
    """Read the delta of an object of ``size`` bytes; the depot's store has the basis.

    Raises ``Spoiled`` where it is not there or not what was written, ``TransportError``.
    """
    reader = DeltaReader()
    literals = Literals(partial(depot.store.read_into, basis))
    ops: list[Op] = []

    def feed(piece: memoryview) -> None:
        for op, data in reader.feed(piece):
            if op.kind is OpKind.LITERAL:
                literals.add(op.start, data)
            elif len(data):
                # No store can make them by itself, so to who plans parts they are literals.
                literals.add_changes(op, data)
                op = Op(op.start, op.start, op.length, OpKind.LITERAL)
            ops.append(op)

    try:
        try:
            await pour_parcel(depot, parcel, lambda piece: in_thread(feed, piece))
            end = reader.finish()
        except Garbled as error:
            raise Spoiled(str(error)) from error
        if end.new_size != size or reader.head is None or reader.head.basis_size != basis.size:
            raise Spoiled("it is the delta of another object")
        packed = await in_thread(lambda: pack_ops(joined(ops)))
        yield Received(packed, literals)
    finally:
        literals.close()


def ladder_bytes(ladder: Sequence[int]) -> bytes:
    """A ladder as it is sent: little-endian numbers of eight bytes, and their checksum."""
    steps = struct.pack(f"<{len(ladder)}Q", *ladder)
    return steps + section_sum(steps, number=0)


async def read_ladder(depot: Depot, parcel: Parcel) -> list[int]:
    """Read what ``ladder_bytes`` has made. Raises ``Spoiled``, ``TransportError``."""
    data = await read_parcel(depot, parcel)
    steps, total = data[:-SUM_BYTES], data[-SUM_BYTES:]
    count = len(steps) // STEP_BYTES
    if len(steps) % STEP_BYTES or section_sum(steps, number=0) != total:
        raise Spoiled("the ladder was damaged")
    return list(struct.unpack(f"<{count}Q", steps))


def outline_bytes(ops: bytes) -> bytes:
    """Packed operations as they are sent alone: one frame of zstd, and its checksum."""
    packed = packing.pack(encode_ops(unpack_ops(ops)), level=OUTLINE_LEVEL)
    return packed + section_sum(packed, number=0)


async def read_outline(depot: Depot, parcel: Parcel, *, basis_size: int, new_size: int) -> bytes:
    """Read what ``outline_bytes`` has made. Raises ``Spoiled``, ``TransportError``."""
    data = await read_parcel(depot, parcel)
    return await in_thread(_parse_outline, data, basis_size, new_size)


def _parse_outline(data: bytes, basis_size: int, new_size: int) -> bytes:
    packed, total = data[:-SUM_BYTES], data[-SUM_BYTES:]
    if section_sum(packed, number=0) != total:
        raise Spoiled("the outline was damaged")
    try:
        told = packing.unpack(packed, bytes_max=OP_BYTES_MAX * OUTLINE_OPS_MAX)
        ops = decode_ops(told, basis_size=basis_size, new_size=new_size, ops_max=OUTLINE_OPS_MAX)
    except ValueError as error:
        raise Spoiled(f"the outline makes no sense: {error}") from error
    return pack_ops(ops)

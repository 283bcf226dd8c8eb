"""Read a delta that the other side has left: its operations, and its literals to be read anywhere.

Literals of more than a few MiB wait in a temporary file of this host (``TMPDIR``): parts of an upload
are made side by side, and a patch whose store turns out to copy nothing begins anew.
"""

import os
import struct
import tempfile
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Final

from mover import packing
from mover.delta.checksums import SUM_BYTES, section_sum
from mover.delta.delta_reading import DeltaReader
from mover.delta.garbled import Garbled
from mover.delta.model import Op, OpKind, joined, pack_ops
from mover.delta_parcels import Spoiled, pour_parcel, read_parcel
from mover.delta_tasks import Parcel
from mover.seeing_out import in_thread
from transports.base import Transport
from transports.errors import NoSpace
from transports.model import ByteRange

KEPT_BYTES: Final = 8 * 1024 * 1024
"""Literals that stay in memory."""

STEP_BYTES: Final = 8

OUTLINE_LEVEL: Final = 3
OUTLINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""What an outline may unpack to: two million operations."""


class Literals:
    """The literals of one delta. ``fill`` is what a ``Patcher`` asks."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(KEPT_BYTES)  # noqa: SIM115 - closed
        self._starts: list[int] = []
        self._places: list[int] = []
        self._end = 0
        self.size = 0

    def add(self, start: int, data: memoryview) -> None:
        """Take the bytes of a literal from ``start`` on, in the order of the object."""
        if not self._starts or start != self._end:
            self._starts.append(start)
            self._places.append(self.size)
        try:
            self._file.write(data)
        except OSError as error:
            raise NoSpace(tempfile.gettempdir(), os.strerror(error.errno or 0)) from error
        self.size += len(data)
        self._end = start + len(data)

    async def fill(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill a buffer with bytes that are in one literal."""
        place = bisect_right(self._starts, span.start) - 1
        at = self._places[place] + span.start - self._starts[place]
        self._file.seek(at)
        buffer[:] = self._file.read(len(span))

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Received:
    """A delta that was read and checked: packed operations, and what it brings."""

    ops: bytes
    literals: Literals


@asynccontextmanager
async def received(
    store: Transport, parcel: Parcel, *, size: int, basis_size: int
) -> AsyncGenerator[Received, None]:
    """Read the delta of an object of ``size`` bytes.

    Raises ``Spoiled`` where it is not there or not what was written, ``TransportError``.
    """
    reader, literals = DeltaReader(), Literals()
    ops: list[Op] = []

    def feed(piece: memoryview) -> None:
        for op, data in reader.feed(piece):
            ops.append(op)
            if op.kind is OpKind.LITERAL:
                literals.add(op.start, data)

    try:
        try:
            await pour_parcel(store, parcel, lambda piece: in_thread(feed, piece))
            end = reader.finish()
        except Garbled as error:
            raise Spoiled(str(error)) from error
        if end.new_size != size or reader.head is None or reader.head.basis_size != basis_size:
            raise Spoiled("it is the delta of another object")
        packed = await in_thread(lambda: pack_ops(joined(ops)))
        yield Received(packed, literals)
    finally:
        literals.close()


def ladder_bytes(ladder: Sequence[int]) -> bytes:
    """A ladder as it is sent: little-endian numbers of eight bytes, and their checksum."""
    steps = struct.pack(f"<{len(ladder)}Q", *ladder)
    return steps + section_sum(steps, number=0)


async def read_ladder(store: Transport, parcel: Parcel) -> list[int]:
    """Read what ``ladder_bytes`` has made. Raises ``Spoiled``, ``TransportError``."""
    data = await read_parcel(store, parcel)
    steps, total = data[:-SUM_BYTES], data[-SUM_BYTES:]
    count = len(steps) // STEP_BYTES
    if len(steps) % STEP_BYTES or section_sum(steps, number=0) != total:
        raise Spoiled("the ladder was damaged")
    return list(struct.unpack(f"<{count}Q", steps))


def outline_bytes(ops: bytes) -> bytes:
    """Packed operations as they are sent alone: one frame of zstd, and its checksum."""
    packed = packing.pack(ops, level=OUTLINE_LEVEL)
    return packed + section_sum(packed, number=0)


async def read_outline(store: Transport, parcel: Parcel) -> bytes:
    """Read what ``outline_bytes`` has made. Raises ``Spoiled``, ``TransportError``."""
    try:
        data = await read_parcel(store, parcel)
        packed, total = data[:-SUM_BYTES], data[-SUM_BYTES:]
        if section_sum(packed, number=0) != total:
            raise Spoiled("the outline was damaged")
        return packing.unpack(packed, bytes_max=OUTLINE_BYTES_MAX)
    except packing.Damaged as error:
        raise Spoiled(str(error)) from error

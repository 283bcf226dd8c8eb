"""Changes of elements as bytes: what a delta says of arrays whose elements changed here and there. Pure.

A block delta has nothing to say of weights of which every hundredth is another: no block stays equal.
Told here is which elements differ, as gaps between them, and by what, byte by byte in planes of its
own: sign and exponent of a float change seldom, its last bits often. docs/formats.md tells every byte.
"""

import struct
from typing import Final, NamedTuple

from mover import packing
from mover.delta import kernel
from mover.delta.kernel import Buffer, Differences

WIDTHS: Final = (2, 4)
BYTES_MAX: Final = 1024 * 1024
"""Bytes of the new object that one section of changes makes."""

_HEAD: Final = struct.Struct("<QIBBH")
_SUBTRACT: Final = 1
_LEVEL: Final = 1


class Way(NamedTuple):
    """How elements are compared: their width in bytes, and whether they are subtracted or XORed.

    Floats that moved a little are near each other as integers as well; XOR knows no nearness.
    """

    width: int
    subtract: bool


WAYS: Final = tuple(Way(width, subtract) for width in WIDTHS for subtract in (False, True))


def encode(old: Buffer, new: Buffer, origin: int, way: Way) -> bytes:
    """What makes ``new`` of ``old``, which stands at ``origin`` of the basis.

    Raises ``ValueError`` where they have not equally many whole elements.
    """
    found = kernel.differ(old, new, width=way.width, subtract=way.subtract)
    how = _SUBTRACT if way.subtract else 0
    streams = []
    for place, stream in enumerate((found.gaps, *found.planes), start=1):
        packed = packing.pack(stream, level=_LEVEL)
        if len(packed) < len(stream):
            how |= 1 << place
            stream = packed
        streams.append(stream)
    head = _HEAD.pack(origin, len(memoryview(new)), way.width, how, 0)
    lengths = struct.pack(f"<{len(streams)}I", *map(len, streams))
    return b"".join((head, lengths, *streams))


def range_of(told: bytes | memoryview) -> tuple[int, int]:
    """Where in the basis the changed bytes are, and how many. Raises ``ValueError`` for what cannot be."""
    if len(told) < _HEAD.size:
        raise ValueError("changes without a head")
    origin, length, width, _, zero = _HEAD.unpack_from(told)
    if width not in WIDTHS or zero:
        raise ValueError("changes of elements that there are not")
    if not 0 < length <= BYTES_MAX or length % width:
        raise ValueError(f"changes of {length} bytes in elements of {width}")
    return origin, length


def apply(told: bytes | memoryview, data: bytearray) -> None:
    """Make new bytes of the old ones of ``range_of``, in place.

    Raises ``ValueError`` where what is told is not what ``encode`` wrote of as many elements.
    """
    _, length = range_of(told)
    if len(data) != length:
        raise ValueError(f"{len(data)} bytes where {length} are changed")
    _, _, width, how, _ = _HEAD.unpack_from(told)
    if how >> (width + 2):
        raise ValueError("changes in a way that is not known")
    gaps, *planes = _streams(memoryview(told), how, width, length // width)
    found = Differences(gaps, tuple(planes))
    kernel.change(data, found, width=width, subtract=bool(how & _SUBTRACT))


def _streams(told: memoryview, how: int, width: int, elements: int) -> list[bytes]:
    table = struct.Struct(f"<{width + 1}I")
    at = _HEAD.size + table.size
    if len(told) < at:
        raise ValueError("changes without streams")
    lengths = table.unpack_from(told, _HEAD.size)
    if at + sum(lengths) != len(told):
        raise ValueError("changes of another length than they tell")
    streams = []
    for place, length in enumerate(lengths, start=1):
        stream = bytes(told[at : at + length])
        at += length
        if how >> place & 1:
            stream = packing.unpack(stream, bytes_max=elements + elements // 255 + 1)
        streams.append(stream)
    if len({len(plane) for plane in streams[1:]}) != 1:
        raise ValueError("the planes of the changes are not equally long")
    return streams

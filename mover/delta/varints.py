"""Numbers of few bytes for small values: seven bits a byte, the lowest first (LEB128). Pure."""

from typing import Final

BYTES_MAX: Final = 10
"""Bytes of the longest number: 70 bits are enough for a length of 63 and a kind of two."""


def put(out: bytearray, value: int) -> None:
    """Append a number, zero or more."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def get(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where the next one does.

    Raises ``ValueError`` for one that ends with the data, has too many bytes, or too many for what
    it is: each number has one spelling.
    """
    value = shift = 0
    for place in range(at, min(at + BYTES_MAX, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if byte == 0 and place > at:
                raise ValueError("a number is spelled longer than it is")
            return value, place + 1
    raise ValueError("a number has no end")


def zigzag(value: int) -> int:
    """A number of any sign as one of zero or more: small ones stay small."""
    return value << 1 if value >= 0 else ~(value << 1)


def unzigzag(value: int) -> int:
    """The number that ``zigzag`` was given."""
    return value >> 1 if not value & 1 else ~(value >> 1)

"""XXH3 for the wire formats: of sections with 64 bits, of whole objects with 128. Pure.

The digests that stores know live in ``transports.digests``, which this package does not import.
"""

from typing import Final, Protocol

import xxhash

WHOLE_BYTES: Final = 16
SUM_BYTES: Final = 8


class WholeDigest(Protocol):
    """A running digest of a whole object."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


def whole_digest() -> WholeDigest:
    """A running XXH3-128; its digest is 16 bytes in canonical (big-endian) form."""
    return xxhash.xxh3_128()


def section_sum(*pieces: bytes | bytearray | memoryview, number: int) -> bytes:
    """XXH3-64, little-endian, of pieces one after another; ``number`` tells equal sections apart."""
    running = xxhash.xxh3_64(seed=number)
    for piece in pieces:
        running.update(piece)
    return int(running.intdigest()).to_bytes(SUM_BYTES, "little")

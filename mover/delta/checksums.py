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


class StepSums(Protocol):
    """Running checksums of each MiB of an object."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def steps(self) -> list[int]: ...


class Witness:
    """The digest of a whole object, and where they are wanted the checksums of each of its MiB."""

    def __init__(self, ladder: StepSums | None = None) -> None:
        self._whole = whole_digest()
        self._ladder = ladder

    @property
    def has_ladder(self) -> bool:
        return self._ladder is not None

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take the next bytes."""
        self._whole.update(data)
        if self._ladder is not None:
            self._ladder.update(data)

    def digest(self) -> bytes:
        """The XXH3-128 of all bytes."""
        return self._whole.digest()

    def steps(self) -> list[int]:
        """The checksums; none where they were not wanted."""
        return [] if self._ladder is None else self._ladder.steps()


def whole_digest() -> WholeDigest:
    """A running XXH3-128; its digest is 16 bytes in canonical (big-endian) form."""
    return xxhash.xxh3_128()


def section_sum(*pieces: bytes | bytearray | memoryview, number: int) -> bytes:
    """XXH3-64, little-endian, of pieces one after another; ``number`` tells equal sections apart."""
    running = xxhash.xxh3_64(seed=number)
    for piece in pieces:
        running.update(piece)
    return int(running.intdigest()).to_bytes(SUM_BYTES, "little")

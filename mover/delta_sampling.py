"""The fingerprint of a large object: a signature of some windows of its bytes.

Whoever has it can tell of another object, by reading windows of that one, what share of the sampled
bytes it has. Windows stand at equal distances from start to end. Of an object of another size they are
read at those distances from its start and from its end, so bytes inserted anywhere leave windows that
match; within a window blocks are found wherever they stand.
"""

import struct
from collections.abc import Sequence
from typing import Final

from mover.delta import kernel
from mover.delta.model import CONSTANT, Signature, unpack_ops
from mover.delta.signature_format import SignatureFile, SignatureReader, write_signature
from mover.delta_diffing import index_of
from mover.delta_inputs import Input
from mover.delta_levels import Span, unmatched_spans
from mover.delta_scanning import read_all
from mover.delta_signing import SignWish
from mover.seeing_out import in_thread

WINDOW_BYTES: Final = 64 * 1024

WINDOWS: Final = 8

BLOCK_BYTES: Final = 2 * 1024
"""The samples of an object make a signature of some five kilobytes, which a queue can hold."""

SAMPLE_BYTES: Final = 2 * WINDOWS * WINDOW_BYTES
"""What is read of one object at most."""


def windows(size: int) -> list[Span]:
    """The windows of an object of ``size`` bytes; all of one that is no larger than they are."""
    if size <= WINDOWS * WINDOW_BYTES:
        return [(0, size)]
    starts = (number * (size - WINDOW_BYTES) // (WINDOWS - 1) for number in range(WINDOWS))
    return [(start, start + WINDOW_BYTES) for start in starts]


def windows_in(size: int, other_size: int) -> list[Span]:
    """Where the windows of an object of ``size`` bytes are to be looked for in one of ``other_size``."""
    found = set[Span]()
    for shift in (0, other_size - size):
        for start, stop in windows(size):
            span = max(start + shift, 0), min(stop + shift, other_size)
            if span[0] < span[1]:
                found.add(span)
    return sorted(found)


async def sampled(given: Input, size: int) -> bytes:
    """The fingerprint of an object of ``size`` bytes. Raises what reading raises, maybe in groups."""
    data = b"".join(await read_all(given, windows(size)))
    signature = await in_thread(_signed, data)
    return b"".join(write_signature(SignatureFile(signature=signature)))


def _signed(data: bytes) -> Signature:
    return kernel.sign(data, SignWish(block_bytes=BLOCK_BYTES).head(len(data)))


class Fingerprint:
    """The fingerprint of one object of ``size`` bytes, to hold others against."""

    def __init__(self, index: kernel.Index, size: int) -> None:
        self._index = index
        self._size = size

    @classmethod
    async def read(cls, samples: bytes, size: int) -> "Fingerprint":
        """Raises ``Garbled`` or ``MoverError`` for what is no fingerprint."""
        reader = SignatureReader()
        reader.feed(samples)
        return cls(await index_of(reader.finish().signature), size)

    async def share_in(self, other: Input, other_size: int) -> float | None:
        """The share of the sampled bytes that another object has, 0 to 1; None where none tells anything.

        What is one byte over and over does not, and is left out of account. Raises what reading
        raises, maybe in groups.
        """
        found = await read_all(other, windows_in(self._size, other_size))
        return await in_thread(self._share, found)

    def _share(self, found: Sequence[bytes]) -> float | None:
        signature = self._index.signature
        telling = _telling(signature)
        ops = unpack_ops(kernel.scan(self._index, b"".join(found)))
        missing = _overlap(telling, unmatched_spans(ops, signature.head.size))
        whole = sum(stop - start for start, stop in telling)
        return (whole - missing) / whole if whole else None


def _telling(signature: Signature) -> list[Span]:
    """The blocks that are not one byte over and over."""
    head = signature.head
    anchors = struct.unpack(f"<{head.blocks}I", signature.anchors)
    return [head.block_range(number) for number, each in enumerate(anchors) if each != CONSTANT]


def _overlap(spans: Sequence[Span], others: Sequence[Span]) -> int:
    """How many bytes are in both; each of the two is in order and has no overlaps of its own."""
    at = total = 0
    for start, stop in spans:
        while at < len(others) and others[at][1] <= start:
            at += 1
        beside = at
        while beside < len(others) and others[beside][0] < stop:
            total += min(stop, others[beside][1]) - max(start, others[beside][0])
            beside += 1
    return total

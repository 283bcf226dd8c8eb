"""The values of delta sync: signatures of old bytes, and operations that make the new ones. Pure."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

BLOCK_BYTES_MIN: Final = 64
BLOCK_BYTES_MAX: Final = 64 * 1024 * 1024
STRONG_BYTES_MIN: Final = 1
KEY_BYTES_MIN: Final = 2
KEY_BYTES_MAX: Final = 8
NO_ANCHOR: Final = 0xFFFF_FFFF
"""In place of an anchor's offset: the block has none, and is found by its neighbours or in place."""

CONSTANT: Final = 0xFFFF_FFFE
"""In place of an anchor's offset: all bytes of the block are equal; its key is that byte."""

OP: Final = struct.Struct("<QQQII")
"""An operation as the kernel and the wire write it: start, origin, length, kind, and zero."""


class Strong(IntEnum):
    """The digest that decides whether two blocks are equal, by its number on the wire.

    XXH3-128 is seeded and fast, and no protection from somebody who makes collisions on purpose;
    the others are, for published signatures of data that is not trusted.
    """

    XXH3_128 = 1
    BLAKE3 = 2
    SHA256 = 3

    @property
    def bytes_max(self) -> int:
        """The whole digest's length in bytes."""
        return 16 if self is Strong.XXH3_128 else 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureHead:
    """What a signature is of, and how it was made. Raises ``ValueError`` for what cannot be.

    ``size`` is that of the basis in bytes. Blocks of ``block_bytes`` lie side by side from its start;
    the last may be short. ``strong_bytes`` of each digest are kept, and ``key_bytes`` of each key.
    ``seed`` is of XXH3-128.
    """

    size: int
    block_bytes: int
    strong: Strong = Strong.XXH3_128
    strong_bytes: int = 16
    key_bytes: int = KEY_BYTES_MAX
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.size < 1 << 63:
            raise ValueError(f"no object has {self.size} bytes")
        if not BLOCK_BYTES_MIN <= self.block_bytes <= BLOCK_BYTES_MAX:
            raise ValueError(f"no block size: {self.block_bytes} bytes")
        if not STRONG_BYTES_MIN <= self.strong_bytes <= self.strong.bytes_max:
            raise ValueError(f"{self.strong.name} has no {self.strong_bytes} bytes")
        if not KEY_BYTES_MIN <= self.key_bytes <= KEY_BYTES_MAX:
            raise ValueError(f"no key has {self.key_bytes} bytes")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"no seed of 64 bits: {self.seed}")

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.size // self.block_bytes)

    def block_range(self, index: int) -> tuple[int, int]:
        """Start and stop of a block in the basis."""
        start = index * self.block_bytes
        return start, min(start + self.block_bytes, self.size)


@dataclass(frozen=True, slots=True)
class Signature:
    """A head, and a column over all blocks for each thing that is known of them; little-endian.

    ``anchors`` has four bytes a block: the offset of the block's first anchor, ``NO_ANCHOR`` or
    ``CONSTANT``. ``keys`` has eight: a hash of what stands at the anchor, of which the lowest
    ``key_bytes`` are kept and the others zero. ``digests`` has
    ``strong_bytes``: the first bytes of the digest in its canonical (big-endian) form.
    Raises ``ValueError`` where a column's length is not the head's.
    """

    head: SignatureHead
    anchors: bytes
    keys: bytes
    digests: bytes

    def __post_init__(self) -> None:
        blocks = self.head.blocks
        lengths = (len(self.anchors), len(self.keys), len(self.digests))
        if lengths != (4 * blocks, 8 * blocks, self.head.strong_bytes * blocks):
            raise ValueError(f"columns of {lengths} bytes are not of {blocks} blocks")

    def digest(self, index: int) -> bytes:
        """What is kept of the digest of one block."""
        wide = self.head.strong_bytes
        return self.digests[index * wide : (index + 1) * wide]


class OpKind(IntEnum):
    """How bytes of the new object come about."""

    COPY = 0  # from the basis, beginning at ``origin``
    LITERAL = 1  # from the new object itself: they must be sent
    FILL = 2  # one byte, ``origin``, over and over


class Op(NamedTuple):
    """Bytes ``start`` to ``start + length`` of the new object."""

    start: int
    origin: int
    length: int
    kind: OpKind

    @property
    def stop(self) -> int:
        return self.start + self.length


def pack_ops(ops: Iterable[Op]) -> bytes:
    """Operations as the kernel writes them, 32 bytes each."""
    return b"".join(OP.pack(op.start, op.origin, op.length, op.kind, 0) for op in ops)


def unpack_ops(packed: bytes | memoryview) -> Iterator[Op]:
    """Operations from their packed form. Raises ``ValueError`` for an unknown kind or a torn record."""
    if len(packed) % OP.size:
        raise ValueError("the operations end in the middle of one")
    for start, origin, length, kind, _ in OP.iter_unpack(packed):
        yield Op(start, origin, length, OpKind(kind))


def clipped(op: Op, late: int) -> Op:
    """What is left of an operation without its first bytes."""
    origin = op.origin if op.kind is OpKind.FILL else op.origin + late
    return Op(op.start + late, origin, max(op.length - late, 0), op.kind)


def joined(ops: Iterable[Op]) -> Iterator[Op]:
    """Operations with neighbours joined that continue each other: the canonical list of these bytes.

    They must be sorted by start, without gaps and overlaps. Raises ``ValueError`` where they are not.
    """
    last: Op | None = None
    for op in ops:
        if op.length == 0:
            continue
        if last is None:
            last = op
            continue
        if op.start != last.stop:
            raise ValueError(
                f"a gap or an overlap at byte {last.stop}: the next begins at {op.start}"
            )
        if _continues(last, op):
            last = last._replace(length=last.length + op.length)
        else:
            yield last
            last = op
    if last is not None:
        yield last


def _continues(first: Op, then: Op) -> bool:
    if first.kind is not then.kind:
        return False
    return then.origin == (
        first.origin if first.kind is OpKind.FILL else first.origin + first.length
    )

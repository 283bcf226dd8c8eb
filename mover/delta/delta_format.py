"""Deltas as bytes, version 1: docs/formats.md tells every byte. Pure, streamed both ways.

A delta is a head, sections, and a trailer that has the whole new object's digest. A section of
operations comes before the sections with the bytes of its literals, so that both sides work with
a few MiB of memory whatever the object. What is read may come from anybody.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mover import packing
from mover.delta import varints
from mover.delta.checksums import WHOLE_BYTES, section_sum
from mover.delta.model import Op, OpKind

MAGIC: Final = b"\x8dmvdlt\r\n"
VERSION: Final = 1
SIZE_MAX: Final = (1 << 63) - 1
UNKNOWN: Final = (1 << 64) - 1
"""In place of the new object's size in the head: it came from a pipe, and the trailer tells."""

LITERAL_BYTES: Final = 1024 * 1024
"""Bytes of literals in a section, before they are packed; only the last of a run has fewer."""

OPS_BYTES_MAX: Final = 64 * 1024
"""Bytes of a section of operations."""

OP_BYTES_MAX: Final = 2 * varints.BYTES_MAX
LEVEL: Final = 1

HEAD: Final = struct.Struct("<8sHHIQQ")
SECTION: Final = struct.Struct("<B3sI")
END: Final = struct.Struct(f"<QQQ{WHOLE_BYTES}s")

OPS_SECTION: Final = 1
RAW_SECTION: Final = 2
ZSTD_SECTION: Final = 3
END_SECTION: Final = 4

Source = Callable[[int, int], bytes | bytearray | memoryview]
"""Gives the bytes from start to stop of the new object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaHead:
    """What a delta is between: sizes in bytes; ``new_size`` None where it was not known before.

    Raises ``ValueError`` for sizes that no object has.
    """

    basis_size: int
    new_size: int | None

    def __post_init__(self) -> None:
        for size in (self.basis_size, self.new_size or 0):
            if not 0 <= size <= SIZE_MAX:
                raise ValueError(f"no object has {size} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaEnd:
    """What a delta has told when all of it was read.

    ``whole`` is the XXH3-128 that the new object must have; ``ops`` and ``literal_bytes`` count.
    """

    new_size: int
    ops: int
    literal_bytes: int
    whole: bytes


class DeltaWriter:
    """Writes a delta from operations that come in the order of the new object.

    All methods return or yield the bytes to write, at most a section each. ``written_bytes``,
    ``literal_bytes``, ``copied_bytes`` and ``filled_bytes`` count what has come so far.
    """

    def __init__(self, head: DeltaHead) -> None:
        self._head = head
        self._sections = 0
        self._ops = bytearray()
        self._literals: list[tuple[int, int]] = []
        self._waiting_bytes = 0
        self._expected = 0
        self._at = 0
        self.ops = 0
        self.written_bytes = 0
        self.literal_bytes = 0
        self.copied_bytes = 0
        self.filled_bytes = 0

    def begin(self) -> bytes:
        """The head; comes first."""
        size = UNKNOWN if self._head.new_size is None else self._head.new_size
        fixed = HEAD.pack(MAGIC, VERSION, 0, 0, self._head.basis_size, size)
        return self._counted(fixed + section_sum(fixed, number=0))

    def add(self, ops: Iterable[Op], source: Source) -> Iterator[bytes]:
        """Take operations. ``source`` is asked for literals of these, and of none before.

        Raises ``ValueError`` where an operation does not begin where the last one has ended.
        """
        for op in ops:
            if op.length == 0:
                continue
            if op.start != self._at:
                raise ValueError(f"an operation begins at byte {op.start}, not at {self._at}")
            self._at = op.stop
            self._put(op)
            if self._waiting_bytes >= LITERAL_BYTES or self._is_full():
                yield from self._flush(source)
        if self._literals:
            yield from self._flush(source)

    def end(self, whole: bytes) -> Iterator[bytes]:
        """The rest, with the digest of the whole new object.

        Raises ``ValueError`` for another size than the head's.
        """
        if self._head.new_size not in (None, self._at):
            raise ValueError(f"the operations end at byte {self._at} of {self._head.new_size}")
        yield from self._flush(None)
        yield self._section(END_SECTION, END.pack(self._at, self.ops, self.literal_bytes, whole))

    def _put(self, op: Op) -> None:
        varints.put(self._ops, op.length << 2 | op.kind)
        self.ops += 1
        if op.kind is OpKind.COPY:
            varints.put(self._ops, varints.zigzag(op.origin - self._expected))
            self._expected = op.origin + op.length
            self.copied_bytes += op.length
        elif op.kind is OpKind.FILL:
            varints.put(self._ops, op.origin)
            self.filled_bytes += op.length
        else:
            self._literals.append((op.start, op.stop))
            self._waiting_bytes += op.length
            self.literal_bytes += op.length

    def _is_full(self) -> bool:
        return len(self._ops) > OPS_BYTES_MAX - OP_BYTES_MAX

    def _flush(self, source: Source | None) -> Iterator[bytes]:
        if self._ops:
            yield self._section(OPS_SECTION, bytes(self._ops))
            self._ops.clear()
        if source is not None:
            for block in _blocks(self._literals, source):
                packed = packing.pack_if_smaller(block, level=LEVEL)
                yield (
                    self._section(RAW_SECTION, block)
                    if packed is None
                    else self._section(ZSTD_SECTION, packed)
                )
        self._literals.clear()
        self._waiting_bytes = 0

    def _section(self, kind: int, payload: bytes | bytearray | memoryview) -> bytes:
        self._sections += 1
        fixed = SECTION.pack(kind, bytes(3), len(payload))
        total = section_sum(fixed, payload, number=self._sections)
        return self._counted(b"".join((fixed, payload, total)))

    def _counted(self, data: bytes) -> bytes:
        self.written_bytes += len(data)
        return data


def _blocks(
    literals: Iterable[tuple[int, int]], source: Source
) -> Iterator[bytes | bytearray | memoryview]:
    """The bytes of literals one after another, in blocks of ``LITERAL_BYTES``."""
    held = bytearray()
    for start, stop in literals:
        while start < stop:
            upto = min(stop, start + LITERAL_BYTES - len(held))
            piece = source(start, upto)
            start = upto
            if not held and len(piece) == LITERAL_BYTES:
                yield piece
                continue
            held += piece
            if len(held) == LITERAL_BYTES:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)

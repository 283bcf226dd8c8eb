"""Deltas as bytes, versions 1 and 2: docs/formats.md tells every byte. Pure, streamed both ways.

A delta is a head, sections, and a trailer that has the whole new object's digest. A section of
operations comes before the sections with the bytes of its literals, so that both sides work with
a few MiB of memory whatever the object. What is read may come from anybody.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mover import packing
from mover.delta.checksums import WHOLE_BYTES, section_sum
from mover.delta.model import Op, OpKind
from mover.delta.op_coding import OP_BYTES_MAX, OpEncoder

MAGIC: Final = b"\x8dmvdlt\r\n"
VERSIONS: Final = (1, 2)
"""Written is the first that can say it: version 2 knows its basis, changed elements and ladders."""

SIZE_MAX: Final = (1 << 63) - 1
UNKNOWN: Final = (1 << 64) - 1
"""In place of the new object's size in the head: it came from a pipe, and the trailer tells."""

LITERAL_BYTES: Final = 1024 * 1024
"""Bytes of literals in a section, before they are packed; only the last of a run has fewer."""

OPS_BYTES_MAX: Final = 64 * 1024
"""Bytes of a section of operations."""

LEVEL: Final = 3
LEVEL_FAR: Final = 9
"""Of zstd: a fifth less than with the third level for some 70 MB/s of a processor, which is more than most links carry."""

HEAD: Final = struct.Struct("<8sHHIQQ")
SECTION: Final = struct.Struct("<B3sI")
END: Final = struct.Struct(f"<QQQ{WHOLE_BYTES}s")
STEP: Final = struct.Struct("<Q")
HAS_BASIS: Final = 1
HAS_LADDER: Final = 2

STEP_BYTES: Final = 1024 * 1024
"""Bytes of the new object between two steps of its ladder."""

LADDER_BYTES: Final = 64 * 1024
"""Bytes of a section of the ladder; only the last has fewer."""

OPS_SECTION: Final = 1
RAW_SECTION: Final = 2
ZSTD_SECTION: Final = 3
END_SECTION: Final = 4
CHANGES_SECTION: Final = 5
LADDER_SECTION: Final = 6

Source = Callable[[int, int], bytes | bytearray | memoryview]
"""Gives the bytes from start to stop of the new object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaHead:
    """What a delta is between: sizes in bytes; ``new_size`` None where it was not known before.

    ``basis_whole`` is the XXH3-128 of the basis, empty where nobody computed it. With ``has_ladder``
    checksums of each MiB of the new object come before the trailer. Raises ``ValueError`` for
    sizes that no object has.
    """

    basis_size: int
    new_size: int | None
    basis_whole: bytes = b""
    has_ladder: bool = False

    def __post_init__(self) -> None:
        if len(self.basis_whole) not in (0, WHOLE_BYTES):
            raise ValueError(f"a whole digest has {WHOLE_BYTES} bytes, not {len(self.basis_whole)}")
        for size in (self.basis_size, self.new_size or 0):
            if not 0 <= size <= SIZE_MAX:
                raise ValueError(f"no object has {size} bytes")

    @property
    def version(self) -> int:
        """The version of the format that can say this."""
        return 2 if self.basis_whole or self.has_ladder else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaEnd:
    """What a delta has told when all of it was read.

    ``whole`` is the XXH3-128 that the new object must have; ``ops`` and ``literal_bytes`` count.
    ``ladder`` has the CRC-64/NVME of each of its MiB, or nothing.
    """

    new_size: int
    ops: int
    literal_bytes: int
    whole: bytes
    ladder: tuple[int, ...] = ()


class DeltaWriter:
    """Writes a delta from operations that come in the order of the new object.

    All methods return or yield the bytes to write, at most a section each. ``written_bytes``,
    ``literal_bytes``, ``copied_bytes``, ``filled_bytes`` and ``changed_bytes`` count what has come so far.
    ``level`` is how hard zstd tries.
    """

    def __init__(self, head: DeltaHead, *, level: int = LEVEL) -> None:
        self._head = head
        self._level = level
        self._sections = 0
        self._ops = bytearray()
        self._literals: list[tuple[int, int]] = []
        self._carried = bytearray()  # bytes of literals whose source is gone, before those
        self._waiting_bytes = 0
        self._encoder = OpEncoder()
        self._at = 0
        self.ops = 0
        self.written_bytes = 0
        self.literal_bytes = 0
        self.copied_bytes = 0
        self.filled_bytes = 0
        self.changed_bytes = 0

    def begin(self) -> bytes:
        """The head; comes first."""
        head = self._head
        size = UNKNOWN if head.new_size is None else head.new_size
        flags = (HAS_BASIS if head.basis_whole else 0) | (HAS_LADDER if head.has_ladder else 0)
        fixed = HEAD.pack(MAGIC, head.version, flags, 0, head.basis_size, size)
        if head.version > 1:
            fixed += head.basis_whole or bytes(WHOLE_BYTES)
        return self._counted(fixed + section_sum(fixed, number=0))

    def add(self, ops: Iterable[Op], source: Source) -> Iterator[bytes]:
        """Take operations. ``source`` is asked for literals of these, and of none before.

        Up to ``LITERAL_BYTES`` of them wait here for more.

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
        # Few literals by themselves would pack badly: their bytes wait for the next ones.
        for start, stop in self._literals:
            self._carried += source(start, stop)
        self._literals.clear()

    def add_changes(self, op: Op, told: bytes) -> Iterator[bytes]:
        """Take what ``elements.encode`` says of bytes that are copied with other elements.

        Raises ``ValueError`` where they do not begin where the last operation has ended, or where the
        head is of the first version.
        """
        if op.start != self._at or self._head.version < 2:
            raise ValueError(f"changes have no place at byte {op.start} of this delta")
        yield from self._flush(_no_source)
        self._at = op.stop
        self.ops += 1
        self.changed_bytes += op.length
        yield self._section(CHANGES_SECTION, told)

    def end(self, whole: bytes, ladder: Sequence[int] = ()) -> Iterator[bytes]:
        """The rest, with the digest of the whole new object, and its ladder where the head has one.

        Raises ``ValueError`` for another size than the head's, or another number of steps.
        """
        if len(ladder) != (-(-self._at // STEP_BYTES) if self._head.has_ladder else 0):
            raise ValueError(f"a ladder of {len(ladder)} steps for {self._at} bytes")
        if self._head.new_size not in (None, self._at):
            raise ValueError(f"the operations end at byte {self._at} of {self._head.new_size}")
        yield from self._flush(_no_source)
        steps = b"".join(map(STEP.pack, ladder))
        for start in range(0, len(steps), LADDER_BYTES):
            yield self._section(LADDER_SECTION, steps[start : start + LADDER_BYTES])
        yield self._section(END_SECTION, END.pack(self._at, self.ops, self.literal_bytes, whole))

    def _put(self, op: Op) -> None:
        self._encoder.put(self._ops, op)
        self.ops += 1
        if op.kind is OpKind.COPY:
            self.copied_bytes += op.length
        elif op.kind is OpKind.FILL:
            self.filled_bytes += op.length
        else:
            self._literals.append((op.start, op.stop))
            self._waiting_bytes += op.length
            self.literal_bytes += op.length

    def _is_full(self) -> bool:
        return len(self._ops) > OPS_BYTES_MAX - OP_BYTES_MAX

    def _flush(self, source: Source) -> Iterator[bytes]:
        if self._ops:
            yield self._section(OPS_SECTION, bytes(self._ops))
            self._ops.clear()
        for block in _blocks(self._carried, self._literals, source):
            packed = packing.pack_if_smaller(block, level=self._level)
            yield (
                self._section(RAW_SECTION, block)
                if packed is None
                else self._section(ZSTD_SECTION, packed)
            )
        self._literals.clear()
        self._carried.clear()
        self._waiting_bytes = 0

    def _section(self, kind: int, payload: bytes | bytearray | memoryview) -> bytes:
        self._sections += 1
        fixed = SECTION.pack(kind, bytes(3), len(payload))
        total = section_sum(fixed, payload, number=self._sections)
        return self._counted(b"".join((fixed, payload, total)))

    def _counted(self, data: bytes) -> bytes:
        self.written_bytes += len(data)
        return data


def _no_source(start: int, stop: int) -> bytes:
    raise AssertionError(f"bytes {start} to {stop} were not carried")


def _blocks(
    carried: bytearray, literals: Iterable[tuple[int, int]], source: Source
) -> Iterator[bytes | bytearray | memoryview]:
    """The bytes of literals one after another, in blocks of ``LITERAL_BYTES``; less was carried."""
    held = bytearray(carried)
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

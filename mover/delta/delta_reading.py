"""Reads deltas of ``delta_format`` from pieces of any size. Pure.

Memory is at most a few sections, whatever a delta claims. Each field is checked before it is used.
"""

from collections import deque
from collections.abc import Generator, Iterator
from typing import NamedTuple

from mover import packing
from mover.delta import elements
from mover.delta.checksums import SUM_BYTES, WHOLE_BYTES, section_sum
from mover.delta.delta_format import (
    CHANGES_SECTION,
    END,
    END_SECTION,
    HAS_BASIS,
    HAS_LADDER,
    HEAD,
    LADDER_BYTES,
    LADDER_SECTION,
    LITERAL_BYTES,
    MAGIC,
    OPS_BYTES_MAX,
    OPS_SECTION,
    RAW_SECTION,
    SECTION,
    SIZE_MAX,
    STEP,
    STEP_BYTES,
    UNKNOWN,
    VERSIONS,
    ZSTD_SECTION,
    DeltaEnd,
    DeltaHead,
)
from mover.delta.garbled import Garbled
from mover.delta.intake import Intake
from mover.delta.model import Op, OpKind
from mover.delta.op_coding import OpDecoder

Made = tuple[Op, memoryview]
"""An operation, and for a literal its bytes; a long literal comes as several.

A COPY with bytes is one of which elements are changed: the bytes are for ``elements.apply``.
"""

_PAYLOAD_MAX = {
    OPS_SECTION: OPS_BYTES_MAX,
    RAW_SECTION: LITERAL_BYTES,
    ZSTD_SECTION: LITERAL_BYTES,
    END_SECTION: END.size,
    CHANGES_SECTION: LITERAL_BYTES,
    LADDER_SECTION: LADDER_BYTES,
}
_SECTIONS = {1: {OPS_SECTION, RAW_SECTION, ZSTD_SECTION, END_SECTION}, 2: set(_PAYLOAD_MAX)}
_NOTHING = memoryview(b"")


class Section(NamedTuple):
    """Where the payload of a section stands in the delta, in bytes, and what kind it is of."""

    kind: int
    at: int
    size: int


class DeltaReader:
    """Reads a delta. ``head`` is None until it has come, ``section`` is the one that was read last.

    ``feed`` raises ``Garbled`` as soon as something is wrong, ``finish`` where the end is missing.
    No operation is given away whose section has not been checked.
    """

    def __init__(self) -> None:
        self.head: DeltaHead | None = None
        self.section = Section(0, 0, 0)
        self._intake = Intake("delta")
        self._made: deque[Made] = deque()
        self._end: DeltaEnd | None = None
        self._parsing = self._parse()
        self._wanted = next(self._parsing)
        self._sections = 0
        self._version = 0
        self._steps = bytearray()
        self._waiting: deque[Op] = deque()
        self._literals_due = 0
        self._decoder = OpDecoder(basis_size=0, size_max=0)  # that of the head, when it has come
        self._ops = 0
        self._literal_bytes = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Made]:
        """Take the next bytes, and yield what can be made now, in the order of the new object.

        Go through all of it before the next piece.
        """
        self._intake.feed(data)
        while self._end is None:
            field = self._intake.take(self._wanted)
            if field is None:
                return
            try:
                self._wanted = self._parsing.send(field)
            except StopIteration as end:
                self._end = end.value
            while self._made:
                yield self._made.popleft()
        self._intake.end()

    def finish(self) -> DeltaEnd:
        """What the trailer tells."""
        if self._end is None:
            raise self._intake.garbled("it ends too early")
        return self._end

    def _parse(self) -> Generator[int, bytes, DeltaEnd]:
        yield from self._parse_head()
        while True:
            kind, payload = yield from self._parse_section()
            if kind == END_SECTION:
                return self._parse_end(payload)
            if kind == OPS_SECTION:
                self._take_ops(payload)
            elif kind == CHANGES_SECTION:
                self._take_changes(payload)
            elif kind == LADDER_SECTION:
                self._take_steps(payload)
            else:
                self._take_literals(payload if kind == RAW_SECTION else self._unpack(payload))

    def _parse_head(self) -> Generator[int, bytes, None]:
        fixed = yield HEAD.size
        magic, version, flags, zero, basis_size, new_size = HEAD.unpack(fixed)
        if magic != MAGIC:
            raise self._intake.foreign("this is no delta", back=HEAD.size)
        if version not in VERSIONS:
            raise self._intake.foreign(
                f"its format is version {version}, and this mover reads {VERSIONS[-1]}",
                back=HEAD.size,
            )
        basis_whole = yield WHOLE_BYTES if version > 1 else 0
        yield from self._check(fixed, basis_whole, number=0)
        if zero or flags & ~(HAS_BASIS | HAS_LADDER if version > 1 else 0):
            raise self._intake.garbled(f"its flags {flags:#x} are not known")
        if not flags & HAS_BASIS and any(basis_whole):
            raise self._intake.garbled("there is a digest of the basis where none was announced")
        self._version = version
        try:
            self.head = DeltaHead(
                basis_size=basis_size,
                new_size=None if new_size == UNKNOWN else new_size,
                basis_whole=basis_whole if flags & HAS_BASIS else b"",
                has_ladder=bool(flags & HAS_LADDER),
            )
        except ValueError as error:
            raise self._intake.garbled(str(error)) from error
        size_max = SIZE_MAX if self.head.new_size is None else self.head.new_size
        self._decoder = OpDecoder(basis_size=basis_size, size_max=size_max)

    def _parse_section(self) -> Generator[int, bytes, tuple[int, bytes]]:
        fixed = yield SECTION.size
        kind, zeros, payload_bytes = SECTION.unpack(fixed)
        if kind not in _SECTIONS[self._version] or any(zeros):
            raise self._intake.garbled("no section begins here", back=SECTION.size)
        if not 0 < payload_bytes <= _PAYLOAD_MAX[kind]:
            raise self._intake.garbled(
                f"a section says that it has {payload_bytes} bytes", back=SECTION.size
            )
        payload = yield payload_bytes
        self.section = Section(kind, self._intake.offset - payload_bytes, payload_bytes)
        self._sections += 1
        yield from self._check(fixed, payload, number=self._sections)
        return kind, payload

    def _take_ops(self, payload: bytes) -> None:
        self._begin_ops()
        at = 0
        while at < len(payload):
            try:
                op, at = self._decoder.get(payload, at)
            except ValueError as error:
                raise self._garbled(f"an operation makes no sense: {error}") from error
            self._ops += 1
            if op.kind is OpKind.LITERAL:
                self._literals_due += op.length
            self._waiting.append(op)
        self._give()

    def _begin_ops(self) -> None:
        if self._literals_due or self._steps:
            raise self._garbled("operations come before the literals that are due, or too late")

    def _take_changes(self, payload: bytes) -> None:
        self._begin_ops()
        try:
            origin, length = elements.range_of(payload)
            if not origin + length <= self._known.basis_size:
                raise ValueError(f"they are of a basis that ends at byte {origin + length}")
            self._decoder.check_end(length)
        except ValueError as error:
            raise self._garbled(f"changes make no sense: {error}") from error
        op = Op(self._decoder.at, origin, length, OpKind.COPY)
        self._made.append((op, memoryview(payload)))
        self._decoder.at = op.stop
        self._ops += 1

    def _take_steps(self, payload: bytes) -> None:
        """Steps of the ladder; how many there must be is known, for all else has come."""
        self._steps += payload
        due = -(-self._decoder.at // STEP_BYTES) * STEP.size
        whole = len(self._steps) == due or len(payload) == LADDER_BYTES
        if self._literals_due or not self._known.has_ladder or len(self._steps) > due or not whole:
            raise self._garbled("there is no such ladder")

    def _take_literals(self, data: bytes) -> None:
        if not 0 < len(data) <= self._literals_due:
            raise self._garbled(f"{len(data)} bytes of literals where {self._literals_due} are due")
        self._literals_due -= len(data)
        self._literal_bytes += len(data)
        rest = memoryview(data)
        while len(rest):
            self._give()
            op = self._waiting.popleft()
            taken = min(op.length, len(rest))
            self._made.append((op._replace(length=taken), rest[:taken]))
            rest = rest[taken:]
            if taken < op.length:
                start = op.start + taken
                self._waiting.appendleft(Op(start, start, op.length - taken, OpKind.LITERAL))
        self._give()

    def _give(self) -> None:
        """Give away the operations up to the next literal whose bytes have not come."""
        while self._waiting and self._waiting[0].kind is not OpKind.LITERAL:
            self._made.append((self._waiting.popleft(), _NOTHING))

    def _parse_end(self, payload: bytes) -> DeltaEnd:
        if len(payload) != END.size:
            raise self._garbled("its trailer is too short")
        new_size, ops, literal_bytes, whole = END.unpack(payload)
        if self._literals_due:
            raise self._garbled(f"it ends where {self._literals_due} bytes of literals are due")
        made = (self._decoder.at, self._ops, self._literal_bytes)
        if made != (new_size, ops, literal_bytes) or self._known.new_size not in (None, new_size):
            raise self._garbled("its trailer tells of another delta")
        ladder = tuple(step for (step,) in STEP.iter_unpack(self._steps))
        if self._known.has_ladder and len(ladder) != -(-self._decoder.at // STEP_BYTES):
            raise self._garbled(f"it ends after {len(ladder)} steps of its ladder")
        return DeltaEnd(
            new_size=new_size, ops=ops, literal_bytes=literal_bytes, whole=whole, ladder=ladder
        )

    def _unpack(self, packed: bytes) -> bytes:
        try:
            return unpacked(packed)
        except packing.Damaged as error:
            raise self._garbled(f"packed literals are damaged: {error}") from error

    @property
    def _known(self) -> DeltaHead:
        assert self.head is not None  # noqa: S101 - sections are parsed after the head
        return self.head

    def _garbled(self, detail: str) -> Garbled:
        return self._intake.garbled(f"{detail} (in the section that ends here)")

    def _check(self, *pieces: bytes, number: int) -> Generator[int, bytes, None]:
        expected = section_sum(*pieces, number=number)
        found = yield SUM_BYTES
        if found != expected:
            raise self._intake.garbled(
                "a checksum does not fit what stands before it: it was damaged", back=SUM_BYTES
            )


def unpacked(payload: bytes) -> bytes:
    """The bytes of a section of packed literals. Raises ``ValueError`` where it is none."""
    return packing.unpack(payload, bytes_max=LITERAL_BYTES)

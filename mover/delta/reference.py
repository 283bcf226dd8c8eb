"""The anchor engine in plain Python: what the kernel must do, bit for bit. For tests, and to read.

**The anchor hash.** Let w(p) be the bytes at p and p + 1 as a little-endian number of 16 bits. In
arithmetic modulo 2**16, a window of 32 bytes is folded in four doublings, with one odd factor each::

    x1(p) = w(p)  + FACTORS[0] * w(p + 2)        4 bytes
    x2(p) = x1(p) + FACTORS[1] * x1(p + 4)       8 bytes
    x3(p) = x2(p) + FACTORS[2] * x2(p + 8)      16 bytes
    x4(p) = x3(p) + FACTORS[3] * x3(p + 16)     32 bytes
    hash(p) = 0xFFFF - x4(p)

That is a multilinear hash of sixteen words; it has no state, so a processor does as many positions at
once as its registers are wide, with the same result. p is an *anchor* where the top g bits of hash(p)
are zero; g depends on the block size (``anchor_bits``) and is chosen so that one block in some
millions has no anchor. Each factor is 16 * odd - 1, so the sixteen coefficients add up to zero: a window
of one repeated byte, and one of two bytes in turn, has x4 = 0, and is no anchor (for g > 0).

**The key** of an anchor is the seeded XXH3-64 of the 64 bytes that begin there; they must lie inside the
block. A block is known by its first anchor: its offset in the block, and its key. The scan looks keys
up at the anchors of the new bytes only, and asks the digest of the whole block before it believes.

**The scan** of a segment, in order of position: while blocks follow each other as they do in the
basis, the digest of the next one is all that is asked. Where that ends, the block at the same offset of
the basis is tried. Then the scan goes on over anchors; every ``block_bytes`` it tries what the last run
would now continue with, and what stands at the same offset. A hit is extended backward by whole blocks.
What is left is literal, and runs of one byte of at least ``FILL_BYTES_MIN`` in it are fills.

**Bounds.** Of the anchors in a cell of 2 KiB only the first ``anchors_max`` count; a key has at most
``CANDIDATES_MAX`` distinct blocks; and what digests and lookups cost in vain is paid from what the
scan has passed (``EARNED`` bytes for each byte). An unpaid candidate counts as a miss: literals grow,
the result stays right.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import xxhash

from mover.delta.model import (
    CONSTANT,
    NO_ANCHOR,
    Op,
    OpKind,
    Signature,
    SignatureHead,
    Strong,
    joined,
)

FACTORS: Final = (0x9E2F, 0x6A8F, 0xC2CF, 0xB54F)
KEY_BYTES: Final = 64
WINDOW_BYTES: Final = 32
CELL_BYTES: Final = 2048
CANDIDATES_MAX: Final = 16
FILL_BYTES_MIN: Final = 256
EARNED: Final = 4
SEGMENT_BYTES_MIN: Final = 16 * 1024 * 1024


def anchor_bits(block_bytes: int) -> int:
    """How many top bits of an anchor's hash are zero: 8 to 16 anchors are expected in a block."""
    return min(max((block_bytes - KEY_BYTES + 1).bit_length() - 4, 0), 10)


def anchors_max(block_bytes: int) -> int:
    """How many anchors of one cell the scan looks at."""
    return max(128, 2 * CELL_BYTES >> anchor_bits(block_bytes))


def segment_bytes(block_bytes: int) -> int:
    """The step of the segments, which are scanned each by itself; part of what the result is."""
    return max(SEGMENT_BYTES_MIN, 4 * block_bytes)


def anchors(data: bytes | memoryview, bits: int) -> list[int]:
    """All anchors whose key lies in ``data``, as offsets, in order."""
    positions = len(data) - KEY_BYTES + 1
    if positions <= 0:
        return []
    folded = [low | high << 8 for low, high in zip(data, data[1:], strict=False)]
    for step, factor in zip((2, 4, 8, 16), FACTORS, strict=True):
        folded = [
            (near + factor * far) & 0xFFFF for near, far in zip(folded, folded[step:], strict=False)
        ]
    limit = 1 << (16 - bits)
    return [at for at, value in enumerate(folded[:positions]) if 0xFFFF - value < limit]


def key_of(window: bytes | memoryview, seed: int) -> int:
    """The key of an anchor, of the 64 bytes at it."""
    return xxhash.xxh3_64_intdigest(window, seed)


def slow_digest(strong: Strong) -> Callable[[bytes | memoryview], bytes]:
    """The whole digest of a kind that is not XXH3-128. Raises ``ValueError`` where none is here."""
    if strong is Strong.SHA256:
        return lambda block: hashlib.sha256(block).digest()
    if strong is not Strong.BLAKE3:
        raise ValueError(f"{strong.name} is no slow digest")
    try:
        blake3 = importlib.import_module("blake3").blake3
    except ModuleNotFoundError as error:
        raise ValueError("BLAKE3 needs the package 'blake3', which is not installed") from error
    return lambda block: bytes(blake3(block).digest())


def digest_of(head: SignatureHead) -> Callable[[bytes | memoryview], bytes]:
    """The function that gives what a signature keeps of a block's digest."""
    wide, seed = head.strong_bytes, head.seed
    if head.strong is Strong.XXH3_128:
        return lambda block: xxhash.xxh3_128_digest(block, seed)[:wide]
    whole = slow_digest(head.strong)
    return lambda block: whole(block)[:wide]


def sign(data: bytes | memoryview, head: SignatureHead) -> Signature:
    """The signature of a whole object."""
    view = memoryview(data)
    if len(view) != head.size:
        raise ValueError(f"{len(view)} bytes are not the {head.size} of the head")
    offsets, keys, digests = bytearray(), bytearray(), bytearray()
    digest, bits = digest_of(head), anchor_bits(head.block_bytes)
    for index in range(head.blocks):
        start, stop = head.block_range(index)
        block = view[start:stop]
        offset, key = first_anchor(block, bits, head.seed)
        offsets += offset.to_bytes(4, "little")
        keys += key.to_bytes(8, "little")
        digests += digest(block)
    return Signature(head, bytes(offsets), bytes(keys), bytes(digests))


def first_anchor(block: memoryview, bits: int, seed: int) -> tuple[int, int]:
    """What is kept of a block beside its digest: the offset of its first anchor, and its key."""
    if len(block) >= KEY_BYTES and block == bytes([block[0]]) * len(block):
        return CONSTANT, block[0]
    for at in anchors(block, bits):
        return at, key_of(block[at : at + KEY_BYTES], seed)
    return NO_ANCHOR, 0


class Index:
    """A signature, ready for scans: its blocks by key."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.head = signature.head
        self.digest = digest_of(self.head)
        self.anchors = list(memoryview(signature.anchors).cast("I"))
        self.keys = list(memoryview(signature.keys).cast("Q"))
        self.by_key: dict[int, list[int]] = {}
        for index, offset in enumerate(self.anchors):
            if offset not in (NO_ANCHOR, CONSTANT):
                self._add(index, self.by_key.setdefault(self.keys[index], []))

    def _add(self, index: int, same_key: list[int]) -> None:
        known = any(self.same(index, other) for other in same_key)
        if not known and len(same_key) < CANDIDATES_MAX:
            same_key.append(index)

    def same(self, one: int, other: int) -> bool:
        """Whether two blocks are equal, as far as the signature knows."""
        return (
            self.anchors[one] == self.anchors[other]
            and self.keys[one] == self.keys[other]
            and self.length(one) == self.length(other)
            and self.signature.digest(one) == self.signature.digest(other)
        )

    def length(self, index: int) -> int:
        start, stop = self.head.block_range(index)
        return stop - start


@dataclass(slots=True)
class Lane:
    """A guess that goes along with the scan: that block ``block`` of the basis stands at ``at``."""

    at: int
    block: int


@dataclass(slots=True)
class Stats:
    """What a scan did, in bytes but for the counts. ``failed`` was hashed in vain and paid for."""

    hashed: int = 0
    failed: int = 0
    runs: int = 0


@dataclass(slots=True)
class Segment:
    """The scan of one segment. Offsets are of the new object; ``data`` begins at ``base``.

    A match begins inside [start, stop) and may end behind it: ``data`` must reach
    ``block_bytes - 1`` further, or to the end of the object.
    """

    index: Index
    data: memoryview
    base: int
    start: int
    stop: int
    stats: Stats = field(default_factory=Stats)
    ops: list[Op] = field(default_factory=list)
    at: int = 0
    literal: int = 0
    expected: int | None = None
    lanes: list[Lane] = field(default_factory=list)

    def scan(self) -> list[Op]:
        self.at = self.literal = self.start
        block = self._in_place()
        while block is not None or (block := self._search()) is not None:
            self._run(block)
            if self.at >= self.stop:
                break
            block = self._in_place()
        self._end_literal(max(self.stop, self.literal))
        return list(joined(self.ops))

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def _bytes(self, start: int, length: int) -> memoryview:
        return self.data[start - self.base : start - self.base + length]

    def _run(self, block: int) -> None:
        """Copy a block that is known to stand here, and those that follow it as in the basis."""
        index, blocks = self.index, self.index.head.blocks
        self.stats.runs += 1
        while True:
            length = index.length(block)
            origin = block * index.head.block_bytes
            self.ops.append(Op(self.at, origin, length, OpKind.COPY))
            self.at += length
            self.literal = self.at
            block += 1
            self.expected = block if block < blocks else None
            if self.expected is None or self.at >= self.stop:
                return
            if self.at + index.length(block) > self.end or not self._equal(self.at, block):
                return

    def _in_place(self) -> int | None:
        block, rest = divmod(self.at, self.index.head.block_bytes)
        if rest or block >= self.index.head.blocks or block == self.expected:
            return None
        return block if self._probe(self.at, block) else None

    def _search(self) -> int | None:
        """Go on to the next block of the basis, wherever it is. None when the segment has no more."""
        wide = self.index.head.block_bytes
        self.lanes = []
        if self.expected is not None:
            self.lanes.append(Lane(self.at + wide, self.expected + 1))
        here = Lane((self.at // wide + 1) * wide, self.at // wide + 1)
        if here not in self.lanes:
            self.lanes.append(here)
        anchors_stop = min(self.stop + wide - KEY_BYTES, self.end - KEY_BYTES + 1)
        at = self.at
        while True:
            if (block := self._ask_lanes(at)) is not None:
                return block
            lane_at = self._next_lane()
            stop = min(anchors_stop, lane_at, (at // CELL_BYTES + 1) * CELL_BYTES)
            if at < stop:
                if (block := self._ask_anchors(at, stop)) is not None:
                    return block
                at = stop
            elif lane_at < self.stop:
                at = lane_at
            else:
                return None

    def _next_lane(self) -> int:
        blocks = self.index.head.blocks
        waiting = [lane.at for lane in self.lanes if lane.block < blocks and lane.at < self.stop]
        return min(waiting, default=1 << 63)

    def _ask_lanes(self, at: int) -> int | None:
        for lane in self.lanes:
            if lane.at == at and lane.at < self.stop and lane.block < self.index.head.blocks:
                block = lane.block
                lane.at += self.index.head.block_bytes
                lane.block += 1
                if self._probe(at, block):
                    self._begin_copy(at)
                    return block
        return None

    def _ask_anchors(self, start: int, stop: int) -> int | None:
        head = self.index.head
        window = self._bytes(start, stop - start + KEY_BYTES - 1)
        found = anchors(window, anchor_bits(head.block_bytes))
        for offset in found[: anchors_max(head.block_bytes)]:
            at = start + offset
            key = key_of(self._bytes(at, KEY_BYTES), head.seed)
            for block in self.index.by_key.get(key, ()):
                if not self._pays(at, KEY_BYTES):
                    break
                self.stats.failed += KEY_BYTES
                begin = at - self.index.anchors[block]
                if begin < self.literal or begin >= self.stop:
                    continue
                if self._fits(begin, block) and self._paid_equal(at, begin, block):
                    return self._hit(at, begin, self._preferred(begin, block))
        return None

    def _hit(self, at: int, begin: int, block: int) -> int:
        wide = self.index.head.block_bytes
        while block > 0 and begin - wide >= self.literal:
            if not self._probe(begin - wide, block - 1, paid_at=at):
                break
            begin, block = begin - wide, block - 1
        self._begin_copy(begin)
        return block

    def _preferred(self, begin: int, block: int) -> int:
        """Of equal blocks, the one that continues a lane: longer runs, fewer operations."""
        wide = self.index.head.block_bytes
        for lane in self.lanes:
            steps, rest = divmod(begin - lane.at, wide)
            other = lane.block + steps
            if rest == 0 and 0 <= other < self.index.head.blocks and self.index.same(block, other):
                return other
        return block

    def _begin_copy(self, begin: int) -> None:
        self._end_literal(begin)
        self.at = begin

    def _fits(self, at: int, block: int) -> bool:
        return at + self.index.length(block) <= self.end

    def _probe(self, at: int, block: int, paid_at: int | None = None) -> bool:
        """Whether a block stands here; asks what is cheap before the digest."""
        if not self._fits(at, block):
            return False
        offset, key = self.index.anchors[block], self.index.keys[block]
        if offset == CONSTANT:
            if any(byte != key for byte in self._bytes(at, min(8, self.index.length(block)))):
                return False
        elif offset != NO_ANCHOR and key != key_of(
            self._bytes(at + offset, KEY_BYTES), self.index.head.seed
        ):
            return False
        return self._paid_equal(at if paid_at is None else paid_at, at, block)

    def _pays(self, at: int, cost: int) -> bool:
        earned = EARNED * (at - self.start + self.index.head.block_bytes)
        return self.stats.failed + cost <= earned

    def _paid_equal(self, paid_at: int, at: int, block: int) -> bool:
        length = self.index.length(block)
        if not self._pays(paid_at, length):
            return False
        if self._equal(at, block):
            return True
        self.stats.failed += length
        return False

    def _equal(self, at: int, block: int) -> bool:
        length = self.index.length(block)
        self.stats.hashed += length
        return self.index.digest(self._bytes(at, length)) == self.index.signature.digest(block)

    def _end_literal(self, stop: int) -> None:
        data = self._bytes(self.literal, stop - self.literal)
        self.ops += literal_ops(data, self.literal)
        self.literal = stop


def literal_ops(data: bytes | memoryview, start: int) -> Iterator[Op]:
    """Bytes that no block makes: literals, and fills where one byte repeats."""
    begin = at = 0
    while at < len(data):
        run = at
        while run < len(data) and data[run] == data[at]:
            run += 1
        if run - at >= FILL_BYTES_MIN:
            if begin < at:
                yield Op(start + begin, start + begin, at - begin, OpKind.LITERAL)
            yield Op(start + at, data[at], run - at, OpKind.FILL)
            begin = run
        at = run
    if begin < len(data):
        yield Op(start + begin, start + begin, len(data) - begin, OpKind.LITERAL)


def scan(
    index: Index, data: bytes | memoryview, *, start: int = 0, step: int | None = None
) -> list[Op]:
    """The operations of ``data`` as the bytes from ``start`` on of the new object, segment by segment."""
    view, stop = memoryview(data), start + len(data)
    step = step or segment_bytes(index.head.block_bytes)
    ops: list[Op] = []
    at = start
    while at < stop:
        edge = min((at // step + 1) * step, stop)
        ops += Segment(index, view, start, at, edge).scan()
        at = edge
    return merged(ops)


def merged(ops: list[Op]) -> list[Op]:
    """Operations of neighbouring segments as one list; where they overlap, the earlier one stays."""
    kept: list[Op] = []
    for op in ops:
        late = kept[-1].stop - op.start if kept else 0
        kept_op = op if late <= 0 else clipped(op, late)
        if kept_op.length > 0:
            kept.append(kept_op)
    return list(joined(kept))


def clipped(op: Op, late: int) -> Op:
    """What is left of an operation without its first bytes."""
    origin = op.origin if op.kind is OpKind.FILL else op.origin + late
    return Op(op.start + late, origin, max(op.length - late, 0), op.kind)

"""The anchor engine in plain Python: what the kernel must do, bit for bit. For tests, and to read.

``anchors`` says what an anchor and its key are. A block is known by its first anchor.

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

from collections.abc import Iterator
from dataclasses import dataclass, field

from mover.delta.anchors import (
    CANDIDATE_COST,
    CANDIDATES_MAX,
    CELL_BYTES,
    EARNED,
    FILL_BYTES_MIN,
    KEY_BYTES,
    anchor_bits,
    anchors,
    anchors_max,
    digest_of,
    key_of,
    segment_bytes,
)
from mover.delta.model import (
    CONSTANT,
    NO_ANCHOR,
    Op,
    OpKind,
    Signature,
    SignatureHead,
    clipped,
    joined,
)


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
        offset, key = first_anchor(block, bits, head)
        offsets += offset.to_bytes(4, "little")
        keys += key.to_bytes(8, "little")
        digests += digest(block)
    return Signature(head, bytes(offsets), bytes(keys), bytes(digests))


def first_anchor(block: memoryview, bits: int, head: SignatureHead) -> tuple[int, int]:
    """What is kept of a block beside its digest: the offset of its first anchor, and its key."""
    if len(block) >= KEY_BYTES and block == bytes([block[0]]) * len(block):
        return CONSTANT, block[0]
    for at in anchors(block, bits):
        return at, key_of(block[at : at + KEY_BYTES], head)
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
            key = key_of(self._bytes(at, KEY_BYTES), head)
            for block in self.index.by_key.get(key, ()):
                if not self._pays(at, CANDIDATE_COST):
                    break
                self.stats.failed += CANDIDATE_COST
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
            self._bytes(at + offset, KEY_BYTES), self.index.head
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

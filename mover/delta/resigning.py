"""The signature of an object that was made of an old one: rows that are known, and rows that are missing. Pure.

A block that one COPY makes, and that stood at a block's place in the old object too, has the row that it had
there. All others are signed from bytes, in any order.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from mover.delta import kernel
from mover.delta.block_sizes import single_block_bytes
from mover.delta.kernel import Buffer
from mover.delta.model import Op, OpKind, Signature, SignatureHead, Strong
from mover.delta.signature_format import wire_strong_bytes

ANCHOR_BYTES: Final = 4
KEY_BYTES: Final = 8

DRIFT_MAX: Final = 4
"""Blocks that became this many times too small or too large for their object are given up."""

READ_SHARE: Final = 8
"""An eighth of an object may be read for its signature: reading more is no better than to sign it anew."""

REQUEST_BYTES: Final = 1024 * 1024
"""What a request counts as, where it is weighed against bytes."""

Span = tuple[int, int]
"""Where bytes start and stop."""


def resigned_head(old: SignatureHead | None, size: int, seed: int) -> SignatureHead:
    """The head of the new object's signature: the old one's where its rows can be kept, else with ``seed``."""
    wish = single_block_bytes(size)
    if old is not None and old.strong is Strong.XXH3_128:
        is_near = wish <= DRIFT_MAX * old.block_bytes and old.block_bytes <= DRIFT_MAX * wish
        if is_near and old.strong_bytes >= wire_strong_bytes(size, old.block_bytes):
            return replace(old, size=size)
    return SignatureHead(
        size=size, block_bytes=wish, strong_bytes=wire_strong_bytes(size, wish), seed=seed
    )


def is_worth_reading(missing: Iterable[Span], size: int) -> bool:
    """Whether to read what is missing of an object of ``size`` bytes now, and not when somebody asks."""
    return READ_SHARE * sum(stop - start + REQUEST_BYTES for start, stop in missing) <= size


class Rows:
    """Rows of a signature that come in any order; the last that came for a block counts."""

    def __init__(self, head: SignatureHead) -> None:
        blocks = -(-head.size // head.block_bytes)
        self.head = head
        self._anchors = bytearray(ANCHOR_BYTES * blocks)
        self._keys = bytearray(KEY_BYTES * blocks)
        self._digests = bytearray(head.strong_bytes * blocks)
        self._known = bytearray(blocks)

    def clear(self) -> None:
        """Forget all rows."""
        self._known = bytearray(len(self._known))

    def sign(self, start: int, data: Buffer) -> Signature:
        """Sign the whole blocks of bytes that stand at ``start``, for ``put``. Reads nothing of the rows."""
        first, stop = self._blocks_in(start, start + len(memoryview(data)))
        block = self.head.block_bytes
        whole = memoryview(data)[first * block - start : min(stop * block, self.head.size) - start]
        return kernel.sign(whole, replace(self.head, size=len(whole)))

    def put(self, start: int, size: int, signed: Signature) -> None:
        """Take the rows of what ``sign`` was given: ``size`` bytes at ``start``."""
        first, stop = self._blocks_in(start, start + size)
        self._put(first, stop - first, signed, 0)

    def inherit(self, ops: Iterable[Op], old: Signature) -> None:
        """Take rows of the old object's signature for blocks that are missing.

        ``ops`` make the new object of the old one. Nothing comes of a signature of another head.
        """
        if replace(old.head, size=self.head.size) != self.head:
            return
        block, size, old_size = self.head.block_bytes, self.head.size, old.head.size
        for op in ops:
            moved = op.origin - op.start
            if op.kind is not OpKind.COPY or moved % block:
                continue
            first, stop = self._blocks_in(op.start, op.stop)
            # A short last block, here or there, is the same only where both objects end with it.
            is_end = stop * block > size or stop * block + moved > old_size
            if is_end and stop > first and size + moved != old_size:
                stop -= 1
            self._inherit(first, stop, moved // block, old)

    def missing(self) -> list[Span]:
        """Where the bytes are whose rows nobody knows, in order."""
        spans: list[Span] = []
        block, first = self.head.block_bytes, self._known.find(0)
        while first >= 0:
            stop = self._known.find(1, first)
            stop = len(self._known) if stop < 0 else stop
            spans.append((first * block, min(stop * block, self.head.size)))
            first = self._known.find(0, stop)
        return spans

    def signature(self) -> Signature:
        """The whole signature. Raises ``ValueError`` where rows are missing."""
        if self._known.count(0):
            raise ValueError(f"the rows of {self._known.count(0)} blocks are missing")
        return Signature(self.head, bytes(self._anchors), bytes(self._keys), bytes(self._digests))

    def _blocks_in(self, start: int, stop: int) -> Span:
        """The blocks that lie wholly in a span; none as an empty range."""
        block = self.head.block_bytes
        first = -(-start // block)
        last = len(self._known) if stop == self.head.size else stop // block
        return first, max(first, last)

    def _inherit(self, first: int, stop: int, moved: int, old: Signature) -> None:
        while first < stop:
            first = self._known.find(0, first, stop)
            if first < 0:
                return
            last = self._known.find(1, first, stop)
            last = stop if last < 0 else last
            self._put(first, last - first, old, first + moved)
            first = last

    def _put(self, first: int, count: int, rows: Signature, at: int) -> None:
        columns = (
            (self._anchors, rows.anchors, ANCHOR_BYTES),
            (self._keys, rows.keys, KEY_BYTES),
            (self._digests, rows.digests, self.head.strong_bytes),
        )
        for column, given, wide in columns:
            piece = memoryview(given)[at * wide : (at + count) * wide]
            memoryview(column)[first * wide : (first + count) * wide] = piece
        self._known[first : first + count] = b"\1" * count

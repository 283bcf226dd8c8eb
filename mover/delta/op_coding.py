"""Operations in few bytes, as deltas and outlines have them: docs/formats.md tells every byte. Pure."""

from collections.abc import Iterable
from typing import Final

from mover.delta import varints
from mover.delta.model import Op, OpKind

OP_BYTES_MAX: Final = 2 * varints.BYTES_MAX
"""Bytes of the longest operation."""


class OpEncoder:
    """Writes operations that follow each other; where one begins is not told."""

    def __init__(self) -> None:
        self._expected = 0

    def put(self, out: bytearray, op: Op) -> None:
        """Append an operation."""
        varints.put(out, op.length << 2 | op.kind)
        if op.kind is OpKind.COPY:
            varints.put(out, varints.zigzag(op.origin - self._expected))
            self._expected = op.origin + op.length
        elif op.kind is OpKind.FILL:
            varints.put(out, op.origin)


class OpDecoder:
    """Reads them again, of a basis of ``basis_size`` bytes; ``at`` is where the next one begins.

    Whoever reads something else in between moves ``at``. The object ends at ``size_max`` at the latest.
    """

    def __init__(self, *, basis_size: int, size_max: int) -> None:
        self.at = 0
        self._expected = 0
        self._basis_size = basis_size
        self._size_max = size_max

    def get(self, data: bytes, place: int) -> tuple[Op, int]:
        """The operation that stands at ``place``, and where the next one does.

        Raises ``ValueError`` for one that no encoder writes, or that leads out of either object.
        """
        tag, place = varints.get(data, place)
        kind, length = OpKind(tag & 3), tag >> 2
        if length == 0:
            raise ValueError("it makes nothing")
        self.check_end(length)
        origin = self.at
        if kind is OpKind.COPY:
            turned, place = varints.get(data, place)
            origin = self._expected + varints.unzigzag(turned)
            self._expected = origin + length
            if not 0 <= origin <= origin + length <= self._basis_size:
                raise ValueError(
                    f"it copies bytes {origin} to {origin + length} of {self._basis_size}"
                )
        elif kind is OpKind.FILL:
            origin, place = varints.get(data, place)
            if origin > 0xFF:
                raise ValueError(f"{origin} is no byte")
        op = Op(self.at, origin, length, kind)
        self.at = op.stop
        return op, place

    def check_end(self, length: int) -> None:
        """Raise ``ValueError`` where the object has no room for ``length`` bytes more."""
        if self.at + length > self._size_max:
            raise ValueError(f"it ends at byte {self.at + length} of {self._size_max}")


def encode_ops(ops: Iterable[Op]) -> bytes:
    """All operations of an object."""
    out, encoder = bytearray(), OpEncoder()
    for op in ops:
        encoder.put(out, op)
    return bytes(out)


def decode_ops(data: bytes, *, basis_size: int, new_size: int, ops_max: int) -> list[Op]:
    """Them again. Raises ``ValueError`` where they do not make the new object, or are too many."""
    decoder = OpDecoder(basis_size=basis_size, size_max=new_size)
    ops: list[Op] = []
    place = 0
    while place < len(data):
        if len(ops) == ops_max:
            raise ValueError(f"more than {ops_max} operations")
        op, place = decoder.get(data, place)
        ops.append(op)
    if decoder.at != new_size:
        raise ValueError(f"the operations end at byte {decoder.at} of {new_size}")
    return ops

"""The classic engine, in plain Python: a rolling hash at every offset, greedily. An oracle for tests.

It finds every whole block that is there, which nobody else's scan can beat by much; and it touches the
hash of every offset, which is why it is not the one in use.
"""

from collections.abc import Iterator
from typing import Final

from mover.delta.anchors import digest_of
from mover.delta.model import Op, OpKind, Signature, joined

FACTOR: Final = 0x9E37_79B9_7F4A_7C15
MASK: Final = (1 << 64) - 1


def polynomial(block: bytes | memoryview) -> int:
    """The hash of a window, directly: a polynomial of its bytes, modulo 2**64."""
    value = 0
    for byte in block:
        value = (value * FACTOR + byte + 1) & MASK
    return value


def rolled(data: bytes | memoryview, wide: int) -> Iterator[int]:
    """The hashes of all windows of ``wide`` bytes, each from the one before."""
    if len(data) < wide:
        return
    value, weight = polynomial(data[:wide]), pow(FACTOR, wide, 1 << 64)
    yield value
    for out, into in zip(data, data[wide:], strict=False):
        value = (value * FACTOR + into + 1 - weight * (out + 1)) & MASK
        yield value


def scan(signature: Signature, old: bytes, new: bytes) -> list[Op]:
    """What whole blocks of ``old`` make of ``new``, from left to right; ``old`` tells the hashes."""
    head, digest = signature.head, digest_of(signature.head)
    wide = head.block_bytes
    known: dict[int, int] = {}
    for index in range(head.size // wide):
        known.setdefault(polynomial(old[index * wide : (index + 1) * wide]), index)
    ops: list[Op] = []
    literal = 0
    for at, weak in enumerate(rolled(new, wide)):
        index = known.get(weak, -1) if at >= literal else -1
        if index >= 0 and digest(new[at : at + wide]) == signature.digest(index):
            ops += [Op(literal, literal, at - literal, OpKind.LITERAL)]
            ops += [Op(at, index * wide, wide, OpKind.COPY)]
            literal = at + wide
    last, rest = head.blocks - 1, head.size % wide
    if rest and len(new) - rest >= literal and digest(new[-rest:]) == signature.digest(last):
        ops += [Op(literal, literal, len(new) - rest - literal, OpKind.LITERAL)]
        ops += [Op(len(new) - rest, last * wide, rest, OpKind.COPY)]
        literal = len(new)
    return list(joined([*ops, Op(literal, literal, len(new) - literal, OpKind.LITERAL)]))

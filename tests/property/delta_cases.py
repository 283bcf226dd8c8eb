"""Cases for the delta kernel: old bytes, edits, and the new bytes that come of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from mover.delta.model import OpKind, unpack_ops

BLOCKS = (64, 100, 128, 500, 1024, 4096)


@dataclass(frozen=True)
class Case:
    old: bytes
    new: bytes
    block_bytes: int


def base(seed: int, size: int, alphabet: int) -> bytes:
    """Bytes of an alphabet: 1 is constant, 256 is random, 0 is periodic."""
    source = random.Random(seed)
    if alphabet == 0:
        pattern = source.randbytes(source.randint(2, 9))
        return (pattern * (size // len(pattern) + 1))[:size]
    if alphabet == 256:
        return source.randbytes(size)
    return bytes(source.choices(range(alphabet), k=size))


def edited(old: bytes, seed: int, edits: Sequence[str]) -> bytes:
    source, new = random.Random(seed), bytearray(old)
    for edit in edits:
        at, length = source.randint(0, len(new)), source.choice((1, 3, 64, 300, 5000))
        match edit:
            case "insert":
                new[at:at] = source.randbytes(length)
            case "delete":
                del new[at : at + length]
            case "overwrite":
                over = source.randbytes(min(length, len(new) - at))
                new[at : at + len(over)] = over
            case "fill":
                new[at:at] = bytes([source.randrange(256)]) * length
            case _:
                piece = new[at : at + length]
                del new[at : at + length]
                to = source.randint(0, len(new))
                new[to:to] = piece
    return bytes(new)


@st.composite
def cases(draw: st.DrawFn, blocks: Sequence[int] = BLOCKS, size_max: int = 12_000) -> Case:
    block = draw(st.sampled_from(blocks))
    near = st.sampled_from((0, 1, block - 1, block, block + 1, 3 * block - 1, 3 * block + 1))
    size = draw(near | st.integers(0, size_max))
    old = base(draw(st.integers(0, 99)), size, draw(st.sampled_from((0, 1, 2, 4, 256, 256))))
    edits = draw(
        st.lists(st.sampled_from(("insert", "delete", "overwrite", "fill", "move")), max_size=5)
    )
    return Case(old, edited(old, draw(st.integers(0, 99)), edits), block)


def patched(old: bytes, new: bytes, packed: bytes, start: int = 0) -> bytes:
    """What operations make; fails where they are no canonical list."""
    made = bytearray()
    for op in unpack_ops(packed):
        assert op.start == start + len(made), "a gap or an overlap"
        assert op.length > 0
        match op.kind:
            case OpKind.COPY:
                assert op.origin + op.length <= len(old)
                made += old[op.origin : op.origin + op.length]
            case OpKind.FILL:
                made += bytes([op.origin]) * op.length
            case OpKind.LITERAL:
                assert op.origin == op.start
                made += new[op.start - start : op.stop - start]
    return bytes(made)


def literal_bytes(packed: bytes) -> int:
    return sum(op.length for op in unpack_ops(packed) if op.kind is OpKind.LITERAL)

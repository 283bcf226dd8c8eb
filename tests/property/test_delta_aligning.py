"""Changed elements: whatever the versions, what is told makes the new one of the old one."""

import random
from collections.abc import Sequence
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from mover.delta import elements, kernel
from mover.delta.aligning import Changed, Pair, Regions, Window, told, windows
from mover.delta.elements import WAYS, Way
from mover.delta.model import Op, OpKind, SignatureHead, unpack_ops
from mover.delta.tensors import Place

ways = st.sampled_from(WAYS)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[bytes, bytes, Way]:
    """Two arrays of equally many elements, and a way to compare them."""
    way = draw(ways)
    count = draw(st.integers(1, 2000))
    source = random.Random(draw(st.integers(0, 99)))
    old = source.randbytes(count * way.width)
    new = bytearray(old)
    for _ in range(draw(st.integers(0, count))):
        new[source.randrange(len(new))] = source.randrange(256)
    return old, bytes(new), way


def plainly(old: bytes, new: bytes, way: Way) -> tuple[bytes, list[int]]:
    """The gaps and the numbers that ``kernel.differ`` tells, as one would write them down."""
    wide, gaps, numbers, gap = way.width, bytearray(), [], 0
    for at in range(0, len(old), wide):
        was, now = (int.from_bytes(data[at : at + wide], "little") for data in (old, new))
        if was == now:
            gap += 1
            continue
        gaps += b"\xff" * (gap // 255) + bytes([gap % 255])
        gap = 0
        half, modulus = 1 << (8 * wide - 1), 1 << (8 * wide)
        moved = (now - was + half) % modulus - half
        numbers.append((2 * moved if moved >= 0 else -2 * moved - 1) if way.subtract else was ^ now)
    return bytes(gaps), numbers


@given(arrays())
def test_the_kernel_tells_what_is_written_plainly(given: tuple[bytes, bytes, Way]) -> None:
    old, new, way = given
    gaps, numbers = plainly(old, new, way)
    found = kernel.differ(old, new, width=way.width, subtract=way.subtract)
    assert found.gaps == gaps
    assert found.planes == tuple(
        bytes(number >> 8 * place & 255 for number in numbers) for place in range(way.width)
    )


@given(arrays(), st.integers(0, 1 << 60))
def test_changes_come_back(given: tuple[bytes, bytes, Way], origin: int) -> None:
    old, new, way = given
    value = elements.encode(old, new, origin, way)
    assert elements.range_of(value) == (origin, len(old))
    data = bytearray(old)
    elements.apply(value, data)
    assert data == new


@given(arrays(), st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=300)
def test_torn_changes(given: tuple[bytes, bytes, Way], at: int, byte: int) -> None:
    old, new, way = given
    value = bytearray(elements.encode(old, new, 0, way))
    value[at % len(value)] = byte
    with suppress(ValueError):
        elements.apply(bytes(value), bytearray(old))


def made(pieces: Sequence[Op | Changed], old: bytes, new: bytes) -> bytes:
    out = bytearray()
    for piece in pieces:
        op = piece.op if isinstance(piece, Changed) else piece
        assert op.start == len(out)
        if op.kind is OpKind.LITERAL:
            out += new[op.start : op.stop]
        elif op.kind is OpKind.FILL:
            out += bytes([op.origin]) * op.length
        else:
            data = bytearray(old[op.origin : op.origin + op.length])
            if isinstance(piece, Changed):
                assert elements.range_of(piece.told) == (op.origin, op.length)
                elements.apply(piece.told, data)
            out += data
    return bytes(out)


@st.composite
def versions(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two versions: elements changed here and there, and bytes that came, went or moved."""
    source = random.Random(draw(st.integers(0, 999)))
    old = source.randbytes(draw(st.integers(0, 30_000)))
    new = bytearray(old)
    for _ in range(draw(st.sampled_from([0, 3, 100, 1000])) if new else 0):
        new[source.randrange(len(new))] = source.randrange(256)
    for _ in range(draw(st.integers(0, 3))):
        at, length = source.randint(0, len(new)), source.choice([1, 2, 3, 8, 3000])
        if source.random() < 0.5:
            new[at:at] = source.randbytes(length)
        else:
            del new[at : at + length]
    return old, bytes(new)


@st.composite
def laid_out(draw: st.DrawFn, old: int, new: int) -> list[Place]:
    """Places that somebody told of, right or wrong: they are where to look, not what is there."""
    found: list[Place] = []
    at = 0
    while at < new and len(found) < 5:
        start = draw(st.integers(at, new - 1))
        stop = draw(st.integers(start + 1, min(new, start + max(old, 1))))
        length = stop - start
        if length > old:
            break
        origin = draw(st.integers(0, old - length))
        found.append(Place(start, stop, origin - start, draw(st.sampled_from([0, 2, 4]))))
        at = stop
    return found


@given(versions(), st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_changed_comes_back(given: tuple[bytes, bytes], data: st.DataObject) -> None:
    old, new = given
    signature = kernel.sign(old, SignatureHead(size=len(old), block_bytes=500))
    ops = list(unpack_ops(kernel.scan(kernel.Index(signature), new)))
    pair = Pair(memoryview(old), memoryview(new), data.draw(laid_out(len(old), len(new))))
    pieces: list[Op | Changed] = []
    for region in Regions().of(ops):
        for piece in windows(region, pair):
            found = told(piece, pair) if isinstance(piece, Window) else (piece,)
            pieces += [found] if isinstance(found, Changed) else found
    assert made(pieces, old, new) == new

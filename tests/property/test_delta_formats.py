"""Wire formats of delta sync: what is written is read; what is not, is refused and costs nothing."""

import contextlib
import tracemalloc
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mover.delta import elements
from mover.delta.checksums import SUM_BYTES, WHOLE_BYTES, section_sum, whole_digest
from mover.delta.delta_format import HEAD, SECTION, DeltaHead, DeltaWriter
from mover.delta.delta_reading import DeltaReader
from mover.delta.elements import Way
from mover.delta.garbled import Garbled
from mover.delta.model import Op, OpKind, Signature, SignatureHead, Strong, joined
from mover.delta.signature_format import SignatureFile, SignatureReader, write_signature

BASIS_SIZE = 1 << 40
MEMORY_BYTES = 8 * 1024 * 1024
"""What reading a hostile file of some KiB may take: constants of the format, and no claim of it."""


@st.composite
def signature_files(draw: st.DrawFn) -> SignatureFile:
    strong = draw(st.sampled_from(Strong))
    strong_bytes = draw(st.integers(1, strong.bytes_max))
    key_bytes = draw(st.integers(2, 8))
    block_bytes = draw(st.sampled_from([64, 100, 4096, 64 * 1024 * 1024]))
    blocks = draw(st.integers(0, 40))
    short = draw(st.integers(0, block_bytes - 1)) if blocks else 0
    head = SignatureHead(
        size=blocks * block_bytes - short,
        block_bytes=block_bytes,
        strong=strong,
        strong_bytes=strong_bytes,
        key_bytes=key_bytes,
        seed=draw(st.integers(0, (1 << 64) - 1)),
    )
    anchors, keys, digests = (
        draw(st.binary(min_size=wide * blocks, max_size=wide * blocks))
        for wide in (4, key_bytes, strong_bytes)
    )
    rows = (keys[at : at + key_bytes] for at in range(0, len(keys), key_bytes))
    filled = b"".join(row.ljust(8, b"\0") for row in rows)
    return SignatureFile(
        signature=Signature(head, anchors, filled, digests),
        whole=draw(st.sampled_from([b"", bytes(range(16))])),
        etag=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
        version=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    )


@st.composite
def deltas(draw: st.DrawFn) -> tuple[list[Op], bytes]:
    """Operations and the new object, in which only literals have bytes that mean something."""
    ops, new = [], bytearray()
    for kind in draw(st.lists(st.sampled_from(OpKind), max_size=30)):
        length = draw(st.integers(1, 300))
        start = len(new)
        origin = start
        if kind is OpKind.COPY:
            origin = draw(st.integers(0, BASIS_SIZE - length))
        elif kind is OpKind.FILL:
            origin = draw(st.integers(0, 255))
        ops.append(Op(start, origin, length, kind))
        new += draw(st.binary(min_size=length, max_size=length))
    return ops, bytes(new)


def encode_signature(file: SignatureFile) -> bytes:
    return b"".join(write_signature(file))


def encode_delta(ops: Sequence[Op], new: bytes, each: int, *, version: int = 1) -> bytes:
    """A delta; of the second version one that begins with changes and ends with a ladder."""
    told = elements.encode(bytes(8), b"12345678", 9, Way(2, subtract=True)) if version > 1 else b""
    new, ops = new if not told else bytes(8) + new, [moved(op, 8 if told else 0) for op in ops]
    whole = bytes(range(16)) if told else b""
    head = DeltaHead(
        basis_size=BASIS_SIZE, new_size=len(new), basis_whole=whole, has_ladder=bool(told)
    )
    writer = DeltaWriter(head)
    pieces = [writer.begin()]
    if told:
        pieces += writer.add_changes(Op(0, 9, 8, OpKind.COPY), told)
    for first in range(0, len(ops), each):
        pieces += writer.add(ops[first : first + each], lambda start, stop: new[start:stop])
    digest = whole_digest()
    digest.update(new)
    pieces += writer.end(digest.digest(), [5] if told else [])
    return b"".join(pieces)


def moved(op: Op, by: int) -> Op:
    return op._replace(
        start=op.start + by, origin=op.origin + (by if op.kind is OpKind.LITERAL else 0)
    )


def cuts(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


def read_signature(data: bytes, step: int = 1 << 20) -> SignatureFile:
    reader = SignatureReader()
    for piece in cuts(data, step):
        reader.feed(piece)
    return reader.finish()


def read_delta(data: bytes, step: int = 1 << 20) -> list[tuple[Op, bytes]]:
    reader = DeltaReader()
    made = [(op, bytes(held)) for piece in cuts(data, step) for op, held in reader.feed(piece)]
    reader.finish()
    return made


@given(signature_files(), st.integers(1, 500))
def test_signatures_come_back(file: SignatureFile, step: int) -> None:
    assert read_signature(encode_signature(file), step) == file


@given(deltas(), st.integers(1, 31), st.integers(1, 500))
def test_deltas_come_back(delta: tuple[list[Op], bytes], each: int, step: int) -> None:
    ops, new = delta
    made = read_delta(encode_delta(ops, new, each), step)
    assert list(joined(op for op, _ in made)) == list(joined(ops))
    for op, data in made:
        assert data == (new[op.start : op.stop] if op.kind is OpKind.LITERAL else b"")


mutations = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "double"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    torn = bytearray(data)
    for how, where, value in changes:
        at = int(where * len(torn))
        if how == "set":
            torn[at : at + len(value)] = value
        elif how == "cut":
            del torn[at : at + len(value)]
        elif how == "insert":
            torn[at:at] = value
        else:
            torn[at:at] = torn[at : at + 64]
    return bytes(torn)


def resum_signature(data: bytes) -> bytes:
    """Make the checksum of the head right again, so that what lies behind it is tested."""
    names = sum(int.from_bytes(data[at : at + 2], "little") for at in (32, 34))
    head = data[: 40 + names]
    return head + section_sum(head, number=0) + data[len(head) + SUM_BYTES :]


def resum_delta(data: bytes) -> bytes:
    """Make every checksum right again, as somebody would who means harm."""
    head = data[: HEAD.size + (WHOLE_BYTES if data[8:9] == b"\x02" else 0)]
    out, at, number = head + section_sum(head, number=0), len(head) + SUM_BYTES, 0
    while at + SECTION.size <= len(data):
        number += 1
        _, _, length = SECTION.unpack(data[at : at + SECTION.size])
        stop = at + SECTION.size + min(length, len(data))
        out += data[at:stop] + section_sum(data[at:stop], number=number)
        at = stop + SUM_BYTES
    return out


def survives(read: Callable[[bytes], object], data: bytes) -> None:
    """Read, or refuse with the one error; either way in little memory."""
    tracemalloc.start()
    try:
        with contextlib.suppress(Garbled):
            read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES + 8 * len(data)


@given(signature_files(), mutations)
@settings(max_examples=300)
def test_torn_signatures(file: SignatureFile, changes: list[tuple[str, float, bytes]]) -> None:
    data = mutated(encode_signature(file), changes)
    survives(read_signature, data)
    survives(read_signature, resum_signature(data))


@given(deltas(), st.sampled_from([1, 2]), mutations)
@settings(max_examples=300)
def test_torn_deltas(
    delta: tuple[list[Op], bytes], version: int, changes: list[tuple[str, float, bytes]]
) -> None:
    data = mutated(encode_delta(*delta, each=7, version=version), changes)
    survives(read_delta, data)
    survives(read_delta, resum_delta(data))


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    survives(read_signature, data)
    survives(read_delta, data)

"""Deltas as bytes: golden bytes, round trips, and what is refused."""

import struct
from collections.abc import Iterable, Sequence

import pytest

from mover.delta import elements, varints
from mover.delta.checksums import section_sum, whole_digest
from mover.delta.delta_format import (
    END,
    LITERAL_BYTES,
    OPS_BYTES_MAX,
    SECTION,
    STEP_BYTES,
    DeltaEnd,
    DeltaHead,
    DeltaWriter,
)
from mover.delta.delta_reading import DeltaReader
from mover.delta.elements import Way
from mover.delta.garbled import Garbled
from mover.delta.model import Op, OpKind, joined

COPY, LITERAL, FILL = OpKind.COPY, OpKind.LITERAL, OpKind.FILL

NEW = b"0123456789" + b"literal" + b"\x00" * 100 + b"3456" + b"!"
OPS = [
    Op(0, 20, 10, COPY),
    Op(10, 10, 7, LITERAL),
    Op(17, 0, 100, FILL),
    Op(117, 3, 4, COPY),
    Op(121, 121, 1, LITERAL),
]
BASIS = b"0123456789" + b"." * 10 + b"0123456789"
GOLDEN = bytes.fromhex(
    "8d6d76646c740d0a01000000000000001e000000000000007a00000000000000d887d707981d7096"
    "010000000900000028281d92030010350516b73f2b3078ec9c02000000080000006c69746572616c"
    "214cbc2440d86f560104000000280000007a00000000000000050000000000000008000000000000"
    "003fce063a7d404e4fb59b14e8aac95f8531f2bfdd69ad7662"
)


def encode(
    ops: Sequence[Op], new: bytes, basis_size: int, *, known: bool = True, each: int = 1 << 30
) -> bytes:
    head = DeltaHead(basis_size=basis_size, new_size=len(new) if known else None)
    writer = DeltaWriter(head)
    data = writer.begin()
    for first in range(0, len(ops), each):
        data += b"".join(writer.add(ops[first : first + each], lambda a, b: new[a:b]))
    digest = whole_digest()
    digest.update(new)
    data += b"".join(writer.end(digest.digest()))
    assert writer.written_bytes == len(data)
    return data


def decode(pieces: Iterable[bytes]) -> tuple[list[tuple[Op, bytes]], DeltaEnd]:
    reader = DeltaReader()
    made = [(op, bytes(data)) for piece in pieces for op, data in reader.feed(piece)]
    return made, reader.finish()


def made_by(made: Iterable[tuple[Op, bytes]], basis: bytes) -> bytes:
    out = bytearray()
    for op, data in made:
        assert op.start == len(out)
        if op.kind is COPY:
            out += basis[op.origin : op.origin + op.length]
        elif op.kind is FILL:
            out += bytes([op.origin]) * op.length
        else:
            out += data
        assert len(out) == op.stop
    return bytes(out)


def section(kind: int, payload: bytes, number: int) -> bytes:
    fixed = SECTION.pack(kind, bytes(3), len(payload))
    return fixed + payload + section_sum(fixed, payload, number=number)


def head(*, basis_size: int = 30, new_size: int = 1000) -> bytes:
    return DeltaWriter(DeltaHead(basis_size=basis_size, new_size=new_size)).begin()


def ops_payload(*numbers: int) -> bytes:
    out = bytearray()
    for number in numbers:
        varints.put(out, number)
    return bytes(out)


def test_the_bytes_never_change() -> None:
    assert encode(OPS, NEW, len(BASIS)) == GOLDEN
    made, end = decode([GOLDEN])
    assert [op for op, _ in made] == OPS
    assert made_by(made, BASIS) == NEW
    assert (end.new_size, end.ops, end.literal_bytes) == (len(NEW), 5, 8)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("each", [1, 2, 100])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_any_pieces(known: bool, each: int, step: int) -> None:
    data = encode(OPS, NEW, len(BASIS), known=known, each=each)
    made, _ = decode(data[at : at + step] for at in range(0, len(data), step))
    assert made_by(made, BASIS) == NEW


def test_nothing_from_nothing() -> None:
    made, end = decode([encode([], b"", 0)])
    assert made == []
    assert end.new_size == 0


@pytest.mark.parametrize("length", [1, LITERAL_BYTES - 1, LITERAL_BYTES, 3 * LITERAL_BYTES + 5])
@pytest.mark.parametrize("packs", [True, False])
def test_long_literals(length: int, packs: bool) -> None:
    new = b"ab" * (length // 2 + 1) if packs else _noise(length + 1)
    new = new[:length]
    data = encode([Op(0, 0, length, LITERAL)], new, 0)
    made, end = decode([data])
    assert made_by(made, b"") == new
    assert list(joined(op for op, _ in made)) == [Op(0, 0, length, LITERAL)]
    assert end.ops == 1
    if length > LITERAL_BYTES:
        assert (len(data) < length // 100) is packs
        assert len(data) < length + 200


def test_many_operations_make_several_sections() -> None:
    count = OPS_BYTES_MAX
    new = b"".join(b"%c" % (number % 256) for number in range(count))
    ops = [Op(at, at, 1, LITERAL) if at % 2 else Op(at, new[at], 1, FILL) for at in range(len(new))]
    made, _ = decode([encode(ops, new, 0)])
    assert made_by(made, b"") == new


def test_operations_out_of_order_are_refused() -> None:
    writer = DeltaWriter(DeltaHead(basis_size=0, new_size=None))
    with pytest.raises(ValueError, match="begins at byte 5, not at 3"):
        list(writer.add([Op(0, 0, 3, FILL), Op(5, 0, 3, FILL)], lambda a, b: b""))
    writer = DeltaWriter(DeltaHead(basis_size=0, new_size=9))
    with pytest.raises(ValueError, match="end at byte 0 of 9"):
        list(writer.end(bytes(16)))


@pytest.mark.parametrize("length", range(0, len(encode(OPS, NEW, len(BASIS)))))
def test_what_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Garbled, match="delta cannot be used: at byte"):
        decode([encode(OPS, NEW, len(BASIS))[:length]])


def test_every_flipped_bit_is_seen() -> None:
    data = encode(OPS, NEW, len(BASIS))
    for at in range(len(data)):
        for bit in range(8):
            torn = bytearray(data)
            torn[at] ^= 1 << bit
            with pytest.raises(Garbled):
                decode([bytes(torn)])


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(Garbled, match="behind its end"):
        decode([encode(OPS, NEW, len(BASIS)), b"x"])


def test_a_section_in_another_place_is_refused() -> None:
    fill = ops_payload(10 << 2 | FILL, 0)
    with pytest.raises(Garbled, match="a checksum does not fit"):
        decode([head() + section(1, fill, 2)])


END_OF_1000 = END.pack(1000, 1, 0, bytes(16))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([(1, ops_payload(0 << 2 | FILL, 0))], "it makes nothing"),
        ([(1, ops_payload(1 << 2 | 3))], "an operation makes no sense"),
        ([(1, ops_payload(1001 << 2 | FILL, 0))], "it ends at byte 1001 of 1000"),
        ([(1, ops_payload((1 << 66) | FILL, 0))], "it ends at byte"),
        ([(1, ops_payload(1 << 2 | FILL, 256))], "256 is no byte"),
        ([(1, ops_payload(31 << 2 | COPY, 0))], "it copies bytes 0 to 31 of 30"),
        ([(1, ops_payload(1 << 2 | COPY, varints.zigzag(-1)))], "it copies bytes -1 to 0 of 30"),
        ([(1, ops_payload(1 << 2 | COPY, varints.zigzag(30)))], "it copies bytes 30 to 31"),
        ([(1, b"\x80")], "a number has no end"),
        ([(1, b"\xff" * 10 + b"\x01")], "a number has no end"),
        ([(1, b"\x85\x00\x00")], "spelled longer"),
        ([(1, ops_payload(1 << 2 | FILL))], "a number has no end"),
        ([(2, b"x")], "1 bytes of literals where 0 are due"),
        ([(1, ops_payload(3 << 2 | LITERAL)), (2, b"four")], "4 bytes of literals where 3 are due"),
        ([(1, ops_payload(3 << 2 | LITERAL)), (3, b"four")], "packed literals are damaged"),
        ([(1, ops_payload(3 << 2 | LITERAL)), (1, ops_payload(6))], "before the literals that are"),
        ([(1, ops_payload(1000 << 2 | LITERAL)), (4, END_OF_1000)], "where 1000 bytes of literals"),
        ([(4, END_OF_1000)], "tells of another delta"),
        ([(4, END.pack(0, 0, 0, bytes(16)))], "tells of another delta"),
        ([(4, b"short")], "its trailer is too short"),
        ([(5, b"x")], "no section begins here"),
        ([(1, b"")], "says that it has 0 bytes"),
        ([(1, bytes(OPS_BYTES_MAX + 1))], "says that it has 65537 bytes"),
    ],
)
def test_sections_that_make_no_sense(sections: list[tuple[int, bytes]], message: str) -> None:
    data = head() + b"".join(
        section(kind, payload, number) for number, (kind, payload) in enumerate(sections, start=1)
    )
    with pytest.raises(Garbled, match=message):
        decode([data])


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"x", "this is no delta"),
        (8, b"\x03", "its format is version 3, and this mover reads 2"),
        (10, b"\x01", "its flags 0x1 are not known"),
        (16, struct.pack("<Q", 1 << 63), "no object has"),
        (24, struct.pack("<Q", 1 << 63), "no object has"),
    ],
)
def test_heads_that_make_no_sense(at: int, value: bytes, message: str) -> None:
    data = bytearray(head()[:32])
    data[at : at + len(value)] = value
    with pytest.raises(Garbled, match=message):
        decode([bytes(data) + section_sum(bytes(data), number=0)])


BASIS_WHOLE = bytes(range(16))
TOLD = elements.encode(b"abcdef", b"abXdef", 5, Way(2, subtract=False))
GOLDEN_2 = bytes.fromhex(
    "8d6d76646c740d0a0200030000000000090010000000000009001000000000000001020304050607"
    "08090a0b0c0d0e0f1988c0eb5317a32f01000000020000001400feacfccd15743e22050000001f00"
    "000005000000000000000600000002000000010000000100000001000000013b00f40b2537e3ba45"
    "810100000005000000f8ffff010c898666831e8e4212060000001000000007000000000000000000"
    "000000000080fe96dc004f2636040400000028000000090010000000000003000000000000000000"
    "000000000000000000000000000000000000000000006ec04e45e7d34a17"
)


def encode_2(*, ladder: Sequence[int] = (7, 1 << 63)) -> bytes:
    """A delta of the second version: changes between two copies, and a ladder."""
    size = STEP_BYTES + 9
    head = DeltaHead(
        basis_size=size, new_size=size, basis_whole=BASIS_WHOLE, has_ladder=bool(ladder)
    )
    writer = DeltaWriter(head)
    pieces = [writer.begin()]
    pieces += writer.add([Op(0, 0, 5, COPY)], lambda a, b: b"")
    pieces += writer.add_changes(Op(5, 5, 6, COPY), TOLD)
    pieces += writer.add([Op(11, 11, size - 11, COPY)], lambda a, b: b"")
    pieces += writer.end(bytes(16), ladder)
    assert (writer.changed_bytes, writer.ops) == (6, 3)
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1, 50, 10_000])
def test_changes_and_ladders(step: int) -> None:
    data = encode_2()
    assert data == GOLDEN_2
    made, end = decode(data[at : at + step] for at in range(0, len(data), step))
    assert made == [
        (Op(0, 0, 5, COPY), b""),
        (Op(5, 5, 6, COPY), TOLD),
        (Op(11, 11, STEP_BYTES - 2, COPY), b""),
    ]
    assert (end.ops, end.ladder) == (3, (7, 1 << 63))
    reader = DeltaReader()
    list(reader.feed(data))
    assert reader.head is not None
    assert reader.head.basis_whole == BASIS_WHOLE


def test_the_first_version_has_no_changes() -> None:
    writer = DeltaWriter(DeltaHead(basis_size=30, new_size=6))
    with pytest.raises(ValueError, match="changes have no place"):
        list(writer.add_changes(Op(0, 5, 6, COPY), TOLD))
    with pytest.raises(Garbled, match="no section begins here"):
        decode([head() + section(5, TOLD, 1)])
    with pytest.raises(ValueError, match="a ladder of 1 steps for 0 bytes"):
        list(writer.end(bytes(16), [1]))
    with pytest.raises(ValueError, match="a whole digest has 16 bytes"):
        DeltaHead(basis_size=0, new_size=0, basis_whole=b"short")


def head_2(*, basis_size: int = 30, has_ladder: bool = False) -> bytes:
    head = DeltaHead(
        basis_size=basis_size, new_size=1000, basis_whole=BASIS_WHOLE, has_ladder=has_ladder
    )
    return DeltaWriter(head).begin()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([(5, b"short")], "changes without a head"),
        ([(5, struct.pack("<QIBBH", 0, 4, 3, 0, 0))], "of elements that there are not"),
        ([(5, struct.pack("<QIBBH", 0, 4, 2, 0, 1))], "of elements that there are not"),
        ([(5, struct.pack("<QIBBH", 0, 0, 2, 0, 0))], "changes of 0 bytes"),
        ([(5, struct.pack("<QIBBH", 0, 5, 2, 0, 0))], "changes of 5 bytes in elements of 2"),
        ([(5, struct.pack("<QIBBH", 0, 2 << 20, 2, 0, 0))], "changes of 2097152 bytes"),
        ([(5, struct.pack("<QIBBH", 28, 4, 2, 0, 0))], "of a basis that ends at byte 32"),
        ([(1, ops_payload(999 << 2 | FILL, 0)), (5, TOLD)], "it ends at byte 1005 of 1000"),
        ([(1, ops_payload(3 << 2 | LITERAL)), (5, TOLD)], "before the literals that are due"),
        ([(6, bytes(8))], "there is no such ladder"),
    ],
)
def test_changes_that_make_no_sense(sections: list[tuple[int, bytes]], message: str) -> None:
    data = head_2() + b"".join(
        section(kind, payload, number) for number, (kind, payload) in enumerate(sections, start=1)
    )
    with pytest.raises(Garbled, match=message):
        decode([data])


@pytest.mark.parametrize(
    ("steps", "message"),
    [(b"1234567", "no such ladder"), (bytes(16), "no such ladder"), (b"", "after 0 steps of its")],
)
def test_ladders_that_make_no_sense(steps: bytes, message: str) -> None:
    sections = [
        (1, ops_payload(1000 << 2 | FILL, 0)),
        (6, steps),
        (4, END.pack(1000, 1, 0, bytes(16))),
    ]
    data = head_2(has_ladder=True) + b"".join(
        section(kind, payload, number)
        for number, (kind, payload) in enumerate(filter(lambda told: told[1], sections), start=1)
    )
    with pytest.raises(Garbled, match=message):
        decode([data])


def test_a_digest_of_the_basis_that_was_not_announced() -> None:
    data = bytearray(head_2()[:48])
    data[10] = 0
    with pytest.raises(Garbled, match="where none was announced"):
        decode([bytes(data) + section_sum(bytes(data), number=0)])


@pytest.mark.parametrize("value", [0, 1, -1, 63, -64, 1 << 62, -(1 << 62), (1 << 63) - 1])
def test_zigzag(value: int) -> None:
    assert varints.unzigzag(varints.zigzag(value)) == value


def _noise(length: int) -> bytes:
    import hashlib

    return hashlib.shake_128(b"noise").digest(length)

"""Signatures as bytes: golden bytes, round trips, and what is refused."""

import struct
from collections.abc import Iterable

import pytest

from mover.delta.checksums import section_sum
from mover.delta.garbled import Garbled
from mover.delta.model import CONSTANT, NO_ANCHOR, Signature, SignatureHead, Strong
from mover.delta.signature_format import (
    GROUP_BLOCKS,
    SignatureFile,
    SignatureReader,
    Widths,
    cut,
    mended_widths,
    wire_strong_bytes,
    write_signature,
)

GOLDEN = bytes.fromhex(
    "8d6d767369670d0a0100010240000000bf0000000000000007000000000000000300020001000000"
    "6ec3a976318a976f09f76ae124030000000c0000000000000005fffe00ffff00ffff00ffff000000"
    "0000000000010101010101000002020202020200000001020304057075308f9a933afb0001020304"
    "05060708090a0b0c0d0e0fe6277b336e0caf05"
)


def example(blocks: int = 3, strong_bytes: int = 2) -> SignatureFile:
    head = SignatureHead(
        size=max(0, 64 * blocks - 1), block_bytes=64, strong_bytes=strong_bytes, seed=7
    )
    numbers = range(blocks)
    anchors = [(5, NO_ANCHOR, CONSTANT, 0)[number % 4] for number in numbers]
    return SignatureFile(
        signature=Signature(
            head,
            struct.pack(f"<{blocks}I", *anchors),
            struct.pack(f"<{blocks}Q", *(number * 0x0101_0101_0101 for number in numbers)),
            bytes(number % 251 for number in range(strong_bytes * blocks)),
        ),
        whole=bytes(range(16)),
        etag="né",
        version="v1",
    )


def encode(file: SignatureFile) -> bytes:
    return b"".join(write_signature(file))


def decode(pieces: Iterable[bytes]) -> SignatureFile:
    reader = SignatureReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def resummed(data: bytes, at: int, value: bytes) -> bytes:
    """The golden head with other bytes in it and the right checksum behind it."""
    head = bytearray(data[:45])
    head[at : at + len(value)] = value
    return bytes(head) + section_sum(bytes(head[:40]), bytes(head[40:]), number=0) + data[53:]


def test_the_bytes_never_change() -> None:
    assert encode(example()) == GOLDEN
    assert decode([GOLDEN]) == example()


@pytest.mark.parametrize("blocks", [0, 1, 2, GROUP_BLOCKS, GROUP_BLOCKS + 1, 3 * GROUP_BLOCKS])
def test_round_trip(blocks: int) -> None:
    file = example(blocks, strong_bytes=12)
    assert decode([encode(file)]) == file


def test_byte_by_byte() -> None:
    data = encode(example())
    assert decode(data[at : at + 1] for at in range(len(data))) == example()


def test_small_anchors_travel_in_less_than_their_four_bytes() -> None:
    blocks = GROUP_BLOCKS
    head = SignatureHead(size=4096 * blocks, block_bytes=4096, strong_bytes=1)
    anchors = struct.pack(
        f"<{blocks}I", *((number * 2654435761) % 1009 for number in range(blocks))
    )
    file = SignatureFile(signature=Signature(head, anchors, bytes(8 * blocks), bytes(blocks)))
    assert len(encode(file)) - 9 * blocks < 2 * blocks
    assert decode([encode(file)]) == file


@pytest.mark.parametrize("length", range(0, len(encode(example()))))
def test_what_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Garbled, match="signature cannot be used: at byte"):
        decode([encode(example())[:length]])


def test_every_flipped_bit_is_seen() -> None:
    data = encode(example())
    for at in range(len(data)):
        for bit in range(8):
            torn = bytearray(data)
            torn[at] ^= 1 << bit
            with pytest.raises(Garbled):
                decode([bytes(torn)])


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(Garbled, match="behind its end"):
        decode([encode(example()) + b"x"])
    with pytest.raises(Garbled, match="behind its end"):
        decode([encode(example()), b"x"])


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"\x89PNG", "this is no signature"),
        (8, b"\x02\x00", "its format is version 2, and this mover reads 1"),
        (10, b"\x09", "its head makes no sense"),
        (11, b"\x00", "its head makes no sense"),
        (11, b"\x11", "its head makes no sense"),
        (12, b"\x00\x00\x00\x00", "no block size: 0 bytes"),
        (12, b"\xff\xff\xff\xff", "no block size"),
        (16, b"\xff" * 8, "its head makes no sense"),
        (32, b"\xff\xff", "too long"),
        (36, b"\x80", "its flags 0x80 are not known"),
        (38, b"\x07", "no key has 1 bytes"),
        (38, b"\x09", "its head makes no sense"),
        (39, b"\x01", "its flags 0x1 are not known"),
        (36, b"\x00", "a digest of the whole where none was announced"),
        (40, b"\xff", "its head makes no sense"),
    ],
)
def test_heads_that_make_no_sense(at: int, value: bytes, message: str) -> None:
    with pytest.raises(Garbled, match=message):
        decode([resummed(GOLDEN, at, value)])


def test_a_claimed_size_takes_no_memory() -> None:
    """2^54 blocks are claimed, and the reader waits for the first group."""
    reader = SignatureReader()
    reader.feed(resummed(GOLDEN, 16, struct.pack("<Q", 1 << 60))[:53])
    with pytest.raises(Garbled, match="ends too early"):
        reader.finish()


@pytest.mark.parametrize(
    ("size", "block", "strong", "expected"),
    [
        (0, 64, Strong.XXH3_128, 6),
        (1 << 30, 32 * 1024, Strong.XXH3_128, 11),
        (10 << 30, 512 * 1024, Strong.XXH3_128, 12),
        (1 << 40, 2 << 20, Strong.XXH3_128, 13),
        (1 << 62, 64, Strong.XXH3_128, 16),
        (1 << 62, 64, Strong.SHA256, 20),
    ],
)
def test_strong_bytes_on_the_wire(size: int, block: int, strong: Strong, expected: int) -> None:
    assert wire_strong_bytes(size, block, strong) == expected


@pytest.mark.parametrize(
    ("size", "block", "expected"),
    [
        (0, 64, (2, 3)),
        (1 << 30, 2 << 20, (3, 4)),
        (1 << 30, 16 * 1024, (3, 5)),
        (16 << 20, 512, (3, 5)),
        (1 << 40, 2 << 20, (5, 6)),
        (1 << 62, 64, (8, 10)),
    ],
)
def test_what_travels_where_false_matches_are_mended(
    size: int, block: int, expected: tuple[int, int]
) -> None:
    assert mended_widths(size, block) == expected


def test_cutting_keys_and_digests() -> None:
    whole = example(5, strong_bytes=16).signature
    short = cut(whole, Widths(2, 3))
    assert (short.head.key_bytes, short.head.strong_bytes) == (2, 3)
    assert struct.unpack("<5Q", short.keys) == tuple(0x0101 * number for number in range(5))
    assert [short.digest(index) for index in range(5)] == [
        whole.digest(index)[:3] for index in range(5)
    ]
    assert cut(whole, Widths(8, 16)) == whole
    assert cut(short, Widths(8, 16)) == short
    file = SignatureFile(signature=short)
    assert len(encode(file)) == len(encode(SignatureFile(signature=whole))) - 5 * (6 + 13)
    assert decode([encode(file)]) == file


@pytest.mark.parametrize("fields", [{"whole": b"x"}, {"etag": "é" * 513}, {"version": "v" * 1025}])
def test_files_that_cannot_be(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="bytes"):
        SignatureFile(signature=example().signature, **fields)  # type: ignore[arg-type]

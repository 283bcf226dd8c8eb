"""Changes of elements: what is told of them, what it takes, and what is refused."""

import random
import struct

import pytest

from mover import packing
from mover.delta import elements, kernel
from mover.delta.elements import WAYS, Way

NUMBERS = [0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x0100, 0x00FF]


@pytest.mark.parametrize("way", WAYS)
def test_every_change_of_a_number_comes_back(way: Way) -> None:
    form = "<H" if way.width == 2 else "<I"
    numbers = [
        number * step for number in NUMBERS for step in ((1,) if way.width == 2 else (1, 65537))
    ]
    pairs = [(old, new) for old in numbers for new in numbers]
    old = b"".join(struct.pack(form, pair[0]) for pair in pairs)
    new = b"".join(struct.pack(form, pair[1]) for pair in pairs)
    data = bytearray(old)
    elements.apply(elements.encode(old, new, 0, way), data)
    assert data == new


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gap", [0, 1, 7, 254, 255, 256, 510, 511, 1000])
def test_gaps(way: Way, gap: int) -> None:
    old = bytes(way.width * (gap + 1))
    new = old[: -way.width] + b"\x01" * way.width
    found = kernel.differ(old, new, width=way.width, subtract=way.subtract)
    assert found.gaps == b"\xff" * (gap // 255) + bytes([gap % 255])
    assert [len(plane) for plane in found.planes] == [1] * way.width


def test_what_is_told() -> None:
    old, new = struct.pack("<4H", 5, 0x0102, 9, 9), struct.pack("<4H", 5, 0x0103, 9, 8)
    assert kernel.differ(old, new, width=2, subtract=False) == kernel.Differences(
        b"\x01\x01", (b"\x01\x01", b"\x00\x00")
    )
    assert kernel.differ(old, new, width=2, subtract=True) == kernel.Differences(
        b"\x01\x01", (b"\x02\x01", b"\x00\x00")
    )


def test_a_hundredth_of_elements_takes_little() -> None:
    source = random.Random(5)
    old = source.randbytes(1 << 20)
    for bits, most in ((4, 0.010), (16, 0.016)):
        new = bytearray(old)
        for place in source.sample(range(1 << 19), (1 << 19) // 100):
            new[2 * place] ^= source.randrange(1, 1 << min(bits, 8))
            if bits > 8:
                new[2 * place + 1] = source.randrange(256)
        told = elements.encode(old, new, 0, Way(2, subtract=False))
        assert len(told) < most * len(old)


def test_unlike_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="no elements of 3 bytes"):
        kernel.differ(b"abc", b"abc", width=3, subtract=False)
    with pytest.raises(ValueError, match="4 and 2 bytes are not as many"):
        kernel.differ(b"abcd", b"ab", width=2, subtract=False)
    with pytest.raises(ValueError, match="5 and 5 bytes are not as many"):
        kernel.differ(b"abcde", b"abcde", width=2, subtract=False)


def told(
    *, length: int = 8, width: int = 2, how: int = 0, streams: tuple[bytes, ...], extra: bytes = b""
) -> bytes:
    head = struct.pack("<QIBBH", 0, length, width, how, 0)
    return head + struct.pack(f"<{len(streams)}I", *map(len, streams)) + b"".join(streams) + extra


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (told(streams=(b"\x04", b"a", b"b")), "not of these elements"),
        (told(streams=(b"\xff\x00", b"a", b"b")), "not of these elements"),
        (told(streams=(b"\xff", b"", b"")), "not of these elements"),
        (told(streams=(b"\x00\x00", b"a", b"b")), "not of these elements"),
        (told(streams=(b"\x00", b"aa", b"bb")), "not of these elements"),
        (told(streams=(b"", b"a", b"b")), "not of these elements"),
        (told(streams=(b"\x00", b"a", b"bb")), "not equally long"),
        (told(streams=(b"\x00", b"a", b"b"), extra=b"x"), "another length than they tell"),
        (told(streams=(b"\x00", b"a", b"b"))[:-1], "another length than they tell"),
        (told(streams=())[:20], "changes without streams"),
        (told(how=16, streams=(b"\x00", b"a", b"b")), "in a way that is not known"),
        (told(length=6, streams=(b"\x00", b"a", b"b")), "8 bytes where 6 are changed"),
        (told(how=2, streams=(b"no zstd", b"a", b"b")), "not whole zstd"),
        (
            told(how=2, streams=(packing.pack(bytes(6), level=1), b"a" * 6, b"b" * 6)),
            "claims to be larger than 5 bytes",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(value: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elements.apply(value, bytearray(8))

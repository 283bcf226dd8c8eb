"""Whether an older version is the target's: by what stores tell, and by what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mover.delta_proving import Standing, is_same, may_be_base, standing
from transports.memory import CAPABILITIES
from transports.model import NO_ATTRIBUTES, Checksum, Entry, Kind, ObjectInfo

MD5, OTHER_MD5 = Checksum("md5", "aa"), Checksum("md5", "ab")
CRC, OTHER_CRC = Checksum("crc64nvme", "01"), Checksum("crc64nvme", "02")
WEAK, OTHER_WEAK = Checksum("crc32c", "1"), Checksum("crc32c", "2")
SHA = Checksum("sha256", "ff")


def info(*checksums: Checksum, size: int = 9, kind: Kind = Kind.OBJECT) -> ObjectInfo:
    entry = Entry("x", size, 0, kind=kind)
    return ObjectInfo(entry=entry, attributes=NO_ATTRIBUTES, checksums=checksums)


@pytest.mark.parametrize(
    ("base", "basis", "which"),
    [
        ((), (), Standing.UNKNOWN),
        ((MD5,), (MD5,), Standing.EQUAL),
        ((CRC,), (CRC,), Standing.EQUAL),
        ((SHA, WEAK), (WEAK, SHA), Standing.EQUAL),
        ((MD5,), (OTHER_MD5,), Standing.OTHER),
        ((MD5,), (CRC,), Standing.UNKNOWN),
        ((MD5, CRC), (MD5, OTHER_CRC), Standing.OTHER),
        ((WEAK,), (WEAK,), Standing.UNKNOWN),  # 32 bits prove nothing,
        ((WEAK,), (OTHER_WEAK,), Standing.OTHER),  # but that they are others
        ((MD5, WEAK), (MD5, OTHER_WEAK), Standing.OTHER),
        ((CRC,), (), Standing.UNKNOWN),
    ],
)
def test_standing(base: tuple[Checksum, ...], basis: tuple[Checksum, ...], which: Standing) -> None:
    assert standing(info(*base), info(*basis)) is which
    assert standing(info(*basis), info(*base)) is which
    assert standing(info(*base, size=8), info(*basis)) is Standing.OTHER


@pytest.mark.parametrize(
    ("base", "ranges", "may"),
    [
        (info(), True, True),
        (info(size=8), True, False),
        (info(kind=Kind.SYMLINK), True, False),
        (replace(info(), ranges=False), True, False),
        (info(), False, False),
    ],
)
def test_what_may_be_a_base(base: ObjectInfo, ranges: bool, may: bool) -> None:
    assert may_be_base(base, replace(CAPABILITIES, ranges=ranges), 9) is may


@pytest.mark.parametrize(
    ("found", "same"),
    [
        (Entry("x", 9, 1, "e", "v"), True),
        (Entry("x", 9, 1), True),  # nothing that is told speaks against it
        (Entry("x", 8, 1, "e", "v"), False),
        (Entry("x", 9, 1, "f", "v"), False),
        (Entry("x", 9, 1, "e", "w"), False),
    ],
)
def test_the_same_object(found: Entry, same: bool) -> None:
    assert is_same(found, Entry("x", 9, 0, "e", "v")) is same

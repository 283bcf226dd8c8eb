"""Signatures as bytes, version 1: docs/formats.md tells every byte. Pure, streamed both ways.

What is read may come from anybody: memory grows with the bytes that have come, never with what
they claim, and every section has a checksum.
"""

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from mover import packing
from mover.delta.anchors import anchor_bits
from mover.delta.checksums import SUM_BYTES, WHOLE_BYTES, section_sum
from mover.delta.intake import Intake
from mover.delta.model import (
    KEY_BYTES_MAX,
    KEY_BYTES_MIN,
    Signature,
    SignatureHead,
    Strong,
)

MAGIC: Final = b"\x8dmvsig\r\n"
VERSION: Final = 1
GROUP_BLOCKS: Final = 8192
"""Blocks in a group: what a reader must hold before it can check it, at most 360 KiB."""

NAME_BYTES_MAX: Final = 1024
MARGIN_BITS: Final = 40
"""A false match is as likely as one in two to this, over all comparisons of a transfer."""

MENDED_MARGIN_BITS: Final = 20
"""The same where who uses the signature sees a false match and mends it: one in a million objects."""

_COMPARED_BITS: Final = 3
"""A scan compares about as many digests as there are blocks, eight times that in bad cases."""

_KEY_MARGIN_BITS: Final = 4
"""Of the blocks of a scan one in sixteen is hashed in vain, because a key met it by chance."""

_HEAD: Final = struct.Struct("<8sHBBIQQHHHBB")
_GROUP: Final = struct.Struct("<IIB3s")
_RAW: Final = 0
_ZSTD: Final = 1
_HAS_WHOLE: Final = 1
_WHAT: Final = "signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureFile:
    """A signature, and what binds it to the object that it is of. Raises ``ValueError``.

    ``whole`` is the object's XXH3-128 (16 bytes), or empty where nobody computed it. ``etag`` and
    ``version`` are the store's, or empty.
    """

    signature: Signature
    whole: bytes = b""
    etag: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        if len(self.whole) not in (0, WHOLE_BYTES):
            raise ValueError(f"a whole digest has {WHOLE_BYTES} bytes, not {len(self.whole)}")
        for name in (self.etag, self.version):
            if len(name.encode()) > NAME_BYTES_MAX:
                raise ValueError(f"an etag or version of more than {NAME_BYTES_MAX} bytes")


def wire_strong_bytes(size: int, block_bytes: int, strong: Strong = Strong.XXH3_128) -> int:
    """How many bytes of each digest have to travel, for an object of ``size`` bytes.

    Each offset may be compared with each block, so log2(size) + log2(blocks) bits would be met by
    chance once; ``MARGIN_BITS`` more make that unlikely. The whole object is verified all the same.
    """
    blocks = max(1, -(-size // block_bytes))
    bits = size.bit_length() + blocks.bit_length() + MARGIN_BITS
    return min(-(-bits // 8), strong.bytes_max)


class Widths(NamedTuple):
    """How many bytes of each key and of each digest are kept."""

    key_bytes: int
    strong_bytes: int


def mended_widths(size: int, block_bytes: int) -> Widths:
    """What has to travel of a signature whose user proves each piece of the result, and mends it.

    A false match then costs a piece sent twice, so digests need to tell apart no more than what is
    compared. Keys need to find blocks: wrong ones cost a digest. An object of 1 GiB in blocks of 2 MiB
    has 3 and 4 bytes.
    """
    blocks = max(1, -(-size // block_bytes))
    anchors = block_bytes >> anchor_bits(block_bytes)
    block_bits = (blocks - 1).bit_length()
    key_bits = block_bits + (anchors - 1).bit_length() + _KEY_MARGIN_BITS
    strong_bits = block_bits + _COMPARED_BITS + MENDED_MARGIN_BITS
    return Widths(min(max(-(-key_bits // 8), KEY_BYTES_MIN), KEY_BYTES_MAX), -(-strong_bits // 8))


def cut(signature: Signature, widths: Widths) -> Signature:
    """The signature with keys and digests that are no longer than these."""
    head = signature.head
    key_bytes = min(widths.key_bytes, head.key_bytes)
    strong_bytes = min(widths.strong_bytes, head.strong_bytes)
    keys = _resized(_resized(signature.keys, KEY_BYTES_MAX, key_bytes), key_bytes, KEY_BYTES_MAX)
    return Signature(
        replace(head, key_bytes=key_bytes, strong_bytes=strong_bytes),
        signature.anchors,
        keys,
        _resized(signature.digests, head.strong_bytes, strong_bytes),
    )


def _resized(column: bytes, old: int, new: int) -> bytes:
    """The rows of a column in another width: only their first bytes, or with zeros behind them."""
    if new == old:
        return column
    rows = bytearray(len(column) // old * new)
    for place in range(min(old, new)):
        rows[place::new] = column[place::old]
    return bytes(rows)


def write_signature(file: SignatureFile) -> Iterator[bytes]:
    """The bytes of a signature, in pieces: the head, its groups, the trailer."""
    head = file.signature.head
    etag, version = file.etag.encode(), file.version.encode()
    flags = _HAS_WHOLE if file.whole else 0
    fixed = _HEAD.pack(
        MAGIC,
        VERSION,
        head.strong,
        head.strong_bytes,
        head.block_bytes,
        head.size,
        head.seed,
        len(etag),
        len(version),
        flags,
        KEY_BYTES_MAX - head.key_bytes,
        0,
    )
    yield b"".join((fixed, etag, version, section_sum(fixed, etag, version, number=0)))
    number = 0
    for first in range(0, head.blocks, GROUP_BLOCKS):
        number += 1
        yield _group(file.signature, first, number)
    whole = file.whole or bytes(WHOLE_BYTES)
    yield whole + section_sum(whole, number=number + 1)


def _group(signature: Signature, first: int, number: int) -> bytes:
    wide, key_bytes = signature.head.strong_bytes, signature.head.key_bytes
    stop = min(first + GROUP_BLOCKS, signature.head.blocks)
    planes = _planes(signature.anchors[4 * first : 4 * stop])
    packed = packing.pack(planes, level=1)
    coding, anchors = (_ZSTD, packed) if len(packed) < len(planes) else (_RAW, planes)
    body = b"".join(
        (
            _GROUP.pack(stop - first, len(anchors), coding, bytes(3)),
            anchors,
            _resized(
                signature.keys[KEY_BYTES_MAX * first : KEY_BYTES_MAX * stop],
                KEY_BYTES_MAX,
                key_bytes,
            ),
            signature.digests[wide * first : wide * stop],
        )
    )
    return body + section_sum(body, number=number)


def _planes(anchors: bytes) -> bytes:
    """First the lowest bytes of all, then the second ones: small numbers pack well so."""
    return b"".join(anchors[place::4] for place in range(4))


def _from_planes(planes: bytes) -> bytes:
    blocks = len(planes) // 4
    anchors = bytearray(len(planes))
    for place in range(4):
        anchors[place::4] = planes[place * blocks : (place + 1) * blocks]
    return bytes(anchors)


class SignatureReader:
    """Reads a signature from pieces of any size.

    ``feed`` raises ``Garbled`` as soon as something is wrong, ``finish`` where the end is missing.
    """

    def __init__(self) -> None:
        self._intake = Intake(_WHAT)
        self._parsing = self._parse()
        self._wanted = next(self._parsing)
        self._file: SignatureFile | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._intake.feed(data)
        while self._file is None:
            field = self._intake.take(self._wanted)
            if field is None:
                return
            try:
                self._wanted = self._parsing.send(field)
            except StopIteration as end:
                self._file = end.value
        self._intake.end()

    def finish(self) -> SignatureFile:
        """What was read, whole."""
        if self._file is None:
            raise self._intake.garbled("it ends too early")
        return self._file

    def _parse(self) -> Generator[int, bytes, SignatureFile]:
        head, etag, version, has_whole = yield from self._parse_head()
        columns: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
        number = 0
        for first in range(0, head.blocks, GROUP_BLOCKS):
            number += 1
            blocks = min(GROUP_BLOCKS, head.blocks - first)
            group = yield from self._parse_group(number, blocks, head)
            for column, part in zip(columns, group, strict=True):
                column.append(part)
        whole = yield WHOLE_BYTES
        yield from self._check(whole, number=number + 1)
        if not has_whole and whole != bytes(WHOLE_BYTES):
            raise self._intake.garbled("there is a digest of the whole where none was announced")
        anchors, keys, digests = (b"".join(column) for column in columns)
        return SignatureFile(
            signature=Signature(head, anchors, keys, digests),
            whole=whole if has_whole else b"",
            etag=etag,
            version=version,
        )

    def _parse_head(self) -> Generator[int, bytes, tuple[SignatureHead, str, str, bool]]:
        fixed = yield _HEAD.size
        (magic, version, strong, strong_bytes, block_bytes, size, seed, *rest) = _HEAD.unpack(fixed)
        etag_bytes, version_bytes, flags, cut_bytes, zero = rest
        if magic != MAGIC:
            raise self._intake.foreign("this is no signature", back=_HEAD.size)
        if version != VERSION:
            raise self._intake.foreign(
                f"its format is version {version}, and this mover reads {VERSION}", back=_HEAD.size
            )
        if max(etag_bytes, version_bytes) > NAME_BYTES_MAX:
            raise self._intake.garbled("the names in its head are too long", back=_HEAD.size)
        names = yield etag_bytes + version_bytes
        yield from self._check(fixed, names, number=0)
        if flags & ~_HAS_WHOLE or zero:
            raise self._intake.garbled(f"its flags {flags:#x} are not known")
        try:
            head = SignatureHead(
                size=size,
                block_bytes=block_bytes,
                strong=Strong(strong),
                strong_bytes=strong_bytes,
                key_bytes=KEY_BYTES_MAX - cut_bytes,
                seed=seed,
            )
            etag, version_name = names[:etag_bytes].decode(), names[etag_bytes:].decode()
        except ValueError as error:
            raise self._intake.garbled(f"its head makes no sense ({error})") from error
        return head, etag, version_name, bool(flags & _HAS_WHOLE)

    def _parse_group(
        self, number: int, blocks: int, head: SignatureHead
    ) -> Generator[int, bytes, tuple[bytes, bytes, bytes]]:
        fixed = yield _GROUP.size
        counted, anchors_bytes, coding, zeros = _GROUP.unpack(fixed)
        if counted != blocks or coding not in (_RAW, _ZSTD) or any(zeros):
            raise self._intake.garbled(f"group {number} has no valid head", back=_GROUP.size)
        if anchors_bytes > 4 * blocks or (coding == _RAW and anchors_bytes != 4 * blocks):
            raise self._intake.garbled(f"group {number} has {anchors_bytes} bytes of anchors")
        body = yield anchors_bytes + (head.key_bytes + head.strong_bytes) * blocks
        yield from self._check(fixed, body, number=number)
        planes, digests_at = body[:anchors_bytes], anchors_bytes + head.key_bytes * blocks
        if coding == _ZSTD:
            planes = self._unpack(planes, 4 * blocks)
        keys = _resized(body[anchors_bytes:digests_at], head.key_bytes, KEY_BYTES_MAX)
        return _from_planes(planes), keys, body[digests_at:]

    def _unpack(self, packed: bytes, size: int) -> bytes:
        try:
            planes = packing.unpack(packed, bytes_max=size)
        except packing.Damaged as error:
            raise self._intake.garbled(f"packed anchors are damaged: {error}") from error
        if len(planes) != size:
            raise self._intake.garbled(f"{len(planes)} bytes of anchors where {size} belong")
        return planes

    def _check(self, *pieces: bytes, number: int) -> Generator[int, bytes, None]:
        expected = section_sum(*pieces, number=number)
        found = yield SUM_BYTES
        if found != expected:
            raise self._intake.garbled(
                "a checksum does not fit what stands before it: it was damaged", back=SUM_BYTES
            )

"""Compressed bytes, in and out. Pure, and the only door to zstandard."""

from typing import Final

import zstandard

SAMPLE_BYTES: Final = 4096
"""Taken at the start, in the middle and at the end, to see whether packing helps."""

WORTH: Final = 0.9
"""What packs to more than this share of itself is left as it is."""


class Damaged(ValueError):
    """Bytes that are no whole frame of zstd, or one that claims too much; says which."""


def pack(data: bytes, *, level: int, checksum: bool = False) -> bytes:
    """One zstd frame that tells its size; with ``checksum`` also of what is in it."""
    return zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(data)


def unpack(data: bytes, *, bytes_max: int) -> bytes:
    """What ``pack`` was given. Raises ``Damaged``, before a byte is written for a frame too large."""
    try:
        if zstandard.frame_content_size(data) > bytes_max:
            raise Damaged(f"it claims to be larger than {bytes_max} bytes")
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=bytes_max, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Damaged(f"it is not whole zstd data ({error})") from error


def pack_if_smaller(data: bytes | bytearray | memoryview, *, level: int) -> bytes | None:
    """One frame as ``pack`` makes it, or None where that is not worth while.

    A sample decides before all of it is packed: most data that does not pack was packed before, and
    says so anywhere.
    """
    compressor = zstandard.ZstdCompressor(level=level)
    if len(data) > 4 * SAMPLE_BYTES:
        middle = (len(data) - SAMPLE_BYTES) // 2
        view = memoryview(data)
        sample = b"".join(
            (
                view[:SAMPLE_BYTES],
                view[middle : middle + SAMPLE_BYTES],
                view[-SAMPLE_BYTES:],
            )
        )
        if len(compressor.compress(sample)) > WORTH * len(sample):
            return None
    packed = compressor.compress(data)
    return packed if len(packed) <= WORTH * len(data) else None

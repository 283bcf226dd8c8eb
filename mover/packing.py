"""Compressed bytes, in and out. Pure, and the only door to zstandard."""

import zstandard


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

"""Digests that stores verify with: whole, streaming, and for the CRCs combinable.

The only door to awscrt's checksums and to xxhash. CRCs are integers, started with 0 and carried on
as ``previous``, as zlib does. All functions take any bytes-like object and release the GIL while
they work, so an executor may run them side by side. Measured on one core for 17 KiB: CRC32C 1.0 µs,
CRC64NVME 1.7 µs, MD5 27 µs, which is why nothing here computes MD5 where a CRC does.
"""

import base64
import functools
import hashlib
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

import xxhash

from transports.model import Checksum

BytesLike: TypeAlias = bytes | bytearray | memoryview


@functools.cache
def _crt() -> Any:
    """Awscrt takes 50 ms of processor time to load, and not every job computes a CRC."""
    from awscrt import checksums

    return checksums


def crc64nvme(data: BytesLike, previous: int = 0) -> int:
    """CRC-64/NVME of ``data``, or of what ``previous`` covers followed by ``data``."""
    return int(_crt().crc64nvme(data, previous))


def crc32c(data: BytesLike, previous: int = 0) -> int:
    """CRC-32C (Castagnoli, RFC 3720), carried on from ``previous``."""
    return int(_crt().crc32c(data, previous))


def crc32(data: BytesLike, previous: int = 0) -> int:
    """CRC-32 as in gzip and zlib, carried on from ``previous``."""
    return int(_crt().crc32(data, previous))


def combine_crc64nvme(first: int, second: int, second_bytes: int) -> int:
    """The CRC-64/NVME of two runs of bytes from the CRC of each and the length of the second.

    Costs a few microseconds whatever the length (the method is Mark Adler's, as in zlib's
    ``crc32_combine``; awscrt implements it).
    """
    return int(_crt().combine_crc64nvme(first, second, second_bytes))


def combine_crc64nvme_parts(parts: list[tuple[int, int]]) -> int:
    """The CRC-64/NVME of an object from ``(crc, size_bytes)`` of its parts, in their order."""
    total = 0
    for crc, size_bytes in parts:
        total = combine_crc64nvme(total, crc, size_bytes)
    return total


def combine_crc32c_parts(parts: list[tuple[int, int]]) -> int:
    """The CRC-32C of an object from ``(crc, size_bytes)`` of its parts, in their order."""
    total = 0
    for crc, size_bytes in parts:
        total = int(_crt().combine_crc32c(total, crc, size_bytes))
    return total


def crc64nvme_hex(data: BytesLike) -> str:
    """CRC-64/NVME as 16 lower-case hex digits."""
    return f"{int(_crt().crc64nvme(data)):016x}"


def md5_hex(data: BytesLike) -> str:
    """MD5 as lower-case hex: a transfer checksum of the S3 protocol, not used for security."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def xxh3_hex(data: BytesLike) -> str:
    """XXH3 with 128 bits, as lower-case hex."""
    return xxhash.xxh3_128_hexdigest(data)


def base64_of(hex_digest: str) -> str:
    """Spell a hex digest in base64, as HTTP headers want it."""
    return base64.b64encode(bytes.fromhex(hex_digest)).decode("ascii")


def hex_of(base64_digest: str) -> str:
    """Spell a base64 digest in hex. Raises ``ValueError`` for anything that is not base64."""
    return base64.b64decode(base64_digest, validate=True).hex()


class Digest(Protocol):
    """A digest that grows with the bytes it sees; the interface of ``hashlib``."""

    def update(self, data: BytesLike, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc:
    """A running CRC with the interface of ``hashlib``."""

    __slots__ = ("_hex_digits", "_next", "value")

    def __init__(self, following: Callable[[BytesLike, int], int], hex_digits: int) -> None:
        self._next = following
        self._hex_digits = hex_digits
        self.value = 0

    def update(self, data: BytesLike, /) -> None:
        self.value = self._next(data, self.value)

    def hexdigest(self) -> str:
        return f"{self.value:0{self._hex_digits}x}"


_FACTORIES: Final[dict[str, Callable[[], Digest]]] = {
    "crc64nvme": lambda: _Crc(crc64nvme, 16),
    "crc32c": lambda: _Crc(crc32c, 8),
    "crc32": lambda: _Crc(crc32, 8),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "xxh3": xxhash.xxh3_128,
}

ALGORITHMS: Final = tuple(_FACTORIES)
"""The names that ``new_digest`` knows; the names of ``Checksum.algorithm``."""

_WHOLE: Final[dict[str, Callable[[BytesLike], str]]] = {
    "crc64nvme": crc64nvme_hex,
    "crc32c": lambda data: f"{int(_crt().crc32c(data)):08x}",
    "crc32": lambda data: f"{int(_crt().crc32(data)):08x}",
    "md5": md5_hex,
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "xxh3": xxh3_hex,
}


def new_digest(algorithm: str) -> Digest:
    """Start a streaming digest. Raises ``ValueError`` for a name that is not known."""
    factory = _FACTORIES.get(algorithm)
    if factory is None:
        raise ValueError(f"no such digest: {algorithm!r} (known: {', '.join(_FACTORIES)})")
    return factory()


def checksum(algorithm: str, data: BytesLike) -> Checksum:
    """The checksum of bytes in memory. Raises ``ValueError`` for a name that is not known."""
    whole = _WHOLE.get(algorithm)
    if whole is None:
        raise ValueError(f"no such digest: {algorithm!r} (known: {', '.join(_WHOLE)})")
    return Checksum(algorithm, whole(data))

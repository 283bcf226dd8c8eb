"""Pure: what nodes say to each other when one takes files from another's cache directory.

A request is a POST to ``PATH`` with a list of ``Wanted`` as MessagePack; the answer is a head, which says of each what
follows, and then the bytes of all, one behind the other. Both carry a proof as parcels do (``peer_protocol``).
docs/formats.md has every field.
"""

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from mover.prewarm.origins import Kept, is_copy_of
from transports.model import Entry

PATH: Final = "/cache/files"

WANTED_MAX: Final = 128
"""Files in one request: each is open while it is answered."""

REQUEST_BYTES_MAX: Final = 1024 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024

ABSENT: Final = -1

_LENGTH_BYTES: Final = 4


class Garbled(ValueError):
    """What came is no request or no answer."""


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """Bytes ``start`` to ``stop`` (exclusive) of one version of a file; none, to hear whether it is there.

    ``key`` is relative to the job's target, as a file system has it; the others pin the version.
    """

    key: bytes
    size: int
    mtime_ns: int
    etag: str
    version: str
    start: int
    stop: int

    def is_of(self, kept: Kept) -> bool:
        """Whether a kept file is the version that is wanted."""
        entry = Entry("", self.size, self.mtime_ns, self.etag, self.version)
        return is_copy_of(kept, entry) and 0 <= self.start <= self.stop <= kept.size


class Had(msgspec.Struct, array_like=True, frozen=True):
    """What follows of a file: ``bytes`` of it, ``ABSENT`` where it is not there. The rest is of all of it.

    ``digest`` is the CRC-64/NVME in hex, ``mtime_ns`` and ``mode`` are the file's.
    """

    bytes: int
    digest: str = ""
    mtime_ns: int = 0
    mode: int = 0


_encode = msgspec.msgpack.Encoder().encode
_wanted = msgspec.msgpack.Decoder(list[Wanted])
_had = msgspec.msgpack.Decoder(list[Had])


def wanted(entry: Entry, start: int = 0, stop: int = 0) -> Wanted:
    """A request for a range of an object, which is none unless it is given."""
    key = os.fsencode(entry.key)
    return Wanted(key, entry.size, entry.mtime_ns, entry.etag, entry.version, start, stop)


def encode_request(files: Sequence[Wanted]) -> bytes:
    """A request as it is sent."""
    return _encode(files)


def decode_request(body: bytes) -> list[Wanted]:
    """Read a request. Raises ``Garbled``."""
    try:
        found = _wanted.decode(body)
    except msgspec.MsgspecError as error:
        raise Garbled(str(error)) from error
    if not 0 < len(found) <= WANTED_MAX:
        raise Garbled(f"a request names 1 to {WANTED_MAX} files")
    return found


def encode_head(files: Sequence[Had]) -> bytes:
    """The head of an answer, behind its length."""
    head = _encode(files)
    return len(head).to_bytes(_LENGTH_BYTES, "big") + head


def head_length(start: bytes) -> int:
    """How long the head is whose first four bytes these are. Raises ``Garbled``."""
    length = int.from_bytes(start, "big")
    if len(start) != _LENGTH_BYTES or not 0 < length <= HEAD_BYTES_MAX:
        raise Garbled("the answer has no head")
    return length


def decode_head(head: bytes, files: Sequence[Wanted]) -> list[Had]:
    """Read the head of an answer, without its length. Raises ``Garbled`` for one that is of other files."""
    try:
        found = _had.decode(head)
    except msgspec.MsgspecError as error:
        raise Garbled(str(error)) from error
    if len(found) != len(files) or any(
        had.bytes not in (ABSENT, each.stop - each.start)
        for had, each in zip(found, files, strict=True)
    ):
        raise Garbled("the answer is of other files")
    return found

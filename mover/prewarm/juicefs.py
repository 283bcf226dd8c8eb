"""Pure: how a JuiceFS mount is told what to do, and what it answers.

``juicefs warmup`` is a client of the mount: it writes one message into the hidden file ``.control`` at
the mount's root and reads the answer from there. The answer holds exact bytes; what the command prints
of them is rounded for people. So the message is put together here, and no program is needed.
A message is a command and its body, big-endian; the answer is a train of progress marks (17 bytes
each), which ends in a JSON document, or in one byte, the number of an error.
Source: ``cmd/warmup.go`` and ``pkg/vfs/internal.go`` of JuiceFS 1.2 to 1.4.
"""

import json
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

CONTROL_NAMES: Final = (".jfs.control", ".control")
"""The file that takes messages; the first where the mount was told to prefix its own files."""

CONFIG_NAMES: Final = (".jfs.config", ".config")
FILL_CACHE: Final = 1004
_PROGRESS: Final = 0xFE
_DATA: Final = 0xFF
_PROGRESS_BYTES: Final = 17
_HEAD: Final = struct.Struct(">II")
_MARK: Final = struct.Struct(">QQ")
_TAIL: Final = struct.Struct(">HBB")


class Act(IntEnum):
    """What becomes of the blocks of the files that are named."""

    LOAD = 0
    EVICT = 1
    CHECK = 2


class Counted(NamedTuple):
    """What JuiceFS says it did. Bytes are of blocks: what was overwritten and not compacted counts too."""

    files: int
    bytes: int
    missing_bytes: int


class Facts(NamedTuple):
    """What a mount says of itself. ``cache_bytes`` is what its cache may hold, ``where`` its directories."""

    block_bytes: int
    cache_bytes: int
    where: str
    version: str


class Unreadable(ValueError):
    """The answer is of another kind than those that are known; the text is its beginning."""


def message(act: Act, inodes: Sequence[int], *, threads: int) -> bytes:
    """The message that has ``threads`` workers of the mount do this with these files, and answer."""
    paths = "\n".join([f"inode:{each}" for each in inodes]).encode()
    body = struct.pack(">I", len(paths)) + paths + _TAIL.pack(threads, 0, act)
    return _HEAD.pack(FILL_CACHE, len(body)) + body


def answer_of(received: bytes) -> Counted | int | None:
    """The end of an answer: its numbers, or the number of an error; None while more is to come.

    Raises ``Unreadable``.
    """
    at = 0
    while len(received) - at >= _PROGRESS_BYTES and received[at] == _PROGRESS:
        at += _PROGRESS_BYTES
    rest = received[at:]
    if not rest or (rest[0] == _PROGRESS and len(rest) < _PROGRESS_BYTES and len(rest) > 1):
        return None
    if len(rest) == 1:
        return rest[0]
    if rest[0] != _DATA:
        raise Unreadable(repr(rest[:40]))
    if len(rest) < 5:
        return None
    size = int.from_bytes(rest[1:5], "big")
    document = rest[5 : 5 + size]
    return None if len(document) < size else _counted(document)


def split_marks(received: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The whole progress marks at the beginning of what was received (files, bytes), and the rest."""
    marks, at = [], 0
    while len(received) - at >= _PROGRESS_BYTES and received[at] == _PROGRESS:
        marks.append(_MARK.unpack_from(received, at + 1))
        at += _PROGRESS_BYTES
    return marks, received[at:]


def _counted(document: bytes) -> Counted:
    try:
        found = json.loads(document)
        return Counted(
            int(found["FileCount"]), int(found["TotalBytes"]), int(found.get("MissBytes", 0))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(repr(document[:40])) from error


def facts_of(config: bytes) -> Facts:
    """Read the document ``.config`` of a mount. Raises ``Unreadable``."""
    try:
        found = json.loads(config)
        chunk = found["Chunk"]
        return Facts(
            block_bytes=int(chunk["BlockSize"]),
            cache_bytes=int(chunk["CacheSize"]),
            where=str(chunk["CacheDir"]),
            version=str(found.get("Version", "")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(repr(config[:40])) from error


def inode_of(version: str) -> int:
    """The inode in the version of a file's entry (``inode-ctime``); 0 where there is none."""
    head = version.partition("-")[0]
    return int(head) if head.isdecimal() else 0

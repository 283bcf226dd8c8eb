"""What fsspec's filesystems answer, read without one."""

import errno
import ftplib
from datetime import UTC, datetime

import pytest

from transports.errors import (
    AlreadyExists,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    Obstructed,
    Throttled,
    TimedOut,
    TransportError,
    Unavailable,
)
from transports.filesystem_answers import (
    Info,
    checksums_of,
    children_of,
    entry_of,
    is_plain,
    translate,
)
from transports.location import BadLocation
from transports.model import Checksum, Entry, Kind

MOMENT = datetime(2020, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
MOMENT_NS = 1_577_934_245_678_901_000


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (
            {"size": 3, "type": "file", "mtime": 1_577_934_245.678901},
            Entry("k", 3, MOMENT_NS, changed_ns=MOMENT_NS),
        ),
        (
            {"size": 3, "type": "file", "LastModified": MOMENT, "ETag": '"e"', "VersionId": "null"},
            Entry("k", 3, MOMENT_NS, etag="e", changed_ns=MOMENT_NS),
        ),
        (
            {"size": 3, "type": "file", "updated": MOMENT.isoformat(), "generation": "7"},
            Entry("k", 3, MOMENT_NS, version="7", changed_ns=MOMENT_NS),
        ),
        (
            {"size": 3, "type": "file", "created": MOMENT.replace(tzinfo=None)},
            Entry("k", 3, MOMENT_NS, changed_ns=MOMENT_NS),
        ),
        ({"size": None, "type": "file", "modify": "long ago"}, Entry("k", -1, 0)),
        ({"size": 4096, "type": "directory"}, Entry("k", 0, 0, kind=Kind.DIRECTORY)),
        ({"size": 0, "type": "other"}, Entry("k", 0, 0, kind=Kind.SPECIAL)),
    ],
)
def test_entries(info: Info, expected: Entry) -> None:
    assert entry_of("k", info) == expected


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}, ["md5"]),
        ({"ETag": '"d41d8cd98f00b204e9800998ecf8427e-3"'}, []),
        ({"ETag": '"0x8D4BCC2E4835CD0"'}, []),
        ({"md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg==", "crc32c": "AAAAAA=="}, ["crc32c", "md5"]),
        ({"md5Hash": "?"}, []),
        ({}, []),
    ],
)
def test_checksums(info: Info, expected: list[str]) -> None:
    assert [checksum.algorithm for checksum in checksums_of(info)] == expected


def test_checksums_are_hex() -> None:
    assert checksums_of({"crc32c": "AAAAAQ=="}) == (Checksum("crc32c", "00000001"),)


def names(*listed: tuple[str, str], path: str = "/root/d") -> list[str]:
    infos: list[Info] = [{"name": name, "type": kind} for name, kind in listed]
    return sorted(children_of(infos, path, "loc/"))


def test_children() -> None:
    assert names(("/root/d/x", "file"), ("root/d/sub", "directory")) == ["sub/", "x"]
    assert names(("/root/d", "directory"), ("/root/d/", "file"), ("/root/d/x", "file")) == ["x"]
    assert names(("b/x", "file"), ("b/x", "directory"), path="b") == ["x", "x/"]
    assert names(("/x", "file"), path="") == ["x"]


def test_a_double_slash_is_seen_in_a_flat_store() -> None:
    infos: list[Info] = [{"name": "b/d/", "type": "directory"}]
    assert children_of(infos, "b/d", "loc/") == {}
    with pytest.raises(Invalid, match="double slash"):
        children_of(infos, "b/d", "loc/", flat=True)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/root/d", NotFound),
        ("/elsewhere/x", Invalid),
        ("/root/dx", Invalid),
        ("/root/d/../x", Invalid),
        ("/root/d/a/b", Invalid),
        ("/root/d/a/", Invalid),
        ("/root/d//", Invalid),
        ("/root/d/a\0b", Invalid),
    ],
)
def test_children_that_cannot_be(name: str, error: type[TransportError]) -> None:
    with pytest.raises(error):
        names((name, "file"))


@pytest.mark.parametrize(
    ("key", "plain"),
    [("a/b", True), (".a", True), ("a..", True), ("", False), ("a//b", False), ("a/", False),
     ("/a", False), ("./a", False), ("a/..", False), ("a\0", False)],
)  # fmt: skip
def test_plain_keys(key: str, plain: bool) -> None:
    assert is_plain(key) is plain


class LibraryError(Exception):
    """Some library's own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("x"), NotFound),
        (PermissionError("x"), Denied),
        (IsADirectoryError("x"), Obstructed),
        (NotADirectoryError("x"), Obstructed),
        (FileExistsError("x"), AlreadyExists),
        (TimeoutError(), TimedOut),
        (OSError(errno.ENOSPC, "full"), NoSpace),
        (OSError(errno.EDQUOT, "full"), NoSpace),
        (OSError(errno.EROFS, "ro"), Denied),
        (OSError(errno.ENAMETOOLONG, "long"), Invalid),
        (OSError(errno.EBUSY, "SlowDown"), Throttled),
        (OSError(errno.EIO, "io"), Unavailable),
        (OSError("no errno"), Unavailable),
        (ConnectionResetError(), Unavailable),
        (EOFError(), Unavailable),
        (LibraryError("down"), Unavailable),
        (ftplib.error_perm("550 no"), Invalid),
        (ftplib.error_perm("530 log in"), Denied),
        (ftplib.error_perm("552 quota"), NoSpace),
        (ftplib.error_temp("421 later"), Unavailable),
        (NotImplementedError(), Invalid),
        (ValueError("odd"), Invalid),
        (BadLocation("says it itself"), None),
        (TypeError(), None),
        (KeyError("x"), None),
        (AttributeError("x"), None),
    ],
)
def test_errors(error: Exception, expected: type[TransportError] | None) -> None:
    translated = translate(error, "loc")
    assert (type(translated) if translated else None) is expected
    assert translated is None or "\n" not in str(translated)

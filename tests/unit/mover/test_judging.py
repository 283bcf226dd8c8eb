"""What a row and the target's own words come to."""

from __future__ import annotations

import pytest

from mover.judging import Finding, Wish, is_unproven, judge_digest, judge_listed, judge_told
from mover.manifest import Deed, Row
from mover.model import Compare
from transports.local import CAPABILITIES as DISK
from transports.model import (
    NO_ATTRIBUTES,
    Capabilities,
    Checksum,
    Entry,
    Kind,
    ObjectInfo,
    Proof,
)

STORE = Capabilities(scheme="s3", has_etags=True)
MD5 = Checksum("md5", "a" * 32)
ROW = Row("k", 3, Deed.COPIED, 1, "s", "", 10**18, "etag", "", MD5, Proof.STRONG)
FILE_ROW = Row("k", 3, Deed.COPIED, 1, "s", "", 10**18, checksum=MD5)
SAME = Entry("k", 3, 10**18, "etag")
LINK = Row("k", 3, Deed.COPIED, 1, kind=Kind.SYMLINK)
FOLDER = Row("k/", 0, Deed.COPIED, 1, kind=Kind.DIRECTORY)


@pytest.mark.parametrize(
    ("row", "found", "mode", "target", "judged"),
    [
        (ROW, SAME, "mtime", STORE, None),
        (ROW, None, "mtime", STORE, "missing"),
        (ROW, SAME._replace(size=4), "mtime", STORE, "differs"),
        (ROW, SAME._replace(etag="other"), "size", STORE, None),
        (ROW, SAME._replace(etag="other"), "mtime", STORE, Wish.HEAD),
        (ROW, SAME._replace(etag=""), "mtime", STORE, Wish.HEAD),
        (ROW, SAME._replace(size=-1, etag=""), "size", STORE, Wish.HEAD),
        (ROW, SAME, "checksum", STORE, Wish.BYTES),
        (Row("k", 3, Deed.FOUND, 1, target_etag="etag"), SAME, "checksum", STORE, None),
        (FILE_ROW, SAME._replace(etag=""), "mtime", DISK, None),
        (FILE_ROW, SAME._replace(etag="", mtime_ns=10**18 + 900), "mtime", DISK, None),
        (FILE_ROW, SAME._replace(etag="", mtime_ns=10**18 + 2000), "mtime", DISK, "differs"),
        (FILE_ROW, SAME._replace(etag="", mtime_ns=0), "etag", DISK, None),
        (FILE_ROW, SAME._replace(etag="", mtime_ns=0), "checksum", DISK, Wish.BYTES),
        (FILE_ROW, SAME._replace(etag="", kind=Kind.SYMLINK), "size", DISK, "differs"),
        (LINK, SAME._replace(etag="", kind=Kind.SYMLINK), "checksum", DISK, None),
        (LINK, SAME._replace(etag=""), "mtime", DISK, "differs"),
        (LINK, SAME._replace(etag=""), "mtime", STORE, Wish.HEAD),
        (FOLDER, None, "mtime", DISK, Wish.HEAD),
        (FOLDER, Entry("k/", 0, 0, kind=Kind.DIRECTORY), "checksum", DISK, None),
        (Row("k", 3, Deed.FAILED, 1, error="Denied"), SAME, "mtime", STORE, "failed"),
        (Row("k", 3, Deed.REFUSED, 1, error="Refused"), None, "mtime", STORE, "failed"),
        (Row("k", 3, Deed.DELETED, 1), None, "mtime", STORE, None),
        (Row("k", 3, Deed.DELETED, 1), SAME, "mtime", STORE, "extra"),
        (Row("k", -1, Deed.COPIED, 1, target_etag="etag"), SAME, "mtime", STORE, None),
    ],
)
def test_by_listing(
    row: Row, found: Entry | None, mode: str, target: Capabilities, judged: str | Wish | None
) -> None:
    judgement = judge_listed(row, found, Compare(mode), target)
    assert (judgement.what if isinstance(judgement, Finding) else judgement) == judged


@pytest.mark.parametrize(
    ("row", "entry", "checksums", "what"),
    [
        (ROW, SAME, (), None),
        (ROW, SAME._replace(etag="other"), (), "differs"),
        (ROW, SAME._replace(etag="other"), (MD5,), None),
        (ROW, SAME, (Checksum("md5", "b" * 32),), "differs"),
        (ROW, SAME, (Checksum("crc32c", "b"),), None),
        (ROW, SAME._replace(size=9), (MD5,), "differs"),
        (FILE_ROW, SAME._replace(etag="other"), (), None),
        (FOLDER, Entry("k/", 4096, 0), (), None),
    ],
)
def test_by_head(row: Row, entry: Entry, checksums: tuple[Checksum, ...], what: str | None) -> None:
    info = ObjectInfo(entry=entry, attributes=NO_ATTRIBUTES, checksums=checksums)
    finding = judge_told(row, info)
    assert (finding and finding.what) == what


def test_by_digest() -> None:
    assert judge_digest(ROW, MD5.hex) is None
    finding = judge_digest(ROW, "b" * 32)
    assert finding == Finding("differs", f"md5 is {'b' * 32}, the manifest says {'a' * 32}")


def test_what_was_never_proven_is_told() -> None:
    bare = Row("k", 3, Deed.FOUND, 1)
    assert is_unproven(bare, Compare.CHECKSUM)
    assert not is_unproven(bare, Compare.MTIME)
    assert not is_unproven(ROW, Compare.CHECKSUM)
    assert not is_unproven(Row("k", 3, Deed.FAILED, 1), Compare.CHECKSUM)

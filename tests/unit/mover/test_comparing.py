"""When two listing entries are the same, when not, and when a store has to be asked."""

import pytest

from mover.comparing import Verdict, compare
from mover.model import Compare
from transports.model import Entry, Kind

S = 1_000_000_000
MD5_A, MD5_B = "a" * 32, "b" * 32
SAME, DIFFERENT, ASK = Verdict.SAME, Verdict.DIFFERENT, Verdict.ASK


def entry(
    size: int = 5, at: float = 100, etag: str = "", changed: float | None = None,
    kind: Kind = Kind.OBJECT,
) -> Entry:  # fmt: skip
    changed_ns = int((at if changed is None else changed) * S)
    return Entry("k", size, int(at * S), etag, kind=kind, changed_ns=changed_ns)


def verdict(source: Entry, target: Entry, way: str, mode: Compare = Compare.MTIME) -> Verdict:
    ends = {
        "down": (False, True),
        "up": (True, False),
        "stores": (False, False),
        "disk": (True, True),
    }
    source_is_local, target_is_local = ends[way]
    return compare(
        source, target, mode, source_is_local=source_is_local, target_is_local=target_is_local
    )


@pytest.mark.parametrize(
    ("way", "source", "target", "expected"),
    [
        # a size that differs decides everywhere
        ("down", entry(5), entry(6), DIFFERENT),
        ("up", entry(5), entry(6), DIFFERENT),
        # down: a copy sets the listing's time, or an older one out of the metadata
        ("down", entry(at=100), entry(at=100, changed=500), SAME),
        ("down", entry(at=100), entry(at=7, changed=500), SAME),
        ("down", entry(at=100), entry(at=400, changed=500), ASK),
        ("down", entry(at=100), entry(at=7, changed=50), DIFFERENT),
        ("down", entry(at=100), entry(at=7, changed=99.5), ASK),
        # up: the target shows when it was written
        ("up", entry(at=100), entry(at=100), SAME),
        ("up", entry(at=100), entry(at=300), SAME),
        ("up", entry(at=100), entry(at=90), DIFFERENT),
        ("up", entry(at=100.7), entry(at=100), ASK),
        ("up", entry(at=100, changed=400), entry(at=300), ASK),
        # between stores, ETags of single parts decide; those of parts say nothing when unequal
        ("stores", entry(etag=MD5_A, at=100), entry(etag=MD5_A, at=1), SAME),
        ("stores", entry(etag=MD5_A, at=100), entry(etag=MD5_B, at=300), DIFFERENT),
        ("stores", entry(etag=MD5_A, at=100), entry(etag=MD5_B + "-2", at=300), SAME),
        ("stores", entry(etag=MD5_A + "-9", at=100), entry(etag=MD5_B + "-2", at=50), DIFFERENT),
        # between file systems mtimes decide alone, to the microsecond
        ("disk", entry(at=100), entry(at=100, changed=900), SAME),
        ("disk", entry(at=100), entry(at=100.5, changed=900), DIFFERENT),
        ("disk", entry(at=100), entry(at=101, changed=900), DIFFERENT),
        # kinds
        ("disk", entry(kind=Kind.SYMLINK), entry(), DIFFERENT),
        ("up", entry(kind=Kind.SYMLINK, at=100), entry(at=300), SAME),
        ("up", entry(0, kind=Kind.DIRECTORY), entry(0), DIFFERENT),
        ("down", entry(0, kind=Kind.DIRECTORY, at=9), entry(0, kind=Kind.DIRECTORY, at=5), SAME),
    ],
)  # fmt: skip
def test_by_time(way: str, source: Entry, target: Entry, expected: Verdict) -> None:
    assert verdict(source, target, way) is expected


@pytest.mark.parametrize(
    ("mode", "source", "target", "expected"),
    [
        (Compare.SIZE, entry(5, 100), entry(5, 1), SAME),
        (Compare.SIZE, entry(-1), entry(5), ASK),
        (Compare.CHECKSUM, entry(5, etag=MD5_A), entry(5, etag=MD5_A), ASK),
        (Compare.CHECKSUM, entry(5), entry(6), DIFFERENT),
        (Compare.ETAG, entry(etag=MD5_A), entry(etag=MD5_A), SAME),
        (Compare.ETAG, entry(etag=MD5_A), entry(etag=MD5_B), DIFFERENT),
        (Compare.ETAG, entry(etag=MD5_A), entry(), ASK),
    ],
)
def test_by_other_modes(mode: Compare, source: Entry, target: Entry, expected: Verdict) -> None:
    assert verdict(source, target, "up", mode) is expected

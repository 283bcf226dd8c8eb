"""Rows and segments: every name comes back, damage is named, the newest row counts."""

from __future__ import annotations

import json

import msgspec
import pytest
import zstandard

from mover.manifest import (
    SEGMENT_BYTES_MAX,
    DamagedSegment,
    Deed,
    DeltaRow,
    Header,
    Row,
    copied_row,
    decode_row,
    decode_segment,
    encode_row,
    encode_segment,
    failed_rows,
    newest,
    segment_name,
)
from mover.model import Failure, LargeObject, SmallShard
from transports.model import Attributes, Blob, Checksum, Entry, Kind, Proof, Receipt
from transports.testing.names import CASES

NAMES = sorted({key for case in CASES for key in case.objects}) + [
    "stray\udcff\udc80byte",
    "lone\ud800surrogate",
    "back\\xff\udcff",
    "line\u2028end\x85\x0b",
    "\ufeffmark",
    "{}\n{",
]


def header(rows: int = 0) -> Header:
    return Header(
        job="0123456789abcdef",
        task=17,
        generation=2,
        worker="host/1-99",
        source="/s\udcff/",
        target="s3://bucket/t/",
        written_at_ms=1_795_793_435_628,
        rows=rows,
    )


def full(key: str) -> Row:
    return Row(
        key,
        5,
        Deed.COPIED,
        1_795_793_435_627,
        "e" * 32,
        "v1",
        -1,
        "f" * 32,
        "v2",
        Checksum("md5", "0" * 32),
        Proof.STRONG,
        Kind.SYMLINK,
        f"{key}'s source",
        "Error",
        "a detail",
    )


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_name_comes_back(name: str) -> None:
    made = Row("m", 1, Deed.COPIED, 0, delta=DeltaRow(1, 2, 3, 4, 0.5, name))
    rows = [full("plain"), full(name), Row(name, -1, Deed.FAILED, 0), made]
    assert decode_segment(encode_segment(header(4), rows)).rows == rows
    assert [decode_row(encode_row(row)) for row in rows] == rows


def test_a_segment_is_lines_that_other_programs_read() -> None:
    rows = [Row("a", 1, Deed.COPIED, 5, checksum=Checksum("md5", "00")), full("st\udcff")]
    data = encode_segment(header(2), rows)
    lines = zstandard.ZstdDecompressor().decompress(data).decode().splitlines()
    first, plain, stray = map(json.loads, lines)
    assert (first["format"], first["version"], first["rows"]) == ("fluid-mover manifest", 1, 2)
    assert first["source"] == "/s\\udcff/"
    assert plain == {
        "key": "a", "size": 1, "action": "copied", "at_ms": 5, "checksum": ["md5", "00"],
    }  # fmt: skip
    assert (stray["key"], stray["escaped"]) == (r"st\xff", True)


def test_names_of_segments_sort_by_time_and_are_plain() -> None:
    name = segment_name(header())
    assert name == "0123456789abcdef/01795793435628-17-2-host_1-99.jsonl.zst"


def _compressed(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


WHOLE = encode_segment(header(2), [full("a"), full("b")])
HEADER_LINE = msgspec.json.encode(msgspec.structs.replace(header(), source=""))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zstd"),
        (b"plain text", "zstd"),
        (WHOLE[:-1], "zstd"),
        (WHOLE[: len(WHOLE) // 2], "zstd"),
        (WHOLE[:20], "zstd"),
        (WHOLE + b"more", "zstd"),
        (WHOLE[:-10] + bytes([WHOLE[-10] ^ 1]) + WHOLE[-9:], "zstd"),
        (_compressed(b""), "header"),
        (_compressed(b'{"key":"a"}\n'), "header"),
        (_compressed(HEADER_LINE.replace(b'"version":1', b'"version":2')), "version 2"),
        (_compressed(HEADER_LINE.replace(b'"rows":0', b'"rows":1')), "promises 1"),
        (_compressed(HEADER_LINE + b'\n{"key":1}\n'), "a row cannot be read"),
        (_compressed(HEADER_LINE + b'\n{"key":"\\\\q","size":1,"action":"copied","at_ms":1,"escaped":true}'), "row"),
        (_compressed(HEADER_LINE + b'\n{"key":"a","size":1,"action":"eaten","at_ms":1}'), "row"),
        (_compressed(bytes(SEGMENT_BYTES_MAX + 1)), "larger"),
    ],
)  # fmt: skip
def test_damage_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedSegment, match=reason) as caught:
        decode_segment(data)
    assert "\n" not in str(caught.value)


def test_later_versions_may_add_fields() -> None:
    row = b'{"key":"a","size":1,"action":"copied","at_ms":1,"colour":"red"}'
    text = HEADER_LINE.replace(b'"rows":0', b'"rows":1,"note":"x"') + b"\n" + row
    assert decode_segment(_compressed(text)).rows == [Row("a", 1, Deed.COPIED, 1)]


COPIED = Row(
    "a", 3, Deed.COPIED, 10, "se", "", 7, "te", "", Checksum("md5", "00"), Proof.STRONG
)  # fmt: skip


@pytest.mark.parametrize(
    ("later", "checksum"),
    [
        (Row("a", 3, Deed.FOUND, 11, "se", "", 7, "te"), True),
        (Row("a", 3, Deed.SKIPPED, 11, "se", "", None, "te"), True),
        (Row("a", 3, Deed.FOUND, 11, "se", "", 8, "te"), False),
        (Row("a", 4, Deed.FOUND, 11, "se", "", 7, "te"), False),
        (Row("a", 3, Deed.FOUND, 11, "other", "", 7, "te"), False),
        (Row("a", 3, Deed.FOUND, 11, "se", "", 7, "other"), False),
        (Row("a", 3, Deed.FAILED, 11, "se", "", 7, "te"), False),
        (Row("a", 3, Deed.DELETED, 11), False),
        (Row("a", 3, Deed.COPIED, 11, "se", "", 7, "te"), False),
    ],
)
def test_the_later_row_counts_and_a_confirmation_keeps_what_was_proven(
    later: Row, checksum: bool
) -> None:
    for row in (newest(COPIED, later), newest(later, COPIED)):
        assert (row.action, row.at_ms) == (later.action, 11)
        assert (row.checksum is not None) is checksum
        assert (row.verified is Proof.STRONG) is checksum


def test_the_checksum_of_a_copy_is_the_best_that_is_known() -> None:
    entry = Entry("k", 3, 5, "etag", "v")
    md5, crc = Checksum("md5", "1"), Checksum("crc64nvme", "2")
    read = Blob(entry, b"abc", Attributes(mtime_ns=9), Proof.STRONG, md5)
    wrote = Receipt("k", 3, "t", Proof.STRONG, crc)
    assert copied_row(read, wrote, Proof.STRONG, 1).checksum == crc
    assert copied_row(read, wrote._replace(checksum=None), Proof.WEAK, 1).checksum == md5
    unknown = copied_row(read._replace(checksum=None), wrote._replace(checksum=None), Proof.WEAK, 1)
    assert unknown.checksum is not None
    assert unknown.checksum.algorithm == "xxh3"
    assert (unknown.mtime_ns, unknown.source_etag, unknown.target_etag) == (9, "etag", "t")


def test_failures_carry_what_their_task_knew() -> None:
    entry = Entry("k", 3, 5, "etag", "v")
    failure = Failure("k", "Denied", "no")
    expected = Row("to/k", 3, Deed.FAILED, 1, "etag", "v", error="Denied", detail="no")
    for task in (SmallShard(copies=[entry], probes=[]), SmallShard(copies=[], probes=[(entry, entry)]), LargeObject(entry=entry)):  # fmt: skip
        assert failed_rows(task, [failure], "to/{}".format, 1) == [expected]
    refused = Failure("../x", "Refused", "dots")
    shard = SmallShard(copies=[], probes=[], refused=[refused])
    (row,) = failed_rows(shard, [refused], str, 1)
    assert (row.action, row.size, row.detail) == (Deed.REFUSED, -1, "dots")


def test_a_base_whose_name_is_no_unicode() -> None:
    """It is for people to read, so no form brings it back exactly."""
    told = DeltaRow(1, 2, 3, 4, 0.5, direct=True, base="base/\udcff")
    row = decode_row(encode_row(Row("m", 1, Deed.COPIED, 0, delta=told)))
    assert row.delta is not None
    assert row.delta.base == "base/\\udcff"

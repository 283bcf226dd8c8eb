"""Attributes, times, checksums and keys as headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports import s3_headers
from transports.errors import Invalid
from transports.model import NO_ATTRIBUTES, Attributes, Checksum
from transports.s3_headers import attributes_of, headers_for


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [
        (0, "0"),
        (1_700_000_000_123_456_789, "1700000000.123456789"),
        (1_700_000_000_100_000_000, "1700000000.1"),
        (1_700_000_000_000_000_000, "1700000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.5"),
    ],
)
def test_times_in_rclones_format(mtime_ns: int, text: str) -> None:
    assert s3_headers.format_mtime(mtime_ns) == text
    assert s3_headers.parse_mtime(text) == mtime_ns


@given(st.integers(-(10**20), 10**20))
def test_times_survive_exactly(mtime_ns: int) -> None:
    assert s3_headers.parse_mtime(s3_headers.format_mtime(mtime_ns)) == mtime_ns


@pytest.mark.parametrize("text", ["", "abc", "1e9", "1.", ".5", "1.5 ", "0x10", "1,5", "nan"])
def test_what_is_no_time(text: str) -> None:
    assert s3_headers.parse_mtime(text) is None


def test_digits_beyond_nanoseconds_are_cut() -> None:
    assert s3_headers.parse_mtime("1.1234567899") == 1_123_456_789


def as_answer(pairs: list[tuple[str, str]]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in pairs}


ATTRIBUTES = [
    NO_ATTRIBUTES,
    Attributes(content_type="text/plain"),
    Attributes(mtime_ns=1_700_000_000_123_456_789),
    Attributes(
        mtime_ns=-5,
        content_type="a/b; charset=utf-8",
        content_encoding="gzip",
        content_disposition='attachment; filename="x"',
        content_language="de",
        cache_control="no-cache",
        metadata={"owner": "me", "note": "Grüße, \U0001f600", "x-y_z.1": "a  b"},
    ),
]


@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_attributes_round_trip_in_sorted_headers(attributes: Attributes) -> None:
    pairs = headers_for(attributes, "s3://b/k")
    assert pairs == sorted(pairs)
    assert all(value.isascii() for _, value in pairs)
    assert attributes_of(as_answer(pairs)) == attributes


def test_common_attributes_are_shared() -> None:
    headers = {b"content-type": b"image/png", b"etag": b"x"}
    assert attributes_of(headers) is attributes_of(dict(headers))
    assert attributes_of({b"content-length": b"3"}) is NO_ATTRIBUTES


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"content-type": b"binary/octet-stream"}, Attributes()),
        ({b"content-encoding": b"aws-chunked"}, Attributes()),
        ({b"content-encoding": b"gzip,aws-chunked"}, Attributes(content_encoding="gzip")),
        ({b"x-amz-meta-mtime": b"yesterday"}, Attributes(metadata={"mtime": "yesterday"})),
        ({b"x-amz-meta-a": b"=?UTF-8?Q?=C3=BC?="}, Attributes(metadata={"a": "ü"})),
        ({b"x-amz-meta-a": b"=?bogus?Q?x?="}, Attributes(metadata={"a": "=?bogus?Q?x?="})),
        ({b"x-amz-meta-a": b"\xc3\xbc"}, Attributes(metadata={"a": "ü"})),
    ],
)
def test_odd_headers(headers: dict[bytes, bytes], expected: Attributes) -> None:
    assert attributes_of(headers) == expected


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes(content_type="a\r\nx-amz-acl: public-read"),
        Attributes(metadata={"a": "b\nc"}),
        Attributes(metadata={"a b": "c"}),
        Attributes(metadata={"Upper": "c"}),
        Attributes(metadata={"": "c"}),
        Attributes(metadata={"a": "\udcff"}),
    ],
)
def test_what_cannot_stand_in_a_header_is_refused(attributes: Attributes) -> None:
    with pytest.raises(Invalid, match="s3://b/k"):
        headers_for(attributes, "s3://b/k")


@pytest.mark.parametrize(
    ("key", "quoted"),
    [
        ("a/b-c_d.e~f", "a/b-c_d.e~f"),
        ("a b+c%", "a%20b%2Bc%25"),
        ("//../.", "//../."),
        ("é\n\0", "%C3%A9%0A%00"),
        ("*'()!", "%2A%27%28%29%21"),
        ("k" * 1024, "k" * 1024),
    ],
)
def test_keys_in_urls(key: str, quoted: str) -> None:
    assert s3_headers.quoted_key(key, "here") == quoted


@pytest.mark.parametrize("key", ["", "k" * 1025, "é" * 513, "bad\udcff", "\ud800"])
def test_keys_that_s3_cannot_have(key: str) -> None:
    with pytest.raises(Invalid):
        s3_headers.quoted_key(key, "here")


CRC = b"rosUhgp5mIg="  # of 123456789


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ()),
        ({b"x-amz-checksum-crc64nvme": CRC}, (Checksum("crc64nvme", "ae8b14860a799888"),)),
        ({b"x-amz-checksum-crc64nvme": CRC, b"x-amz-checksum-type": b"FULL_OBJECT"},
         (Checksum("crc64nvme", "ae8b14860a799888"),)),
        ({b"x-amz-checksum-crc32c": b"4waSgw==-2"}, ()),
        ({b"x-amz-checksum-crc32c": b"4waSgw==", b"x-amz-checksum-type": b"COMPOSITE"}, ()),
        ({b"x-amz-checksum-crc32c": b"!"}, ()),
        ({b"x-amz-checksum-crc32c": CRC}, ()),
        ({b"x-amz-checksum-crc32": b"y/Q5Jg==", b"x-amz-checksum-crc32c": b"4waSgw=="},
         (Checksum("crc32c", "e3069283"), Checksum("crc32", "cbf43926"))),
    ],
)  # fmt: skip
def test_full_object_checksums(headers: dict[bytes, bytes], expected: tuple[Checksum, ...]) -> None:
    assert s3_headers.checksums_of(headers) == expected


MD5 = "25f9e794323b453885f5181f1b624d0b"


@pytest.mark.parametrize(
    ("etag", "md5", "parts"),
    [
        (MD5, MD5, 0),
        (MD5.upper(), MD5, 0),
        (f"{MD5}-3", "", 3),
        (f"{MD5}-x", "", 0),
        (MD5[:-1], "", 0),
        (MD5[:-1] + "g", "", 0),
        ("+" + MD5[:-1], "", 0),
        ("", "", 0),
    ],
)
def test_kinds_of_etags(etag: str, md5: str, parts: int) -> None:
    assert s3_headers.etag_kind(etag) == (md5, parts)


def test_the_etag_of_parts() -> None:
    # One part of b"hello world" * 100, as SeaweedFS and moto both name it.
    assert (
        s3_headers.composite_etag(["3f23fe8690d92e25000fc77ddb0d2f52"])
        == "70fe5ef6a76bd82dc9f5660ff918af78-1"
    )
    assert s3_headers.composite_etag([MD5, "opaque"]) == ""
    assert s3_headers.composite_etag([]) == ""


@pytest.mark.parametrize(
    ("headers", "hidden"),
    [
        ({}, False),
        ({b"x-amz-server-side-encryption": b"AES256"}, False),
        ({b"x-amz-server-side-encryption": b"aws:kms"}, True),
        ({b"x-amz-server-side-encryption-customer-algorithm": b"AES256"}, True),
    ],
)
def test_encryption_that_hides_the_md5(headers: dict[bytes, bytes], hidden: bool) -> None:
    assert s3_headers.hides_md5(headers) is hidden

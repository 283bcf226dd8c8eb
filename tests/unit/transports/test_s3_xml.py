"""S3's XML: instants, errors, parts and uploads, and bodies."""

import pytest

from transports import s3_delete_xml, s3_xml
from transports.s3_xml import GarbledAnswer

NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
AT_NS = 1_741_064_767_000_000_000  # 2025-03-04T05:06:07Z


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("2025-03-04T05:06:07Z", AT_NS),
        ("2025-03-04T05:06:07.123Z", AT_NS + 123_000_000),
        ("2025-03-04T05:06:09.001Z", AT_NS + 2_001_000_000),
        ("2025-03-04T05:06:07.123456Z", AT_NS + 123_456_000),
        ("2025-03-04T06:06:07+01:00", AT_NS),
        ("1969-12-31T23:59:59.500Z", -500_000_000),
        ("1969-12-31T23:59:58.500Z", -1_500_000_000),
    ],
)
def test_instants(text: str, expected_ns: int) -> None:
    for _ in range(2):  # unknown, then remembered
        assert s3_xml.instant_ns(text) == expected_ns


@pytest.mark.parametrize("text", ["", "yesterday", "2025-03-04", "2025-03-04T05:06:07"])
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(GarbledAnswer):
        s3_xml.instant_ns(text)


def test_caches_of_instants_are_bounded() -> None:
    for second in range(10_000):
        s3_xml.instant_ns(f"2025-{second % 12 + 1:02}-01T{second % 24:02}:{second % 60:02}:00Z")
    assert len(s3_xml._INSTANTS) <= s3_xml._CACHED_MAX
    assert len(s3_xml._MINUTES) <= s3_xml._CACHED_MAX


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<Error><Code>NoSuchKey</Code><Message>m</Message></Error>",
         {"Code": "NoSuchKey", "Message": "m"}),
        (b"<!DOCTYPE html><html></html>", {}),
        (b"<Error><Code>broken", {}),
        (b"", {}),
    ],
)  # fmt: skip
def test_errors(body: bytes, expected: dict[str, str]) -> None:
    assert s3_xml.parse_error(body) == expected


def test_flat_answers_survive_control_characters_in_a_repeated_key() -> None:
    body = b"<InitiateResult><Key>a\x00b</Key><UploadId>u1</UploadId></InitiateResult>"
    assert s3_xml.parse_fields(body, "InitiateResult")["UploadId"] == "u1"
    with pytest.raises(GarbledAnswer):
        s3_xml.parse_fields(b"<Error><Code>InternalError</Code></Error>", "InitiateResult")


def test_parts_and_their_marker() -> None:
    row = "<Part><PartNumber>{}</PartNumber><Size>5</Size><ETag>&quot;e&quot;</ETag></Part>"
    body = (
        f"<ListPartsResult {NS}><IsTruncated>true</IsTruncated>"
        f"<NextPartNumberMarker>2</NextPartNumberMarker>{row.format(1)}{row.format(2)}"
        "</ListPartsResult>"
    )
    parts, marker = s3_xml.parse_parts(body.encode())
    assert parts == [s3_xml.ListedPart(1, 5, "e", ""), s3_xml.ListedPart(2, 5, "e", "")]
    assert marker == 2
    with pytest.raises(GarbledAnswer):
        s3_xml.parse_parts(body.replace("<Size>5", "<Size>x").encode())


def test_uploads_and_a_marker_that_is_only_an_id() -> None:
    """SeaweedFS pages by upload id alone."""
    body = (
        f"<ListMultipartUploadsResult {NS}><IsTruncated>true</IsTruncated>"
        "<EncodingType>url</EncodingType><NextUploadIdMarker>u1</NextUploadIdMarker>"
        "<Upload><Key>a+b</Key><UploadId>u1</UploadId>"
        "<Initiated>2025-03-04T05:06:07Z</Initiated></Upload></ListMultipartUploadsResult>"
    )
    uploads, markers = s3_xml.parse_uploads(body.encode())
    assert uploads == [s3_xml.ListedUpload("a b", "u1", AT_NS)]
    assert markers == ("", "u1")


def test_bodies_escape_what_they_carry() -> None:
    body = s3_xml.complete_body([(1, 'a"&b', "")])
    assert b"<ETag>&quot;a" in body
    assert b"&amp;b" in body
    deleting = s3_delete_xml.delete_body(["a&b\r\n", "<c>"])
    assert b"<Key>a&amp;b&#13;&#10;</Key>" in deleting
    assert b"<Key>&lt;c&gt;</Key>" in deleting


@pytest.mark.parametrize(
    ("key", "fits"),
    [("a", True), ("a\tb\n", True), ("a\0", False), ("a\x1f", False), ("\ufffe", False),
     ("\U0001f600", True), ("\udc80", False)],
)  # fmt: skip
def test_what_fits_into_xml(key: str, fits: bool) -> None:
    assert s3_delete_xml.fits_xml(key) is fits


def test_failures_of_a_bulk_delete() -> None:
    body = (
        b"<DeleteResult><Deleted><Key>a</Key></Deleted>"
        b"<Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    )
    assert s3_delete_xml.parse_deleted(body) == {"b": ("AccessDenied", "no")}

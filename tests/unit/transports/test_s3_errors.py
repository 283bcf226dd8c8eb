"""What a refusal means: by code, by status, with the store's wish to wait."""

import pytest

from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    Throttled,
    TransportError,
    Unavailable,
    Unsupported,
)
from transports.s3_errors import Refusal, error_from, refusal_of, retry_after_s

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", Throttled),
        (503, "", Throttled),
        (429, "", Throttled),
        (500, "InternalError", Unavailable),
        (500, "", Unavailable),
        (502, "", Unavailable),
        (504, "", Unavailable),
        (599, "", Unavailable),
        (400, "RequestTimeout", Unavailable),
        (409, "OperationAborted", Unavailable),
        (404, "NoSuchKey", NotFound),
        (404, "NoSuchBucket", NotFound),
        (404, "NoSuchUpload", NotFound),
        (404, "", NotFound),
        (403, "AccessDenied", Denied),
        (403, "", Denied),
        (401, "", Denied),
        (403, "SignatureDoesNotMatch", Denied),
        (403, "InvalidAccessKeyId", Denied),
        (400, "ExpiredToken", Denied),
        (403, "RequestTimeTooSkewed", Denied),
        (412, "PreconditionFailed", Changed),
        (412, "", Changed),
        (416, "InvalidRange", Changed),
        (400, "EntityTooLarge", Invalid),
        (400, "", Invalid),
        (301, "PermanentRedirect", Invalid),
        (501, "NotImplemented", Unsupported),
        (501, "", Unsupported),
        (400, "BadDigest", Corrupt),
        (403, "QuotaExceeded", NoSpace),
        (507, "", NoSpace),
    ],
)
def test_the_table(status: int, code: str, kind: type[TransportError]) -> None:
    error = error_from(Refusal(status, code, "words", "", ""), "s3://b/k", now_s=NOW_S)
    assert type(error) is kind
    assert "s3://b/k" in str(error)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("RequestTimeTooSkewed", "clock"),
        ("SignatureDoesNotMatch", "secret key is wrong"),
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("ExpiredToken", "new credentials"),
        ("PermanentRedirect", "endpoint_url"),
        ("AuthorizationHeaderMalformed", "region"),
    ],
)
def test_what_a_person_can_mend_comes_with_the_remedy(code: str, remedy: str) -> None:
    assert remedy in str(error_from(Refusal(400, code, "", "", ""), "s3://b/", now_s=NOW_S))


def test_a_failed_condition_while_creating() -> None:
    refusal = Refusal(412, "PreconditionFailed", "", "", "")
    assert isinstance(error_from(refusal, "x", now_s=NOW_S, creating=True), AlreadyExists)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("5", 5.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("999999", 3600.0),
        ("nan", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:50", 30.0),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, now_s=NOW_S) == seconds
    error = error_from(Refusal(503, "SlowDown", "", "", text), "x", now_s=NOW_S)
    assert error.retry_after_s == seconds


def test_reading_an_answer() -> None:
    headers = {b"x-amz-bucket-region": b"eu-9", b"retry-after": b"7"}
    body = b"<Error><Code>SlowDown</Code><Message>two\nlines</Message></Error>"
    refusal = refusal_of(503, headers, body)
    assert refusal == Refusal(503, "SlowDown", "two\nlines", "eu-9", "7")
    assert "two lines" in str(error_from(refusal, "x", now_s=NOW_S))
    wrong_region = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>ap-1</Region></Error>"
    assert refusal_of(400, {}, wrong_region).region == "ap-1"
    assert refusal_of(502, {}, b"<html>bad gateway</html>") == Refusal(502, "", "", "", "")


def test_a_long_message_is_cut() -> None:
    error = error_from(Refusal(400, "InvalidArgument", "x" * 5000, "", ""), "k", now_s=NOW_S)
    assert len(str(error)) < 400

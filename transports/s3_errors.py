"""What an S3 answer that is not a success means: one table by code, one by status. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from transports import s3_xml
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
    Truncated,
    Unavailable,
    Unsupported,
)

_KEYS = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from a profile"
_CLOCK = "this machine's clock is wrong: set it by NTP"

# code → (class, what to do about it). The codes are those of the S3 API reference ("Error
# responses") and of SeaweedFS, MinIO and Ceph where they have their own.
_BY_CODE: Final[dict[str, tuple[type[TransportError], str]]] = {
    "SlowDown": (Throttled, ""),
    "SlowDownRead": (Throttled, ""),
    "SlowDownWrite": (Throttled, ""),
    "ServiceUnavailable": (Throttled, ""),
    "TooManyRequests": (Throttled, ""),
    "RequestLimitExceeded": (Throttled, ""),
    "Throttling": (Throttled, ""),
    "ThrottlingException": (Throttled, ""),
    "BandwidthLimitExceeded": (Throttled, ""),
    "InternalError": (Unavailable, ""),
    "RequestTimeout": (Unavailable, ""),
    "OperationAborted": (Unavailable, ""),
    "ConditionalRequestConflict": (Unavailable, ""),
    "IncompleteBody": (Unavailable, ""),
    "ServerNotInitialized": (Unavailable, ""),
    "NoSuchKey": (NotFound, ""),
    "NoSuchBucket": (NotFound, ""),
    "NoSuchUpload": (NotFound, ""),
    "NoSuchVersion": (NotFound, ""),
    "AccessDenied": (Denied, "the credentials do not allow it"),
    "AllAccessDisabled": (Denied, ""),
    "AccountProblem": (Denied, ""),
    "InvalidAccessKeyId": (Denied, _KEYS),
    "SignatureDoesNotMatch": (Denied, f"the secret key is wrong; {_KEYS}"),
    "InvalidSecurity": (Denied, _KEYS),
    "InvalidToken": (Denied, "the session token is wrong: get new credentials"),
    "ExpiredToken": (Denied, "the session token has expired: get new credentials"),
    "TokenRefreshRequired": (Denied, "the session token has expired: get new credentials"),
    "RequestTimeTooSkewed": (Denied, _CLOCK),
    "RequestExpired": (Denied, _CLOCK),
    "InvalidObjectState": (Denied, "the object is archived: restore it first"),
    "PreconditionFailed": (Changed, ""),
    "InvalidRange": (Changed, ""),
    "InvalidPart": (NotFound, "a part of the upload is gone"),
    "EntityTooLarge": (Invalid, ""),
    "EntityTooSmall": (Invalid, ""),
    "KeyTooLongError": (Invalid, ""),
    "KeyTooLong": (Invalid, ""),
    "InvalidArgument": (Invalid, ""),
    "InvalidRequest": (Invalid, ""),
    "InvalidBucketName": (Invalid, ""),
    "InvalidPartOrder": (Invalid, ""),
    "InvalidStorageClass": (Invalid, ""),
    "MetadataTooLarge": (Invalid, ""),
    "MethodNotAllowed": (Unsupported, ""),
    "NotImplemented": (Unsupported, ""),
    "PermanentRedirect": (Invalid, "the bucket is at another endpoint: set ?endpoint_url="),
    "AuthorizationHeaderMalformed": (Invalid, "the region is wrong: set ?region="),
    "XMinioInvalidObjectName": (Invalid, ""),
    "ExistingObjectIsFile": (Invalid, ""),
    "ExistingObjectIsDirectory": (Invalid, ""),
    "QuotaExceeded": (NoSpace, ""),
    "ServiceQuotaExceeded": (NoSpace, ""),
    "XMinioStorageFull": (NoSpace, ""),
    "XMinioAdminBucketQuotaExceeded": (NoSpace, ""),
    "InsufficientStorage": (NoSpace, ""),
}
_BAD_DIGEST: Final = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"})
EXPIRED: Final = frozenset({"ExpiredToken", "TokenRefreshRequired"})

_BY_STATUS: Final[dict[int, type[TransportError]]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: Unavailable,
    409: Unavailable,
    410: NotFound,
    412: Changed,
    416: Changed,
    425: Unavailable,
    429: Throttled,
    501: Unsupported,
    503: Throttled,
    507: NoSpace,
}


class Refusal(NamedTuple):
    """An error answer in words: ``region`` is the bucket's, where the answer tells it."""

    status: int
    code: str
    message: str
    region: str
    retry_after: str


def refusal_of(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Refusal:
    """Read an error answer; anything that is not S3's XML leaves the code empty."""
    fields = s3_xml.parse_error(body)
    region = headers.get(b"x-amz-bucket-region", b"").decode("ascii", "replace")
    return Refusal(
        status,
        fields.get("Code", ""),
        fields.get("Message", ""),
        region or fields.get("Region", ""),
        headers.get(b"retry-after", b"").decode("ascii", "replace"),
    )


def error_from(
    refusal: Refusal, location: str, *, now_s: float, creating: bool = False
) -> TransportError:
    """The error to raise for a refusal. ``creating`` turns a failed condition into AlreadyExists.

    ``now_s`` (seconds since 1970) is what a Retry-After with a date is measured against.
    """
    detail = _detail(refusal)
    if refusal.code in _BAD_DIGEST:
        return Corrupt(
            location, algorithm="the checksum", expected="the one sent", actual=refusal.code
        )
    known = _BY_CODE.get(refusal.code)
    if known is None:
        kind = _BY_STATUS.get(refusal.status) or (Unavailable if refusal.status >= 500 else Invalid)
    else:
        kind, remedy = known
        detail = f"{detail}; {remedy}" if remedy else detail
    if kind is Changed and creating:
        kind = AlreadyExists
    return kind(location, detail, retry_after_s=retry_after_s(refusal.retry_after, now_s=now_s))


def told_of(error: TransportError, location: str) -> TransportError:
    """An error of the way, told of an object."""
    if isinstance(error, Truncated):
        received, expected = error.received_bytes, error.expected_bytes
        return Truncated(location, received_bytes=received, expected_bytes=expected)
    return type(error)(location, str(error))


def _detail(refusal: Refusal) -> str:
    """One line for a person; what the server wrote is cut and its line breaks are removed."""
    words = " ".join(refusal.message.split())[:200]
    if refusal.code:
        return f"{refusal.code} ({refusal.status}): {words}" if words else refusal.code
    return f"HTTP {refusal.status}"


def retry_after_s(text: str, *, now_s: float) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110 §10.2.3), or None where it says nothing.

    Capped at an hour: a store that asks for more is down, and the caller's deadline decides.
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.fromtimestamp(now_s, UTC)).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), 3600.0)

"""Signed heads: botocore's signature for any request, and no line that a value could break."""

import datetime
import re
from collections.abc import Iterator
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transports.s3_lean import UNSIGNED_PAYLOAD, LeanSigner

HOST = "store.example:8333"
NOW_S = 1_795_536_514.75


def signer(*, token: str | None = None, now_s: float = NOW_S, access_key: str = "AK") -> LeanSigner:
    return LeanSigner(
        access_key=access_key, secret_key="s3cr3t/+", session_token=token, region="eu-1",
        host=HOST, now_s=lambda: now_s,
    )  # fmt: skip


def parse(head: bytes) -> tuple[str, dict[str, str]]:
    assert head.endswith(b"\r\n\r\n")
    first, *lines = head.decode()[:-4].split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name not in headers
        headers[name] = value
    return first, headers


class Clock:
    """Stands in for botocore's way to the time."""

    now_s = NOW_S

    def __call__(self, remove_tzinfo: bool = True) -> datetime.datetime:
        now = datetime.datetime.fromtimestamp(self.now_s, datetime.UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(botocore.auth, "get_current_datetime", clock)
        yield clock


class HeadersAsTheyGo(S3SigV4Auth):  # type: ignore[misc]
    """botocore's signer, told a payload's digest instead of the payload."""

    digest = UNSIGNED_PAYLOAD

    def payload(self, request: AWSRequest) -> str:
        return self.digest


def botocore_authorization(
    method: str, path: str, query: str, headers: dict[str, str], token: str | None, payload: str
) -> str:
    request = AWSRequest(method=method, url=f"http://{HOST}{path}?{query}".rstrip("?"))
    for name, value in headers.items():
        request.headers[name] = value
    auth = HeadersAsTheyGo(Credentials("AK", "s3cr3t/+", token), "s3", "eu-1")
    auth.digest = payload
    auth.add_auth(request)
    return str(request.headers["Authorization"])


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
# What a value may hold on the wire: no control characters, and spaces anywhere within.
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
NAMES = st.lists(
    st.from_regex(r"(x-amz-[a-z0-9-]{1,20}|if-match|range|content-(md5|type))", fullmatch=True)
    .filter(lambda name: name not in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")),
    unique=True, max_size=6,
).map(sorted)  # fmt: skip


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    key=KEYS,
    query=st.dictionaries(KEYS, KEYS, max_size=4),
    names=NAMES,
    data=st.data(),
    token=st.sampled_from([None, "tok/en+=%s"]),
    payload=st.sampled_from([UNSIGNED_PAYLOAD, "e3" * 32]),
    # Binary fractions: datetime, botocore's clock, rounds others to the next second's microsecond.
    now_s=st.integers(10**9, 4 * 10**9).map(lambda second: second + 0.75),
)
def test_signature_is_botocores(
    clock: Clock, method: str, key: str, query: dict[str, str], names: list[str],
    data: st.DataObject, token: str | None, payload: str, now_s: float,
) -> None:  # fmt: skip
    path = "/bucket/" + quote(key, safe="/-._~")
    pairs = sorted((quote(n, safe="-._~"), quote(v, safe="-._~")) for n, v in query.items())
    encoded = "&".join(f"{name}={value}" for name, value in pairs)
    values = [data.draw(VALUES) for _ in names]
    clock.now_s = now_s
    head = signer(token=token, now_s=now_s).head(
        method, path, encoded, tuple(names), values, payload=payload
    )
    first, sent = parse(head)
    assert first == f"{method} {path}{'?' if encoded else ''}{encoded} HTTP/1.1"
    # Values go out as they were given, between single separators.
    assert [sent[name] for name in names] == values
    expected = botocore_authorization(
        method, path, encoded, dict(zip(names, values, strict=True)), token, payload
    )
    assert sent["authorization"] == expected


def test_published_example_of_the_service() -> None:
    # "GET Object" in Amazon's "Signature Calculations for the Authorization Header".
    example = LeanSigner(
        access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1", host="examplebucket.s3.amazonaws.com",
        now_s=lambda: datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC).timestamp(),
    )  # fmt: skip
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    head = example.head("GET", "/test.txt", "", ("range",), ("bytes=0-9",), payload=empty)
    signature = b"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    assert b"Signature=" + signature + b"\r\n" in head


def test_key_and_date_follow_the_clock() -> None:
    seconds = iter([86_399.9, 86_400.0, 86_401.5, 86_399.0])
    ours = LeanSigner(
        access_key="AK",
        secret_key="s3cr3t/+",
        region="eu-1",
        host=HOST,
        now_s=lambda: next(seconds),
    )
    for now_s in (86_399.9, 86_400.0, 86_401.5, 86_399.0):
        assert ours.head("GET", "/b/k") == signer(now_s=now_s).head("GET", "/b/k")


def test_length_and_fixed_headers() -> None:
    _, sent = parse(signer(token="T").head("PUT", "/b/k", length=0))
    assert sent["content-length"] == "0"
    assert sent["host"] == HOST
    assert sent["x-amz-security-token"] == "T"
    assert sent["accept-encoding"] == "identity"
    assert (
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"
        in (sent["authorization"])
    )
    assert "content-length" not in parse(signer().head("GET", "/b/k"))[1]


def test_anonymous_requests_carry_nothing_of_ours() -> None:
    anonymous = signer(access_key="")
    first, sent = parse(anonymous.head("GET", "/b/k", "a=1", ("range",), ("bytes=0-1",), length=3))
    assert first == "GET /b/k?a=1 HTTP/1.1"
    assert set(sent) == {"host", "range", "accept-encoding", "user-agent", "content-length"}


def test_head_is_the_same_whether_a_template_was_there() -> None:
    ours = signer()
    heads = {ours.head("GET", "/b/k", "", ("if-match",), ('"e"',)) for _ in range(3)}
    assert len(heads) == 1


@pytest.mark.parametrize("bad", ["a\r\nx: y", "a\nb", "a\rb", "\0", "a \r\n b"])
def test_value_that_breaks_its_line_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        signer().head("GET", "/b/k", "", ("x-amz-meta-a", "x-amz-meta-b"), ("fine", bad))
    with pytest.raises(ValueError, match="one line"):
        signer(access_key="").head("GET", "/b/k", "", ("range",), (bad,))


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", "/a\0", "/ä", "/a?b", "/a\x7f"])
def test_target_that_is_not_encoded_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="request target"):
        signer().head("GET", path)
    if path != "/a?b":
        with pytest.raises(ValueError, match="request target"):
            signer().head("GET", "/b", path)


@pytest.mark.parametrize(
    "names", [("b", "a"), ("a", "a"), ("host",), ("x-amz-date",), ("a\r\nb",), ("a: b\r\nc",)]
)
def test_names_that_are_no_template_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"sorted and unique|itself sets|printable"):
        signer().head("GET", "/b/k", "", names, ["v"] * len(names))


@pytest.mark.parametrize("values", [(), ("a", "b")])
def test_values_must_match_names(values: tuple[str, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        signer().head("GET", "/b/k", "", ("range",), values)


def test_no_secret_shows() -> None:
    ours = signer(token="T0KEN")
    assert not re.search("s3cr3t|T0KEN|AK", repr(ours))
    assert b"s3cr3t" not in ours.head("GET", "/b/k")

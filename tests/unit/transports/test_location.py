"""What a location's text means, and what is refused without repeating a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.location import (
    BadLocation,
    Location,
    local_location,
    looks_secret,
    parse_location,
    same_or_inside,
)


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path", "is_tree"),
    [
        ("data", "file", "", "data", False),
        ("data/", "file", "", "data/", True),
        (".", "file", "", ".", True),
        ("a/..", "file", "", "a/..", True),
        ("~/x", "file", "", "~/x", False),
        ("/srv/what?.txt", "file", "", "/srv/what?.txt", False),
        ("/", "file", "", "/", True),
        ("./s3:x", "file", "", "./s3:x", False),
        ("file:///srv/a%20b/", "file", "", "/srv/a b/", True),
        ("file://localhost/srv", "file", "", "/srv", False),
        ("s3://bucket", "s3", "bucket", "", True),
        ("S3://bucket/", "s3", "bucket", "", True),
        ("s3://bucket/a//b", "s3", "bucket", "a//b", False),
        ("s3://bucket//a/", "s3", "bucket", "/a/", True),
        ("s3://bucket/a%20b+c", "s3", "bucket", "a%20b+c", False),
        ("s3://bucket/what?.txt?", "s3", "bucket", "what?.txt", False),
        ("s3://bucket/a#b", "s3", "bucket", "a#b", False),
        ("s3://bucket/..", "s3", "bucket", "..", False),
        ("s3://bucket/line\nbreak", "s3", "bucket", "line\nbreak", False),
        ("memory://name/p/", "memory", "name", "p/", True),
        ("sftp://user@host/p", "sftp", "user@host", "p", False),
        ("https://HOST:8443/a b/c%2Fd", "https", "host:8443", "a%20b/c%2Fd", False),
        ("http://h/100%/x", "http", "h", "100%25/x", False),
        ("http://[::1]:80/x/", "http", "[::1]:80", "x/", True),
        ("http://h", "http", "h", "", True),
    ],
)
def test_forms(text: str, scheme: str, authority: str, path: str, is_tree: bool) -> None:
    location = parse_location(text)
    assert (location.scheme, location.authority, location.path) == (scheme, authority, path)
    assert location.is_tree is is_tree


@pytest.mark.parametrize(
    ("text", "options", "query"),
    [
        (
            "s3://b/p?endpoint_url=http://host:8333&region=eu-1&profile=lab",
            {"endpoint_url": "http://host:8333", "region": "eu-1", "profile": "lab"},
            "",
        ),
        ("s3://b/p?ca_file=/a%26b.pem", {"ca_file": "/a&b.pem"}, ""),
        ("s3://b/k?x=1?region=r", {"region": "r"}, ""),
        ("s3://b/p?sse_kms_key_id=arn", {"sse_kms_key_id": "arn"}, ""),
        ("https://h/p?version=3&k", {}, "version=3&k"),
        ("https://h/p?version=3#ca_file=/x.pem", {"ca_file": "/x.pem"}, "version=3"),
        ("file:///p?links=skip", {"links": "skip"}, ""),
    ],
)
def test_options(text: str, options: dict[str, str], query: str) -> None:
    location = parse_location(text)
    assert (dict(location.options), location.query) == (options, query)
    assert not any(value and value in location.text for value in options.values())


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:HUSH@bucket/key",
        "s3://AKIA:HU/SH@bucket/key",
        "s3://b/k?secret_access_key=HUSH",
        "s3://b/k?aws_session_token=HUSH",
        "s3://b/k?key=HUSH",
        "s3://b/k?accessKey=HUSH",
        "s3://b/k?password=HUSH",
        "s3://b/k?endpoint_url=http://me:HUSH@host:8333",
        "sftp://me:HUSH@host/p",
        "sftp://me:HU/SH@host/p",
        "https://me:HUSH@host/p",
        "https://HUSH@host/p",
        "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=A&X-Amz-Signature=HUSH",
        "https://acct.blob.core.windows.net/c/k?sv=1&sig=HUSH",
        "https://h/k?access_token=HUSH",
        "https://h/k?%74oken=HUSH",
        "https://h/k#bearer=HUSH",
    ],
)
def test_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadLocation) as caught:
        parse_location(text)
    message = str(caught.value)
    assert "HU" not in message
    assert "SH" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "s3://bucket/prefix/"),
        ("s3:bucket/key", "s3://"),
        ("s3:/bucket/key", "s3://"),
        ("https:/h/x", "https://"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("s3://buc ket/key", "no bucket name"),
        ("http://", "names no host"),
        ("http://ho st/", "is no host"),
        ("http://host:port/", "is no host"),
        ("s3://b/what?.txt", "one more at its end"),
        ("s3://b/k?region=a&region=b", "twice"),
        ("s3://b/k?Region=a", "name=value"),
        ("file://srv/data", "three slashes"),
        ("a\0b", "NUL"),
        ("simplecache::s3://b/k", "chained"),
    ],
)
def test_no_sense(text: str, remedy: str) -> None:
    with pytest.raises(BadLocation, match=remedy):
        parse_location(text)


@pytest.mark.parametrize(
    ("text", "name", "parent"),
    [
        ("s3://b/a/x", "x", "s3://b/a/"),
        ("s3://b/x", "x", "s3://b/"),
        ("s3://b//x", "x", "s3://b//"),
        ("s3://b/a/", "", "s3://b/a/"),
        ("x", "x", "./"),
        ("/x", "x", "/"),
        ("d/x", "x", "d/"),
        ("http://h/a/b%20c?v=1", "b c", "http://h/a/?v=1"),
        ("http://h/a/..%2Fetc", "..%2Fetc", "http://h/a/"),
        ("http://h/a/%2E%2E", "%2E%2E", "http://h/a/"),
    ],
)
def test_name_and_parent(text: str, name: str, parent: str) -> None:
    location = parse_location(text)
    assert location.name == name
    assert location.parent().text == parent


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("s3://b/a", "s3://b/a", True),
        ("s3://b/a/", "s3://b/a", True),
        ("s3://b/a/x", "s3://b/a/", True),
        ("s3://b/ab", "s3://b/a", False),
        ("s3://b/a", "s3://b/a/x", False),
        ("s3://b/a", "s3://b", True),
        ("s3://b/a", "s3://c/a", False),
        ("s3://b/a?endpoint_url=http://H:1/", "s3://b/a?endpoint_url=http://h:1", True),
        ("s3://b/a?endpoint_url=http://h:1", "s3://b/a?endpoint_url=http://h:2", False),
        ("s3://b/a?profile=x", "s3://b/a?profile=y", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/", True),
        ("/a", "s3://b/", False),
    ],
)
def test_same_or_inside(inner: str, outer: str, expected: bool) -> None:
    assert same_or_inside(parse_location(inner), parse_location(outer)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("X-Amz-Security-Token", True),
        ("AWSAccessKeyId", True),
        ("client_secret", True),
        ("account_key", True),
        ("sas", True),
        ("monkey", False),
        ("sse_kms_key_id", False),
        ("region", False),
        ("assign", False),
        ("author", False),
    ],
)
def test_looks_secret(name: str, expected: bool) -> None:
    assert looks_secret(name) is expected


@given(st.text(st.characters(exclude_characters="?"), min_size=1))
def test_a_key_is_taken_as_it_stands(key: str) -> None:
    assert parse_location(f"s3://bucket/{key}").path == key


@given(st.text(min_size=1))
def test_any_key_can_be_written(key: str) -> None:
    assert parse_location(f"s3://bucket/{key}?") == Location(
        scheme="s3", authority="bucket", path=key
    )


@given(st.text(st.characters(exclude_characters="\0")))
def test_a_local_path_is_taken_as_it_stands(path: str) -> None:
    assert local_location(path).path == path

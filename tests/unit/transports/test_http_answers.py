"""Answers, pages and proxies, read without a server."""

import pytest

from transports.errors import Invalid
from transports.http_answers import (
    checksums_of,
    entry_of,
    length_of,
    range_of,
    retry_after_s,
    same_object,
)
from transports.http_index import children
from transports.model import Checksum, Entry
from transports.proxies import proxy_of

STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"
STAMP_S = 1_445_412_480


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [("7", 7.0), (" 0 ", 0.0), (STAMP, 20.0), ("", None), ("soon", None), ("-1", None)],
)
def test_retry_after(text: str, wait_s: float | None) -> None:
    assert retry_after_s(text, now_s=STAMP_S - 20.0) == wait_s


def test_a_date_in_the_past_means_now() -> None:
    assert retry_after_s(STAMP, now_s=STAMP_S + 5.0) == 0.0


@pytest.mark.parametrize(
    ("headers", "etag", "mtime_s"),
    [
        ({"ETag": '"abc"', "Last-Modified": STAMP}, "abc", STAMP_S),
        ({"ETag": 'W/"abc"'}, "W/abc", 0),
        ({"ETag": "abc", "Last-Modified": "never"}, "abc", 0),
        ({}, "", 0),
    ],
)
def test_entries(headers: dict[str, str], etag: str, mtime_s: int) -> None:
    entry = entry_of(headers, "k", size=3)
    assert entry == Entry("k", 3, mtime_s * 10**9, etag=etag, changed_ns=mtime_s * 10**9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/100", (0, 10, 100)),
        ("bytes 5-5/*", (5, 6, -1)),
        ("bytes */0", (-1, -1, 0)),
        ("bytes 0-9", None),
        ("pages 1-2/3", None),
        ("", None),
    ],
)
def test_ranges(text: str, expected: tuple[int, int, int] | None) -> None:
    assert range_of({"Content-Range": text}) == expected


@pytest.mark.parametrize(("text", "size"), [("12", 12), ("0", 0), ("", -1), ("-5", -1), ("x", -1)])
def test_lengths(text: str, size: int) -> None:
    assert length_of({"Content-Length": text}) == size


MD5_HEX = "d41d8cd98f00b204e9800998ecf8427e"
MD5_BASE64 = "1B2M2Y8AsgTpgAmY7PhCfg=="


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-MD5": MD5_BASE64}, (Checksum("md5", MD5_HEX),)),
        ({"Digest": f"md5={MD5_BASE64},unixsum=1"}, (Checksum("md5", MD5_HEX),)),
        ({"Repr-Digest": f"md5=:{MD5_BASE64}:"}, (Checksum("md5", MD5_HEX),)),
        (
            {"Repr-Digest": f"md5=:{MD5_BASE64}:, crc32c=:AAAAAA==:"},
            (Checksum("crc32c", "00000000"), Checksum("md5", MD5_HEX)),
        ),
        ({"Content-MD5": "not base64"}, ()),
        ({}, ()),
    ],
)
def test_digests(headers: dict[str, str], expected: tuple[Checksum, ...]) -> None:
    assert checksums_of(headers) == expected


@pytest.mark.parametrize(
    ("listed", "now", "same"),
    [
        (Entry("k", 1, 5, etag="a"), Entry("k", 1, 6, etag="a"), True),
        (Entry("k", 1, 5, etag="a"), Entry("k", 1, 5, etag="b"), False),
        (Entry("k", 1, 5, etag="W/a"), Entry("k", 1, 6, etag="W/a"), False),
        (Entry("k", 1, 5, etag="W/a"), Entry("k", 2, 5, etag="W/a"), False),
        (Entry("k", 1, 5), Entry("k", 1, 6), False),
        (Entry("k", 1, 0), Entry("k", 2, 0), False),
        (Entry("k", -1, 0), Entry("k", 2, 0), True),
    ],
)
def test_pins(listed: Entry, now: Entry, same: bool) -> None:
    assert same_object(listed, now) is same


URL = "http://h/pub/d/"


@pytest.mark.parametrize(
    ("link", "names"),
    [
        ("x", ["x"]),
        ("./x", ["x"]),
        ("sub/", ["sub/"]),
        ("a%20b", ["a b"]),
        ("%ff", ["\udcff"]),
        ("/pub/d/abs", ["abs"]),
        ("http://h/pub/d/full", ["full"]),
        ("amp&amp;ersand", ["amp&ersand"]),
        ("../", []),
        ("/", []),
        ("?C=N;O=D", []),
        ("x?download", []),
        ("sub/deeper", []),
        ("http://elsewhere/pub/d/x", []),
        ("//elsewhere/pub/d/x", []),
        ("https://h/pub/d/x", []),
        ("javascript:void(0)", []),
        ("http://[bad", []),
        ("#top", []),
        ("", []),
    ],
)
def test_links(link: str, names: list[str]) -> None:
    assert children(f'<p><A HREF="{link}">shown</A> <a name="n">', URL) == names


@pytest.mark.parametrize("link", ["%2e%2e", "a%2Fb", "%2E", "..%2f", "nul%00"])
def test_hostile_links(link: str) -> None:
    with pytest.raises(Invalid, match="none"):
        children(f'<a href="{link}">x</a>', URL)


def test_names_come_once_and_in_the_order_of_keys() -> None:
    page = "".join(f'<a href="{name}">' for name in ("b/", "b.", "b0", "a", "b-", "a"))
    assert children(page, URL) == ["a", "b-", "b.", "b/", "b0"]


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "p:1"}, "http://p:1"),
        ({"ALL_PROXY": "p:2"}, "http://p:2"),
        ({"HTTP_PROXY": "p:1"}, None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "example.org"}, None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "a, .example.org:444"}, "http://p:1"),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "data.example.org:443"}, None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "ample.org"}, "http://p:1"),
        ({"HTTPS_PROXY": "p:1", "no_proxy": "*"}, None),
    ],
)
def test_proxies(environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_of("https", "data.example.org", 443, environment) == proxy

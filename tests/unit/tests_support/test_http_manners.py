"""The manners of the HTTP server, each as a client sees it."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.http import HttpServer

BODY = bytes(range(256)) * 800


@pytest.fixture
def server(http_server: HttpServer) -> HttpServer:
    (http_server.root / "d" / "deep er").mkdir(parents=True)
    (http_server.root / "d" / "file").write_bytes(BODY)
    (http_server.root / "d" / "a&b <c> ü#?%.txt").write_bytes(b"odd")
    return http_server


def fetch(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {n.lower(): v for n, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {n.lower(): v for n, v in error.headers.items()}, error.read()


@pytest.mark.parametrize(
    ("manner", "ranged", "etag", "modified", "length"),
    [
        ("ranges", True, "strong", True, True),
        ("plain", False, "strong", True, True),
        ("chunked", False, "strong", True, False),
        ("bare", False, None, False, True),
        ("weak", True, "weak", False, True),
        ("redirect", True, "strong", True, True),
        ("nginx", True, "strong", True, True),
        ("python", True, "strong", True, True),
    ],
)
def test_each_manner_offers_what_it_says(
    server: HttpServer, manner: str, ranged: bool, etag: str | None, modified: bool, length: bool
) -> None:
    url = server.url(manner, "d/file")
    status, headers, body = fetch(url)
    assert (status, body) == (200, BODY)
    assert ("last-modified" in headers, "content-length" in headers) == (modified, length)
    seen = headers.get("etag")
    assert etag == (None if seen is None else "weak" if seen.startswith("W/") else "strong")
    status, headers, body = fetch(url, {"Range": "bytes=10-19"})
    if ranged:
        assert (status, body) == (206, BODY[10:20])
        assert headers["content-range"] == f"bytes 10-19/{len(BODY)}"
    else:
        assert (status, body) == (200, BODY)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=-5", (206, BODY[-5:])),
        ("bytes=204795-", (206, BODY[204795:])),
        ("bytes=204795-999999", (206, BODY[204795:])),
        ("bytes=204800-", (416, b"")),
    ],
)
def test_ranges_at_the_edges(server: HttpServer, header: str, expected: tuple[int, bytes]) -> None:
    status, _, body = fetch(server.url("ranges", "d/file"), {"Range": header})
    assert (status, body if status == 206 else b"") == expected


def test_a_pin_holds_until_the_file_changes(server: HttpServer) -> None:
    url = server.url("ranges", "d/file")
    _, headers, _ = fetch(url)
    pin = {"If-Match": headers["etag"]}
    assert fetch(url, pin)[0] == 200
    assert fetch(url, {"If-None-Match": headers["etag"]})[0] == 304
    (server.root / "d" / "file").write_bytes(BODY + b"!")
    assert fetch(url, pin)[0] == 412


def test_doors(server: HttpServer) -> None:
    assert fetch(server.url("denied", "d/file"))[0] == 401
    assert fetch(server.url("denied", "d/file"), {"Authorization": "Basic dXNlcjpwYXNz"})[0] == 200
    assert fetch(server.url("ranges", "d/none"))[0] == 404
    assert fetch(server.url("ranges", "d/../../etc/passwd"))[0] == 404
    assert fetch(server.url("loop", "d/file"))[0] == 302


@pytest.mark.parametrize("manner", ["nginx", "apache", "python"])
def test_index_pages_link_every_entry(server: HttpServer, manner: str) -> None:
    status, headers, body = fetch(server.url(manner, "d/"))
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    text = body.decode()
    assert 'href="file"' in text
    assert 'href="deep%20er/"' in text
    assert 'href="a%26b%20%3Cc%3E%20%C3%BC%23%3F%25.txt"' in text
    assert "a&amp;b &lt;c&gt; ü#?%.txt</a>" in text
    assert fetch(server.url(manner, "d/a&b <c> ü#?%.txt"))[2] == b"odd"


def test_it_remembers_what_was_asked(server: HttpServer) -> None:
    server.forget()
    fetch(server.url("ranges", "d/file"), {"Range": "bytes=0-0"})
    (only,) = server.requests
    assert (only.method, only.status, only.headers["range"]) == ("GET", 206, "bytes=0-0")

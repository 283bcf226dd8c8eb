import urllib.request
import xml.etree.ElementTree as ElementTree

import pytest

from bench.processes import script_server
from bench.synthetic import Answers, Keys, name_of, page_of

KEYS = Keys(2500)


@pytest.mark.parametrize(
    ("prefix", "after", "most", "first", "count", "more"),
    [
        ("", "", 1000, 0, 1000, True),
        ("", name_of(999), 1000, 1000, 1000, True),
        ("", name_of(1999), 1000, 2000, 500, False),
        ("", name_of(2499), 1000, 0, 0, False),
        ("", "object-000000998.binx", 1, 999, 1, True),  # resumes behind a key that is not there
        ("", "zzz", 1000, 0, 0, False),
        ("object-00000249", "", 1000, 2490, 10, False),
        ("object-00000249", name_of(2494), 3, 2495, 3, True),
        ("other", "", 1000, 0, 0, False),
        ("", "", 2500, 0, 2500, False),  # exactly the last key: nothing follows
    ],
)
def test_pages(prefix: str, after: str, most: int, first: int, count: int, more: bool) -> None:
    page, follows = page_of(KEYS, prefix=prefix, after=after, most=most)
    assert page == [name_of(number) for number in range(first, first + count)]
    assert follows is more


def test_keys_are_in_order_and_bounded() -> None:
    assert list(KEYS[::100]) == sorted(KEYS[::100])
    assert KEYS[2499] == name_of(2499)
    with pytest.raises(IndexError):
        KEYS[2500]


def walk(answers: Answers, query: str, resume: str, element: str) -> list[str]:
    """List everything the way a client does, by following the page's own marker."""
    keys: list[str] = []
    marker = ""
    while True:
        head, _, body = answers.answer("GET", f"/left?{query}{marker}").partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        page = ElementTree.fromstring(body)
        namespace = page.tag.removesuffix("ListBucketResult")
        keys += [key.text or "" for key in page.iter(f"{namespace}Key")]
        following = page.find(f"{namespace}{element}")
        if page.findtext(f"{namespace}IsTruncated") == "false":
            assert following is None
            return keys
        assert following is not None
        marker = f"&{resume}={following.text}"


@pytest.mark.parametrize(
    ("query", "resume", "element"),
    [
        ("list-type=2", "continuation-token", "NextContinuationToken"),
        ("list-type=2&max-keys=999", "continuation-token", "NextContinuationToken"),
        ("prefix=", "marker", "NextMarker"),
    ],
)
def test_both_listings_give_every_key_once(query: str, resume: str, element: str) -> None:
    answers = Answers(count=2500, size_bytes=4096)
    assert walk(answers, query, resume, element) == list(KEYS[:])


def test_start_after_is_where_a_listing_begins() -> None:
    answer = Answers(count=10, size_bytes=1).answer(
        "GET", f"/b?list-type=2&start-after={name_of(7)}"
    )
    assert answer.count(b"<Key>") == 2


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("HEAD", "/left", b"200"),
        ("HEAD", "/left/object-000000001.bin", b"200"),
        ("GET", "/left?location", b"200"),
        ("GET", "/left?versioning", b"200"),
        ("GET", "/left/object-000000001.bin", b"501"),  # there are no bytes to give
        ("PUT", "/left/x", b"501"),
    ],
)
def test_only_listings_are_served(method: str, target: str, status: bytes) -> None:
    answer = Answers(count=10, size_bytes=77).answer(method, target)
    assert answer.split()[1] == status
    if method == "HEAD":
        assert answer.endswith(b"\r\n\r\n")


def test_the_script_serves_and_stops() -> None:
    with (
        script_server("synthetic.py", "5", "1") as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/left?list-type=2") as answer,
    ):
        assert answer.read().count(b"<Contents>") == 5
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/left?list-type=2")


def test_a_script_that_ends_early_is_named() -> None:
    with (
        pytest.raises(RuntimeError, match=r"synthetic\.py"),
        script_server("synthetic.py", "not a number", "1"),
    ):
        pass

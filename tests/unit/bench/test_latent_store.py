"""The latent store answers as S3 does, for as much as a fleet asks; and it makes everybody wait."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from bench.latent_store import PAGE_KEYS, Answer, Answers, crc64nvme_base64
from bench.processes import script_server
from transports import digests
from transports.s3_pages import parse_page
from transports.s3_xml import parse_fields, parse_parts, parse_uploads

POOL = bytes(range(256)) * 256
KEYS, KEY_BYTES = 2500, 1000


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(keys=KEYS, key_bytes=KEY_BYTES, pool=POOL)


def ask(answers: Answers, method: str, target: str, *lines: str) -> tuple[str, int, bytes, Answer]:
    """The kind of a request, its status, its body, and the whole answer."""
    head = "\r\n".join((f"{method} {target} HTTP/1.1", *lines)).encode()
    kind, answer = answers.answer(method, target, head)
    start, _, body = answer.data.partition(b"\r\n\r\n")
    return kind, int(start.split()[1]), body, answer


@pytest.mark.parametrize(
    ("query", "first", "count", "more"),
    [
        ("", 0, PAGE_KEYS, True),
        ("&max-keys=3", 0, 3, True),
        ("&start-after=object-000000998.bin", 999, PAGE_KEYS, True),
        ("&continuation-token=object-000001999.bin", 2000, 500, False),
        ("&start-after=object-000000009", 9, PAGE_KEYS, True),
        ("&prefix=object-0000011", 1100, 100, False),
        ("&prefix=object-0000011&start-after=object-000001150.bin", 1151, 49, False),
        ("&prefix=object-0000011&start-after=object-000002000.bin", 0, 0, False),
        ("&prefix=other", 0, 0, False),
    ],
)
def test_pages(answers: Answers, query: str, first: int, count: int, more: bool) -> None:
    target = f"/source?list-type=2&encoding-type=url{query}"
    kind, status, body, _ = ask(answers, "GET", target)
    page = parse_page(body)
    assert (kind, status) == ("list", 200)
    assert [e.key for e in page.entries] == [
        f"object-{number:09d}.bin" for number in range(first, first + count)
    ]
    assert page.token == (page.entries[-1].key if more else "")
    assert {e.size for e in page.entries} <= {KEY_BYTES}


def test_every_other_bucket_is_empty(answers: Answers) -> None:
    _, status, body, _ = ask(answers, "GET", "/sink?list-type=2&delimiter=%2F")
    assert (status, parse_page(body).entries) == (200, [])
    assert ask(answers, "HEAD", "/sink/object-000000001.bin")[1] == 404


def test_an_object_is_what_the_listing_says(answers: Answers) -> None:
    listed = parse_page(ask(answers, "GET", "/source?list-type=2")[2]).entries[7]
    kind, status, body, answer = ask(answers, "GET", f"/source/{listed.key}")
    assert (kind, status, body) == ("get", 200, POOL[:KEY_BYTES])
    assert f'ETag: "{listed.etag}"'.encode() in answer.data
    crc = digests.base64_of(digests.crc64nvme_hex(body))
    assert f"x-amz-checksum-crc64nvme: {crc}".encode() in answer.data
    head = ask(answers, "HEAD", f"/source/{listed.key}")[3]
    assert b"Content-Length: 1000\r\n" in head.data
    assert ask(answers, "GET", "/source/object-000002500.bin")[1] == 404


def test_a_range_of_a_small_and_of_a_large_object(answers: Answers) -> None:
    _, status, body, _ = ask(
        answers, "GET", "/source/object-000000001.bin", "Range: bytes=10-19", "x: y"
    )
    assert (status, body) == (206, POOL[10:20])
    _, status, body, answer = ask(
        answers, "GET", "/source/large-5000.bin", "range: bytes=4000-5999"
    )
    assert (status, body) == (206, b"")
    assert (answer.start, answer.span) == (4000, 1000)
    assert b"Content-Range: bytes 4000-4999/5000" in answer.data
    assert b"Content-Length: 5000\r\n" in ask(answers, "HEAD", "/source/large-5000.bin")[3].data


def test_writes_echo_the_checksum(answers: Answers) -> None:
    sealed = "X-Amz-Checksum-Crc64nvme: abcdefghijk="
    for target, kind in (("/sink/a", "put"), ("/sink/a?partNumber=1&uploadId=u", "part")):
        found, status, _, answer = ask(answers, "PUT", target, sealed, "host: x")
        assert (found, status) == (kind, 200)
        assert b"x-amz-checksum-crc64nvme: abcdefghijk=\r\n" in answer.data


def test_an_upload_in_parts(answers: Answers) -> None:
    kind, _, body, _ = ask(answers, "POST", "/sink/a?uploads=")
    opened = parse_fields(body, "InitiateMultipartUploadResult")
    assert (kind, opened["UploadId"]) == ("open", "nothing")
    assert parse_parts(ask(answers, "GET", "/sink/a?max-parts=9&uploadId=u")[2]) == ([], 0)
    assert parse_uploads(ask(answers, "GET", "/sink?uploads=")[2]) == ([], None)
    sealed = "x-amz-checksum-crc64nvme: abcdefghijk="
    kind, _, body, _ = ask(answers, "POST", "/sink/a?uploadId=u", sealed, "x: y")
    done = parse_fields(body, "CompleteMultipartUploadResult")
    assert (kind, done["ChecksumCRC64NVME"]) == ("complete", "abcdefghijk=")
    assert ask(answers, "DELETE", "/sink/a?uploadId=u")[1] == 204
    assert ask(answers, "POST", "/sink?delete=")[1] == 501


def test_the_checksum_is_the_stores() -> None:
    assert crc64nvme_base64(POOL[:999]) == digests.base64_of(digests.crc64nvme_hex(POOL[:999]))


def test_the_script_holds_every_answer_back_and_counts() -> None:
    with script_server("latent_store.py", "10", "77", "30") as port:
        url = f"http://127.0.0.1:{port}"
        started_s = time.monotonic()
        with urllib.request.urlopen(f"{url}/source/object-000000003.bin") as answer:
            assert len(answer.read()) == 77
        assert time.monotonic() - started_s >= 0.03
        large = 20 * 1024 * 1024
        with urllib.request.urlopen(f"{url}/source/large-{large}.bin") as answer:
            body = answer.read()
        assert len(body) == large
        assert body[: 4 << 20] == body[16 << 20 :]
        put = urllib.request.Request(f"{url}/sink/x", data=b"x" * 300_000, method="PUT")
        with urllib.request.urlopen(put) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{url}/-/counts") as answer:
            counts = json.load(answer)
        assert counts["requests"] == {"get": 2, "put": 1}
        assert sum(counts["flows"]["in"].values()) == 300_000
        assert counts["in_flight_max"] == 1
        assert started_s <= counts["first_s"]["get"] < counts["first_s"]["put"] < counts["last_s"]
        with urllib.request.urlopen(f"{url}/-/counts") as answer:
            assert json.load(answer)["requests"] == {}

"""What nodes say to each other about files: read back as it was written, and nothing else read at all."""

from __future__ import annotations

import msgspec
import pytest

from mover.prewarm.origins import Kept
from mover.prewarm.peer_talk import (
    ABSENT,
    HEAD_BYTES_MAX,
    WANTED_MAX,
    Garbled,
    Had,
    Wanted,
    decode_head,
    decode_request,
    encode_head,
    encode_request,
    head_length,
    wanted,
)
from transports.model import Entry

FILES = [
    wanted(Entry("a", 10, 5, "e", "v"), 2, 7),
    wanted(Entry("b\udcff", 3, 6)),
    wanted(Entry("c", 4, 7), 0, 4),
]
ANSWER = [Had(5, "0" * 16, 1, 0o644), Had(0, "1" * 16, 2, 0o600), Had(ABSENT)]


def test_a_request_reads_back() -> None:
    assert decode_request(encode_request(FILES)) == FILES
    assert FILES[1].key == b"b\xff"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no message",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({"key": "a"}),
        msgspec.msgpack.encode([[b"a", 10]]),
        msgspec.msgpack.encode([["a", "10", 5, "e", "v", 0, 1]]),
        encode_request(FILES)[:-1],
        encode_request(FILES[:1] * (WANTED_MAX + 1)),
    ],
)
def test_what_is_no_request(body: bytes) -> None:
    with pytest.raises(Garbled):
        decode_request(body)


def test_a_head_reads_back() -> None:
    head = encode_head(ANSWER)
    assert head_length(head[:4]) == len(head) - 4
    assert decode_head(head[4:], FILES) == ANSWER


@pytest.mark.parametrize(
    "answer",
    [ANSWER[:2], [Had(4), *ANSWER[1:]], [*ANSWER[:2], Had(5)], [*ANSWER[:2], Had(-2)]],
)
def test_a_head_of_other_files(answer: list[Had]) -> None:
    with pytest.raises(Garbled):
        decode_head(encode_head(answer)[4:], FILES)


@pytest.mark.parametrize("start", [b"", b"\0\0\0", b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_what_begins_no_head(start: bytes) -> None:
    with pytest.raises(Garbled):
        head_length(start)
    with pytest.raises(Garbled):
        decode_head(b"no message", FILES)


def test_the_largest_answer_has_a_head_that_is_read() -> None:
    head = encode_head([Had(2**62, "f" * 16, 2**62, 0o777)] * WANTED_MAX)
    assert len(head) < HEAD_BYTES_MAX


@pytest.mark.parametrize(
    ("file", "is_of"),
    [
        (Wanted(b"k", 10, 5, "e", "", 0, 10), True),
        (Wanted(b"k", 10, 5, "e", "", 10, 10), True),
        (Wanted(b"k", 10, 5, "e", "", 0, 11), False),
        (Wanted(b"k", 10, 5, "e", "", -1, 5), False),
        (Wanted(b"k", 10, 5, "e", "", 6, 5), False),
        (Wanted(b"k", 10, 5, "f", "", 0, 10), False),
        (Wanted(b"k", 11, 5, "e", "", 0, 10), False),
    ],
)
def test_only_that_version_and_what_it_has(file: Wanted, is_of: bool) -> None:
    assert file.is_of(Kept(1, 10, "e", "", 5, "0" * 16, "1-10-5", 7)) is is_of

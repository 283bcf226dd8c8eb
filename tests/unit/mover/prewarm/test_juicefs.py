import json

import pytest

from mover.prewarm.juicefs import (
    Act,
    Counted,
    Facts,
    Unreadable,
    answer_of,
    facts_of,
    inode_of,
    message,
)
from mover.prewarm_juicefs import known_version

DOCUMENT = b'{"FileCount":21,"SliceCount":21,"TotalBytes":22282240,"MissBytes":22216704}'
DATA = b"\xff" + len(DOCUMENT).to_bytes(4, "big") + DOCUMENT
PROGRESS = b"\xfe" + bytes(16)


def test_a_message_is_what_the_command_was_seen_to_write() -> None:
    # Taken with strace from `juicefs warmup --check` 1.4.2; it writes paths, and inodes as well.
    seen = b"\0\0\3\354\0\0\0\17\0\0\0\7/d\n/big\0002\0\2"
    ours = message(Act.CHECK, [7], threads=50)
    assert ours[:4] == seen[:4]
    assert ours[-4:] == seen[-4:]
    assert ours[8:-4] == b"\0\0\0\7inode:7"
    assert int.from_bytes(ours[4:8], "big") == len(ours) - 8
    assert message(Act.LOAD, [1, 2], threads=3).endswith(b"inode:1\ninode:2\0\3\0\0")


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"", None),
        (PROGRESS, None),
        (PROGRESS + PROGRESS[:9], None),
        (PROGRESS * 3 + DATA[:3], None),
        (DATA[:-1], None),
        (DATA, Counted(21, 22282240, 22216704)),
        (PROGRESS * 2 + DATA, Counted(21, 22282240, 22216704)),
        (b"\x05", 5),
        (PROGRESS + b"\x16", 22),
    ],
)
def test_an_answer_is_read_as_it_comes(received: bytes, answer: object) -> None:
    assert answer_of(received) == answer


@pytest.mark.parametrize(
    "received", [b"\x01\x02\x03", b"\xff\0\0\0\x02{}", b"\xff\0\0\0\x02[]", b"\xff\0\0\0\x01x"]
)
def test_an_answer_of_another_kind_is_refused(received: bytes) -> None:
    with pytest.raises(Unreadable):
        answer_of(received)


def test_facts_come_from_the_configuration() -> None:
    chunk = {"BlockSize": 4194304, "CacheSize": 1 << 30, "CacheDir": "/c/1:/c/2"}
    config = json.dumps({"Chunk": chunk, "Version": "1.4.2+x"}).encode()
    assert facts_of(config) == Facts(4194304, 1 << 30, "/c/1:/c/2", "1.4.2+x")
    for bad in (b"", b"{}", b"[]", b'{"Chunk": {"BlockSize": "x"}}'):
        with pytest.raises(Unreadable):
            facts_of(bad)


@pytest.mark.parametrize(
    ("version", "known"),
    [("1.4.2+2026", True), ("1.2.0-beta1", True), ("2.0.1", True), ("1.1.9", False), ("", False)],
)
def test_only_versions_that_answer_are_asked(version: str, known: bool) -> None:
    assert known_version(version) is known


@pytest.mark.parametrize(("version", "inode"), [("12-99", 12), ("", 0), ("x-1", 0), ("7", 7)])
def test_an_inode_is_the_head_of_a_version(version: str, inode: int) -> None:
    assert inode_of(version) == inode

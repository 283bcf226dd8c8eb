"""Where an origin's files lie below a cache directory, and when a file there is the one that is listed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mover.prewarm.evicting import Candidate, Room, admitted, victims
from mover.prewarm.origins import (
    Kept,
    Misplaced,
    State,
    identity_of,
    is_copy_of,
    origin_at,
    state_of,
    written,
)
from transports.location import parse_location
from transports.model import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("s3://bucket/data/", "s3/bucket/data/x"),
        ("s3://bucket", "s3/bucket/x"),
        ("s3://bucket/data", "s3/bucket/data/x"),
        ("s3://bucket/what?.d/?endpoint_url=http://h:1", "s3/bucket/what?.d/x"),
        ("gs://bucket/a/b/", "gs/bucket/a/b/x"),
        ("https://Host:8080/a%20b/c%2Fd/?q=1", "https/host:8080/a b/c%2Fd/x"),
        ("/srv/d/", "file/srv/d/x"),
        ("file:///srv/a%20b/", "file/srv/a b/x"),
        ("memory://name/p/", "memory/name/p/x"),
    ],
)
def test_where_a_file_lies(location: str, path: str) -> None:
    assert origin_at(parse_location(location)).path("x") == path.encode()


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/a//b/",
        "s3://bucket/../b/",
        "s3://bucket/./b/",
        "https://host/a/%2E%2E/../b/",
        "s3://bucket/.mover-stage-x/",
        "https://../x/",
    ],
)
def test_what_has_no_place(location: str) -> None:
    with pytest.raises(Misplaced):
        origin_at(parse_location(location))


def test_a_relative_path_is_absolute_below_the_directory() -> None:
    assert origin_at(parse_location("d/")).prefix == f"{os.getcwd().lstrip('/')}/d/"


@pytest.mark.parametrize(
    ("location", "environment", "endpoint"),
    [
        ("s3://b/?endpoint_url=http://H:1/", "http://other", "http://h:1"),
        ("s3://b/", "http://other", "http://other"),
        ("s3://b/", "", ""),
        ("gs://b/", "http://other", ""),
    ],
)
def test_endpoints(location: str, environment: str, endpoint: str) -> None:
    assert origin_at(parse_location(location), environment).endpoint == endpoint


@pytest.mark.parametrize(
    "location",
    [
        "s3://b/k/?endpoint_url=http://h:1&region=eu-1",
        "s3://b/k",
        "s3://b/what?.txt?",
        "s3://b/what?/?ca_file=/a%20b",
        "https://h/p?version=3#ca_file=/x.pem",
        "https://h/a%20b/",
        "/srv/d/",
        "d/x",
        "memory://n/p/",
    ],
)
def test_a_location_reads_back_as_it_was_written(location: str) -> None:
    parsed = parse_location(location)
    assert parse_location(written(parsed)) == parsed


@pytest.mark.parametrize("key", ["a\0b", "a\ud800b"])
def test_a_key_that_no_file_name_holds(key: str) -> None:
    with pytest.raises(ValueError, match="file name|surrogates"):
        origin_at(parse_location("s3://b/")).path(key)


def test_a_key_of_stray_bytes_keeps_them() -> None:
    assert origin_at(parse_location("s3://b/")).path("a\udcff") == b"s3/b/a\xff"


def kept(etag: str = "", version: str = "", mtime_ns: int = 5, size: int = 3) -> Kept:
    return Kept(1, size, etag, version, mtime_ns, "00", "1-3-5", 7)


def entry(etag: str = "", version: str = "", mtime_ns: int = 5, size: int = 3) -> Entry:
    return Entry("k", size, mtime_ns, etag, version)


@pytest.mark.parametrize(
    ("one", "other", "is_copy"),
    [
        (kept(), entry(), True),
        (kept(), entry(size=4), False),
        (kept(), entry(mtime_ns=6), False),
        (kept(etag="e"), entry(etag="e", mtime_ns=6), True),
        (kept(etag="e"), entry(etag="f"), False),
        (kept(version="v"), entry(version="v", etag="e", mtime_ns=6), True),
        (kept(version="v", etag="e"), entry(version="w", etag="e"), False),
        (kept(version="v", etag="e"), entry(etag="e"), True),
        (kept(etag="e"), entry(), True),
        (kept(etag="e"), entry(mtime_ns=6), False),
    ],
)
def test_the_strongest_pin_decides(one: Kept, other: Entry, is_copy: bool) -> None:
    assert is_copy_of(one, other) is is_copy


def test_what_became_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    found = file.lstat()
    one = kept()._replace(identity=identity_of(found), ctime_ns=found.st_ctime_ns)
    assert state_of(one, found) is State.SAME
    assert state_of(one._replace(ctime_ns=1), found) is State.TOUCHED
    assert state_of(one._replace(identity="1-3-5"), found) is State.GONE
    assert state_of(one, None) is State.GONE


@pytest.mark.parametrize(
    ("sizes", "room_bytes", "places"),
    [
        ([], 10, []),
        ([5, 5], 10, [0, 1]),
        ([5, 6, 5], 10, [0, 2]),
        ([11, 10], 10, [1]),
        ([0, 1], 0, [0]),
        ([1], -1, []),
        ([0], -1, []),
    ],
)
def test_what_fits(sizes: list[int], room_bytes: int, places: list[int]) -> None:
    assert admitted(sizes, room_bytes) == places


def test_only_files_that_may_be_next_are_looked_at() -> None:
    asked: list[int] = []

    def candidates() -> Iterator[Candidate]:
        for number in range(1000):
            yield Candidate(number, str(number).encode(), 10, number)

    def last_read_ns(candidate: Candidate) -> int:
        asked.append(candidate.number)
        return 500 if candidate.number == 1 else 0

    found = victims(candidates(), last_read_ns, 25)
    assert [each.number for each in found] == [0, 2, 3]
    assert len(asked) < 6


@pytest.mark.parametrize(
    ("room", "left", "most"),
    [
        (Room(100, 30, 20, 10_000, 10_000), 50, 100),
        (Room(0, 30, 20, 1000, 10_000), 880, 930),
        (Room(5000, 30, 20, 1000, 10_000), 880, 930),
        (Room(100, 120, 0, 10_000, 10_000), -20, 100),
        (Room(0, 0, 0, 1 << 50, 1 << 50), (1 << 50) - (1 << 30), (1 << 50) - (1 << 30)),
        (Room(0, 0, 0, 50, 10_000), -50, 0),
    ],
)
def test_room(room: Room, left: int, most: int) -> None:
    assert (room.left, room.most) == (left, most)

"""Grants: how large, how many, and for what; and the bucket's rate."""

import asyncio
import hashlib
import time

import pytest

from tests.unit.transports.scripted import Scripted, blob, entry
from transports.base import Transport
from transports.errors import Changed, Corrupt, NotFound, Truncated, Unavailable
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    ObjectInfo,
    PartSpec,
    Proof,
)
from transports.throttle import SLICED_RANGES, Throttle


class Grants:
    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.requests: list[int] = []

    async def take_bytes(self, size: int) -> None:
        self.bytes.append(size)

    async def take_requests(self, count: int) -> None:
        self.requests.append(count)


def worn(
    inner: Transport, *, slice_bytes: int = 100, slice_requests: int = 1000
) -> tuple[Throttle, Grants]:
    grants = Grants()
    throttle = Throttle(
        inner,
        take_bytes=grants.take_bytes,
        take_requests=grants.take_requests,
        slice_bytes=lambda: slice_bytes,
        slice_requests=lambda: slice_requests,
    )
    return throttle, grants


async def test_a_range_is_read_in_slices() -> None:
    inner = Scripted()
    inner.bytes = bytes(range(256))
    throttle, grants = worn(inner)
    buffer = bytearray(230)
    await throttle.read_into(entry("k", 256), ByteRange(10, 240), memoryview(buffer))
    assert buffer == inner.bytes[10:240]
    assert grants.bytes == [100, 100, 30]
    assert grants.requests == [1, 1, 1]
    await throttle.read_into(entry("k", 0), ByteRange(0, 0), memoryview(bytearray()))
    assert inner.count("read_into") == 4


async def test_ranges_become_whole_in_the_order_they_were_asked_for() -> None:
    inner = MemoryTransport()
    data = bytes(range(250)) * 4
    await inner.write_small([Blob(Entry("x", len(data), 0), data, NO_ATTRIBUTES, Proof.NONE)])
    entry = (await inner.head("x")).entry
    slow = Faults(inner, [Fault(verb="read_into", times=1000, delay_s=0.001)])
    throttle, _ = worn(slow)
    whole: list[int] = []

    async def read(number: int) -> None:
        buffer = bytearray(len(data))
        await throttle.read_into(entry, ByteRange(0, len(data)), memoryview(buffer))
        assert buffer == data
        whole.append(number)

    async with asyncio.TaskGroup() as readers:
        for number in range(4 * SLICED_RANGES):
            readers.create_task(read(number), name=f"read-{number}")
    # Side by side the last would be as early as the first; so many at a time keep their turns.
    assert all(abs(place - number) < SLICED_RANGES for place, number in enumerate(whole))


async def test_a_broken_slice_tells_of_the_whole_buffer() -> None:
    inner = Scripted()
    inner.bytes = bytes(256)
    inner.will("read_into", lambda *_: None, Truncated("s", received_bytes=7, expected_bytes=100))
    throttle, _ = worn(inner)
    with pytest.raises(Truncated) as caught:
        await throttle.read_into(entry("k"), ByteRange(0, 230), memoryview(bytearray(230)))
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (107, 230)


async def test_without_ranges_bytes_are_taken_before_the_read() -> None:
    inner = Scripted(Capabilities(scheme="s", ranges=False))
    inner.bytes = bytes(256)
    throttle, grants = worn(inner)
    await throttle.read_into(entry("k"), ByteRange(0, 230), memoryview(bytearray(230)))
    await throttle.read_small([entry("k", 230)])
    assert grants.bytes == [100, 100, 30] * 2
    assert (inner.count("read_into"), inner.count("read_small")) == (1, 1)


async def test_a_batch_goes_in_groups_of_a_slice() -> None:
    inner = Scripted()
    throttle, grants = worn(inner, slice_requests=3)
    sizes = [40, 40, 40, 90, -1, 0, 0, 0, 0]
    entries = [entry(str(place), size) for place, size in enumerate(sizes)]
    results = await throttle.read_small(entries)
    assert [r.entry for r in results if isinstance(r, Blob)] == entries
    groups = [[e.size for e in call[1]] for call in inner.calls]  # type: ignore[attr-defined]
    assert groups == [[40, 40], [40], [90, -1, 0], [0, 0, 0]]
    assert grants.bytes == [80, 40, 90]
    assert grants.requests == [2, 1, 3, 3]


async def test_a_group_that_fails_does_not_hide_the_others() -> None:
    inner = Scripted()
    inner.will("read_small", lambda some: [blob(some[0])], Unavailable("s"))
    throttle, _ = worn(inner)
    results = await throttle.read_small([entry("a", 80), entry("b", 80), entry("c", 80)])
    assert [type(result) for result in results] == [Blob, Unavailable, Blob]


def info(data: bytes, *checksums: Checksum, etag: str = "e") -> ObjectInfo:
    return ObjectInfo(
        entry=Entry("big", len(data), 0, etag=etag),
        attributes=Attributes(content_type="text/x"),
        checksums=checksums,
    )


async def test_an_object_larger_than_a_slice_is_read_slice_by_slice_and_verified() -> None:
    data = bytes(range(250))
    good = Checksum("md5", hashlib.md5(data).hexdigest())
    cases = [
        (info(data, Checksum("odd", "00"), good), Proof.STRONG),
        (info(data, Checksum("odd", "00")), Proof.WEAK),
        (info(data, Checksum("md5", "00")), Corrupt),
        (info(data, good, etag="other"), Changed),
    ]
    for known, expected in cases:
        inner = Scripted()
        inner.bytes = data
        inner.will("head", lambda _key, known=known: known)
        throttle, grants = worn(inner)
        (result,) = await throttle.read_small([Entry("big", 250, 0, etag="e")])
        if isinstance(result, Blob):
            assert (result.proof, bytes(result.data)) == (expected, data)
            assert result.attributes.content_type == "text/x"
            assert grants.bytes == [100, 100, 50]
        else:
            assert type(result) is expected


async def test_an_error_of_a_large_object_is_its_value() -> None:
    inner = Scripted()
    inner.will("head", NotFound("k"))
    throttle, _ = worn(inner)
    results = await throttle.read_small([entry("k", 500), entry("a", 1)])
    assert [type(result) for result in results] == [NotFound, Blob]


async def test_writers_are_handed_a_pace_and_groups_of_requests() -> None:
    inner = Scripted()
    throttle, grants = worn(inner, slice_requests=2)
    heard: list[int] = []

    async def outer(size: int) -> None:
        heard.append(size)

    await throttle.write_small([blob(entry(key, 150)) for key in "abc"], pace=outer)
    assert grants.bytes == [100, 50] * 3
    assert heard == [150] * 3
    assert grants.requests == [2, 1]
    part = PartSpec(number=1, range=ByteRange(0, 120))
    await throttle.write_part("k", "id", part, memoryview(bytes(120)))
    assert grants.bytes[-2:] == [100, 20]


async def test_only_requests_are_throttled_where_only_they_are_limited() -> None:
    inner = Scripted()
    inner.bytes = bytes(500)
    grants = Grants()
    throttle = Throttle(inner, take_requests=grants.take_requests, slice_requests=lambda: 2)
    await throttle.read_into(entry("k"), ByteRange(0, 500), memoryview(bytearray(500)))
    await throttle.read_small([entry(key, 500) for key in "abc"])
    assert grants.requests == [1, 2, 1]
    assert inner.count("read_into") == 1


async def test_requests_of_the_other_verbs() -> None:
    inner = Scripted()
    inner.pages = [[entry("a")], [entry("b")]]
    throttle, grants = worn(inner)
    await throttle.head("k")
    await throttle.begin_upload("k", 1, NO_ATTRIBUTES, token="t")
    await throttle.finish_upload("k", "id", [])
    await throttle.copy(entry("a"), inner, "b")
    span = ByteRange(0, 900)
    part = PartSpec(number=1, range=span)
    await throttle.copy_part("k", "id", part, entry("a"), span, throttle)
    assert grants.requests == [1, 1, 1, 1, 1]
    await throttle.delete(["a", "b", "c"])
    assert grants.requests[5:] == [3]
    assert len([page async for page in throttle.list()]) == 2
    assert grants.requests[6:] == [1, 1, 1]
    await throttle.abort_upload("k", "id")
    await throttle.clean("t")
    assert len(grants.requests) == 9
    assert [bytes(piece) async for piece in throttle.stream(entry("k"))] == [b""]


async def test_a_range_that_breaks_tells_what_came_without_a_gap() -> None:
    """Slices run side by side, so a later one may be there when an earlier one breaks."""
    memory = MemoryTransport()
    data = bytes(range(250)) * 4
    await memory.write_small([Blob(Entry("x", len(data), 0), data, NO_ATTRIBUTES, Proof.NONE)])
    entry = (await memory.head("x")).entry
    faults = Faults(memory, [Fault(verb="read_into", nth=2, truncate_at=10)])
    throttle, _ = worn(faults)
    buffer = bytearray(len(data))
    with pytest.raises(Truncated) as caught:
        await throttle.read_into(entry, ByteRange(0, len(data)), memoryview(buffer))
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (110, len(data))
    assert buffer[:110] == data[:110]


async def test_a_round_trip_longer_than_a_slice_does_not_set_the_rate() -> None:
    memory = MemoryTransport()
    data = bytes(20_000)
    await memory.write_small([Blob(Entry("x", len(data), 0), data, NO_ATTRIBUTES, Proof.NONE)])
    entry = (await memory.head("x")).entry
    slow = Faults(memory, [Fault(verb="read_into", times=1000, delay_s=0.04)])
    throttle, grants = worn(slow, slice_bytes=1000)
    began_s = time.monotonic()
    await throttle.read_into(entry, ByteRange(0, len(data)), memoryview(bytearray(len(data))))
    assert grants.bytes == [1000] * 20
    assert time.monotonic() - began_s < 0.7 * 20 * 0.04

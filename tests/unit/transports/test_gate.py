"""A rate that begins and ends while a job runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.transports.scripted import Scripted
from transports.errors import Truncated
from transports.gate import Gate
from transports.model import ByteRange, Entry
from transports.testing.support import Gathering
from transports.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transports.base import Sink

DATA = bytes(range(256)) * 8
ENTRY = Entry("k", len(DATA), 0, "etag")


class Pouring(Scripted):
    """Hands a range on in pieces of 256 bytes, and a stream in two."""

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        yield DATA[:1000]
        yield DATA[1000:]

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        for start in range(span.start + sink.taken_bytes, span.stop, 256):
            sink.take(memoryview(DATA)[start : min(start + 256, span.stop)])


def gated(*, begins_after: int) -> tuple[Gate, list[int]]:
    """A gate whose rate begins once it was asked so often, and what it then took."""
    taken: list[int] = []
    asked = 0

    def is_limited() -> bool:
        nonlocal asked
        asked += 1
        return asked > begins_after

    async def take(size_bytes: int) -> None:
        taken.append(size_bytes)

    throttle = Throttle(Pouring(), take_bytes=take, slice_bytes=lambda: 512)
    return Gate(throttle, is_limited), taken


async def test_without_a_rate_nothing_is_counted() -> None:
    gate, taken = gated(begins_after=10**9)
    sink = Gathering(len(DATA))
    await gate.read_to(ENTRY, ByteRange(0, len(DATA)), sink)
    await gate.head("k")
    assert (bytes(sink.data), taken) == (DATA, [])
    assert gate.capabilities == Pouring().capabilities


async def test_a_pour_breaks_off_when_a_rate_begins_and_goes_on_under_it() -> None:
    gate, taken = gated(begins_after=4)
    sink = Gathering(len(DATA))
    with pytest.raises(Truncated) as broken:
        await gate.read_to(ENTRY, ByteRange(0, len(DATA)), sink)
    assert broken.value.received_bytes == sink.taken_bytes == 3 * 256
    await gate.read_to(ENTRY, ByteRange(0, len(DATA)), sink)
    assert bytes(sink.data) == DATA
    assert sum(taken) == len(DATA) - 3 * 256
    assert max(taken) == 512


async def test_new_calls_take_from_the_rate() -> None:
    gate, taken = gated(begins_after=0)
    assert isinstance(gate.inner, Throttle)
    pieces = [piece async for piece in gate.stream(ENTRY)]
    assert sum(taken) == sum(map(len, pieces)) > 0

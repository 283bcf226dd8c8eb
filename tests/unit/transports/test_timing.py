"""Stopwatches of requests that overlap, pause, fail and are too small, with a clock that is played."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from transports.errors import TransportError, Unavailable
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.model import NO_ATTRIBUTES, Blob, ByteRange, Entry, PartSpec, Proof
from transports.throttle import Throttle
from transports.timing import TIMED_BYTES_MIN, Stopwatch, Timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transports.base import Pace
    from transports.model import Receipt

MIB = 1024 * 1024


class Played:
    """A stopwatch, its clock and what it has noted."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.noted: list[tuple[int, float]] = []
        self.watch = Stopwatch(
            lambda size_bytes, seconds: self.noted.append((size_bytes, seconds)),
            clock=lambda: self.now_s,
        )

    def play(self, script: str) -> list[tuple[int, float]]:
        """``+`` begins a request of a MiB, ``-`` ends one, ``x`` fails, ``p`` pauses, ``g`` goes on.

        A dot is a second.
        """
        for sign in script:
            if sign == ".":
                self.now_s += 1
            elif sign == "+":
                self.watch.begin(MIB)
            elif sign in "-x":
                self.watch.end(MIB, brought=sign == "-")
            elif sign == "p":
                self.watch.pause()
            elif sign == "g":
                self.watch.go_on()
        return self.noted


@pytest.mark.parametrize(
    ("script", "noted"),
    [
        ("+..-", [(1, 2)]),
        ("+..-....+.-", [(1, 2), (1, 1)]),  # what lies between does not count
        ("++..--", [(2, 2)]),  # side by side
        ("+.+.-.-", [(2, 3)]),
        ("+.p...g.-", [(1, 2)]),  # waited for a rate
        ("++.p..-.g.-", [(2, 4)]),  # the other one went on meanwhile
        ("++.x.-", []),
        ("+.x+.-", [(1, 1)]),
        ("+-", []),  # took no time that could be told
        # Never a pause: a sample ends when it has brought four times what is under way.
        ("+" + ".+-" * 8 + ".-", [(4, 4), (4, 4), (1, 1)]),
    ],
)
def test_what_is_noted(script: str, noted: list[tuple[int, float]]) -> None:
    expected = [(size * MIB, float(seconds)) for size, seconds in noted]
    assert Played().play(script) == expected


def blob(size_bytes: int) -> Blob:
    return Blob(Entry("k", size_bytes, 0), bytes(size_bytes), NO_ATTRIBUTES, Proof.NONE)


@pytest.mark.parametrize(("size_bytes", "counts"), [(TIMED_BYTES_MIN - 1, 0), (MIB, 1)])
async def test_small_requests_are_not_timed(size_bytes: int, counts: int) -> None:
    noted: list[int] = []
    watches = [Stopwatch(lambda size, _: noted.append(size)) for _ in range(3)]
    store = MemoryTransport()
    timed = Timed(store, reads=watches[0], writes=watches[1], copies=watches[2])
    await timed.write_small([blob(size_bytes)])
    assert noted == [size_bytes] * counts
    entry = (await store.head("k")).entry
    await timed.read_small([entry])
    buffer = memoryview(bytearray(size_bytes))
    span = ByteRange(0, size_bytes)
    await timed.read_into(entry, span, buffer)
    upload_id = await timed.begin_upload("n", 2 * size_bytes, token="t")
    part = PartSpec(number=1, range=span)
    await timed.write_part("n", upload_id, part, buffer)
    await timed.copy_part("n", upload_id, part, entry, span, timed)
    assert noted == [size_bytes] * 5 * counts


async def test_failures_are_not_samples() -> None:
    noted: list[int] = []
    store = MemoryTransport()
    faulty = Faults(
        store,
        [
            Fault(verb="read_small", error=Unavailable("memory://", "away")),
            Fault(verb="read_into", error=Unavailable("memory://", "away")),
        ],
    )
    watch = Stopwatch(lambda size, _: noted.append(size))
    timed = Timed(faulty, reads=watch)
    await store.write_small([blob(MIB)])
    entry = (await store.head("k")).entry
    await timed.read_small([entry])
    with pytest.raises(Unavailable):
        await timed.read_into(entry, ByteRange(0, MIB), memoryview(bytearray(MIB)))
    assert noted == []
    await timed.read_small([entry])
    assert noted == [MIB]


async def test_waiting_for_a_rate_is_not_the_stores_doing() -> None:
    played = Played()

    async def take(size_bytes: int) -> None:
        await asyncio.sleep(0)
        played.now_s += 100

    class Slow(MemoryTransport):
        """Takes a second for each call."""

        async def write_small(
            self, blobs: Sequence[Blob], *, pace: Pace | None = None
        ) -> Sequence[Receipt | TransportError]:
            played.now_s += 1
            return await super().write_small(blobs, pace=pace)

    throttle = Throttle(Timed(Slow(), writes=played.watch), take_bytes=take)
    await throttle.write_small([blob(MIB)])
    assert played.noted == [(MIB, 1.0)]

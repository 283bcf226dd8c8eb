"""What each decorator makes of bytes that are let go, and what a store without headers says."""

from collections.abc import Sequence

import pytest

from tests.unit.transports.scripted import Scripted
from transports.base import DROP_BYTES, Told
from transports.errors import Changed, Throttled, TransportError, Truncated, Unavailable
from transports.faults import Fault, Faults
from transports.limit import Limit
from transports.model import ByteRange, Capabilities, Entry
from transports.record import Record
from transports.retry import Retry
from transports.throttle import Throttle

ENTRY = Entry("k", 1_000_000, 0)
SPAN = ByteRange(0, 1_000_000)


class Saying(Scripted):
    """Says how often it was asked, and notes the ranges."""

    def __init__(self) -> None:
        super().__init__(Capabilities(scheme="scripted"))
        self.spans: list[tuple[int, int, bool]] = []

    async def drop(self, entry: Entry, span: ByteRange, *, cached_only: bool = False) -> Told:
        self.spans.append((span.start, span.stop, cached_only))
        result = await self._play("drop", lambda *_: {b"age": b"%d" % len(self.spans)}, entry, span)
        assert isinstance(result, dict)
        return result


def breaks_off(after: int) -> Truncated:
    return Truncated("s", received_bytes=after, expected_bytes=0)


async def no_sleep(_: float) -> None:
    return None


async def test_retry_goes_on_behind_what_came() -> None:
    inner = Saying()
    inner.will("drop", breaks_off(300_000), Unavailable("s"), breaks_off(100_000))
    told = await Retry(inner, sleep=no_sleep).drop(ENTRY, SPAN, cached_only=True)
    starts = [start for start, _, _ in inner.spans]
    assert starts == [0, 300_000, 300_000, 400_000]
    assert all(cached_only for _, _, cached_only in inner.spans)
    assert told == {b"age": b"4"}


async def test_retry_leaves_what_cannot_be_mended() -> None:
    inner = Saying()
    inner.will("drop", Changed("s"))
    with pytest.raises(Changed):
        await Retry(inner, sleep=no_sleep).drop(ENTRY, SPAN)
    assert len(inner.spans) == 1


async def test_a_limit_holds_a_slot_meanwhile() -> None:
    inner = Saying()
    limit = Limit(inner)
    held: list[int] = []

    def look(*_: object) -> Told:
        held.append(limit.in_use)
        return {}

    inner.will("drop", look)
    await limit.drop(ENTRY, SPAN)
    assert (held, limit.in_use) == ([1], 0)


async def test_a_record_names_the_range() -> None:
    record = Record(Saying())
    await record.drop(ENTRY, SPAN)
    assert (record.log.counts["drop"], record.log.size_bytes["drop"]) == (1, 1_000_000)


async def test_a_rate_takes_slices_and_the_first_answer_is_told() -> None:
    taken: list[int] = []

    async def take(count: int) -> None:
        taken.append(count)

    inner = Saying()
    throttle = Throttle(inner, take_bytes=take, slice_bytes=lambda: 400_000)
    assert await throttle.drop(ENTRY, SPAN) == {b"age": b"1"}
    assert taken == [400_000, 400_000, 200_000]
    assert [stop - start for start, stop, _ in inner.spans] == taken
    inner.will("drop", lambda *_: {}, breaks_off(7))
    with pytest.raises(Truncated) as caught:
        await throttle.drop(ENTRY, SPAN)
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (400_007, 1_000_000)


async def test_an_empty_object_is_one_request_under_a_rate() -> None:
    async def take(_: int) -> None:
        return None

    inner = Saying()
    await Throttle(inner, take_bytes=take).drop(Entry("k", 0, 0), ByteRange(0, 0))
    assert inner.spans == [(0, 0, False)]


async def test_faults_break_off() -> None:
    faults = Faults(Saying(), [Fault(verb="drop", truncate_at=5)], sleep=no_sleep)
    with pytest.raises(Truncated) as caught:
        await faults.drop(ENTRY, SPAN)
    assert caught.value.received_bytes == 5
    assert await faults.drop(ENTRY, SPAN) == {b"age": b"2"}


async def test_a_store_without_a_better_way_reads_piece_by_piece() -> None:
    inner = Scripted()
    size = 2 * DROP_BYTES + 7
    inner.bytes = bytes(size)
    entry = Entry("k", size, 0)
    assert await inner.drop(entry, ByteRange(0, size)) == {}
    assert inner.count("read_into") == 3
    inner.will("read_into", lambda *_: None, breaks_off(9))
    with pytest.raises(Truncated) as caught:
        await inner.drop(entry, ByteRange(0, size))
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (DROP_BYTES + 9, size)


# -- batches of small objects --------------------------------------------------------------------

SMALL = [Entry("a", 100, 0), Entry("b", 200, 0), Entry("c", 300, 0)]
COME: Told = {b":status": b"200"}


class Batching(Saying):
    """Answers batches, and notes the keys of each."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[str] = []

    async def drop_small(self, entries: Sequence[Entry]) -> Sequence[Told | TransportError]:
        self.batches.append("".join(entry.key for entry in entries))
        result = await self._play("drop_small", lambda some: [COME] * len(some), entries)
        assert isinstance(result, list)
        return result


async def test_of_a_batch_only_what_failed_is_asked_for_again() -> None:
    inner = Batching()
    inner.will("drop_small", lambda _: [COME, Unavailable("b"), Changed("c")])
    results = await Retry(inner, sleep=no_sleep).drop_small(SMALL)
    assert [isinstance(result, TransportError) for result in results] == [False, False, True]
    assert inner.batches == ["abc", "b"]


async def test_a_batch_holds_one_slot_and_slows_down_when_asked_to() -> None:
    inner = Batching()
    limit = Limit(inner)
    before = limit.adaptive.value
    inner.will("drop_small", lambda _: [COME, Throttled("b"), COME])
    await limit.drop_small(SMALL)
    assert (limit.in_use, limit.adaptive.value) == (0, before // 2)


async def test_a_record_names_the_batch() -> None:
    record = Record(Batching())
    await record.drop_small(SMALL)
    (call,) = record.log.calls
    assert (call.verb, call.keys, call.size_bytes) == ("drop_small", ("a", "b", "c"), 600)


async def test_a_rate_lets_pass_as_many_as_fit_a_slice_and_cuts_what_is_larger() -> None:
    taken: list[int] = []

    async def take(count: int) -> None:
        taken.append(count)

    inner = Batching()
    throttle = Throttle(inner, take_bytes=take, slice_bytes=lambda: 300)
    results = await throttle.drop_small([*SMALL, Entry("d", 500, 0)])
    assert len(results) == 4
    assert inner.batches == ["ab", "c"]
    assert taken == [300, 300, 300, 200]
    assert [(start, stop) for start, stop, _ in inner.spans] == [(0, 300), (300, 500)]


async def test_a_store_without_batches_drops_one_by_one() -> None:
    inner = Saying()
    inner.will("drop", lambda *_: COME, Changed("b"))
    results = await inner.drop_small(SMALL)
    assert [isinstance(result, TransportError) for result in results] == [False, True, False]
    faults = Faults(Saying(), [Fault(verb="drop", truncate_at=5)], sleep=no_sleep)
    assert isinstance((await faults.drop_small(SMALL))[0], Truncated)

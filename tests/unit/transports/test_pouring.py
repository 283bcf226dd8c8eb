"""What each decorator makes of a range that is handed on as it arrives."""

import pytest

from tests.unit.transports.scripted import Scripted
from transports.base import Sink
from transports.errors import Changed, Truncated, Unavailable
from transports.faults import Fault, Faults
from transports.limit import Limit
from transports.model import ByteRange, Capabilities, Entry, PartSpec
from transports.record import Record
from transports.retry import Retry
from transports.testing.support import Gathering
from transports.throttle import Throttle

ENTRY = Entry("k", 100, 0)
SPAN = ByteRange(10, 90)


def scripted() -> Scripted:
    inner = Scripted(Capabilities(scheme="scripted", pours=True))
    inner.bytes = bytes(range(100))
    return inner


async def no_sleep(_: float) -> None:
    return None


def breaks_off(_entry: Entry, span: ByteRange, sink: Sink) -> None:
    start = span.start + sink.taken_bytes
    sink.take(memoryview(bytes(range(start, start + 7))))
    raise Truncated("s", received_bytes=7, expected_bytes=len(span))


async def test_retry_goes_on_where_the_sink_stands() -> None:
    inner = scripted()
    inner.will("read_to", breaks_off, Unavailable("s"), breaks_off)
    sink = Gathering()
    await Retry(inner, sleep=no_sleep).read_to(ENTRY, SPAN, sink)
    assert sink.data == inner.bytes[10:90]
    assert inner.count("read_to") == 4


async def test_retry_leaves_what_cannot_be_mended() -> None:
    inner = scripted()
    inner.will("read_to", Changed("s"))
    with pytest.raises(Changed):
        await Retry(inner, sleep=no_sleep).read_to(ENTRY, SPAN, Gathering())
    assert inner.count("read_to") == 1


async def test_a_limit_holds_a_slot_meanwhile() -> None:
    inner = scripted()
    limit = Limit(inner)
    held: list[int] = []

    def look(_entry: Entry, span: ByteRange, sink: Sink) -> None:
        held.append(limit.in_use)
        sink.take(memoryview(inner.bytes)[span.start : span.stop])

    inner.will("read_to", look)
    await limit.read_to(ENTRY, SPAN, Gathering())
    assert (held, limit.in_use) == ([1], 0)


async def test_a_record_names_the_range() -> None:
    record = Record(scripted())
    await record.read_to(ENTRY, SPAN, Gathering())
    assert (record.log.counts["read_to"], record.log.size_bytes["read_to"]) == (1, 80)


async def test_a_rate_of_bytes_takes_the_ability_away() -> None:
    async def take(_: int) -> None:
        return None

    assert not Throttle(scripted(), take_bytes=take).capabilities.pours
    assert Throttle(scripted(), take_requests=take).capabilities.pours


async def test_a_rate_of_requests_counts_one() -> None:
    asked: list[int] = []

    async def take(count: int) -> None:
        asked.append(count)

    sink = Gathering()
    await Throttle(scripted(), take_requests=take).read_to(ENTRY, SPAN, sink)
    assert (asked, sink.taken_bytes) == ([1], 80)


async def test_faults_break_off_and_flip() -> None:
    inner = scripted()
    script = [Fault(verb="read_to", truncate_at=5), Fault(verb="read_to", nth=2, flip_at=3)]
    faults = Faults(inner, script, sleep=no_sleep)
    sink = Gathering()
    with pytest.raises(Truncated):
        await faults.read_to(ENTRY, SPAN, sink)
    assert sink.data == inner.bytes[10:15]
    await faults.read_to(ENTRY, SPAN, sink)
    expected = bytearray(inner.bytes[10:90])
    expected[5 + 3] ^= 1
    assert sink.data == expected


async def test_stores_that_do_not_offer_it_say_so() -> None:
    from transports.errors import Invalid
    from transports.memory import MemoryTransport

    memory = MemoryTransport()
    assert not memory.capabilities.pours
    assert not memory.capabilities.takes_pours
    with pytest.raises(Invalid):
        await memory.read_to(ENTRY, SPAN, Gathering())
    with pytest.raises(Invalid):
        await memory.open_part("k", "u", PartSpec(number=1, range=SPAN))

"""What is tried again, how often, after how long, and what is kept meanwhile."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.transports.scripted import Scripted, blob, entry, receipt
from transports.decorator import closing
from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    NotFound,
    Throttled,
    TimedOut,
    TransportError,
    Truncated,
    Unavailable,
    Unsupported,
)
from transports.model import Blob, ByteRange, Capabilities, Entry, PartSpec, Receipt
from transports.retry import PROGRESS_MIN_BYTES, Retry
from transports.retry_policy import RetryPolicy

AWAY = Unavailable("s", "reset")
BAD = Corrupt("s", algorithm="md5", expected="a", actual="b")


class Time:
    """A clock that only its own sleep moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self.now_s += wait_s


def worn(inner: Scripted, policy: RetryPolicy | None = None) -> tuple[Retry, Time]:
    time = Time()
    retry = Retry(
        inner,
        policy or RetryPolicy(),
        rng=random.Random(7),
        clock=time,
        sleep=time.sleep,
    )
    retry.settled = True
    return retry, time


@pytest.mark.parametrize(
    ("error", "failures", "lies", "fresh", "again"),
    [
        (AWAY, 1, 0, False, True),
        (AWAY, 11, 0, False, True),
        (AWAY, 12, 0, False, False),
        (Truncated("s", received_bytes=1, expected_bytes=2), 1, 0, False, True),
        (BAD, 1, 1, False, True),
        (BAD, 9, 2, False, True),
        (BAD, 3, 3, False, False),
        (NotFound("s"), 1, 1, False, False),
        (NotFound("s"), 1, 1, True, True),
        (NotFound("s"), 5, 5, True, False),
        (Denied("s"), 1, 1, True, False),
        (AlreadyExists("s"), 1, 1, True, False),
        (Changed("s"), 1, 1, False, False),
    ],
)
def test_decision(
    error: TransportError, failures: int, lies: int, fresh: bool, again: bool
) -> None:
    wait_s = RetryPolicy().wait_s(
        error, failures=failures, lies=lies, fresh=fresh, rng=random.Random(1)
    )
    assert (wait_s is not None) is again


@given(st.integers(1, 11), st.integers(), st.floats(0, 100))
def test_waits_are_bounded_and_respect_the_store(failures: int, seed: int, floor_s: float) -> None:
    wait_s = RetryPolicy().wait_s(
        Throttled("s", retry_after_s=floor_s),
        failures=failures,
        lies=0,
        fresh=False,
        rng=random.Random(seed),
    )
    assert wait_s is not None
    assert floor_s <= wait_s <= max(floor_s, min(20.0, 0.2 * 2 ** (failures - 1)))


async def test_a_transient_error_is_tried_again_and_told() -> None:
    inner = Scripted()
    inner.will("head", AWAY, Throttled("s", retry_after_s=3.0))
    retry, time = worn(inner)
    told: list[tuple[str, type, float]] = []
    retry.on_retry = lambda verb, error, wait_s: told.append((verb, type(error), wait_s))
    await retry.head("k")
    assert inner.count("head") == 3
    assert [row[:2] for row in told] == [("head", Unavailable), ("head", Throttled)]
    assert [row[2] for row in told] == time.waits
    assert time.waits[1] >= 3.0


async def test_a_permanent_error_flies_at_once() -> None:
    inner = Scripted()
    inner.will("head", Denied("s"))
    retry, time = worn(inner)
    with pytest.raises(Denied):
        await retry.head("k")
    assert time.waits == []


async def test_attempts_and_deadline_end() -> None:
    for policy, calls in ((RetryPolicy(attempts_max=3), 3), (RetryPolicy(deadline_s=0.0), 1)):
        inner = Scripted()
        inner.will("copy", *[AWAY] * 9)
        retry, _ = worn(inner, policy)
        with pytest.raises(Unavailable):
            await retry.copy(entry("a"), inner, "b")
        assert inner.count("copy") == calls


async def test_a_store_that_never_answered_is_given_up_in_seconds() -> None:
    inner = Scripted()
    inner.will("head", *[AWAY] * 50)
    retry, time = worn(inner, RetryPolicy(attempts_max=50))
    retry.settled = False
    with pytest.raises(Unavailable):
        await retry.head("k")
    assert time.now_s <= 8.0
    assert inner.count("head") > 3


async def test_a_silent_host_is_cut_off() -> None:
    inner = Scripted()

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    inner.will("head", hang)
    inner.pages = [[entry("a")]]
    inner.will("page", hang)
    retry = Retry(inner, RetryPolicy(patience_s=0.01, attempts_max=1))
    with pytest.raises(TimedOut, match="no answer"):
        await retry.head("k")
    with pytest.raises(TimedOut, match="no answer"):
        async for _ in retry.list():
            pass


async def test_a_store_that_asks_to_slow_down_is_there() -> None:
    inner = Scripted()
    inner.will("head", Throttled("s", retry_after_s=60.0))
    retry, time = worn(inner)
    retry.settled = False
    await retry.head("k")
    assert time.now_s >= 60.0


async def test_only_failed_items_of_a_batch_go_again() -> None:
    inner = Scripted()
    entries = [entry(key) for key in "abcd"]
    gone = NotFound("c")
    inner.will(
        "read_small",
        lambda some: [blob(some[0]), AWAY, gone, BAD],
        lambda some: [blob(some[0]), BAD],
        lambda some: [BAD],
    )
    retry, time = worn(inner)
    results = await retry.read_small(entries)
    assert [call[1] for call in inner.calls] == [entries, [entries[1], entries[3]], [entries[3]]]
    assert [isinstance(result, Blob) for result in results] == [True, True, False, False]
    assert results[2] is gone
    assert results[3] is BAD
    assert len(time.waits) == 2


async def test_a_good_batch_is_passed_on_untouched() -> None:
    inner = Scripted()
    results = [blob(entry("a"))]
    inner.will("read_small", lambda _: results)
    retry, _ = worn(inner)
    assert await retry.read_small([entry("a")]) is results


async def test_an_error_of_a_whole_batch_is_the_error_of_each() -> None:
    inner = Scripted()
    inner.will("write_small", AWAY, lambda some: [receipt(some[0]), AWAY])
    inner.will("delete", *[Denied("s")])
    retry, _ = worn(inner)
    results = await retry.write_small([blob(entry("a")), blob(entry("b"))])
    assert all(isinstance(result, Receipt) for result in results)
    assert inner.count("write_small") == 3
    assert [type(result) for result in await retry.delete(["a", "b"])] == [Denied, Denied]


async def test_a_broken_range_is_read_on_from_its_last_good_byte() -> None:
    inner = Scripted()
    inner.bytes = bytes(range(100))

    def part(_entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        buffer[:3] = inner.bytes[span.start : span.start + 3]
        raise Truncated("s", received_bytes=3, expected_bytes=len(span))

    inner.will("read_into", part, AWAY, part)
    retry, _ = worn(inner)
    buffer = bytearray(40)
    await retry.read_into(entry("k", 100), ByteRange(10, 50), memoryview(buffer))
    assert buffer == inner.bytes[10:50]
    assert [call[2] for call in inner.calls] == [
        ByteRange(10, 50),
        ByteRange(13, 50),
        ByteRange(13, 50),
        ByteRange(16, 50),
    ]


async def test_progress_starts_the_count_afresh_and_trickles_do_not() -> None:
    for got, ends in ((PROGRESS_MIN_BYTES, 20), (1, 3)):
        inner = Scripted()
        inner.bytes = bytes(PROGRESS_MIN_BYTES * 20)

        def part(_entry: Entry, span: ByteRange, buffer: memoryview, got: int = got) -> None:
            if len(span) > got:
                raise Truncated("s", received_bytes=got, expected_bytes=len(span))

        inner.will("read_into", *[part] * 30)
        retry, _ = worn(inner, RetryPolicy(attempts_max=3))
        size = PROGRESS_MIN_BYTES * 20
        call = retry.read_into(entry("k"), ByteRange(0, size), memoryview(bytearray(size)))
        if got == 1:
            with pytest.raises(Truncated) as caught:
                await call
            assert caught.value.received_bytes == 3  # of the caller's buffer
            assert caught.value.expected_bytes == size
        else:
            await call
        assert inner.count("read_into") == ends


async def test_a_listing_goes_on_behind_the_last_key() -> None:
    inner = Scripted()
    keys = [[entry("a"), entry("b")], [entry("c")], [entry("d")]]
    inner.pages = [*keys]
    ok = lambda: None  # noqa: E731
    inner.will("page", ok, AWAY, ok, ok, AWAY)
    retry, _ = worn(inner)
    seen = [e.key async for page in retry.list(stop_at="z") for e in page]
    assert seen == ["a", "b", "c", "d"]
    assert [call[2] for call in inner.calls] == ["", "b", "c"]
    assert inner.closed_listings == 3


async def test_an_unordered_listing_is_not_resumed() -> None:
    inner = Scripted(Capabilities(scheme="s", ordered=False))
    inner.pages = [[entry("b")], [entry("a")]]
    inner.will("page", AWAY, lambda: None, AWAY)
    retry, _ = worn(inner)
    seen: list[str] = []
    with pytest.raises(Unavailable):  # noqa: PT012 - the loop is what raises
        async for page in retry.list():
            seen.extend(e.key for e in page)
    assert seen == ["b"]
    assert inner.count("list") == 2


async def test_a_listing_left_early_is_closed_below() -> None:
    inner = Scripted()
    inner.pages = [[entry("a")], [entry("b")]]
    retry, _ = worn(inner)
    async with closing(retry.list()) as pages:
        async for _ in pages:
            break
    assert inner.closed_listings == 1


async def test_a_stream_is_tried_again_only_before_its_first_piece() -> None:
    inner = Scripted()
    inner.will("stream", AWAY, lambda _e: [b"ab", AWAY])
    retry, _ = worn(inner)
    seen = b""
    with pytest.raises(Unavailable):  # noqa: PT012 - the loop is what raises
        async for piece in retry.stream(entry("k")):
            seen += piece
    assert seen == b"ab"
    assert inner.count("stream") == 2


@pytest.mark.parametrize(("flaky", "calls"), [(True, 3), (False, 1)])
async def test_a_flaky_not_found_right_after_a_write(flaky: bool, calls: int) -> None:
    inner = Scripted(Capabilities(scheme="s", flaky_not_found=flaky))
    retry, _ = worn(inner)
    await retry.write_small([blob(entry("k"))])
    inner.will("head", NotFound("k"), NotFound("k"))
    if flaky:
        await retry.head("k")
    else:
        with pytest.raises(NotFound):
            await retry.head("k")
    assert inner.count("head") == calls
    inner.answers.clear()
    inner.will("head", NotFound("other"))
    with pytest.raises(NotFound):
        await retry.head("other")


async def test_copy_sees_the_adapter_under_what_the_source_wears() -> None:
    inner, source = Scripted(), Scripted()
    retry, _ = worn(inner)
    await retry.copy(entry("a"), Retry(Retry(source)), "b")
    assert inner.calls[0][2] is source


async def test_copies_of_parts_are_tried_again_and_see_the_adapter() -> None:
    inner, source = Scripted(), Scripted()
    inner.will("copy_part", AWAY)
    retry, _ = worn(inner)
    span = ByteRange(0, 1)
    part = PartSpec(number=1, range=span)
    await retry.copy_part("k", "id", part, entry("a"), span, Retry(Retry(source)))
    assert [call[-1] for call in inner.calls] == [source, source]
    inner.will("copy_part", Unsupported("s"))
    with pytest.raises(Unsupported):
        await retry.copy_part("k", "id", part, entry("a"), span, source)


async def test_a_cancel_while_waiting_ends_the_call() -> None:
    inner = Scripted()
    inner.will("head", *[AWAY] * 9)
    waiting = asyncio.Event()

    async def sleep(_s: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        child = group.create_task(Retry(inner, sleep=sleep).head("k"))
        await waiting.wait()
        child.cancel()
    assert child.cancelled()
    assert inner.count("head") == 1
